/*
 * The embedded server: every hp_server_* export with what a careless caller may pass, and a server's life from
 * hp_server_new to hp_server_free. What it does for clients is in server_clients.c, and what they may take
 * in server_limits.c.
 *
 *   server CYCLES
 *
 * CYCLES is how often a server is freed while it runs in another thread.
 */
#include "service.h"
#include "sized.h"

#define DEFAULT_PORT 5000
#define LONGEST_ID 1024

struct error_room {
    hp_error now;
    unsigned char later[LATER], beyond[BEYOND];
};
struct counters_room {
    hp_server_counters now;
    unsigned char later[LATER], beyond[BEYOND];
};

static char stale;
static hp_server *const stale_server = (hp_server *)&stale;

static const int32_t not_dialects[] = { INT32_MIN, -1, HP_DIALECT_PLAIN + 1, INT32_MAX };

static void null_server(void)
{
    hp_error error = HP_ERROR_INIT;
    hp_server_counters counters = HP_SERVER_COUNTERS_INIT;
    hp_addr addr;
    size_t count = 99;
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_set_dialect(NULL, HP_DIALECT_AUTO));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_set_workers(NULL, 1));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_set_max_endpoints(NULL, 256));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_set_plain_expiry_ms(NULL, 1));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_set_max_plain_id_len(NULL, 1));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_bind(NULL, &error));
    CHECK(error.status == HP_STATUS_INVALID_ARGUMENT && error.message[0] != '\0');
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_bind(NULL, NULL));
    error.status = 0;
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_run(NULL, &error));
    CHECK(error.status == HP_STATUS_INVALID_ARGUMENT && error.message[0] != '\0');
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_run(NULL, NULL));
    memset(&addr, CANARY, sizeof addr);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_local_addr(NULL, &addr));
    CHECK(all_bytes(&addr, sizeof addr, 0));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_local_addr(NULL, NULL));
    counters.sent = 99;
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_get_counters(NULL, &counters));
    CHECK(counters.sent == 0);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_get_counters(NULL, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_endpoints(NULL, &addr, 1, &count));
    CHECK(count == 0);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_endpoints(NULL, NULL, 0, NULL));
    hp_server_stop(NULL);
    hp_server_free(NULL);
}

static void addresses(void)
{
    static const char *const bad[] = { "",      ":",           ":99999",    "99999",      "nonsense",     "host:99999",
                                       "[::1]", "\xFF\xFE:50", "127.0.0.1", "127.0.0.1:", "127.0.0.1:-1", "[::1]:x" };
    static const char *const good[] = { "127.0.0.1:0", "[::1]:0", "localhost:0", ":0" };
    char name[260];
    hp_error error = HP_ERROR_INIT;
    hp_server *server;
    hp_addr addr;
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_new("127.0.0.1:0", NULL, &error));
    CHECK(error.status == HP_STATUS_INVALID_ARGUMENT && error.message[0] != '\0');
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_new(NULL, NULL, NULL));
    for (size_t i = 0; i < COUNT(bad); i++) {
        server = stale_server;
        CHECK_STATUS(HP_STATUS_INVALID_SERVER, hp_server_new(bad[i], &server, &error));
        CHECK(server == NULL && error.status == HP_STATUS_INVALID_SERVER && error.message[0] != '\0');
    }
    /* No label of a name is that long, so no name server is asked. */
    memset(name, 'a', 253);
    strcpy(name + 253, ":0");
    server = stale_server;
    CHECK_STATUS(HP_STATUS_INVALID_SERVER, hp_server_new(name, &server, NULL));
    CHECK(server == NULL);

    for (size_t i = 0; i < COUNT(good); i++) {
        server = new_server(good[i]);
        memset(&addr, CANARY, sizeof addr);
        CHECK_STATUS(HP_STATUS_NOT_FOUND, hp_server_local_addr(server, &addr));
        CHECK(all_bytes(&addr, sizeof addr, 0));
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_local_addr(server, NULL));
        CHECK_STATUS(HP_STATUS_OK, hp_server_bind(server, &error));
        CHECK_STATUS(HP_STATUS_OK, hp_server_local_addr(server, &addr));
        CHECK((addr.family == HP_FAMILY_IPV4 || addr.family == HP_FAMILY_IPV6) && addr.port != 0);
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_local_addr(server, NULL));
        hp_server_free(server);
    }

    /* Somebody else on this host may have the default one. */
    server = new_server(NULL);
    hp_status status = hp_server_bind(server, &error);
    if (status == HP_STATUS_OK) {
        CHECK_STATUS(HP_STATUS_OK, hp_server_local_addr(server, &addr));
        CHECK(addr.port == DEFAULT_PORT && all_bytes(addr.ip, sizeof addr.ip, 0));
    } else {
        CHECK_STATUS(HP_STATUS_SOCKET, status);
        CHECK(error.os_error == EADDRINUSE && strstr(error.message, ":5000") != NULL);
    }
    hp_server_free(server);
}

