/*
 * What clients may take of the embedded server: each limit at its edges, and that it is kept, also when it changes while the
 * server runs. Clients are sockets of this program, of the plain dialect, and so of one prefix.
 */
#include "service.h"
#include "sized.h"

static void member(hp_server *server, size_t offset, const void *value, size_t len, hp_status expected)
{
    hp_server_limits limits = HP_SERVER_LIMITS_INIT;
    memcpy((char *)&limits + offset, value, len);
    CHECK_STATUS(expected, hp_server_set_limits(server, &limits));
}

static void narrow(hp_server *server, size_t offset, uint32_t value, hp_status expected)
{
    member(server, offset, &value, sizeof value, expected);
}

static void wide(hp_server *server, size_t offset, uint64_t value, hp_status expected)
{
    member(server, offset, &value, sizeof value, expected);
}

#define NARROW(name, value, expected) narrow(server, offsetof(hp_server_limits, name), (value), HP_STATUS_##expected)
#define WIDE(name, value, expected) wide(server, offsetof(hp_server_limits, name), (value), HP_STATUS_##expected)

static void edges(hp_server *server)
{
    static const uint32_t bad_sizes[] = BAD_SIZES(hp_server_limits);
    struct {
        hp_server_limits now;
        unsigned char later[LATER];
    } room;
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_set_limits(server, NULL));
    for (size_t i = 0; i < COUNT(bad_sizes); i++)
        NARROW(struct_size, bad_sizes[i], INVALID_ARGUMENT);
    memset(&room, CANARY, sizeof room);
    room.now = (hp_server_limits)HP_SERVER_LIMITS_INIT;
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_server_set_limits(NULL, &room.now));
    room.now.struct_size += LATER;
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_limits(server, &room.now));
    NARROW(endpoints_per_session, 1, INVALID_ARGUMENT);
    NARROW(endpoints_per_session, 258, INVALID_ARGUMENT);
    NARROW(endpoints_per_session, UINT32_MAX, INVALID_ARGUMENT);
    NARROW(endpoints_per_session, 2, OK);
    NARROW(endpoints_per_session, 257, OK);
    NARROW(endpoints_per_prefix, 0, INVALID_ARGUMENT);
    NARROW(endpoints_per_prefix, 1, INVALID_ARGUMENT);
    NARROW(endpoints_per_prefix, 2, OK);
    NARROW(endpoints_per_prefix, UINT32_MAX, OK);
    NARROW(datagrams_per_second, 1, INVALID_ARGUMENT);
    NARROW(datagrams_per_second, 9, INVALID_ARGUMENT);
    NARROW(datagrams_per_second, 10, OK);
    NARROW(datagrams_per_second, 0, OK);
    NARROW(datagrams_per_second, UINT32_MAX, OK);
    NARROW(plain_amplification, 0, OK);
    NARROW(plain_amplification, 1, OK);
    NARROW(plain_amplification, UINT32_MAX, OK);
    NARROW(reserved, 1, INVALID_ARGUMENT);
    NARROW(reserved, UINT32_MAX, INVALID_ARGUMENT);
    WIDE(memory, 0, INVALID_ARGUMENT);
    WIDE(memory, (1 << 20) - 1, INVALID_ARGUMENT);
    WIDE(memory, 1 << 20, OK);
    WIDE(memory, UINT64_MAX, OK);
}

static uint64_t judged(const hp_server *server)
{
    hp_server_counters counters = counters_of(server);
    return counters.plain_joined + counters.refused;
}

/* A new client of a session; whether it becomes a member. */
static int joins(const struct service *service, int *fd, const char *id)
{
    char own[HP_ADDR_TEXT_LEN];
    const uint64_t joined = counters_of(service->server).plain_joined, before = judged(service->server);
    *fd = bind_loopback(own);
    send_to(*fd, &service->address, id);
    AWAIT(judged(service->server) > before);
    return counters_of(service->server).plain_joined > joined;
}

