/*
 * Which paths are good enough: policies and techniques, what was tried to reach a peer and why that failed, and what an
 * embedded server does for hard NATs. All of it misused first, as in misuse.c. What checks a NAT is in nat_check.c.
 *
 *   paths ID
 */
#include "service.h"
#include "sized.h"

#include <stddef.h>

/* Long enough to know more than that there was no time. */
#define MISMATCH_MS 3000

struct attempt_room {
    hp_attempt now;
    unsigned char later[LATER], beyond[BEYOND];
};

static const int32_t not_causes[] = { INT32_MIN, INT32_MIN + 1, -1000, -1, HP_CAUSE_TCP_STRANGER + 1, 1000, INT32_MAX };
static const uint32_t bad_indices[] = { 1, 2, HP_MAX_PEERS, INT32_MAX, UINT32_MAX };

static void causes_have_texts(void)
{
    const char *unknown = hp_cause_text(HP_CAUSE_UNKNOWN);
    for (size_t i = 0; i < COUNT(not_causes); i++)
        CHECK(hp_cause_text(not_causes[i]) != NULL && strcmp(hp_cause_text(not_causes[i]), unknown) == 0);
    for (int32_t cause = -300; cause <= 300; cause++) {
        const char *text = hp_cause_text(cause);
        CHECK(text != NULL && text[0] != '\0' && text == hp_cause_text(cause));
        int known = cause > HP_CAUSE_UNKNOWN && cause <= HP_CAUSE_TCP_STRANGER;
        CHECK(known == (strcmp(text, unknown) != 0));
        for (int32_t other = HP_CAUSE_UNKNOWN; known && other < cause; other++)
            CHECK(strcmp(text, hp_cause_text(other)) != 0);
    }
}

static void initialisers(void)
{
    hp_attempt attempt = HP_ATTEMPT_INIT;
    hp_relay_options relay = HP_RELAY_OPTIONS_INIT;
    hp_tcp_options tcp = HP_TCP_OPTIONS_INIT;
    hp_server_limits limits = HP_SERVER_LIMITS_INIT;
    hp_peer peer = HP_PEER_INIT;
    hp_server_counters counters = HP_SERVER_COUNTERS_INIT;
    CHECK(sizeof peer == 64 && peer.struct_size == 64);
    CHECK(all_bytes((char *)&peer + 4, sizeof peer - 4, 0));
    CHECK(sizeof counters == 344 && counters.struct_size == 344);
    CHECK(all_bytes((char *)&counters + 4, sizeof counters - 4, 0));
    CHECK(sizeof attempt == 40 && attempt.struct_size == 40);
    CHECK(all_bytes((char *)&attempt + 4, sizeof attempt - 4, 0));
    CHECK(sizeof relay == 40 && relay.struct_size == 40 && relay.reserved == 0);
    CHECK(relay.ports == 8 && relay.max_pairs == 1000 && relay.bytes_per_second == 1048576);
    CHECK(relay.idle_ms == 60000 && relay.lifetime_ms == 43200000);
    CHECK(sizeof tcp == 16 && tcp.struct_size == 16 && tcp.reserved == 0);
    CHECK(tcp.max_connections == 4096 && tcp.max_connections_per_address == 256);
    CHECK(sizeof limits == 32 && limits.struct_size == 32 && limits.reserved == 0 && limits.memory == 268435456);
    CHECK(limits.endpoints_per_session == 257 && limits.endpoints_per_prefix == 8192);
    CHECK(limits.datagrams_per_second == 2000 && limits.plain_amplification == 3);
}

static hp_status get_attempt(const hp_client *client, uint32_t index, uint32_t number, struct attempt_room *room,
                             uint32_t struct_size)
{
    memset(room, CANARY, sizeof *room);
    room->now.struct_size = struct_size;
    return hp_peer_attempt_get(client, index, number, &room->now);
}

