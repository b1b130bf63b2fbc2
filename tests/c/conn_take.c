/*
 * Connections whose socket is taken, over both transports, and datagrams that came before.
 *
 *   conn_take
 */
#include "conns.h"

#include <fcntl.h>

static hp_socket_t take(const hp_conn *conn)
{
    hp_socket_t sock, again = 7;
    hp_error error = HP_ERROR_INIT;
    CHECK_STATUS(HP_STATUS_OK, hp_conn_take(conn, &sock, &error));
    CHECK(sock != HP_INVALID_SOCKET && error.status == HP_STATUS_OK);
    CHECK_STATUS(HP_STATUS_NOT_CONNECTED, hp_conn_take(conn, &again, &error));
    CHECK(again == HP_INVALID_SOCKET);
    CHECK((fcntl((int)sock, F_GETFL) & O_NONBLOCK) == 0 && fcntl((int)sock, F_GETFD) == FD_CLOEXEC);
    is_not_there(conn);
    return sock;
}

static void taken_streams_are_connected(void)
{
    hp_conn_options options = usual(HP_TRANSPORT_TCP);
    hp_conn *pair[2];
    hp_conn_event event = HP_CONN_EVENT_INIT;
    struct sockaddr_in other;
    socklen_t len = sizeof other;
    make_pair(&options, pair);
    const hp_conn_info info = connects(pair[0]);
    connects(pair[1]);
    write_all(pair[1], "before", 6);
    hears(pair[0], HP_TRANSPORT_TCP, "before", 6);
    const int fd = (int)take(pair[0]);
    /* It is the caller's: no event tells of it, and freeing changes nothing. */
    CHECK_STATUS(HP_STATUS_CANCELLED, hp_conn_next_event(pair[0], -1, &event));
    hp_conn_free(pair[0]);
    const struct sockaddr_in expected = sockaddr_of(&info.remote);
    CHECK(getpeername(fd, (struct sockaddr *)&other, &len) == 0);
    CHECK(other.sin_port == expected.sin_port && other.sin_addr.s_addr == expected.sin_addr.s_addr);
    CHECK(send(fd, "\0raw", 4, 0) == 4);
    hears(pair[1], HP_TRANSPORT_TCP, "\0raw", 4);
    write_all(pair[1], "and back", 8);
    receives(fd, "and back");
    CHECK(close(fd) == 0);
    expect_end(pair[1], HP_END_CLOSED_BY_PEER);
    hp_conn_free(pair[1]);
}

static void taken_datagrams_come_from_anywhere(void)
{
    hp_conn_options options = usual(HP_TRANSPORT_UDP);
    hp_conn *pair[2];
    char buffer[100];
    struct sockaddr_in other, source;
    socklen_t len = sizeof other;
    ssize_t got;
    options.data_events = 0;
    make_pair(&options, pair);
    connects(pair[1]);
    const hp_conn_info info = connects(pair[0]);
    const int fd = (int)take(pair[0]);
    reads_nothing(pair[0], PATIENCE_MS, HP_STATUS_NOT_CONNECTED);
    hp_conn_free(pair[0]);
    CHECK(getpeername(fd, (struct sockaddr *)&other, &len) == -1 && errno == ENOTCONN);
    other = sockaddr_of(&info.remote);
    CHECK(sendto(fd, "raw", 3, 0, (struct sockaddr *)&other, sizeof other) == 3);
    reads(pair[1], 100, "raw", 3);
    write_all(pair[1], "and back", 8);
    do {
        await_datagram(fd);
        len = sizeof source;
        got = recvfrom(fd, buffer, sizeof buffer, 0, (struct sockaddr *)&source, &len);
        CHECK(got >= 0 && source.sin_port == other.sin_port);
    } while (hp_is_control_packet((const uint8_t *)buffer, (size_t)got));
    CHECK(got == 8 && memcmp(buffer, "and back", 8) == 0);
    close(fd);
    hp_conn_free(pair[1]);
}

/* What one of two says to the other, on the way. */
struct way {
    /* It is sent to the one, and sent on from the other. */
    int in, out;
    struct sockaddr_in to;
};

