/*
 * hp_client_check_nat against servers of this process: misuse, what it finds on loopback, where there is no NAT, how it
 * fails, and how it is cancelled, again and again.
 *
 *   nat_check CYCLES
 *
 * CYCLES is how many checks are cancelled, and how many are done.
 */
#include "service.h"
#include "sized.h"

#define MAX_MEDIAN_CANCEL_US 50000
/* What is no server is believed to be none after two seconds; the rest is for a busy machine. */
#define PORT_CLOSED_US 2000000
#define PORT_CLOSED_AT_LAST_US 5000000
#define AT_THE_SAME_TIME 20

struct report_room {
    hp_nat_report now;
    unsigned char later[LATER], beyond[BEYOND];
};
struct error_room {
    hp_error now;
    unsigned char later[LATER], beyond[BEYOND];
};

/* One hp_client_check_nat in a thread of its own. */
struct checker {
    hp_client *client;
    uint32_t longest_lifetime_ms;
    struct report_room room;
    hp_status status;
    hp_error error;
    pthread_t thread;
};

static void prepare(struct report_room *room, uint32_t struct_size)
{
    memset(room, CANARY, sizeof *room);
    room->now.struct_size = struct_size;
}

static void *run_checker(void *argument)
{
    struct checker *checker = argument;
    checker->status = hp_client_check_nat(checker->client, checker->longest_lifetime_ms, &checker->room.now,
                                          &checker->error);
    return NULL;
}

static void start_checker(struct checker *checker, hp_client *client, uint32_t longest_lifetime_ms)
{
    static const hp_error fresh = HP_ERROR_INIT;
    memset(checker, 0, sizeof *checker);
    prepare(&checker->room, sizeof(hp_nat_report));
    checker->client = client;
    checker->longest_lifetime_ms = longest_lifetime_ms;
    checker->error = fresh;
    CHECK(pthread_create(&checker->thread, NULL, run_checker, checker) == 0);
}

static hp_status join_checker(struct checker *checker)
{
    CHECK(pthread_join(checker->thread, NULL) == 0);
    CHECK(checker->error.status == checker->status);
    CHECK((checker->error.message[0] == '\0') == (checker->status == HP_STATUS_OK));
    if (checker->status != HP_STATUS_OK)
        is_zeroed(&checker->room, sizeof(hp_nat_report), sizeof checker->room);
    return checker->status;
}

static void initialiser(void)
{
    hp_nat_report report = HP_NAT_REPORT_INIT;
    CHECK(sizeof report == 128 && report.struct_size == 128);
    CHECK(all_bytes((char *)&report + 4, sizeof report - 4, 0));
}

/* Refused before anything is done: the server hears of none of it, and no call begins. */
static void misuse(void)
{
    static const uint32_t bad_reports[] = BAD_SIZES(hp_nat_report), bad_errors[] = BAD_SIZES(hp_error);
    struct report_room room;
    struct error_room error;
    hp_error fine = HP_ERROR_INIT;
    char text[HP_ADDR_TEXT_LEN], byte;
    int silent = bind_loopback(text);
    hp_client *client = new_client(text);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_check_nat(NULL, 0, NULL, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_check_nat(client, 0, NULL, &fine));
    CHECK(fine.status == HP_STATUS_INVALID_ARGUMENT && fine.message[0] != '\0');
    for (uint32_t size = sizeof room.now; size <= sizeof room.now + LATER; size += LATER) {
        prepare(&room, size);
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_check_nat(NULL, 0, &room.now, NULL));
        is_zeroed(&room, size, sizeof room);
    }
    for (size_t i = 0; i < COUNT(bad_reports); i++) {
        prepare(&room, bad_reports[i]);
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_check_nat(client, UINT32_MAX, &room.now, &fine));
        CHECK(room.now.struct_size == bad_reports[i] && all_bytes((char *)&room + 4, sizeof room - 4, CANARY));
    }
    for (size_t i = 0; i < COUNT(bad_errors); i++) {
        prepare(&room, sizeof room.now);
        memset(&error, CANARY, sizeof error);
        error.now.struct_size = bad_errors[i];
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_check_nat(client, 0, &room.now, &error.now));
        CHECK(error.now.struct_size == bad_errors[i] && all_bytes((char *)&error + 4, sizeof error - 4, CANARY));
        is_zeroed(&room, sizeof room.now, sizeof room);
    }
    CHECK(recv(silent, &byte, 1, MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EWOULDBLOCK));
    hp_client_free(client);
    close(silent);
}