static void no_attempt_of_a_bad_size(const hp_client *client)
{
    static const uint32_t bad_sizes[] = BAD_SIZES(hp_attempt);
    struct attempt_room room;
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_peer_attempt_get(client, 0, 0, NULL));
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, get_attempt(client, 0, 0, &room, bad_sizes[i]));
        CHECK(room.now.struct_size == bad_sizes[i] && all_bytes((char *)&room + 4, sizeof room - 4, CANARY));
    }
}

/* Every attempt at peer 0 in structs of this version and of a later one, and none beyond. */
static void attempts_are_told(const hp_client *client, uint32_t count)
{
    struct attempt_room room;
    no_attempt_of_a_bad_size(client);
    for (uint32_t size = sizeof(hp_attempt); size <= sizeof(hp_attempt) + LATER; size += LATER) {
        for (uint32_t number = 0; number < count; number++) {
            CHECK_STATUS(HP_STATUS_OK, get_attempt(client, 0, number, &room, size));
            CHECK(room.now.struct_size == size && room.now.endpoint.family == HP_FAMILY_IPV4);
            CHECK(room.now.endpoint.port != 0 && strcmp(hp_path_name(room.now.path), "unknown") != 0);
            CHECK(all_bytes(room.later, size - sizeof(hp_attempt), 0));
            CHECK(all_bytes((char *)&room + size, sizeof room - size, CANARY));
        }
        CHECK_STATUS(HP_STATUS_NOT_FOUND, get_attempt(client, 0, count, &room, size));
        is_zeroed(&room, size, sizeof room);
        CHECK_STATUS(HP_STATUS_NOT_FOUND, get_attempt(client, 0, UINT32_MAX, &room, size));
        is_zeroed(&room, size, sizeof room);
        for (size_t i = 0; i < COUNT(bad_indices); i++) {
            CHECK_STATUS(HP_STATUS_NOT_FOUND, get_attempt(client, bad_indices[i], 0, &room, size));
            is_zeroed(&room, size, sizeof room);
            CHECK(hp_peer_attempt_count(client, bad_indices[i]) == 0);
            CHECK(hp_peer_cause(client, bad_indices[i]) == HP_CAUSE_UNKNOWN);
        }
    }
}

static void careless_clients(void)
{
    static const int32_t not_policies[] = { INT32_MIN, -1, HP_PATHS_RELAY_ONLY + 1, INT32_MAX };
    static const uint32_t not_techniques[] = { HP_TECHNIQUES_ALL + 1, 64, 1u << 31, UINT32_MAX };
    struct attempt_room room;
    hp_client *client = new_client("127.0.0.1:9");
    static const int32_t not_transports[] = { INT32_MIN, -1, 0, 4, INT32_MAX };
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_set_transport(NULL, HP_TRANSPORT_UDP));
    for (size_t i = 0; i < sizeof not_transports / sizeof *not_transports; i++)
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_set_transport(client, not_transports[i]));
    for (int32_t transport = HP_TRANSPORT_EITHER; transport >= HP_TRANSPORT_UDP; transport--)
        CHECK_STATUS(HP_STATUS_OK, hp_client_set_transport(client, transport));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_set_path_policy(NULL, HP_PATHS_DIRECT_PREFERRED));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_set_techniques(NULL, HP_TECHNIQUES_ALL));
    CHECK(hp_peer_cause(NULL, 0) == HP_CAUSE_UNKNOWN && hp_peer_attempt_count(NULL, 0) == 0);
    no_attempt_of_a_bad_size(NULL);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, get_attempt(NULL, 0, 0, &room, sizeof(hp_attempt)));
    is_zeroed(&room, sizeof(hp_attempt), sizeof room);
    for (size_t i = 0; i < COUNT(not_policies); i++)
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_set_path_policy(client, not_policies[i]));
    for (int32_t policy = HP_PATHS_DIRECT_PREFERRED; policy <= HP_PATHS_RELAY_ONLY; policy++)
        CHECK_STATUS(HP_STATUS_OK, hp_client_set_path_policy(client, policy));
    for (size_t i = 0; i < COUNT(not_techniques); i++)
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_set_techniques(client, not_techniques[i]));
    for (uint32_t techniques = 0; techniques <= HP_TECHNIQUES_ALL; techniques++)
        CHECK_STATUS(HP_STATUS_OK, hp_client_set_techniques(client, techniques));
    CHECK(hp_peer_cause(client, 0) == HP_CAUSE_UNKNOWN && hp_peer_attempt_count(client, 0) == 0);
    attempts_are_told(client, 0);
    CHECK_STATUS(HP_STATUS_NOT_FOUND, get_attempt(client, UINT32_MAX, UINT32_MAX, &room, sizeof(hp_attempt)));
    hp_client_free(client);
}

