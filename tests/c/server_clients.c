/*
 * What the embedded server does for its clients: plain ones, which are sockets of this program, and two hp_clients in
 * the same process.
 *
 *   server_clients ID
 */
#include "service.h"
#include "sized.h"

#define LONGEST_ID 1024

/* A plain client asks for the others of its session, which registers it; the next datagram is the list of them. */
static void is_told(int fd, const struct service *service, const char *id, const char *others)
{
    char reply[2000];
    send_to(fd, &service->address, id);
    await_datagram(fd);
    ssize_t len = recv(fd, reply, sizeof reply - 1, 0);
    CHECK(len >= 0);
    reply[len] = '\0';
    if (strcmp(reply, others) != 0)
        fprintf(stderr, "told \"%s\" instead of \"%s\"\n", reply, others);
    CHECK(strcmp(reply, others) == 0);
}

/* The endpoints that fit were written and are different ones of those expected; the rest is as it was. */
static void lists(const hp_server *server, const hp_addr *expected, size_t expected_count, size_t capacity)
{
    hp_addr listed[8];
    int seen[8] = { 0 };
    size_t count = 99, i, at;
    hp_status status = expected_count > capacity ? HP_STATUS_BUFFER_TOO_SMALL : HP_STATUS_OK;
    CHECK(capacity <= COUNT(listed) && expected_count <= COUNT(seen));
    memset(listed, CANARY, sizeof listed);
    CHECK_STATUS(status, hp_server_endpoints(server, capacity > 0 ? listed : NULL, capacity, &count));
    CHECK(count == expected_count);
    for (i = 0; i < capacity && i < count; i++) {
        for (at = 0; at < count && (seen[at] || memcmp(&expected[at], &listed[i], sizeof *listed) != 0);)
            at++;
        CHECK(at < count);
        seen[at] = 1;
    }
    CHECK(all_bytes(&listed[i], sizeof listed - i * sizeof *listed, CANARY));
}

static void registrations(void)
{
    struct service service;
    hp_addr endpoints[3], addr;
    char texts[3][HP_ADDR_TEXT_LEN], others[3 * HP_ADDR_TEXT_LEN] = "";
    int fds[3];
    size_t count = 99;
    hp_server *server = new_server(":0");
    start(&service, server);
    lists(server, NULL, 0, 0);
    lists(server, NULL, 0, 8);
    for (int i = 0; i < 3; i++) {
        fds[i] = bind_loopback(texts[i]);
        CHECK_STATUS(HP_STATUS_OK, hp_addr_parse(texts[i], &endpoints[i]));
        is_told(fds[i], &service, "session", others);
        strcat(strcat(others, i > 0 ? "," : ""), texts[i]);
    }
    is_told(fds[0], &service, "another session", "");
    hp_addr all[] = { endpoints[0], endpoints[1], endpoints[2], endpoints[0] };
    for (size_t capacity = 0; capacity <= 8; capacity++)
        lists(server, all, COUNT(all), capacity);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_endpoints(server, &addr, 1, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_endpoints(server, NULL, 1, &count));
    CHECK(count == 0);

    hp_server_counters counters = counters_of(server);
    CHECK(counters.reserved == 0 && counters.received == 5 && counters.dropped == 1 && counters.sent >= 4);
    CHECK(counters.endpoints == 4 && counters.sessions == 2 && counters.plain_joined == 4);
    CHECK(counters.native_joined == 0 && counters.challenged == 0 && counters.send_failed == 0);
    CHECK(counters.left == 0 && counters.expired == 0 && counters.refused == 0);
    CHECK(counters.relay_pairs == 0 && counters.relay_granted == 0 && counters.relay_refused == 0);
    CHECK(counters.relay_forwarded == 0 && counters.relay_forwarded_bytes == 0);
    CHECK(counters.relay_over_limit == 0 && counters.relay_dropped == 0);
    CHECK(counters.tcp_connections == 0 && counters.tcp_accepted == 0 && counters.tcp_received == 0);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    end_service(&service);
}

/* The most registrations count over all sessions, a client's in several of them, too. */
static void most_endpoints(void)
{
    const uint64_t most = 256, asked = 300;
    struct service service;
    char own[HP_ADDR_TEXT_LEN], id[40];
    int fd = bind_loopback(own);
    hp_server *server = new_server("127.0.0.1:0");
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_max_endpoints(server, most));
    start(&service, server);
    for (uint64_t i = 0; i < asked; i++) {
        snprintf(id, sizeof id, "session %d", (int)i);
        send_to(fd, &service.address, id);
    }
    AWAIT(counters_of(server).received == 1 + asked);
    hp_server_counters counters = counters_of(server);
    CHECK(counters.endpoints > 0 && counters.endpoints <= most);
    CHECK(counters.plain_joined == counters.endpoints && counters.refused == asked - counters.endpoints);
    close(fd);
    end_service(&service);
}

/* IDs that are too long are not answered: the first answer is that to one which fits, and lists another client. */
static void longest_id(const struct service *service, size_t longest, char letter)
{
    char id[LONGEST_ID + 2], texts[2][HP_ADDR_TEXT_LEN];
    int fds[] = { bind_loopback(texts[0]), bind_loopback(texts[1]) };
    uint64_t dropped = counters_of(service->server).dropped;
    memset(id, letter, sizeof id);
    id[longest] = '\0';
    is_told(fds[0], service, id, "");
    id[longest] = letter, id[longest + 1] = '\0';
    send_to(fds[1], &service->address, id);
    id[longest] = '\0';
    is_told(fds[1], service, id, texts[0]);
    CHECK(counters_of(service->server).dropped == dropped + 1);
    close(fds[0]);
    close(fds[1]);
}

