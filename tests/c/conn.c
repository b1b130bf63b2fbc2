/*
 * Connections from plain addresses, in one process: what happens, in order and exactly once; data, keys, descriptors to poll,
 * public addresses; peers that know nothing of the library, strangers and nobody.
 *
 *   conn SERVER
 */
#include "conns.h"

static const char *server;

/* Every byte there is, zeros first and last, numbered. */
static void talk(const hp_conn *from, const hp_conn *to, int32_t transport)
{
    enum { MESSAGES = 50, LEN = 259 };
    uint8_t message[MESSAGES][LEN] = { { 0 } };
    for (int i = 0; i < MESSAGES; i++) {
        for (int at = 0; at < 256; at++)
            message[i][1 + at] = (uint8_t)at;
        message[i][257] = (uint8_t)i;
        write_all(from, message[i], LEN);
    }
    if (transport == HP_TRANSPORT_TCP)
        hears(to, transport, message, sizeof message);
    for (int i = 0; i < MESSAGES && transport == HP_TRANSPORT_UDP; i++)
        hears(to, transport, message[i], LEN);
}

static void keys_agree(hp_conn *const pair[2], int authenticated)
{
    static const uint8_t label[] = { 'a', 0, 'b' };
    uint8_t key[2][HP_KEY_LEN], other[HP_KEY_LEN];
    hp_status expected = authenticated ? HP_STATUS_OK : HP_STATUS_NOT_FOUND;
    for (int i = 0; i < 2; i++)
        CHECK_STATUS(expected, hp_conn_export_key(pair[i], label, sizeof label, key[i]));
    CHECK_STATUS(expected, hp_conn_export_key(pair[0], label, 1, other));
    CHECK(memcmp(key[0], key[1], HP_KEY_LEN) == 0 && all_bytes(key[0], HP_KEY_LEN, 0) == !authenticated);
    CHECK(!authenticated || memcmp(key[0], other, HP_KEY_LEN) != 0);
}

static hp_conn_options unauthenticated(int32_t transport)
{
    hp_conn_options options = usual(transport);
    options.id = NULL;
    options.id_len = 0;
    options.unauthenticated = 1;
    return options;
}

static void two_connect_talk_and_part(int32_t transport, int authenticated)
{
    hp_conn_options options = authenticated ? usual(transport) : unauthenticated(transport);
    hp_conn_info info[2];
    hp_conn *pair[2];
    for (int i = 0; i < 2; i++) {
        pair[i] = make(&options);
        is_not_there(pair[i]);
    }
    for (int i = 0; i < 2; i++) {
        const hp_addr address = local_address(pair[1 - i]);
        attempt_at(pair[i], &address);
    }
    for (int i = 0; i < 2; i++) {
        info[i] = connects(pair[i]);
        CHECK(info[i].transport == transport && info[i].authenticated == authenticated);
    }
    CHECK(is_same_address(&info[0].local, &info[1].remote) && is_same_address(&info[1].local, &info[0].remote));
    keys_agree(pair, authenticated);
    talk(pair[0], pair[1], transport);
    talk(pair[1], pair[0], transport);
    write_all(pair[0], "the last", 8);
    hears(pair[1], transport, "the last", 8);
    hp_conn_close(pair[0]);
    is_not_there(pair[0]);
    expect_end(pair[0], HP_END_CLOSED);
    /* Nobody who proves nothing can say over UDP that it has gone. */
    if (authenticated || transport == HP_TRANSPORT_TCP) {
        expect_end(pair[1], HP_END_CLOSED_BY_PEER);
    } else {
        hp_conn_close(pair[1]);
        expect_end(pair[1], HP_END_CLOSED);
    }
    is_not_there(pair[1]);
    for (int i = 0; i < 2; i++)
        hp_conn_free(pair[i]);
}

static void callers_may_read_themselves(int32_t transport)
{
    hp_conn_options options = usual(transport);
    hp_conn *pair[2];
    options.data_events = 0;
    make_pair(&options, pair);
    connects(pair[0]), connects(pair[1]);
    reads_nothing(pair[0], 10, HP_STATUS_TIMED_OUT_WAITING);
    write_all(pair[1], "\0first\0", 7);
    if (transport == HP_TRANSPORT_TCP)
        reads(pair[0], 4, "\0fir", 4), reads(pair[0], 100, "st\0", 3);
    else
        reads(pair[0], 100, "\0first\0", 7);
    write_all(pair[1], "second", 6);
    reads(pair[0], 100, "second", 6);
    hp_conn_close(pair[1]);
    if (transport == HP_TRANSPORT_TCP)
        reads(pair[0], 100, "", 0);
    else
        reads_nothing(pair[0], PATIENCE_MS, HP_STATUS_NOT_CONNECTED);
    expect_end(pair[0], HP_END_CLOSED_BY_PEER);
    expect_end(pair[1], HP_END_CLOSED);
    for (int i = 0; i < 2; i++)
        hp_conn_free(pair[i]);
}