static void busy_client(void)
{
    char text[HP_ADDR_TEXT_LEN];
    struct caller caller;
    struct attempt_room room;
    int silent = bind_loopback(text);
    hp_client *client = new_client(text);
    start_caller(&caller, client, "busy");
    await_datagram(silent);
    CHECK_STATUS(HP_STATUS_BUSY, hp_client_set_path_policy(client, HP_PATHS_DIRECT_ONLY));
    CHECK_STATUS(HP_STATUS_BUSY, hp_client_set_techniques(client, 0));
    CHECK_STATUS(HP_STATUS_BUSY, get_attempt(client, 0, 0, &room, sizeof(hp_attempt)));
    is_zeroed(&room, sizeof(hp_attempt), sizeof room);
    no_attempt_of_a_bad_size(client);
    CHECK(hp_peer_cause(client, 0) == HP_CAUSE_UNKNOWN && hp_peer_attempt_count(client, 0) == 0);
    hp_cancel(client);
    CHECK_STATUS(HP_STATUS_CANCELLED, join_caller(&caller));
    hp_client_free(client);
    close(silent);
}

static void relay_member(hp_server *server, size_t offset, size_t size, uint64_t value, hp_status expected)
{
    hp_relay_options options = HP_RELAY_OPTIONS_INIT;
    uint32_t narrow = (uint32_t)value;
    memcpy((char *)&options + offset, size == sizeof narrow ? (void *)&narrow : (void *)&value, size);
    CHECK_STATUS(expected, hp_server_set_relay(server, &options));
}

#define RELAY_MEMBER(member, value, expected)                                              \
    relay_member(server, offsetof(hp_relay_options, member),                               \
                 sizeof(((hp_relay_options *)0)->member), (value), HP_STATUS_##expected)

static void relay_options(hp_server *server)
{
    static const uint32_t bad_sizes[] = BAD_SIZES(hp_relay_options);
    struct {
        hp_relay_options now;
        unsigned char later[LATER];
    } room;
    for (size_t i = 0; i < COUNT(bad_sizes); i++)
        RELAY_MEMBER(struct_size, bad_sizes[i], INVALID_ARGUMENT);
    memset(&room, CANARY, sizeof room);
    room.now = (hp_relay_options)HP_RELAY_OPTIONS_INIT;
    room.now.struct_size += LATER;
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_relay(server, &room.now));
    RELAY_MEMBER(ports, 0, INVALID_ARGUMENT);
    RELAY_MEMBER(ports, 65, INVALID_ARGUMENT);
    RELAY_MEMBER(ports, 65536 + 1, INVALID_ARGUMENT);
    RELAY_MEMBER(ports, UINT32_MAX, INVALID_ARGUMENT);
    RELAY_MEMBER(ports, 1, OK);
    RELAY_MEMBER(max_pairs, 0, INVALID_ARGUMENT);
    RELAY_MEMBER(max_pairs, 1, OK);
    RELAY_MEMBER(max_pairs, UINT32_MAX, OK);
    RELAY_MEMBER(reserved, 1, INVALID_ARGUMENT);
    RELAY_MEMBER(reserved, UINT32_MAX, INVALID_ARGUMENT);
    RELAY_MEMBER(reserved, 0, OK);
    RELAY_MEMBER(bytes_per_second, 1, INVALID_ARGUMENT);
    RELAY_MEMBER(bytes_per_second, 2047, INVALID_ARGUMENT);
    RELAY_MEMBER(bytes_per_second, 0, OK);
    RELAY_MEMBER(bytes_per_second, 2048, OK);
    RELAY_MEMBER(bytes_per_second, UINT64_MAX, OK);
    RELAY_MEMBER(idle_ms, 0, INVALID_ARGUMENT);
    RELAY_MEMBER(idle_ms, 1, OK);
    RELAY_MEMBER(idle_ms, UINT64_MAX, OK);
    RELAY_MEMBER(lifetime_ms, 0, INVALID_ARGUMENT);
    RELAY_MEMBER(lifetime_ms, 1, OK);
    RELAY_MEMBER(lifetime_ms, UINT64_MAX, OK);
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_relay(server, NULL));
}

