/*
 * Closes, frees and takes connections while calls on them wait in other threads: those return, and say why.
 *
 *   conn_waits
 */
#include "conns.h"

#include <semaphore.h>

/* One call in a thread of its own. */
struct waiter {
    const hp_conn *conn;
    hp_status (*call)(struct waiter *);
    hp_status status;
    hp_error error;
    hp_conn_event event;
    hp_addr address;
    size_t len;
    /* Where /proc says what the thread does. */
    char stat[64];
    sem_t begins;
    pthread_t thread;
};

static hp_status wait_for_event(struct waiter *waiter)
{
    return hp_conn_next_event(waiter->conn, -1, &waiter->event);
}

static hp_status wait_for_address(struct waiter *waiter)
{
    return hp_conn_public_address(waiter->conn, -1, &waiter->address, &waiter->error);
}

static hp_status wait_for_data(struct waiter *waiter)
{
    uint8_t buffer[8];
    return hp_conn_read(waiter->conn, buffer, sizeof buffer, -1, &waiter->len, &waiter->error);
}

/* More than all buffers on the way hold. */
static hp_status wait_for_room(struct waiter *waiter)
{
    static const uint8_t data[32 << 20];
    return hp_conn_write(waiter->conn, data, sizeof data, -1, &waiter->len, &waiter->error);
}

static void *run(void *argument)
{
    struct waiter *waiter = argument;
    ssize_t len = readlink("/proc/thread-self", waiter->stat, sizeof waiter->stat - 1);
    CHECK(len > 0);
    waiter->stat[len] = '\0';
    CHECK(sem_post(&waiter->begins) == 0);
    waiter->status = waiter->call(waiter);
    return NULL;
}

static int sleeps(const struct waiter *waiter)
{
    char path[100], state = '?';
    CHECK(snprintf(path, sizeof path, "/proc/%s/stat", waiter->stat) < (int)sizeof path);
    FILE *stat = fopen(path, "r");
    CHECK(stat != NULL && fscanf(stat, "%*d (%*[^)]) %c", &state) == 1);
    fclose(stat);
    return state == 'S';
}

/* Returns once the call waits. */
static void start(struct waiter *waiter, const hp_conn *conn, hp_status (*call)(struct waiter *))
{
    static const struct waiter fresh = { .error = HP_ERROR_INIT, .event = HP_CONN_EVENT_INIT, .len = 7 };
    *waiter = fresh;
    waiter->conn = conn;
    waiter->call = call;
    CHECK(sem_init(&waiter->begins, 0, 0) == 0);
    CHECK(pthread_create(&waiter->thread, NULL, run, waiter) == 0);
    while (sem_wait(&waiter->begins) != 0)
        CHECK(errno == EINTR);
    /* Under valgrind a thread sleeps, too, until it is its turn. */
    sleep_us(100000);
    for (long long end = now_us() + PATIENCE_MS * 1000LL; !sleeps(waiter); sleep_us(1000))
        CHECK(now_us() < end);
}

static void finish(struct waiter *waiter, hp_status expected)
{
    CHECK(pthread_join(waiter->thread, NULL) == 0);
    sem_destroy(&waiter->begins);
    CHECK_STATUS(expected, waiter->status);
}

/* Outlives the connection, so that a write after hp_conn_free is seen rather than undefined. */
static struct waiter waiter;

static void end(hp_conn *conn, int frees)
{
    if (frees)
        hp_conn_free(conn);
    else
        hp_conn_close(conn);
}

/* Not after joining: the call must have ended by now, if the connection was freed. */
static void has_reported(int frees, hp_status expected)
{
    const int32_t status = ((volatile hp_error *)&waiter.error)->status;
    CHECK(!frees || status == expected);
}

static void who_waits_for_events_is_told_the_end(int32_t transport, int frees)
{
    hp_conn_options options = usual(transport);
    hp_conn_event event = HP_CONN_EVENT_INIT;
    hp_conn *conn = make(&options);
    attempt_at(conn, NULL);
    start(&waiter, conn, wait_for_event);
    CHECK_STATUS(HP_STATUS_BUSY, hp_conn_next_event(conn, 0, &event));
    end(conn, frees);
    finish(&waiter, HP_STATUS_OK);
    CHECK(waiter.event.kind == HP_CONN_ENDED && waiter.event.reason == HP_END_CLOSED);
    if (!frees) {
        CHECK_STATUS(HP_STATUS_CANCELLED, hp_conn_next_event(conn, -1, &event));
        hp_conn_free(conn);
    }
}

static void who_waits_for_the_public_address_is_told_of_the_end(int frees)
{
    char text[HP_ADDR_TEXT_LEN];
    int silent = bind_loopback(text);
    hp_conn_options options = usual(HP_TRANSPORT_UDP);
    options.address_source = HP_ADDRESS_STUN;
    options.address_server = text;
    hp_conn *conn = make(&options);
    start(&waiter, conn, wait_for_address);
    end(conn, frees);
    has_reported(frees, HP_STATUS_CANCELLED);
    finish(&waiter, HP_STATUS_CANCELLED);
    CHECK(waiter.address.family == HP_FAMILY_NONE);
    if (!frees)
        hp_conn_free(conn);
    close(silent);
}

enum how { CLOSES, FREES, TAKES };

static void who_reads_or_writes_is_told_of_the_end(int32_t transport, hp_status (*call)(struct waiter *), enum how how)
{
    hp_conn_options options = usual(transport);
    hp_socket_t sock = HP_INVALID_SOCKET;
    hp_conn *pair[2];
    options.data_events = 0;
    make_pair(&options, pair);
    for (int i = 0; i < 2; i++)
        expect_event(pair[i], HP_CONN_CONNECTED);
    start(&waiter, pair[0], call);
    if (how == TAKES)
        CHECK_STATUS(HP_STATUS_OK, hp_conn_take(pair[0], &sock, NULL));
    else
        end(pair[0], how == FREES);
    has_reported(how != CLOSES, HP_STATUS_NOT_CONNECTED);
    finish(&waiter, HP_STATUS_NOT_CONNECTED);
    CHECK(waiter.len == 0);
    if (how == CLOSES)
        expect_end(pair[0], HP_END_CLOSED);
    if (how != FREES)
        hp_conn_free(pair[0]);
    if (how == TAKES)
        CHECK(close((int)sock) == 0);
    hp_conn_free(pair[1]);
}

int main(void)
{
    end_at_the_latest_in(90);
    int fds = count_fds();
    for (size_t i = 0; i < COUNT(both_transports); i++) {
        for (int frees = 0; frees < 2; frees++)
            who_waits_for_events_is_told_the_end(both_transports[i], frees);
        for (enum how how = CLOSES; how <= TAKES; how++)
            who_reads_or_writes_is_told_of_the_end(both_transports[i], wait_for_data, how);
    }
    for (int frees = 0; frees < 2; frees++)
        who_waits_for_the_public_address_is_told_of_the_end(frees);
    for (enum how how = CLOSES; how <= TAKES; how++)
        who_reads_or_writes_is_told_of_the_end(HP_TRANSPORT_TCP, wait_for_room, how);
    await_a_single_thread();
    CHECK(count_fds() == fds);
    return 0;
}
