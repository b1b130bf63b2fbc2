/*
 * What the programs about connections from plain addresses share: making them, on loopback, and waiting for what happens.
 */
#ifndef CONNS_H
#define CONNS_H

#include "sized.h"

static const int32_t both_transports[] = { HP_TRANSPORT_UDP, HP_TRANSPORT_TCP };

static inline hp_conn_options usual(int32_t transport)
{
    hp_conn_options options = HP_CONN_OPTIONS_INIT;
    options.transport = transport;
    options.id = (const uint8_t *)"id";
    options.id_len = 2;
    CHECK_STATUS(HP_STATUS_OK, hp_addr_parse("127.0.0.1:0", &options.local));
    return options;
}

static inline hp_conn *make(const hp_conn_options *options)
{
    hp_error error = HP_ERROR_INIT;
    hp_conn *conn = NULL;
    CHECK_STATUS(HP_STATUS_OK, hp_conn_new(options, &conn, &error));
    CHECK(conn != NULL && error.status == HP_STATUS_OK);
    return conn;
}

/* On loopback it has one. */
static inline hp_addr local_address(const hp_conn *conn)
{
    hp_addr address;
    size_t count;
    CHECK_STATUS(HP_STATUS_OK, hp_conn_local_addresses(conn, &address, 1, &count));
    CHECK(count == 1 && address.family == HP_FAMILY_IPV4 && address.port != 0);
    return address;
}

static inline int is_same_address(const hp_addr *left, const hp_addr *right)
{
    return memcmp(left, right, sizeof *left) == 0;
}

static inline void attempt_at(const hp_conn *conn, const hp_addr *address)
{
    hp_error error = HP_ERROR_INIT;
    CHECK_STATUS(HP_STATUS_OK, hp_conn_attempt(conn, address, address != NULL, &error));
    CHECK(error.status == HP_STATUS_OK);
}

/* Each is told where the other is. */
static inline void make_pair(const hp_conn_options *options, hp_conn *pair[2])
{
    for (int i = 0; i < 2; i++)
        pair[i] = make(options);
    for (int i = 0; i < 2; i++) {
        const hp_addr address = local_address(pair[1 - i]);
        attempt_at(pair[i], &address);
    }
}

/* The next event, which must be of this kind. */
#define expect_event(conn, kind) expect_event_at((conn), (kind), __FILE__, __LINE__)

static inline hp_conn_event expect_event_at(const hp_conn *conn, int32_t kind, const char *file, int line)
{
    hp_conn_event event = HP_CONN_EVENT_INIT;
    hp_status status = hp_conn_next_event(conn, PATIENCE_MS, &event);
    check_status(HP_STATUS_OK, status, "hp_conn_next_event", file, line);
    if (event.kind != kind)
        fprintf(stderr, "%s:%d: event %d instead of %d: reason %d, %s\n", file, line, (int)event.kind, (int)kind,
                (int)event.reason, event.message != NULL ? event.message : "-");
    check_that(event.kind == kind && event.struct_size == sizeof event && event.reserved == 0, "the event is as expected",
               file, line);
    return event;
}

/* Ended for this reason, and nothing comes after it. */
static inline hp_conn_event expect_end(const hp_conn *conn, int32_t reason)
{
    hp_conn_event end = expect_event(conn, HP_CONN_ENDED), none = HP_CONN_EVENT_INIT;
    CHECK(end.reason == reason && end.data == NULL && end.data_len == 0 && end.endpoint.family == HP_FAMILY_NONE);
    if (reason == HP_END_NOT_REACHED) {
        CHECK(end.status != HP_STATUS_OK && end.message != NULL && end.message[0] != '\0');
        printf("not reached: %s\n", end.message);
    } else {
        CHECK(end.status == HP_STATUS_OK && end.message == NULL && (end.os_error != 0) == (reason == HP_END_FAILED));
    }
    /* What the event points to lives until now. */
    end.message = NULL;
    CHECK_STATUS(HP_STATUS_CANCELLED, hp_conn_next_event(conn, 0, &none));
    CHECK_STATUS(HP_STATUS_CANCELLED, hp_conn_next_event(conn, -1, &none));
    CHECK(all_bytes((char *)&none + 4, sizeof none - 4, 0));
    return end;
}