/* There is no NAT, and nothing that filters, between this host and itself. */
static void finds_no_nat(const hp_nat_report *report, const struct service *service)
{
    CHECK(report->mapping == HP_MAPPING_NONE && report->allocation == HP_NAT_UNKNOWN);
    CHECK(report->step == 0 && report->first_port == 0 && report->last_port == 0);
    CHECK(report->inner_routers >= -1 && (report->port_mapping & ~7u) == 0);
    CHECK(report->lifetime_min_ms == 0 && report->lifetime_max_ms == 0);
    CHECK(report->local.family == HP_FAMILY_IPV4 && report->local.port != 0);
    CHECK(report->local.port != service->address.port);
    CHECK(memcmp(report->local.ip, service->address.ip, sizeof report->local.ip) == 0);
    CHECK(memcmp(&report->local, &report->observed, sizeof report->local) == 0);
    CHECK(report->observed_ipv6.family == HP_FAMILY_NONE);
    CHECK(all_bytes(&report->observed_ipv6, sizeof report->observed_ipv6, 0));
}

static void checks_loopback(const struct service *service, int32_t filtering)
{
    /* Less than what can be waited for is not waited for at all. */
    static const uint32_t lifetimes[] = { 0, 9999 };
    struct report_room room;
    hp_error error = HP_ERROR_INIT;
    hp_client *client = new_client(service->text);
    for (size_t i = 0; i < COUNT(lifetimes); i++) {
        const uint32_t size = (uint32_t)(sizeof room.now + i * LATER);
        long long since = now_us();
        prepare(&room, size);
        error.status = HP_STATUS_NOTHING;
        CHECK_STATUS(HP_STATUS_OK, hp_client_check_nat(client, lifetimes[i], &room.now, i == 0 ? &error : NULL));
        printf("checked in %lld ms: mapping %d, filtering %d, hairpin %d, inner routers %d\n",
               (now_us() - since) / 1000, (int)room.now.mapping, (int)room.now.filtering, (int)room.now.hairpin,
               (int)room.now.inner_routers);
        CHECK(now_us() - since < 9 * 1000000LL);
        CHECK(i > 0 || (error.status == HP_STATUS_OK && error.message[0] == '\0' && error.os_error == 0));
        CHECK(room.now.struct_size == size);
        finds_no_nat(&room.now, service);
        CHECK(room.now.filtering == filtering);
        CHECK(all_bytes(room.later, size - sizeof room.now, 0));
        CHECK(all_bytes((char *)&room + size, sizeof room - size, CANARY));
    }
    CHECK(hp_peer_count(client) == 0);
    hp_client_free(client);
}

/* What the server has to ask from decides how much there is to learn of filtering, not of mappings on loopback. */
static void no_nat_on_loopback(void)
{
    static const struct {
        uint32_t alternate_ports;
        const char *other_address;
        int32_t filtering;
    } servers[] = {
        { 3, NULL, HP_FILTERING_NOT_PORT_DEPENDENT },
        { 4, "127.0.0.2", HP_FILTERING_ENDPOINT_INDEPENDENT },
        { 0, NULL, HP_NAT_UNKNOWN },
    };
    for (size_t i = 0; i < COUNT(servers); i++) {
        struct service service;
        hp_server *server = new_server("127.0.0.1:0");
        CHECK_STATUS(HP_STATUS_OK, hp_server_set_alternate_ports(server, servers[i].alternate_ports));
        CHECK_STATUS(HP_STATUS_OK, hp_server_set_other_address(server, servers[i].other_address));
        start(&service, server);
        checks_loopback(&service, servers[i].filtering);
        end_service(&service);
    }
}

/* What an earlier call has left is there after a check. */
static void holes_outlive_checks(void)
{
    struct service service;
    struct checker checker;
    hp_client *pair[2];
    hp_socket_t before = 0, after = 0;
    start(&service, new_server("127.0.0.1:0"));
    connect_pair(service.text, "holes outlive checks", pair);
    CHECK_STATUS(HP_STATUS_OK, hp_socket_fd(pair[0], 0, &before));
    start_checker(&checker, pair[0], 0);
    CHECK_STATUS(HP_STATUS_OK, join_checker(&checker));
    CHECK_STATUS(HP_STATUS_OK, hp_socket_fd(pair[0], 0, &after));
    CHECK(before == after && hp_peer_count(pair[0]) == 1);
    for (int i = 0; i < 2; i++)
        hp_client_free(pair[i]);
    end_service(&service);
}