static void tcp_member(hp_server *server, size_t offset, uint32_t value, hp_status expected)
{
    hp_tcp_options options = HP_TCP_OPTIONS_INIT;
    memcpy((char *)&options + offset, &value, sizeof value);
    CHECK_STATUS(expected, hp_server_set_tcp(server, &options));
}

#define TCP_MEMBER(member, value, expected) \
    tcp_member(server, offsetof(hp_tcp_options, member), (value), HP_STATUS_##expected)

static void tcp_options(hp_server *server)
{
    static const uint32_t bad_sizes[] = BAD_SIZES(hp_tcp_options), bad_limits[] = { 0, 65537, UINT32_MAX };
    struct {
        hp_tcp_options now;
        unsigned char later[LATER];
    } room;
    for (size_t i = 0; i < COUNT(bad_sizes); i++)
        TCP_MEMBER(struct_size, bad_sizes[i], INVALID_ARGUMENT);
    memset(&room, CANARY, sizeof room);
    room.now = (hp_tcp_options)HP_TCP_OPTIONS_INIT;
    room.now.struct_size += LATER;
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_tcp(server, &room.now));
    for (size_t i = 0; i < COUNT(bad_limits); i++) {
        TCP_MEMBER(max_connections, bad_limits[i], INVALID_ARGUMENT);
        TCP_MEMBER(max_connections_per_address, bad_limits[i], INVALID_ARGUMENT);
    }
    TCP_MEMBER(max_connections, 1, OK);
    TCP_MEMBER(max_connections, 65536, OK);
    TCP_MEMBER(max_connections_per_address, 1, OK);
    TCP_MEMBER(max_connections_per_address, 65536, OK);
    TCP_MEMBER(reserved, 1, INVALID_ARGUMENT);
    TCP_MEMBER(reserved, UINT32_MAX, INVALID_ARGUMENT);
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_tcp(server, NULL));
}

/* How many descriptors a server has when it is bound. */
static int descriptors_of(hp_server *server)
{
    const int before = count_fds();
    CHECK_STATUS(HP_STATUS_OK, hp_server_bind(server, NULL));
    int count = count_fds() - before;
    hp_server_free(server);
    CHECK(count_fds() == before);
    return count;
}

static void paths_are_settled(hp_server *server)
{
    hp_relay_options options = HP_RELAY_OPTIONS_INIT;
    hp_tcp_options tcp = HP_TCP_OPTIONS_INIT;
    CHECK_STATUS(HP_STATUS_BUSY, hp_server_set_alternate_ports(server, 1));
    CHECK_STATUS(HP_STATUS_BUSY, hp_server_set_other_address(server, "127.0.0.2"));
    CHECK_STATUS(HP_STATUS_BUSY, hp_server_set_other_address(server, NULL));
    CHECK_STATUS(HP_STATUS_BUSY, hp_server_set_relay(server, &options));
    CHECK_STATUS(HP_STATUS_BUSY, hp_server_set_relay(server, NULL));
    CHECK_STATUS(HP_STATUS_BUSY, hp_server_set_tcp(server, &tcp));
    CHECK_STATUS(HP_STATUS_BUSY, hp_server_set_tcp(server, NULL));
}