static void of_a_session(struct service *service)
{
    hp_server_limits limits = HP_SERVER_LIMITS_INIT;
    int fds[4];
    limits.endpoints_per_session = 2;
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_limits(service->server, &limits));
    CHECK(joins(service, &fds[0], "few") && joins(service, &fds[1], "few"));
    CHECK(!joins(service, &fds[2], "few"));
    /* A refused value leaves the one before. */
    narrow(service->server, offsetof(hp_server_limits, endpoints_per_session), 258, HP_STATUS_INVALID_ARGUMENT);
    close(fds[2]);
    CHECK(!joins(service, &fds[2], "few"));
    limits.endpoints_per_session = 3;
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_limits(service->server, &limits));
    CHECK(joins(service, &fds[3], "few"));
    for (size_t i = 0; i < COUNT(fds); i++)
        close(fds[i]);
}

static void of_a_prefix(struct service *service)
{
    hp_server_limits limits = HP_SERVER_LIMITS_INIT;
    const uint64_t present = counters_of(service->server).endpoints;
    int fds[3];
    limits.endpoints_per_prefix = (uint32_t)present + 2;
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_limits(service->server, &limits));
    CHECK(joins(service, &fds[0], "one") && joins(service, &fds[1], "another"));
    CHECK(!joins(service, &fds[2], "a third"));
    CHECK(counters_of(service->server).endpoints == present + 2 && counters_of(service->server).memory > 0);
    for (size_t i = 0; i < COUNT(fds); i++)
        close(fds[i]);
}

/* Of a session with others a client that sends little is told only as often as it has paid for. */
static void of_amplification(struct service *service)
{
    hp_server_limits limits = HP_SERVER_LIMITS_INIT;
    int fds[4];
    limits.plain_amplification = 1;
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_limits(service->server, &limits));
    const uint64_t withheld = counters_of(service->server).plain_withheld;
    for (size_t i = 0; i < COUNT(fds); i++)
        CHECK(joins(service, &fds[i], "s"));
    AWAIT(counters_of(service->server).plain_withheld > withheld);
    limits.plain_amplification = 0;
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_limits(service->server, &limits));
    const uint64_t until = counters_of(service->server).plain_withheld;
    const uint64_t sent = counters_of(service->server).sent;
    for (int i = 0; i < 20; i++)
        send_to(fds[3], &service->address, "s");
    AWAIT(counters_of(service->server).sent >= sent + 20);
    CHECK(counters_of(service->server).plain_withheld == until);
    for (size_t i = 0; i < COUNT(fds); i++)
        close(fds[i]);
}

static void of_a_second(struct service *service)
{
    enum { MANY = 200 };
    hp_server_limits limits = HP_SERVER_LIMITS_INIT;
    char own[HP_ADDR_TEXT_LEN];
    int fd = bind_loopback(own);
    limits.datagrams_per_second = 10;
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_limits(service->server, &limits));
    const hp_server_counters before = counters_of(service->server);
    for (int i = 0; i < MANY; i++)
        send_to(fd, &service->address, "s");
    AWAIT(counters_of(service->server).received == before.received + MANY);
    /* Twenty at once, and then ten a second. What came before may have taken a little of the first. */
    AWAIT(counters_of(service->server).rate_limited > before.rate_limited);
    CHECK(counters_of(service->server).rate_limited <= before.rate_limited + MANY - 19);
    limits.datagrams_per_second = 0;
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_limits(service->server, &limits));
    const hp_server_counters after = counters_of(service->server);
    for (int i = 0; i < MANY; i++)
        send_to(fd, &service->address, "s");
    AWAIT(counters_of(service->server).received == after.received + MANY);
    CHECK(counters_of(service->server).rate_limited == after.rate_limited);
    CHECK(after.kernel_dropped == 0 && after.shed == 0 && after.overloaded == 0);
    close(fd);
}

int main(void)
{
    end_at_the_latest_in(60);
    struct service service;
    const int fds = count_fds();
    hp_server *server = new_server("127.0.0.1:0");
    edges(server);
    start(&service, server);
    edges(server);
    of_a_session(&service);
    of_a_prefix(&service);
    of_amplification(&service);
    of_a_second(&service);
    end_service(&service);
    await_a_single_thread();
    CHECK(count_fds() == fds);
    return 0;
}