/* Refused before anything is done: what the struct says of itself is all that can be known of it. */
static void struct_sizes(void)
{
    static const uint32_t bad_errors[] = BAD_SIZES(hp_error), bad_counters[] = BAD_SIZES(hp_server_counters);
    struct error_room error;
    struct counters_room counters;
    hp_addr addr;
    hp_server *server, *running = new_server("127.0.0.1:0");
    for (size_t i = 0; i < COUNT(bad_errors); i++) {
        memset(&error, CANARY, sizeof error);
        error.now.struct_size = bad_errors[i];
        server = stale_server;
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_new("127.0.0.1:0", &server, &error.now));
        CHECK(server == NULL);
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_bind(running, &error.now));
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_run(running, &error.now));
        CHECK_STATUS(HP_STATUS_NOT_FOUND, hp_server_local_addr(running, &addr));
        CHECK(error.now.struct_size == bad_errors[i] && all_bytes((char *)&error + 4, sizeof error - 4, CANARY));
    }
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_get_counters(running, NULL));
    for (int bound = 0; bound < 2; bound++) {
        for (size_t i = 0; i < COUNT(bad_counters); i++) {
            memset(&counters, CANARY, sizeof counters);
            counters.now.struct_size = bad_counters[i];
            CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_get_counters(running, &counters.now));
            CHECK(counters.now.struct_size == bad_counters[i]);
            CHECK(all_bytes((char *)&counters + 4, sizeof counters - 4, CANARY));
        }
        for (uint32_t size = sizeof counters.now; size <= sizeof counters.now + LATER; size += LATER) {
            memset(&counters, CANARY, sizeof counters);
            counters.now.struct_size = size;
            CHECK_STATUS(bound ? HP_STATUS_OK : HP_STATUS_NOT_FOUND, hp_server_get_counters(running, &counters.now));
            CHECK(counters.now.struct_size == size && all_bytes((char *)&counters + 4, size - 4, 0));
            CHECK(all_bytes((char *)&counters + size, sizeof counters - size, CANARY));
        }
        /* A later version's larger struct; on success it says so. */
        memset(&error, CANARY, sizeof error);
        error.now.struct_size = sizeof error.now + LATER;
        CHECK_STATUS(HP_STATUS_OK, hp_server_bind(running, &error.now));
        CHECK(error.now.struct_size == sizeof error.now + LATER);
        CHECK(all_bytes((char *)&error + 4, sizeof error.now + LATER - 4, 0));
        CHECK(all_bytes(error.beyond, BEYOND, CANARY));
    }
    hp_server_free(running);
}