static int is_readable(const hp_conn *conn, int timeout_ms)
{
    hp_socket_t fd;
    CHECK_STATUS(HP_STATUS_OK, hp_conn_event_fd(conn, &fd));
    struct pollfd polled = { (int)fd, POLLIN, 0 };
    return poll(&polled, 1, timeout_ms) == 1;
}

static void waiting_can_be_left_to_poll(int32_t transport)
{
    hp_conn_options options = usual(transport);
    hp_conn *pair[2];
    hp_conn_event event = HP_CONN_EVENT_INIT;
    make_pair(&options, pair);
    connects(pair[0]);
    for (int i = 0; i < 3; i++) {
        CHECK(is_readable(pair[1], PATIENCE_MS));
        if (i == 0)
            connects(pair[1]);
        else
            hears(pair[1], transport, "x", 1);
        CHECK(!is_readable(pair[1], 0));
        CHECK_STATUS(HP_STATUS_NOTHING, hp_conn_next_event(pair[1], 0, &event));
        CHECK_STATUS(HP_STATUS_NOTHING, hp_conn_next_event(pair[1], 10, &event));
        write_all(pair[0], "x", 1);
    }
    CHECK(is_readable(pair[1], PATIENCE_MS));
    hears(pair[1], transport, "x", 1);
    hp_conn_close(pair[0]);
    CHECK(is_readable(pair[1], PATIENCE_MS));
    expect_end(pair[1], HP_END_CLOSED_BY_PEER);
    /* It is over, and stays so. */
    CHECK(is_readable(pair[1], 0));
    for (int i = 0; i < 2; i++)
        hp_conn_free(pair[i]);
}

static void public_address_is(const hp_conn *conn, hp_status expected, const hp_addr *address)
{
    static const hp_addr none = { 0, 0, 0, { 0 } };
    hp_error error = HP_ERROR_INIT;
    hp_addr found;
    memset(&found, CANARY, sizeof found);
    CHECK_STATUS(expected, hp_conn_public_address(conn, PATIENCE_MS, &found, &error));
    CHECK(error.status == expected && is_same_address(&found, address != NULL ? address : &none));
}

/* Known to the caller, to nobody, to a server, and to none that answers. */
static void public_addresses(int32_t transport)
{
    hp_conn_options options = usual(transport);
    hp_conn_event event = HP_CONN_EVENT_INIT;
    hp_addr address;
    hp_conn *conn = make(&options);
    public_address_is(conn, HP_STATUS_NOTHING, NULL);
    hp_conn_free(conn);

    options.address_source = HP_ADDRESS_KNOWN;
    CHECK_STATUS(HP_STATUS_OK, hp_addr_parse("203.0.113.5:9", &options.address_known));
    conn = make(&options);
    address = options.address_known;
    address.port = local_address(conn).port;
    public_address_is(conn, HP_STATUS_OK, &address);
    CHECK_STATUS(HP_STATUS_NOTHING, hp_conn_next_event(conn, 10, &event));
    hp_conn_free(conn);
    if (transport == HP_TRANSPORT_TCP)
        return;

    options.address_source = HP_ADDRESS_SERVER;
    options.address_server = server;
    conn = make(&options);
    address = local_address(conn);
    public_address_is(conn, HP_STATUS_OK, &address);
    event = expect_event(conn, HP_CONN_PUBLIC_ADDRESS);
    CHECK(is_same_address(&event.endpoint, &address) && event.status == HP_STATUS_OK && event.message == NULL);
    hp_conn_close(conn);
    expect_end(conn, HP_END_CLOSED);
    public_address_is(conn, HP_STATUS_OK, &address);
    hp_conn_free(conn);

    char text[HP_ADDR_TEXT_LEN];
    int silent = bind_loopback(text);
    options.address_source = HP_ADDRESS_STUN;
    options.address_server = text;
    conn = make(&options);
    CHECK_STATUS(HP_STATUS_NOTHING, hp_conn_public_address(conn, 0, &address, NULL));
    public_address_is(conn, HP_STATUS_SERVER_SILENT, NULL);
    event = expect_event(conn, HP_CONN_PUBLIC_ADDRESS);
    CHECK(event.status == HP_STATUS_SERVER_SILENT && event.endpoint.family == HP_FAMILY_NONE);
    CHECK(event.message != NULL && strstr(event.message, text) != NULL);
    hp_conn_free(conn);
    close(silent);
}