static void careless_servers(void)
{
    static const uint32_t bad_counts[] = { 5, 65535, 65536, 65536 + 3, UINT32_MAX };
    static const char *const bad_addresses[] = { "",     "localhost",  " 127.0.0.1", "127.0.0.1:1", "[::1]",
                                                 "::",   "127.0.0.01", "\xFF\xFE",   "0.0.0.0",     "224.0.0.1",
                                                 "ff02::1", "1.2.3.4.5", "fe80::1%lo",
                                                 "127.0.0.1", "::ffff:127.0.0.2", "255.255.255.255", "::1" };
    static const char *const good_addresses[] = { "192.0.2.1", "127.0.0.2", NULL, "127.0.0.2" };
    hp_relay_options options = HP_RELAY_OPTIONS_INIT;
    hp_tcp_options tcp = HP_TCP_OPTIONS_INIT;
    hp_server *server = new_server("127.0.0.1:0");
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_set_tcp(NULL, &tcp));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_set_tcp(NULL, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_set_alternate_ports(NULL, 3));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_set_other_address(NULL, "127.0.0.2"));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_set_other_address(NULL, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_set_relay(NULL, &options));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_set_relay(NULL, NULL));
    for (uint32_t count = 0; count <= 4; count++)
        CHECK_STATUS(HP_STATUS_OK, hp_server_set_alternate_ports(server, count));
    for (size_t i = 0; i < COUNT(bad_counts); i++)
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_set_alternate_ports(server, bad_counts[i]));
    for (size_t i = 0; i < COUNT(good_addresses); i++)
        CHECK_STATUS(HP_STATUS_OK, hp_server_set_other_address(server, good_addresses[i]));
    for (size_t i = 0; i < COUNT(bad_addresses); i++)
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_set_other_address(server, bad_addresses[i]));
    relay_options(server);
    tcp_options(server);
    /* A refused value leaves the one before: two workers; four ports and another one; two on the other address. */
    CHECK(descriptors_of(server) == 2 + 4 + 1 + 2);

    server = new_server("127.0.0.1:0");
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_alternate_ports(server, 0));
    options.ports = 64;
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_relay(server, &options));
    options.ports = 65;
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_set_relay(server, &options));
    CHECK(descriptors_of(server) == 2 + 64);

    server = new_server("127.0.0.1:0");
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_alternate_ports(server, 4));
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_tcp(server, &tcp));
    tcp.max_connections = 65537;
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_set_tcp(server, &tcp));
    /* Two workers, four ports and another one; a listener at all but that one, and what waits for them and wakes that. */
    CHECK(descriptors_of(server) == 2 + 4 + 1 + 1 + 4 + 2);
}

/* What is wrong with another address by itself, with the server's own, and with its ports. */
static void other_addresses(void)
{
    static const struct {
        const char *own, *other;
        hp_status expected;
    } known[] = {
        { "127.0.0.1:0", "127.0.0.1", HP_STATUS_INVALID_ARGUMENT },
        { "127.0.0.1:0", "::1", HP_STATUS_INVALID_ARGUMENT },
        { "0.0.0.0:0", "2001:db8::1", HP_STATUS_INVALID_ARGUMENT },
        { "[::1]:0", "127.0.0.2", HP_STATUS_INVALID_ARGUMENT },
        { "[::1]:0", "::1", HP_STATUS_INVALID_ARGUMENT },
        { "[::1]:0", "fe80::1", HP_STATUS_INVALID_ARGUMENT },
        { "[::]:0", "::ffff:127.0.0.2", HP_STATUS_INVALID_ARGUMENT },
        { "[::]:0", "127.0.0.2", HP_STATUS_OK },
        { "[::]:0", "::1", HP_STATUS_OK },
        { "127.0.0.1:65532", "127.0.0.2", HP_STATUS_INVALID_ARGUMENT },
        { "127.0.0.1:65531", "127.0.0.2", HP_STATUS_OK },
    };
    static const char *const own[] = { "127.0.0.1:0", "0.0.0.0:0", ":0" };
    for (size_t i = 0; i < COUNT(known); i++) {
        hp_server *server = new_server(known[i].own);
        CHECK_STATUS(known[i].expected, hp_server_set_other_address(server, known[i].other));
        hp_server_free(server);
    }
    hp_server *server = new_server("127.0.0.1:0");
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_other_address(server, "127.0.0.2"));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_set_alternate_ports(server, 0));
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_other_address(server, NULL));
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_alternate_ports(server, 0));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_set_other_address(server, "127.0.0.2"));
    hp_server_free(server);
    /* One that this host does not have is found when it is bound, by hp_server_run, too. */
    for (size_t i = 0; i < 2 * COUNT(own); i++) {
        hp_error error = HP_ERROR_INIT;
        const int fds = count_fds();
        server = new_server(own[i / 2]);
        CHECK_STATUS(HP_STATUS_OK, hp_server_set_other_address(server, "192.0.2.1"));
        CHECK_STATUS(HP_STATUS_SOCKET, i % 2 ? hp_server_run(server, &error) : hp_server_bind(server, &error));
        CHECK(error.status == HP_STATUS_SOCKET && error.os_error == EADDRNOTAVAIL);
        CHECK(strstr(error.message, "192.0.2.1") != NULL);
        CHECK(count_fds() == fds);
        /* It is not bound, and can be mended. */
        CHECK_STATUS(HP_STATUS_OK, hp_server_set_other_address(server, "127.0.0.2"));
        CHECK_STATUS(HP_STATUS_OK, hp_server_bind(server, &error));
        hp_server_free(server);
    }
}