static void failures(void)
{
    char text[HP_ADDR_TEXT_LEN];
    struct service service;
    struct checker checker;
    int fd = bind_loopback(text);

    /* Nobody answers, and there is no time, or little of it. */
    for (int timeout_ms = 0; timeout_ms <= 300; timeout_ms += 300) {
        hp_client *client = new_client(text);
        CHECK_STATUS(HP_STATUS_OK, hp_client_set_timeout_ms(client, timeout_ms));
        long long since = now_us();
        start_checker(&checker, client, 0);
        CHECK_STATUS(HP_STATUS_SERVER_SILENT, join_checker(&checker));
        CHECK(now_us() - since >= timeout_ms * 1000LL && now_us() - since < timeout_ms * 1000LL + AT_ONCE_US);
        hp_client_free(client);
    }

    /* Closed to all but one, who is not there; if it were free, somebody else could open it meanwhile. */
    struct sockaddr_in nobody = { .sin_family = AF_INET, .sin_port = htons(1) };
    nobody.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(connect(fd, (struct sockaddr *)&nobody, sizeof nobody) == 0);
    hp_client *client = new_client(text);
    long long since = now_us();
    start_checker(&checker, client, 0);
    CHECK_STATUS(HP_STATUS_SERVER_PORT_CLOSED, join_checker(&checker));
    close(fd);
    printf("port closed after %lld ms: %s\n", (now_us() - since) / 1000, checker.error.message);
    CHECK(now_us() - since >= PORT_CLOSED_US && now_us() - since < PORT_CLOSED_AT_LAST_US);
    hp_client_free(client);

    hp_server *server = new_server("127.0.0.1:0");
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_dialect(server, HP_DIALECT_PLAIN));
    start(&service, server);
    client = new_client(service.text);
    since = now_us();
    start_checker(&checker, client, 0);
    CHECK_STATUS(HP_STATUS_DIALECT_MISMATCH, join_checker(&checker));
    CHECK(now_us() - since < PORT_CLOSED_AT_LAST_US);
    hp_client_free(client);
    end_service(&service);
}

/* Whichever call runs, everything else on its client is answered at once, and does not disturb it. */
static void busy(void)
{
    char text[HP_ADDR_TEXT_LEN], byte[2000];
    struct caller caller;
    struct checker checker;
    struct report_room room;
    hp_error error = HP_ERROR_INIT;
    hp_attempt attempt = HP_ATTEMPT_INIT;
    int silent = bind_loopback(text);
    hp_client *client = new_client(text);
    CHECK_STATUS(HP_STATUS_OK, hp_client_set_timeout_ms(client, -1));

    start_caller(&caller, client, "busy");
    await_datagram(silent);
    prepare(&room, sizeof room.now);
    long long since = now_us();
    CHECK_STATUS(HP_STATUS_BUSY, hp_client_check_nat(client, UINT32_MAX, &room.now, &error));
    CHECK(error.status == HP_STATUS_BUSY && error.message[0] != '\0');
    is_zeroed(&room, sizeof room.now, sizeof room);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_check_nat(client, 0, NULL, NULL));
    CHECK(now_us() - since < AT_ONCE_US);
    hp_cancel(client);
    CHECK_STATUS(HP_STATUS_CANCELLED, join_caller(&caller));

    while (recv(silent, byte, sizeof byte, MSG_DONTWAIT) >= 0)
        continue;
    start_checker(&checker, client, UINT32_MAX);
    await_datagram(silent);
    since = now_us();
    CHECK_STATUS(HP_STATUS_BUSY, hp_client_check_nat(client, 0, &room.now, NULL));
    CHECK_STATUS(HP_STATUS_BUSY, hp_connect(client, (const uint8_t *)"busy", 4, 1, &error));
    CHECK_STATUS(HP_STATUS_BUSY, hp_client_set_timeout_ms(client, 1));
    CHECK_STATUS(HP_STATUS_BUSY, hp_client_set_path_policy(client, HP_PATHS_RELAY_ONLY));
    CHECK_STATUS(HP_STATUS_BUSY, hp_client_set_techniques(client, 0));
    CHECK_STATUS(HP_STATUS_BUSY, hp_peer_attempt_get(client, 0, 0, &attempt));
    CHECK(hp_peer_cause(client, 0) == HP_CAUSE_UNKNOWN && hp_peer_attempt_count(client, 0) == 0);
    CHECK(now_us() - since < AT_ONCE_US);
    /* Freeing the client ends the check, too. */
    hp_client_free(client);
    CHECK_STATUS(HP_STATUS_CANCELLED, join_checker(&checker));
    close(silent);
}

