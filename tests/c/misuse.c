/*
 * Every export with what a careless caller may pass: each pointer NULL in turn, lengths and numbers out of range, structs
 * of another version's size, buffers one byte short. Each gets its status, and outputs never keep what was in them. What
 * needs peers or sockets first is in misuse_peers.c, sockets of the caller's in give_socket.c, servers in server.c.
 *
 *   misuse SERVER [descriptors]
 *
 * With "descriptors", the process runs out of them, too. Not under valgrind: at the limit its socketpair() succeeds with
 * descriptors that it has closed.
 */
#include "sized.h"

#include <sys/resource.h>

#define ID ((const uint8_t *)"misuse")
#define ID_LEN 6

static const char *server;

struct error_room {
    hp_error now;
    unsigned char later[LATER], beyond[BEYOND];
};

static const int32_t not_enums[] = { INT32_MIN, INT32_MIN + 1, -1000, 1000, INT32_MAX - 1, INT32_MAX };

static void versions_agree(void)
{
    char expected[40];
    snprintf(expected, sizeof expected, "%d.%d.%d", HP_VERSION_MAJOR, HP_VERSION_MINOR, HP_VERSION_PATCH);
    CHECK(strcmp(hp_version(), expected) == 0);
    CHECK(hp_abi_version() == HP_ABI_VERSION);
}

static void any_number_has_a_name(void)
{
    CHECK(strcmp(hp_status_name(HP_STATUS_OK), "HP_STATUS_OK") == 0);
    CHECK(strcmp(hp_status_name(HP_STATUS_UNSUPPORTED), "HP_STATUS_UNSUPPORTED") == 0);
    CHECK(strcmp(hp_path_name(HP_PATH_REFLEXIVE), "reflexive") == 0);
    CHECK(strcmp(hp_refusal_name(HP_REFUSAL_NONE), "none") == 0);
    CHECK(strcmp(hp_refusal_name(HP_REFUSAL_NOT_OFFERED), "not-offered") == 0);
    CHECK(strcmp(hp_refusal_name(HP_REFUSAL_UNKNOWN_PEER), "unknown-peer") == 0);
    CHECK(strcmp(hp_refusal_name(HP_REFUSAL_FULL), "full") == 0);
    for (size_t i = 0; i < COUNT(not_enums); i++) {
        CHECK(strcmp(hp_status_name(not_enums[i]), "HP_STATUS_UNKNOWN") == 0);
        CHECK(strcmp(hp_status_message(not_enums[i]), "unknown status") == 0);
        CHECK(strcmp(hp_path_name(not_enums[i]), "unknown") == 0);
        CHECK(strcmp(hp_refusal_name(not_enums[i]), "unknown") == 0);
    }
    CHECK(strcmp(hp_refusal_name(-1), "unknown") == 0 && strcmp(hp_refusal_name(HP_REFUSAL_FULL + 1), "unknown") == 0);
    CHECK(strcmp(hp_path_name(0), "unknown") == 0);
    CHECK(strcmp(hp_status_name(1), "HP_STATUS_UNKNOWN") == 0);
    /* Each name once, each with a message. */
    int named = 0;
    for (int32_t status = -100; status <= 0; status++) {
        int known = strcmp(hp_status_name(status), "HP_STATUS_UNKNOWN") != 0;
        CHECK(known == (strcmp(hp_status_message(status), "unknown status") != 0));
        CHECK(strlen(hp_status_message(status)) > 0);
        named += known;
    }
    CHECK(named == 26);
}

static void control_packets(void)
{
    static const uint8_t native[] = { 0x0E, 'h', 'o', 'l', 'e', 'p', 99, 99 };
    const uint8_t *text = (const uint8_t *)"SYN ACK";
    CHECK(hp_is_control_packet(NULL, 0) == 1);
    CHECK(hp_is_control_packet(NULL, 1) == 0);
    CHECK(hp_is_control_packet(NULL, SIZE_MAX) == 0);
    CHECK(hp_is_control_packet(text, SIZE_MAX) == 0);
    CHECK(hp_is_control_packet(text, 0) == 1);
    CHECK(hp_is_control_packet(text, 2) == 0);
    CHECK(hp_is_control_packet(text, 3) == 1);
    CHECK(hp_is_control_packet(text, 4) == 0);
    CHECK(hp_is_control_packet(text + 4, 3) == 1);
    CHECK(hp_is_control_packet(native, sizeof native) == 1);
    CHECK(hp_is_control_packet(native, sizeof native - 1) == 0);
}