static void longest_ids(void)
{
    struct service service;
    hp_server *server = new_server("127.0.0.1:0");
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_max_plain_id_len(server, 10));
    start(&service, server);
    longest_id(&service, 10, 'a');
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_max_plain_id_len(server, 1));
    longest_id(&service, 1, 'b');
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_max_plain_id_len(server, LONGEST_ID));
    longest_id(&service, LONGEST_ID, 'c');
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_set_max_plain_id_len(server, LONGEST_ID + 1));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_set_max_plain_id_len(server, 0));
    longest_id(&service, LONGEST_ID, 'd');
    end_service(&service);

    start(&service, new_server("127.0.0.1:0"));
    longest_id(&service, LONGEST_ID, 'e');
    end_service(&service);
}

static void silent_plain_clients(void)
{
    const int expiry_ms = 200;
    struct service service;
    char texts[2][HP_ADDR_TEXT_LEN];
    int fds[] = { bind_loopback(texts[0]), bind_loopback(texts[1]) };
    hp_server *server = new_server("127.0.0.1:0");
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_plain_expiry_ms(server, expiry_ms));
    start(&service, server);
    long long since = now_us();
    is_told(fds[0], &service, "session", "");
    AWAIT(counters_of(server).expired == 1);
    CHECK(now_us() - since >= expiry_ms * 1000LL);
    CHECK(counters_of(server).endpoints == 0);
    is_told(fds[1], &service, "session", "");
    AWAIT(counters_of(server).expired == 2);

    CHECK_STATUS(HP_STATUS_OK, hp_server_set_plain_expiry_ms(server, -1));
    is_told(fds[0], &service, "session", "");
    is_told(fds[1], &service, "session", texts[0]);
    sleep_us(3 * expiry_ms * 1000L);
    CHECK(counters_of(server).endpoints == 2 && counters_of(server).expired == 2);
    is_told(fds[0], &service, "session", texts[1]);

    /* Those that were to stay for ever are not; by the default they would be there for longer than AWAIT waits. */
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_plain_expiry_ms(server, expiry_ms));
    AWAIT(counters_of(server).expired == 4);
    CHECK(counters_of(server).endpoints == 0 && counters_of(server).sessions == 0);

    CHECK_STATUS(HP_STATUS_OK, hp_server_set_plain_expiry_ms(server, 40000));
    is_told(fds[0], &service, "session", "");
    sleep_us(3 * expiry_ms * 1000L);
    is_told(fds[1], &service, "session", texts[0]);
    close(fds[0]);
    close(fds[1]);
    end_service(&service);
}

/* As connect_pair, in a certain dialect. */
static void connect_speaking(int32_t dialect, const char *server, const char *id, hp_client *pair[2])
{
    struct caller callers[2];
    for (int i = 0; i < 2; i++) {
        pair[i] = new_client(server);
        CHECK_STATUS(HP_STATUS_OK, hp_client_set_timeout_ms(pair[i], PATIENCE_MS));
        CHECK_STATUS(HP_STATUS_OK, hp_client_set_dialect(pair[i], dialect));
        start_caller(&callers[i], pair[i], id);
    }
    for (int i = 0; i < 2; i++)
        CHECK_STATUS(HP_STATUS_OK, join_caller(&callers[i]));
}

static void clients_meet(const char *id)
{
    for (int32_t dialect = HP_DIALECT_AUTO; dialect <= HP_DIALECT_PLAIN; dialect++) {
        const int plain = dialect == HP_DIALECT_PLAIN;
        struct service service;
        char own[HP_ADDR_TEXT_LEN];
        hp_client *pair[2];
        int fd = bind_loopback(own);
        hp_server *server = new_server("127.0.0.1:0");
        CHECK_STATUS(HP_STATUS_OK, hp_server_set_dialect(server, dialect));
        start(&service, server);
        connect_speaking(dialect, service.text, id, pair);
        for (int i = 0; i < 2; i++) {
            hp_peer peer = HP_PEER_INIT;
            CHECK(hp_peer_count(pair[i]) == 1);
            CHECK_STATUS(HP_STATUS_OK, hp_peer_get(pair[i], 0, &peer));
            CHECK(peer.connected == 1 && peer.authenticated == !plain);
            hp_client_free(pair[i]);
        }
        hp_server_counters counters = counters_of(server);
        CHECK(counters.plain_joined == (plain ? 2 : 0) && counters.native_joined == (plain ? 0 : 2));
        CHECK(plain || counters.challenged >= 2);
        /*
         * Plain clients have no word for goodbye, and one that was done before it had read that it is registered says
         * none.
         */
        if (!plain)
            AWAIT(counters_of(server).left >= 1 && counters_of(server).left + counters_of(server).endpoints == 2);
        send_to(fd, &service.address, "a plain client's session");
        if (dialect == HP_DIALECT_NATIVE)
            AWAIT(counters_of(server).dropped > counters.dropped);
        else
            AWAIT(counters_of(server).plain_joined == counters.plain_joined + 1);
        close(fd);
        end_service(&service);
    }
}

int main(int argc, char **argv)
{
    end_at_the_latest_in(60);
    CHECK(argc == 2);
    const int fds = count_fds();
    registrations();
    most_endpoints();
    longest_ids();
    silent_plain_clients();
    clients_meet(argv[1]);
    await_a_single_thread();
    CHECK(count_fds() == fds);
    return 0;
}