/* Those that can be changed at any time, on a bound server, too. */
static void lasting_settings(hp_server *server)
{
    static const int64_t expiries[] = { INT64_MIN, -1, 0, 1, INT64_MAX, 40000 };
    static const uint32_t bad_lens[] = { 0, LONGEST_ID + 1, UINT32_MAX };
    for (size_t i = 0; i < COUNT(expiries); i++)
        CHECK_STATUS(HP_STATUS_OK, hp_server_set_plain_expiry_ms(server, expiries[i]));
    for (size_t i = 0; i < COUNT(bad_lens); i++)
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_set_max_plain_id_len(server, bad_lens[i]));
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_max_plain_id_len(server, 1));
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_max_plain_id_len(server, LONGEST_ID));
}

static void settings(void)
{
    static const uint32_t bad_workers[] = { 0, 65, UINT32_MAX };
    static const uint64_t good_endpoints[] = { 256, UINT64_MAX, 1048576 };
    hp_server *server = new_server("127.0.0.1:0");
    const int fds = count_fds();
    for (int32_t dialect = HP_DIALECT_AUTO; dialect <= HP_DIALECT_PLAIN; dialect++)
        CHECK_STATUS(HP_STATUS_OK, hp_server_set_dialect(server, dialect));
    for (size_t i = 0; i < COUNT(not_dialects); i++)
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_set_dialect(server, not_dialects[i]));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_set_max_endpoints(server, 0));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_set_max_endpoints(server, 255));
    for (size_t i = 0; i < COUNT(good_endpoints); i++)
        CHECK_STATUS(HP_STATUS_OK, hp_server_set_max_endpoints(server, good_endpoints[i]));
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_workers(server, 1));
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_workers(server, 64));
    for (size_t i = 0; i < COUNT(bad_workers); i++)
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_set_workers(server, bad_workers[i]));
    lasting_settings(server);

    /* A refused value leaves the one before: a socket for each worker. */
    CHECK_STATUS(HP_STATUS_OK, hp_server_bind(server, NULL));
    CHECK(count_fds() == fds + 64);
    CHECK_STATUS(HP_STATUS_BUSY, hp_server_set_dialect(server, HP_DIALECT_AUTO));
    CHECK_STATUS(HP_STATUS_BUSY, hp_server_set_workers(server, 1));
    CHECK_STATUS(HP_STATUS_BUSY, hp_server_set_max_endpoints(server, 256));
    lasting_settings(server);
    hp_server_free(server);
    CHECK(count_fds() == fds);
}

static void address_in_use(void)
{
    char text[HP_ADDR_TEXT_LEN];
    hp_error error = HP_ERROR_INIT;
    hp_addr addr;
    const int fds = count_fds();
    int taken = bind_loopback(text);
    hp_server *server = new_server(text);
    CHECK_STATUS(HP_STATUS_SOCKET, hp_server_bind(server, &error));
    CHECK(error.status == HP_STATUS_SOCKET && error.os_error == EADDRINUSE && strstr(error.message, text) != NULL);
    CHECK_STATUS(HP_STATUS_SOCKET, hp_server_bind(server, NULL));
    error.os_error = 0;
    CHECK_STATUS(HP_STATUS_SOCKET, hp_server_run(server, &error));
    CHECK(error.status == HP_STATUS_SOCKET && error.os_error == EADDRINUSE);
    CHECK_STATUS(HP_STATUS_NOT_FOUND, hp_server_local_addr(server, &addr));

    /* It is not bound, so it can be changed and tried again; then it is in the way of the next. */
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_workers(server, 3));
    close(taken);
    CHECK_STATUS(HP_STATUS_OK, hp_server_bind(server, &error));
    CHECK(error.status == HP_STATUS_OK && error.os_error == 0 && error.message[0] == '\0');
    hp_server *other = new_server(text);
    CHECK_STATUS(HP_STATUS_SOCKET, hp_server_bind(other, &error));
    CHECK(error.os_error == EADDRINUSE);
    hp_server_free(other);
    hp_server_free(server);

    /* Of a network for documentation, so no host's own. */
    server = new_server("192.0.2.1:0");
    CHECK_STATUS(HP_STATUS_SOCKET, hp_server_bind(server, &error));
    CHECK(error.os_error == EADDRNOTAVAIL);
    hp_server_free(server);
    CHECK(count_fds() == fds);
}