/* As for hp_connect: a cancellation is spent by the next call, unless it is taken back. */
static void cancelled_beforehand(void)
{
    char text[HP_ADDR_TEXT_LEN];
    struct checker checker;
    int silent = bind_loopback(text);
    hp_client *client = new_client(text);
    CHECK_STATUS(HP_STATUS_OK, hp_client_set_timeout_ms(client, 100));
    hp_cancel(client);
    start_checker(&checker, client, UINT32_MAX);
    CHECK_STATUS(HP_STATUS_CANCELLED, join_checker(&checker));
    start_checker(&checker, client, 0);
    CHECK_STATUS(HP_STATUS_SERVER_SILENT, join_checker(&checker));
    hp_cancel(client);
    hp_cancel_clear(client);
    start_checker(&checker, client, 0);
    CHECK_STATUS(HP_STATUS_SERVER_SILENT, join_checker(&checker));
    hp_client_free(client);
    close(silent);
}

static int by_size(const void *left, const void *right)
{
    long long a = *(const long long *)left, b = *(const long long *)right;
    return (a > b) - (a < b);
}

/* Looks at a mapping's life, so as not to be done before it is cancelled. From hp_cancel to the end in microseconds. */
static long long cancelled_after(const struct service *service, long us)
{
    struct checker checker;
    hp_client *client = new_client(service->text);
    start_checker(&checker, client, UINT32_MAX);
    sleep_us(us);
    long long since = now_us();
    hp_cancel(client);
    CHECK_STATUS(HP_STATUS_CANCELLED, join_checker(&checker));
    long long took = now_us() - since;
    hp_client_free(client);
    return took;
}

static void cancelled_cycles(const struct service *service, int cycles)
{
    int most_threads = 0;
    long long *took = calloc((size_t)cycles, sizeof *took);
    CHECK(took != NULL);
    int fds = count_fds();
    for (int number = 0; number < cycles; number++) {
        /* Anywhere from before the check begins until it has heard from the server. */
        took[number] = cancelled_after(service, number * 7919L % 10007);
        int threads = count_entries("/proc/self/task");
        most_threads = threads > most_threads ? threads : most_threads;
        CHECK(count_fds() == fds);
    }
    qsort(took, (size_t)cycles, sizeof *took, by_size);
    printf("cancelled in %lld us (median), %lld us (most); %d threads at most\n", took[cycles / 2], took[cycles - 1],
           most_threads);
    CHECK(took[cycles / 2] < MAX_MEDIAN_CANCEL_US && took[cycles - 1] < AT_ONCE_US);
    free(took);
    /* All else is known by now, and the sockets that wait for the end of a mapping are silent. */
    CHECK(cancelled_after(service, 2500000) < AT_ONCE_US);
}

static void complete_cycles(const struct service *service, int cycles)
{
    struct checker checkers[AT_THE_SAME_TIME];
    for (int done = 0; done < cycles; done += AT_THE_SAME_TIME) {
        for (int i = 0; i < AT_THE_SAME_TIME; i++)
            start_checker(&checkers[i], new_client(service->text), 0);
        for (int i = 0; i < AT_THE_SAME_TIME; i++) {
            CHECK_STATUS(HP_STATUS_OK, join_checker(&checkers[i]));
            finds_no_nat(&checkers[i].room.now, service);
            hp_client_free(checkers[i].client);
        }
    }
}

static void cycles_leave_nothing(int cycles)
{
    struct service service;
    await_a_single_thread();
    const int fds = count_fds();
    start(&service, new_server("127.0.0.1:0"));
    cancelled_cycles(&service, cycles);
    complete_cycles(&service, cycles);
    end_service(&service);
    /* Routers are asked in threads that may outlive their checks, for a moment and no longer. */
    await_a_single_thread();
    CHECK(count_fds() == fds);
}

int main(int argc, char **argv)
{
    end_at_the_latest_in(90);
    CHECK(argc == 2 && atoi(argv[1]) > 0);
    const int fds = count_fds();
    initialiser();
    misuse();
    no_nat_on_loopback();
    holes_outlive_checks();
    failures();
    busy();
    cancelled_beforehand();
    cycles_leave_nothing(atoi(argv[1]));
    await_a_single_thread();
    CHECK(count_fds() == fds);
    return 0;
}