static void session_ids(void)
{
    char id[HP_SESSION_ID_TEXT_LEN + 1], other[HP_SESSION_ID_TEXT_LEN];
    size_t needed = 0;
    memset(id, 'x', sizeof id);
    CHECK_STATUS(HP_STATUS_BUFFER_TOO_SMALL, hp_session_id_generate(NULL, 0, NULL));
    CHECK_STATUS(HP_STATUS_BUFFER_TOO_SMALL, hp_session_id_generate(NULL, sizeof id, &needed));
    CHECK(needed == HP_SESSION_ID_TEXT_LEN);
    needed = 0;
    CHECK_STATUS(HP_STATUS_BUFFER_TOO_SMALL, hp_session_id_generate(id, 0, &needed));
    CHECK(needed == HP_SESSION_ID_TEXT_LEN && id[0] == 'x');
    needed = 0;
    CHECK_STATUS(HP_STATUS_BUFFER_TOO_SMALL, hp_session_id_generate(id, HP_SESSION_ID_TEXT_LEN - 1, &needed));
    CHECK(needed == HP_SESSION_ID_TEXT_LEN && id[0] == '\0');
    CHECK(all_bytes(id + HP_SESSION_ID_TEXT_LEN - 1, 2, 'x'));
    CHECK_STATUS(HP_STATUS_OK, hp_session_id_generate(id, HP_SESSION_ID_TEXT_LEN, NULL));
    CHECK(strlen(id) == HP_SESSION_ID_TEXT_LEN - 1 && id[HP_SESSION_ID_TEXT_LEN] == 'x');
    CHECK(strspn(id, "0123456789abcdef") == HP_SESSION_ID_TEXT_LEN - 1);
    CHECK_STATUS(HP_STATUS_OK, hp_session_id_generate(other, sizeof other, &needed));
    CHECK(needed == HP_SESSION_ID_TEXT_LEN && strcmp(id, other) != 0);
}

/* The rest of what concerns addresses is in addr.c. */
static void address_pointers(void)
{
    hp_addr addr, fine;
    struct sockaddr_storage storage;
    uint32_t len = 99;
    size_t needed = 99;
    char text[HP_ADDR_TEXT_LEN] = "stale";
    CHECK_STATUS(HP_STATUS_OK, hp_addr_parse("192.0.2.1:1", &fine));
    memset(&addr, CANARY, sizeof addr);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_addr_parse(NULL, &addr));
    CHECK(all_bytes(&addr, sizeof addr, 0));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_addr_parse("192.0.2.1:1", NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_addr_parse(NULL, NULL));

    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_addr_format(NULL, text, sizeof text, &needed));
    CHECK(needed == 0 && text[0] == '\0');
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_addr_format(NULL, NULL, 0, NULL));
    CHECK_STATUS(HP_STATUS_BUFFER_TOO_SMALL, hp_addr_format(&fine, NULL, SIZE_MAX, &needed));
    CHECK(needed == sizeof "192.0.2.1:1");
    CHECK_STATUS(HP_STATUS_OK, hp_addr_format(&fine, text, sizeof text, NULL));

    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_addr_to_sockaddr(NULL, &storage, sizeof storage, &len));
    CHECK(len == 0);
    CHECK_STATUS(HP_STATUS_BUFFER_TOO_SMALL, hp_addr_to_sockaddr(&fine, NULL, UINT32_MAX, &len));
    CHECK(len == sizeof(struct sockaddr_in));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_addr_to_sockaddr(&fine, &storage, sizeof storage, NULL));

    memset(&addr, CANARY, sizeof addr);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_addr_from_sockaddr(NULL, sizeof storage, &addr));
    CHECK(all_bytes(&addr, sizeof addr, 0));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_addr_from_sockaddr(&storage, sizeof storage, NULL));
}

static void ignore_line(int32_t level, const char *target, const char *message, void *user_data)
{
    (void)level, (void)target, (void)message, (void)user_data;
}