static void returns_at_once(hp_server *server)
{
    hp_error error = HP_ERROR_INIT;
    long long since = now_us();
    error.status = HP_STATUS_NOTHING;
    CHECK_STATUS(HP_STATUS_OK, hp_server_run(server, &error));
    CHECK(now_us() - since < AT_ONCE_US && error.status == HP_STATUS_OK);
}

static void life(void)
{
    struct service service;
    hp_error error = HP_ERROR_INIT;
    hp_addr addr;
    size_t count = 99;
    const int fds = count_fds();

    for (int bound = 0; bound < 2; bound++) {
        hp_server *stopped = new_server("127.0.0.1:0");
        if (bound)
            CHECK_STATUS(HP_STATUS_OK, hp_server_bind(stopped, NULL));
        hp_server_stop(stopped);
        hp_server_stop(stopped);
        returns_at_once(stopped);
        returns_at_once(stopped);
        hp_server_free(stopped);
    }

    hp_server *server = new_server("127.0.0.1:0");
    CHECK_STATUS(HP_STATUS_NOT_FOUND, hp_server_endpoints(server, NULL, 0, &count));
    CHECK(count == 0);
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_workers(server, 3));
    start(&service, server);
    /* This thread, the one that runs the server, three workers, and one for the alternate ports. */
    AWAIT(count_entries("/proc/self/task") == 2 + 3 + 1);
    CHECK_STATUS(HP_STATUS_BUSY, hp_server_run(server, &error));
    CHECK(error.status == HP_STATUS_BUSY && error.message[0] != '\0');
    CHECK_STATUS(HP_STATUS_BUSY, hp_server_run(server, NULL));
    CHECK_STATUS(HP_STATUS_BUSY, hp_server_set_workers(server, 2));
    CHECK_STATUS(HP_STATUS_OK, hp_server_bind(server, &error));
    CHECK_STATUS(HP_STATUS_OK, hp_server_local_addr(server, &addr));
    CHECK(memcmp(&addr, &service.address, sizeof addr) == 0);
    stop_and_join(&service);
    await_a_single_thread();
    CHECK(count_fds() == fds);

    /* What it was and what it has counted is still told. */
    CHECK_STATUS(HP_STATUS_OK, hp_server_local_addr(server, &addr));
    CHECK(memcmp(&addr, &service.address, sizeof addr) == 0 && counters_of(server).dropped == 1);
    returns_at_once(server);
    hp_server_stop(server);
    hp_server_free(server);
}

/* Outlives the round, so that a write after hp_server_free is seen rather than undefined. */
static struct service freed;

/* Nothing of the server's is left when hp_server_free returns, also if the run has only just begun. */
static void free_while_running(int round)
{
    hp_addr addr;
    const int without = count_fds();
    hp_server *server = new_server("127.0.0.1:0");
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_workers(server, 1 + (uint32_t)round % 3));
    if (round % 2 == 0) {
        start(&freed, server);
    } else {
        start_unbound(&freed, server);
        AWAIT(hp_server_local_addr(server, &addr) == HP_STATUS_OK);
    }
    hp_server_free(server);
    int32_t reported = ((volatile hp_error *)&freed.error)->status;
    int left = count_fds();
    CHECK(pthread_join(freed.thread, NULL) == 0);
    CHECK_STATUS(HP_STATUS_OK, freed.status);
    CHECK_STATUS(HP_STATUS_OK, reported);
    CHECK(left == without);
}

int main(int argc, char **argv)
{
    end_at_the_latest_in(90);
    CHECK(argc == 2);
    const int fds = count_fds();
    null_server();
    addresses();
    struct_sizes();
    settings();
    address_in_use();
    life();
    for (int round = 0; round < atoi(argv[1]); round++)
        free_while_running(round);
    await_a_single_thread();
    CHECK(count_fds() == fds);
    return 0;
}