static void settled_servers(void)
{
    struct service service;
    hp_server *server = new_server("127.0.0.1:0");
    CHECK_STATUS(HP_STATUS_OK, hp_server_bind(server, NULL));
    paths_are_settled(server);
    start(&service, server);
    paths_are_settled(server);
    stop_and_join(&service);
    paths_are_settled(server);
    hp_server_free(server);
}

/* Two new clients that call at the same time, each with a policy of its own, and both come to this. */
static void call_with(const struct service *service, const char *id, const char *suffix, const int32_t policies[2],
                      int64_t timeout_ms, hp_status expected, hp_client *pair[2])
{
    struct caller callers[2];
    char own[100];
    snprintf(own, sizeof own, "%s %s", id, suffix);
    for (int i = 0; i < 2; i++) {
        pair[i] = new_client(service->text);
        CHECK_STATUS(HP_STATUS_OK, hp_client_set_timeout_ms(pair[i], timeout_ms));
        CHECK_STATUS(HP_STATUS_OK, hp_client_set_path_policy(pair[i], policies[i]));
        start_caller(&callers[i], pair[i], own);
    }
    for (int i = 0; i < 2; i++)
        CHECK_STATUS(expected, join_caller(&callers[i]));
}

/* What the application sends; what the library still sends is skipped. */
static void carries(int from, const hp_addr *to, int at, const hp_addr *source, size_t len)
{
    unsigned char sent[1200], received[2000];
    struct sockaddr_storage address;
    socklen_t address_len = sizeof address;
    uint32_t to_len;
    ssize_t got;
    hp_addr seen;
    CHECK(len <= sizeof sent);
    memset(sent, (int)(len % 251 + 1), len);
    CHECK_STATUS(HP_STATUS_OK, hp_addr_to_sockaddr(to, &address, sizeof address, &to_len));
    CHECK(sendto(from, sent, len, 0, (struct sockaddr *)&address, to_len) == (ssize_t)len);
    do {
        await_datagram(at);
        address_len = sizeof address;
        got = recvfrom(at, received, sizeof received, 0, (struct sockaddr *)&address, &address_len);
        CHECK(got >= 0);
    } while (hp_is_control_packet(received, (size_t)got));
    CHECK((size_t)got == len && memcmp(received, sent, len) == 0);
    CHECK_STATUS(HP_STATUS_OK, hp_addr_from_sockaddr(&address, address_len, &seen));
    CHECK(memcmp(&seen, source, sizeof seen) == 0);
}