static void log_levels(void)
{
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_set_log_callback(ignore_line, 0, NULL, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_set_log_callback(ignore_line, HP_LOG_TRACE + 1, NULL, NULL));
    for (size_t i = 0; i < COUNT(not_enums); i++) {
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_set_log_callback(ignore_line, not_enums[i], NULL, NULL));
        CHECK_STATUS(HP_STATUS_OK, hp_set_log_callback(NULL, not_enums[i], NULL, NULL));
    }
}

static hp_client *const stale_client = (hp_client *)&server;

static void making_clients(void)
{
    static const uint32_t bad_sizes[] = BAD_SIZES(hp_error);
    struct error_room room;
    hp_error error = HP_ERROR_INIT;
    hp_client *client = stale_client;
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_new(NULL, &client, &error));
    CHECK(client == NULL);
    CHECK(error.status == HP_STATUS_INVALID_ARGUMENT && error.message[0] != '\0' && error.os_error == 0);
    client = stale_client;
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_new(NULL, &client, NULL));
    CHECK(client == NULL);
    error.status = 0;
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_new(server, NULL, &error));
    CHECK(error.status == HP_STATUS_INVALID_ARGUMENT);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_new(server, NULL, NULL));

    static const char *const bad_servers[] = { "",           ":",    ":5000",  "host",        "host:",       "host:0",
                                               "host:65536", "h:-1", "h h:50", "2001:db8::1", "\xFF\xFE:50", "[::1]" };
    for (size_t i = 0; i < COUNT(bad_servers); i++) {
        client = stale_client;
        CHECK_STATUS(HP_STATUS_INVALID_SERVER, hp_client_new(bad_servers[i], &client, &error));
        CHECK(client == NULL && error.status == HP_STATUS_INVALID_SERVER && error.message[0] != '\0');
    }

    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        memset(&room, CANARY, sizeof room);
        room.now.struct_size = bad_sizes[i];
        client = stale_client;
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_new(server, &client, &room.now));
        CHECK(client == NULL && room.now.struct_size == bad_sizes[i]);
        CHECK(all_bytes((char *)&room + 4, sizeof room - 4, CANARY));
    }
    /* A later version's larger struct; on success it says so. */
    memset(&room, CANARY, sizeof room);
    room.now.struct_size = sizeof(hp_error) + LATER;
    CHECK_STATUS(HP_STATUS_OK, hp_client_new(server, &client, &room.now));
    CHECK(client != NULL && room.now.struct_size == sizeof(hp_error) + LATER);
    CHECK(room.now.status == HP_STATUS_OK && room.now.os_error == 0);
    CHECK(all_bytes(room.now.message, sizeof room.now.message, 0));
    CHECK(all_bytes(room.beyond, BEYOND, CANARY));
    hp_client_free(client);
    hp_client_free(NULL);
}

static void settings(void)
{
    hp_client *client = new_client(server);
    hp_addr local;
    CHECK_STATUS(HP_STATUS_OK, hp_addr_parse("127.0.0.1:0", &local));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_set_timeout_ms(NULL, 1));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_set_server_retry_ms(NULL, 1));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_set_peer_retry_ms(NULL, 1));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_set_local_addr(NULL, &local));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_set_local_addr(NULL, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_set_dialect(NULL, HP_DIALECT_AUTO));

    static const int64_t times[] = { INT64_MIN, -1, 0, 1, INT64_MAX };
    for (size_t i = 0; i < COUNT(times); i++)
        CHECK_STATUS(HP_STATUS_OK, hp_client_set_timeout_ms(client, times[i]));

    static const uint32_t good_pauses[] = { 1, 10000 };
    static const uint32_t bad_pauses[] = { 0, 10001, UINT32_MAX };
    for (size_t i = 0; i < COUNT(good_pauses); i++) {
        CHECK_STATUS(HP_STATUS_OK, hp_client_set_server_retry_ms(client, good_pauses[i]));
        CHECK_STATUS(HP_STATUS_OK, hp_client_set_peer_retry_ms(client, good_pauses[i]));
    }
    for (size_t i = 0; i < COUNT(bad_pauses); i++) {
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_set_server_retry_ms(client, bad_pauses[i]));
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_set_peer_retry_ms(client, bad_pauses[i]));
    }

    for (int32_t dialect = HP_DIALECT_AUTO; dialect <= HP_DIALECT_PLAIN; dialect++)
        CHECK_STATUS(HP_STATUS_OK, hp_client_set_dialect(client, dialect));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_set_dialect(client, HP_DIALECT_PLAIN + 1));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_set_dialect(client, -1));
    for (size_t i = 0; i < COUNT(not_enums); i++)
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_set_dialect(client, not_enums[i]));

    static const uint16_t bad_families[] = { HP_FAMILY_NONE, 1, 5, UINT16_MAX };
    for (size_t i = 0; i < COUNT(bad_families); i++) {
        hp_addr bad = local;
        bad.family = bad_families[i];
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_set_local_addr(client, &bad));
    }
    CHECK_STATUS(HP_STATUS_OK, hp_client_set_local_addr(client, &local));
    CHECK_STATUS(HP_STATUS_OK, hp_client_set_local_addr(client, NULL));
    hp_client_free(client);
}