/* Datagrams that are kept back. */
struct held {
    uint8_t datagram[300][1500];
    ssize_t len[300];
    size_t count;
};

static void pass_on(const struct way *way, const uint8_t *datagram, ssize_t len)
{
    CHECK(sendto(way->out, datagram, (size_t)len, 0, (const struct sockaddr *)&way->to, sizeof way->to) == len);
}

/* Takes what is on the way; returns 0 if nothing is. */
static int pick_up(const struct way *way, struct held *held)
{
    CHECK(held->count < COUNT(held->len));
    ssize_t len = recv(way->in, held->datagram[held->count], sizeof *held->datagram, MSG_DONTWAIT);
    held->len[held->count] = len;
    held->count += len >= 0;
    return len >= 0;
}

static void pass_on_all(const struct way *way, struct held *held)
{
    for (size_t i = 0; i < held->count; i++)
        pass_on(way, held->datagram[i], held->len[i]);
    held->count = 0;
}

/* The second is connected first, because the first hears of it no more than that it is there; so what the second says then comes
 * too early. */
static void connect_late(hp_conn *pair[2], int32_t data_events)
{
    static struct held held, passing;
    struct way ways[2];
    hp_addr address;
    hp_conn_options options = usual(HP_TRANSPORT_UDP);
    hp_conn_event event = HP_CONN_EVENT_INIT;
    hp_status status;
    options.attempt_timeout_ms = PATIENCE_MS;
    for (int i = 0; i < 2; i++) {
        char text[HP_ADDR_TEXT_LEN];
        ways[i].in = ways[1 - i].out = bind_loopback(text);
        options.data_events = i == 0 ? data_events : 1;
        pair[i] = make(&options);
        address = local_address(pair[i]);
        ways[1 - i].to = sockaddr_of(&address);
        CHECK_STATUS(HP_STATUS_OK, hp_addr_parse(text, &address));
        attempt_at(pair[i], &address);
    }
    for (int i = 0; i < 2; i++)
        await_datagram(ways[i].in);
    CHECK(pick_up(&ways[1], &passing));
    pass_on_all(&ways[1], &passing);
    for (long long end = now_us() + PATIENCE_MS * 1000LL; (status = hp_conn_next_event(pair[1], 1, &event)) != HP_STATUS_OK;) {
        CHECK_STATUS(HP_STATUS_NOTHING, status);
        CHECK(now_us() < end);
        while (pick_up(&ways[0], &passing))
            pass_on_all(&ways[0], &passing);
        while (pick_up(&ways[1], &held))
            continue;
    }
    CHECK(event.kind == HP_CONN_CONNECTED);
    CHECK_STATUS(HP_STATUS_NOTHING, hp_conn_next_event(pair[0], 0, &event));
    pass_on(&ways[1], (const uint8_t *)"\0one", 4);
    pass_on(&ways[1], (const uint8_t *)"two", 3);
    while (pick_up(&ways[1], &held))
        continue;
    pass_on_all(&ways[1], &held);
    connects(pair[0]);
    for (int i = 0; i < 2; i++)
        close(ways[i].in);
}

static void early_datagrams_are_not_lost(void)
{
    hp_conn *pair[2];
    connect_late(pair, 1);
    hears(pair[0], HP_TRANSPORT_UDP, "\0one", 4);
    hears(pair[0], HP_TRANSPORT_UDP, "two", 3);
    for (int i = 0; i < 2; i++)
        hp_conn_free(pair[i]);
    connect_late(pair, 0);
    CHECK(close((int)take(pair[0])) == 0);
    reads(pair[0], 100, "\0one", 4);
    /* What does not fit is lost. */
    reads(pair[0], 2, "tw", 2);
    reads_nothing(pair[0], PATIENCE_MS, HP_STATUS_NOT_CONNECTED);
    for (int i = 0; i < 2; i++)
        hp_conn_free(pair[i]);
}

int main(void)
{
    end_at_the_latest_in(90);
    int fds = count_fds();
    taken_streams_are_connected();
    taken_datagrams_come_from_anywhere();
    early_datagrams_are_not_lost();
    await_a_single_thread();
    CHECK(count_fds() == fds);
    return 0;
}