/* Two clients that insist on being forwarded to each other by a server that refuses, and both are told why. */
static void refused_pair(const struct service *service, const char *id, const char *suffix, int32_t refusal)
{
    static const int32_t policies[] = { HP_PATHS_RELAY_ONLY, HP_PATHS_RELAY_ONLY };
    const uint64_t before = counters_of(service->server).relay_refused;
    hp_client *pair[2];
    call_with(service, id, suffix, policies, MISMATCH_MS, HP_STATUS_TIMED_OUT_PUNCHING, pair);
    for (int i = 0; i < 2; i++) {
        hp_peer peer = HP_PEER_INIT;
        CHECK(hp_peer_count(pair[i]) == 1);
        CHECK_STATUS(HP_STATUS_OK, hp_peer_get(pair[i], 0, &peer));
        printf("%s: refused: %s\n", suffix, hp_refusal_name(peer.relay_refused));
        CHECK(peer.connected == 0 && peer.guesses == 0 && peer.relay_refused == refusal);
        hp_client_free(pair[i]);
    }
    CHECK(counters_of(service->server).relay_refused >= before + 2);
}

static void relayed_pair(const hp_relay_options *options, const char *id, const char *suffix)
{
    static const int32_t policies[] = { HP_PATHS_RELAY_ONLY, HP_PATHS_RELAY_ONLY };
    static const size_t lens[] = { 1, 100, 1200 };
    char text[HP_ADDR_TEXT_LEN];
    struct service service;
    hp_client *pair[2];
    hp_socket_t sockets[2];
    hp_peer peers[2] = { HP_PEER_INIT, HP_PEER_INIT };
    hp_server *server = new_server("127.0.0.1:0");
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_relay(server, options));
    start(&service, server);
    call_with(&service, id, suffix, policies, PATIENCE_MS, HP_STATUS_OK, pair);
    for (int i = 0; i < 2; i++) {
        CHECK(hp_peer_count(pair[i]) == 1);
        CHECK_STATUS(HP_STATUS_OK, hp_peer_get(pair[i], 0, &peers[i]));
        CHECK(peers[i].path == HP_PATH_RELAYED && peers[i].connected == 1 && peers[i].authenticated == 1);
        CHECK(peers[i].endpoint.port != service.address.port);
        CHECK(memcmp(peers[i].endpoint.ip, service.address.ip, sizeof service.address.ip) == 0);
        CHECK(hp_peer_cause(pair[i], 0) == HP_CAUSE_UNKNOWN);
        CHECK(peers[i].guesses == 0 && peers[i].relay_refused == HP_REFUSAL_NONE);
        attempts_are_told(pair[i], hp_peer_attempt_count(pair[i], 0));
        CHECK_STATUS(HP_STATUS_OK, hp_socket_take(pair[i], peers[i].socket, &sockets[i]));
        hp_client_free(pair[i]);
    }
    for (size_t i = 0; i < 2 * COUNT(lens); i++) {
        int from = (int)(i % 2), at = !from;
        carries((int)sockets[from], &peers[from].endpoint, (int)sockets[at], &peers[at].endpoint, lens[i / 2]);
    }
    hp_server_counters counters = counters_of(server);
    CHECK(counters.relay_pairs == 1 && counters.relay_granted == 1 && counters.relay_refused == 0);
    CHECK(counters.relay_forwarded >= 6 && counters.relay_forwarded_bytes >= 2 * (1 + 100 + 1200));
    CHECK(counters.relay_over_limit == 0 && counters.sent >= counters.relay_forwarded);
    /* A stranger's is nobody's. */
    int stranger = bind_loopback(text);
    send_to(stranger, &peers[0].endpoint, "let me in");
    AWAIT(counters_of(server).relay_dropped > counters.relay_dropped);
    close(stranger);
    if (options->max_pairs == 1)
        refused_pair(&service, id, "one too many", HP_REFUSAL_FULL);
    close((int)sockets[0]);
    close((int)sockets[1]);
    end_service(&service);
}

static void relayed_pairs(const char *id)
{
    hp_relay_options options = HP_RELAY_OPTIONS_INIT;
    relayed_pair(&options, id, "by default");
    /* The largest numbers that are allowed neither overflow nor mean little. */
    options.ports = 64;
    options.max_pairs = UINT32_MAX;
    options.bytes_per_second = options.idle_ms = options.lifetime_ms = UINT64_MAX;
    relayed_pair(&options, id, "at the most");
    options.ports = options.max_pairs = 1;
    options.bytes_per_second = 0;
    relayed_pair(&options, id, "at the least");
}