/* hp_connect and hp_connect_peers check the same things first; with_peers chooses. */
static hp_status call(int with_peers, hp_client *client, const uint8_t *id, size_t id_len, hp_error *error)
{
    hp_addr peer;
    CHECK_STATUS(HP_STATUS_OK, hp_addr_parse("127.0.0.1:9", &peer));
    return with_peers ? hp_connect_peers(client, id, id_len, &peer, 1, error) : hp_connect(client, id, id_len, 1, error);
}

/*
 * What a call with good arguments comes to with nobody else there. On a busy machine the server may be too slow to answer,
 * and take an earlier call of ours, which has ended before it answered, for a peer.
 */
static int is_alone(int with_peers, hp_status status)
{
    if (status == HP_STATUS_TIMED_OUT_PUNCHING)
        return 1;
    return !with_peers && (status == HP_STATUS_TIMED_OUT_WAITING || status == HP_STATUS_SERVER_SILENT);
}

static void session_ids_and_errors_of_calls(int with_peers)
{
    static const uint32_t bad_sizes[] = BAD_SIZES(hp_error);
    struct error_room room;
    hp_error error = HP_ERROR_INIT;
    hp_client *client = new_client(server);
    uint8_t *id = malloc(HP_MAX_SESSION_ID_LEN + 1);
    CHECK(id != NULL);
    memset(id, 'i', HP_MAX_SESSION_ID_LEN + 1);
    CHECK_STATUS(HP_STATUS_OK, hp_client_set_timeout_ms(client, 100));

    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, call(with_peers, NULL, ID, ID_LEN, &error));
    CHECK(error.status == HP_STATUS_INVALID_ARGUMENT);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, call(with_peers, NULL, ID, ID_LEN, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, call(with_peers, client, NULL, 1, &error));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, call(with_peers, client, NULL, SIZE_MAX, &error));
    /* No object is that long, so nothing of it is looked at. */
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, call(with_peers, client, id, SIZE_MAX, &error));
    CHECK_STATUS(HP_STATUS_INVALID_SESSION_ID, call(with_peers, client, NULL, 0, &error));
    CHECK_STATUS(HP_STATUS_INVALID_SESSION_ID, call(with_peers, client, id, 0, &error));
    CHECK(error.status == HP_STATUS_INVALID_SESSION_ID && error.message[0] != '\0');
    CHECK_STATUS(HP_STATUS_INVALID_SESSION_ID, call(with_peers, client, id, HP_MAX_SESSION_ID_LEN + 1, NULL));
    CHECK(is_alone(with_peers, call(with_peers, client, id, HP_MAX_SESSION_ID_LEN, &error)));
    CHECK(is_alone(with_peers, error.status) && error.message[0] != '\0');

    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        memset(&room, CANARY, sizeof room);
        room.now.struct_size = bad_sizes[i];
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, call(with_peers, client, ID, ID_LEN, &room.now));
        CHECK(all_bytes((char *)&room + 4, sizeof room - 4, CANARY));
    }
    memset(&room, CANARY, sizeof room);
    room.now.struct_size = sizeof(hp_error) + LATER;
    CHECK_STATUS(HP_STATUS_INVALID_SESSION_ID, call(with_peers, client, ID, 0, &room.now));
    CHECK(room.now.struct_size == sizeof(hp_error) + LATER && room.now.status == HP_STATUS_INVALID_SESSION_ID);
    CHECK(memchr(room.now.message, '\0', sizeof room.now.message) != NULL);
    CHECK(all_bytes(room.beyond, BEYOND, CANARY));

    /* A cancellation is remembered for one call, however often it was asked for. */
    CHECK_STATUS(HP_STATUS_OK, hp_client_set_timeout_ms(client, INT64_MAX));
    hp_cancel(NULL);
    hp_cancel(client);
    hp_cancel(client);
    CHECK_STATUS(HP_STATUS_CANCELLED, call(with_peers, client, ID, ID_LEN, &error));
    CHECK(error.status == HP_STATUS_CANCELLED);
    CHECK_STATUS(HP_STATUS_OK, hp_client_set_timeout_ms(client, 100));
    CHECK(is_alone(with_peers, call(with_peers, client, ID, ID_LEN, &error)));
    /* Nor is one that meets no time at all kept for a later call. */
    CHECK_STATUS(HP_STATUS_OK, hp_client_set_timeout_ms(client, 0));
    hp_cancel(client);
    CHECK_STATUS(HP_STATUS_CANCELLED, call(with_peers, client, ID, ID_LEN, &error));
    CHECK(is_alone(with_peers, call(with_peers, client, ID, ID_LEN, &error)));
    free(id);
    hp_client_free(client);
}