/* It dials us, or we dial it; nothing of the library's is on the wire. */
static void stream_of_somebody_elses(int it_dials)
{
    hp_conn_options options = unauthenticated(HP_TRANSPORT_TCP);
    hp_conn *conn = make(&options);
    hp_addr address = local_address(conn);
    struct sockaddr_in bound = sockaddr_of(&address);
    socklen_t len = sizeof bound;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (it_dials) {
        attempt_at(conn, NULL);
        CHECK(connect(fd, (struct sockaddr *)&bound, sizeof bound) == 0);
    } else {
        bound.sin_port = 0;
        CHECK(bind(fd, (struct sockaddr *)&bound, sizeof bound) == 0 && listen(fd, 8) == 0);
        CHECK(getsockname(fd, (struct sockaddr *)&bound, &len) == 0);
        CHECK_STATUS(HP_STATUS_OK, hp_addr_from_sockaddr(&bound, len, &address));
        attempt_at(conn, &address);
        int listener = fd;
        fd = accept(listener, NULL, NULL);
        CHECK(fd >= 0);
        close(listener);
    }
    const hp_conn_info info = connects(conn);
    CHECK(info.authenticated == 0 && info.path == (it_dials ? HP_PATH_PEER_REFLEXIVE : HP_PATH_REFLEXIVE));
    CHECK(send(fd, "\0hello", 6, 0) == 6);
    hears(conn, HP_TRANSPORT_TCP, "\0hello", 6);
    write_all(conn, "welcome", 7);
    receives(fd, "welcome");
    if (it_dials) {
        close(fd);
        expect_end(conn, HP_END_CLOSED_BY_PEER);
    } else {
        /* It ends the connection in anger. */
        const struct linger at_once = { 1, 0 };
        CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0 && close(fd) == 0);
        CHECK(expect_end(conn, HP_END_FAILED).os_error == ECONNRESET);
    }
    hp_conn_free(conn);
}

/* It speaks what the existing tools do. */
static void datagrams_of_somebody_elses(void)
{
    char text[HP_ADDR_TEXT_LEN], buffer[100];
    hp_addr address;
    int fd = bind_loopback(text);
    hp_conn_options options = unauthenticated(HP_TRANSPORT_UDP);
    hp_conn *conn = make(&options);
    CHECK_STATUS(HP_STATUS_OK, hp_addr_parse(text, &address));
    attempt_at(conn, &address);
    address = local_address(conn);
    struct sockaddr_in bound = sockaddr_of(&address);
    CHECK(connect(fd, (struct sockaddr *)&bound, sizeof bound) == 0);
    await_datagram(fd);
    receives(fd, "SYN");
    CHECK(send(fd, "ACK", 3, 0) == 3);
    const hp_conn_info info = connects(conn);
    CHECK(info.authenticated == 0);
    CHECK(send(fd, "ACK", 3, 0) == 3 && send(fd, "hello", 5, 0) == 5);
    hears(conn, HP_TRANSPORT_UDP, "hello", 5);
    write_all(conn, "welcome", 7);
    ssize_t len;
    do {
        await_datagram(fd);
        len = recv(fd, buffer, sizeof buffer, 0);
        CHECK(len >= 0);
    } while (hp_is_control_packet((const uint8_t *)buffer, (size_t)len));
    CHECK(len == 7 && memcmp(buffer, "welcome", 7) == 0);
    close(fd);
    hp_conn_free(conn);
}

static hp_conn_options impatient(int32_t transport)
{
    hp_conn_options options = usual(transport);
    options.attempt_timeout_ms = 300;
    options.attempts = 2;
    return options;
}

static void strangers_are_named(void)
{
    hp_conn_options options = impatient(HP_TRANSPORT_TCP), of_other = options;
    of_other.id = (const uint8_t *)"another";
    of_other.id_len = 7;
    hp_conn *pair[] = { make(&options), make(&of_other) };
    for (int i = 0; i < 2; i++) {
        const hp_addr address = local_address(pair[1 - i]);
        attempt_at(pair[i], &address);
    }
    for (int i = 0; i < 2; i++) {
        hp_conn_event end = expect_end(pair[i], HP_END_NOT_REACHED);
        CHECK(end.status == HP_STATUS_STRANGER);
        hp_conn_free(pair[i]);
    }
}

static void nobody_is_there(int32_t transport)
{
    char text[HP_ADDR_TEXT_LEN];
    hp_addr address;
    hp_conn_options options = impatient(transport);
    hp_conn *conn = make(&options);
    /* Over TCP nobody is at this port, over UDP somebody who never answers. */
    int silent = bind_loopback(text);
    CHECK_STATUS(HP_STATUS_OK, hp_addr_parse(text, &address));
    attempt_at(conn, &address);
    CHECK(expect_end(conn, HP_END_NOT_REACHED).status == HP_STATUS_TIMED_OUT_PUNCHING);
    is_not_there(conn);
    hp_conn_free(conn);
    close(silent);
}

int main(int argc, char **argv)
{
    end_at_the_latest_in(90);
    CHECK(argc == 2);
    server = argv[1];
    int fds = count_fds();
    for (size_t i = 0; i < COUNT(both_transports); i++) {
        const int32_t transport = both_transports[i];
        two_connect_talk_and_part(transport, 1);
        two_connect_talk_and_part(transport, 0);
        callers_may_read_themselves(transport);
        waiting_can_be_left_to_poll(transport);
        public_addresses(transport);
        nobody_is_there(transport);
    }
    stream_of_somebody_elses(1);
    stream_of_somebody_elses(0);
    datagrams_of_somebody_elses();
    strangers_are_named();
    await_a_single_thread();
    CHECK(count_fds() == fds);
    return 0;
}