static inline void is_not_there(const hp_conn *conn)
{
    hp_conn_info info = HP_CONN_INFO_INIT;
    uint8_t key[HP_KEY_LEN] = { 1 };
    CHECK_STATUS(HP_STATUS_NOT_CONNECTED, hp_conn_get_info(conn, &info));
    CHECK(all_bytes((char *)&info + 4, sizeof info - 4, 0));
    CHECK_STATUS(HP_STATUS_NOT_CONNECTED, hp_conn_write(conn, key, 1, -1, NULL, NULL));
    CHECK_STATUS(HP_STATUS_NOT_FOUND, hp_conn_export_key(conn, key, 1, key));
    CHECK(all_bytes(key, sizeof key, 0));
}

/* That it is connected is what happens next; where to. */
static inline hp_conn_info connects(const hp_conn *conn)
{
    hp_conn_event event = expect_event(conn, HP_CONN_CONNECTED);
    hp_conn_info info = HP_CONN_INFO_INIT;
    CHECK(event.reason == 0 && event.status == 0 && event.os_error == 0);
    CHECK(event.data == NULL && event.data_len == 0 && event.message == NULL);
    CHECK_STATUS(HP_STATUS_OK, hp_conn_get_info(conn, &info));
    CHECK(info.struct_size == sizeof info && info.reserved == 0 && is_same_address(&info.remote, &event.endpoint));
    const hp_addr local = local_address(conn);
    CHECK(is_same_address(&info.local, &local));
    CHECK(info.path == HP_PATH_REFLEXIVE || info.path == HP_PATH_PEER_REFLEXIVE);
    return info;
}

static inline void write_all(const hp_conn *conn, const void *data, size_t len)
{
    hp_error error = HP_ERROR_INIT;
    size_t written = 0;
    CHECK_STATUS(HP_STATUS_OK, hp_conn_write(conn, data, len, PATIENCE_MS, &written, &error));
    CHECK(written == len && error.status == HP_STATUS_OK);
}

/* The next len bytes, however they come; over UDP all of them are one datagram. */
static inline void hears(const hp_conn *conn, int32_t transport, const void *expected, size_t len)
{
    for (size_t heard = 0; heard < len;) {
        hp_conn_event event = expect_event(conn, HP_CONN_DATA);
        CHECK(event.data_len > 0 && event.data_len <= len - heard);
        CHECK(transport == HP_TRANSPORT_TCP || event.data_len == len);
        CHECK(memcmp(event.data, (const char *)expected + heard, event.data_len) == 0);
        CHECK(event.reason == 0 && event.status == 0 && event.message == NULL && event.endpoint.family == HP_FAMILY_NONE);
        heard += event.data_len;
    }
}

static inline void reads(const hp_conn *conn, size_t capacity, const void *expected, size_t len)
{
    uint8_t buffer[2000];
    hp_error error = HP_ERROR_INIT;
    size_t got = SIZE_MAX;
    memset(buffer, CANARY, sizeof buffer);
    CHECK_STATUS(HP_STATUS_OK, hp_conn_read(conn, buffer, capacity, PATIENCE_MS, &got, &error));
    CHECK(got == len && error.status == HP_STATUS_OK);
    CHECK(memcmp(buffer, expected, len) == 0 && all_bytes(buffer + capacity, sizeof buffer - capacity, CANARY));
}

static inline void reads_nothing(const hp_conn *conn, int64_t timeout_ms, hp_status expected)
{
    uint8_t buffer[100];
    hp_error error = HP_ERROR_INIT;
    size_t got = SIZE_MAX;
    CHECK_STATUS(expected, hp_conn_read(conn, buffer, sizeof buffer, timeout_ms, &got, &error));
    CHECK(got == 0 && error.status == expected && error.message[0] != '\0');
}

static inline struct sockaddr_in sockaddr_of(const hp_addr *address)
{
    struct sockaddr_storage room;
    struct sockaddr_in plain;
    uint32_t len;
    CHECK_STATUS(HP_STATUS_OK, hp_addr_to_sockaddr(address, &room, sizeof room, &len));
    CHECK(len == sizeof plain);
    memcpy(&plain, &room, sizeof plain);
    return plain;
}

static inline void receives(int fd, const char *expected)
{
    char buffer[100];
    CHECK(strlen(expected) < sizeof buffer);
    CHECK(recv(fd, buffer, strlen(expected), MSG_WAITALL) == (ssize_t)strlen(expected));
    CHECK(memcmp(buffer, expected, strlen(expected)) == 0);
}

#endif