static void numbers_of_peers(void)
{
    static const uint32_t bad_counts[] = { 0, HP_MAX_PEERS + 1, UINT32_MAX };
    static const size_t bad_lens[] = { 0, HP_MAX_PEERS + 1, SIZE_MAX };
    static const char *const bad_endpoints[] = { "0.0.0.0:9", "127.0.0.1:0", "[::]:9" };
    hp_client *client = new_client(server);
    hp_addr endpoints[HP_MAX_PEERS + 1];
    hp_error error = HP_ERROR_INIT;
    CHECK_STATUS(HP_STATUS_OK, hp_client_set_timeout_ms(client, 1));
    for (size_t i = 0; i < COUNT(bad_counts); i++) {
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_connect(client, ID, ID_LEN, bad_counts[i], &error));
        CHECK(error.status == HP_STATUS_INVALID_ARGUMENT);
    }
    CHECK(is_alone(0, hp_connect(client, ID, ID_LEN, HP_MAX_PEERS, &error)));

    for (size_t i = 0; i < COUNT(endpoints); i++) {
        CHECK_STATUS(HP_STATUS_OK, hp_addr_parse("127.0.0.1:1", &endpoints[i]));
        endpoints[i].port = (uint16_t)(9000 + i);
    }
    for (size_t i = 0; i < COUNT(bad_lens); i++) {
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_connect_peers(client, ID, ID_LEN, endpoints, bad_lens[i], &error));
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_connect_peers(client, ID, ID_LEN, NULL, bad_lens[i], &error));
    }
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_connect_peers(client, ID, ID_LEN, NULL, 1, &error));
    CHECK(error.status == HP_STATUS_INVALID_ARGUMENT);
    CHECK_STATUS(HP_STATUS_TIMED_OUT_PUNCHING, hp_connect_peers(client, ID, ID_LEN, endpoints, HP_MAX_PEERS, &error));
    CHECK(hp_peer_count(client) == HP_MAX_PEERS);
    /* One bad endpoint among good ones. */
    for (size_t i = 0; i < COUNT(bad_endpoints); i++) {
        CHECK_STATUS(HP_STATUS_OK, hp_addr_parse(bad_endpoints[i], &endpoints[1]));
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_connect_peers(client, ID, ID_LEN, endpoints, 2, &error));
    }
    endpoints[1].family = HP_FAMILY_NONE;
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_connect_peers(client, ID, ID_LEN, endpoints, 2, &error));
    hp_client_free(client);
}