/* A server that forwards is not asked to where a direct way is there. */
static void direct_pair(const struct service *service, const char *id)
{
    static const int32_t policies[] = { HP_PATHS_DIRECT_PREFERRED, HP_PATHS_DIRECT_ONLY };
    hp_client *pair[2];
    call_with(service, id, "direct", policies, PATIENCE_MS, HP_STATUS_OK, pair);
    for (int i = 0; i < 2; i++) {
        hp_peer peer = HP_PEER_INIT;
        CHECK_STATUS(HP_STATUS_OK, hp_peer_get(pair[i], 0, &peer));
        CHECK(peer.connected == 1 && peer.path != HP_PATH_RELAYED);
        CHECK(hp_peer_cause(pair[i], 0) == HP_CAUSE_UNKNOWN && hp_peer_attempt_count(pair[i], 0) > 0);
        attempts_are_told(pair[i], hp_peer_attempt_count(pair[i], 0));
        hp_client_free(pair[i]);
    }
}

static void mismatched_pair(const struct service *service, const char *id)
{
    static const int32_t policies[] = { HP_PATHS_DIRECT_ONLY, HP_PATHS_RELAY_ONLY };
    hp_client *pair[2];
    call_with(service, id, "mismatched", policies, MISMATCH_MS, HP_STATUS_TIMED_OUT_PUNCHING, pair);
    for (int i = 0; i < 2; i++) {
        const int direct = policies[i] == HP_PATHS_DIRECT_ONLY;
        const uint32_t count = hp_peer_attempt_count(pair[i], 0);
        const int32_t cause = hp_peer_cause(pair[i], 0);
        hp_peer peer = HP_PEER_INIT;
        uint32_t sent = 0;
        CHECK(hp_peer_count(pair[i]) == 1);
        CHECK_STATUS(HP_STATUS_OK, hp_peer_get(pair[i], 0, &peer));
        CHECK(peer.connected == 0);
        printf("%s: %s; %u attempts\n", direct ? "direct only" : "relay only", hp_cause_text(cause), (unsigned)count);
        CHECK(direct ? cause == HP_CAUSE_NOTHING_HEARD || cause == HP_CAUSE_POLICY : cause == HP_CAUSE_POLICY);
        CHECK(!direct || count > 0);
        attempts_are_told(pair[i], count);
        for (uint32_t number = 0; number < count; number++) {
            hp_attempt attempt = HP_ATTEMPT_INIT;
            CHECK_STATUS(HP_STATUS_OK, hp_peer_attempt_get(pair[i], 0, number, &attempt));
            CHECK((attempt.path != HP_PATH_RELAYED) == direct || attempt.probes_sent == 0);
            CHECK(attempt.probes_received == 0);
            sent += attempt.probes_sent;
        }
        CHECK(!direct || sent > 0);
        hp_client_free(pair[i]);
    }
}

static void policies_are_kept(const char *id)
{
    hp_relay_options options = HP_RELAY_OPTIONS_INIT;
    struct service service;
    hp_server *server = new_server("127.0.0.1:0");
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_relay(server, &options));
    start(&service, server);
    direct_pair(&service, id);
    CHECK(counters_of(server).relay_granted == 0 && counters_of(server).relay_refused == 0);
    mismatched_pair(&service, id);
    end_service(&service);
    start(&service, new_server("127.0.0.1:0"));
    refused_pair(&service, id, "not forwarded", HP_REFUSAL_NOT_OFFERED);
    CHECK(counters_of(service.server).relay_pairs == 0 && counters_of(service.server).relay_granted == 0);
    end_service(&service);
}

int main(int argc, char **argv)
{
    end_at_the_latest_in(90);
    CHECK(argc == 2);
    const int fds = count_fds();
    causes_have_texts();
    initialisers();
    careless_clients();
    busy_client();
    careless_servers();
    other_addresses();
    settled_servers();
    relayed_pairs(argv[1]);
    policies_are_kept(argv[1]);
    await_a_single_thread();
    CHECK(count_fds() == fds);
    return 0;
}