/* Statuses that are no misuse but need no second party: their details are in the error. */
static void failures_say_why(void)
{
    char address[HP_ADDR_TEXT_LEN], name[260];
    hp_error error = HP_ERROR_INIT;
    hp_addr local;
    int silent = bind_loopback(address);
    hp_client *client = new_client(address);
    CHECK_STATUS(HP_STATUS_OK, hp_client_set_timeout_ms(client, 100));
    CHECK_STATUS(HP_STATUS_SERVER_SILENT, hp_connect(client, ID, ID_LEN, 1, &error));
    CHECK(strstr(error.message, address) != NULL);
    /* Of a network for documentation, so no host's own. */
    CHECK_STATUS(HP_STATUS_OK, hp_addr_parse("192.0.2.1:0", &local));
    CHECK_STATUS(HP_STATUS_OK, hp_client_set_local_addr(client, &local));
    CHECK_STATUS(HP_STATUS_SOCKET, hp_connect(client, ID, ID_LEN, 1, &error));
    CHECK(error.os_error == EADDRNOTAVAIL && error.status == HP_STATUS_SOCKET);
    hp_client_free(client);
    close(silent);

    /* No label of a name is that long, so no name server is asked; the message does not fit. */
    memset(name, 'a', 253);
    strcpy(name + 253, ":5000");
    client = new_client(name);
    memset(error.message, 'x', sizeof error.message);
    CHECK_STATUS(HP_STATUS_SERVER_NOT_FOUND, hp_connect(client, ID, ID_LEN, 1, &error));
    CHECK(strlen(error.message) == HP_ERROR_MESSAGE_LEN - 1);
    hp_client_free(client);
    /* The thread that looked the name up ends with its answer. */
    await_a_single_thread();
}

/* The soft limit on descriptors: so many more than there are now. */
static void allow_more_fds(int more)
{
    struct rlimit limit;
    int lowest_free = dup(STDIN_FILENO);
    CHECK(lowest_free >= 0 && close(lowest_free) == 0);
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = (rlim_t)(lowest_free + more);
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

/* Wherever it fails, it says so, and leaves nothing open. */
static void joining_with_too_few_descriptors(const struct rlimit *enough)
{
    static hp_session *const stale_session = (hp_session *)&server;
    const int fds = count_fds();
    hp_status status = HP_STATUS_SOCKET;
    for (int more = 0; status != HP_STATUS_OK; more++) {
        hp_error error = HP_ERROR_INIT;
        hp_session *session = stale_session;
        hp_client *client = new_client(server);
        allow_more_fds(more);
        status = hp_session_join(client, ID, ID_LEN, NULL, &session, &error);
        CHECK(setrlimit(RLIMIT_NOFILE, enough) == 0);
        if (status != HP_STATUS_OK) {
            CHECK_STATUS(HP_STATUS_SOCKET, status);
            CHECK(session == NULL && error.status == HP_STATUS_SOCKET && error.os_error == EMFILE);
        }
        hp_client_free(client);
        hp_session_free(session);
        CHECK(count_fds() == fds && more < 100);
    }
}

static void running_out_of_descriptors(void)
{
    struct rlimit before;
    hp_error error = HP_ERROR_INIT;
    hp_client *client = stale_client;
    CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
    allow_more_fds(0);
    CHECK_STATUS(HP_STATUS_SOCKET, hp_client_new(server, &client, &error));
    CHECK(client == NULL && error.status == HP_STATUS_SOCKET && error.os_error == EMFILE);
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);

    client = new_client(server);
    allow_more_fds(0);
    CHECK_STATUS(HP_STATUS_SOCKET, hp_connect(client, ID, ID_LEN, 1, &error));
    CHECK(error.status == HP_STATUS_SOCKET && error.os_error == EMFILE);
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
    /* It may be used again when there are some. */
    CHECK_STATUS(HP_STATUS_OK, hp_client_set_timeout_ms(client, 1));
    CHECK(is_alone(0, hp_connect(client, ID, ID_LEN, 1, &error)));
    hp_client_free(client);
    joining_with_too_few_descriptors(&before);
}

int main(int argc, char **argv)
{
    end_at_the_latest_in(60);
    CHECK(argc == 2 || argc == 3);
    server = argv[1];
    versions_agree();
    any_number_has_a_name();
    control_packets();
    session_ids();
    address_pointers();
    log_levels();
    making_clients();
    settings();
    session_ids_and_errors_of_calls(0);
    session_ids_and_errors_of_calls(1);
    numbers_of_peers();
    failures_say_why();
    if (argc == 3)
        running_out_of_descriptors();
    return 0;
}
