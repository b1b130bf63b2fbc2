/*
 * As misuse.c, for connections from plain addresses.
 *
 *   misuse_conn
 */
#include "conns.h"

static int some;
static hp_conn *const stale = (hp_conn *)&some;

struct options_room {
    hp_conn_options now;
    unsigned char later[LATER];
};
struct event_room {
    hp_conn_event now;
    unsigned char later[LATER], beyond[BEYOND];
};
struct info_room {
    hp_conn_info now;
    unsigned char later[LATER], beyond[BEYOND];
};

/* The header's words about the defaults, and the sizes that are the ABI. */
static void initialisers(void)
{
    hp_conn_options options = HP_CONN_OPTIONS_INIT;
    hp_conn_event event = HP_CONN_EVENT_INIT;
    hp_conn_info info = HP_CONN_INFO_INIT;
    CHECK(options.struct_size == sizeof options && options.transport == HP_TRANSPORT_UDP);
    CHECK(options.id == NULL && options.id_len == 0 && options.unauthenticated == 0 && options.data_events == 1);
    CHECK(options.local.family == HP_FAMILY_NONE && options.address_source == HP_ADDRESS_NOBODY);
    CHECK(options.attempt_timeout_ms == 3000 && options.attempts == 3 && options.address_server == NULL);
    CHECK(event.struct_size == sizeof event && all_bytes((char *)&event + 4, sizeof event - 4, 0));
    CHECK(info.struct_size == sizeof info && all_bytes((char *)&info + 4, sizeof info - 4, 0));
}

static void is_refused(hp_status expected, const hp_conn_options *options)
{
    hp_error error = HP_ERROR_INIT;
    hp_conn *conn = stale;
    CHECK_STATUS(expected, hp_conn_new(options, &conn, &error));
    CHECK(conn == NULL && error.status == expected && error.message[0] != '\0');
    conn = stale;
    CHECK_STATUS(expected, hp_conn_new(options, &conn, NULL));
    CHECK(conn == NULL);
}

#define IS_REFUSED(expected, member, value)                 \
    do {                                                    \
        hp_conn_options changed = usual(HP_TRANSPORT_TCP);  \
        changed.member = (value);                           \
        is_refused((expected), &changed);                   \
    } while (0)

static void making(void)
{
    static const uint32_t bad_sizes[] = BAD_SIZES(hp_conn_options);
    static const uint32_t bad_error_sizes[] = BAD_SIZES(hp_error);
    static const int32_t bad_bools[] = { INT32_MIN, -1, 2, INT32_MAX };
    static const int32_t bad_transports[] = { INT32_MIN, -1, 0, 3, INT32_MAX };
    static const int32_t bad_sources[] = { INT32_MIN, -1, 4, INT32_MAX };
    hp_error error = HP_ERROR_INIT;
    hp_conn *conn = stale;
    hp_conn_options options = usual(HP_TRANSPORT_UDP);
    uint8_t *id = calloc(HP_MAX_SESSION_ID_LEN + 1, 1);
    hp_addr strange = { 5, 1, 0, { 1 } }, here;
    struct options_room room;
    CHECK(id != NULL);
    is_refused(HP_STATUS_INVALID_ARGUMENT, NULL);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_conn_new(&options, NULL, &error));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_conn_new(&options, NULL, NULL));
    for (size_t i = 0; i < COUNT(bad_sizes); i++)
        IS_REFUSED(HP_STATUS_INVALID_ARGUMENT, struct_size, bad_sizes[i]);
    for (size_t i = 0; i < COUNT(bad_error_sizes); i++) {
        memset(&error, CANARY, sizeof error);
        error.struct_size = bad_error_sizes[i];
        conn = stale;
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_conn_new(&options, &conn, &error));
        CHECK(conn == NULL && all_bytes((char *)&error + 4, sizeof error - 4, CANARY));
    }
    for (size_t i = 0; i < COUNT(bad_transports); i++)
        IS_REFUSED(HP_STATUS_INVALID_ARGUMENT, transport, bad_transports[i]);
    for (size_t i = 0; i < COUNT(bad_bools); i++) {
        IS_REFUSED(HP_STATUS_INVALID_ARGUMENT, unauthenticated, bad_bools[i]);
        IS_REFUSED(HP_STATUS_INVALID_ARGUMENT, data_events, bad_bools[i]);
    }
    for (size_t i = 0; i < COUNT(bad_sources); i++)
        IS_REFUSED(HP_STATUS_INVALID_ARGUMENT, address_source, bad_sources[i]);
    IS_REFUSED(HP_STATUS_INVALID_ARGUMENT, id, NULL);
    IS_REFUSED(HP_STATUS_INVALID_ARGUMENT, id_len, SIZE_MAX);
    IS_REFUSED(HP_STATUS_INVALID_SESSION_ID, id_len, 0);
    IS_REFUSED(HP_STATUS_INVALID_ARGUMENT, unauthenticated, 1);
    IS_REFUSED(HP_STATUS_INVALID_ARGUMENT, attempt_timeout_ms, 0);
    IS_REFUSED(HP_STATUS_INVALID_ARGUMENT, attempt_timeout_ms, 3600001);
    IS_REFUSED(HP_STATUS_INVALID_ARGUMENT, attempts, 0);
    IS_REFUSED(HP_STATUS_INVALID_ARGUMENT, attempts, 1001);
    IS_REFUSED(HP_STATUS_INVALID_ARGUMENT, local, strange);
    IS_REFUSED(HP_STATUS_INVALID_ARGUMENT, address_source, HP_ADDRESS_SERVER);
    IS_REFUSED(HP_STATUS_INVALID_ARGUMENT, address_source, HP_ADDRESS_STUN);
    IS_REFUSED(HP_STATUS_INVALID_ARGUMENT, address_source, HP_ADDRESS_KNOWN);
    CHECK_STATUS(HP_STATUS_OK, hp_addr_parse("192.0.2.1:0", &here));
    IS_REFUSED(HP_STATUS_SOCKET, local, here);
    options.address_source = HP_ADDRESS_STUN;
    options.address_server = "nonsense";
    is_refused(HP_STATUS_INVALID_SERVER, &options);

    options = usual(HP_TRANSPORT_TCP);
    options.id = id;
    options.id_len = HP_MAX_SESSION_ID_LEN + 1;
    is_refused(HP_STATUS_INVALID_SESSION_ID, &options);
    options.id_len = HP_MAX_SESSION_ID_LEN;
    hp_conn_free(make(&options));
    memset(&room, CANARY, sizeof room);
    room.now = usual(HP_TRANSPORT_TCP);
    room.now.struct_size = sizeof room;
    hp_conn_free(make(&room.now));
    free(id);
}

static void without_a_connection(void)
{
    hp_addr addr = { HP_FAMILY_IPV4, 1, 2, { 3 } };
    hp_socket_t fd = 7;
    hp_conn_event event = HP_CONN_EVENT_INIT;
    hp_conn_info info = HP_CONN_INFO_INIT;
    uint8_t key[HP_KEY_LEN] = { 1 }, byte = 1;
    size_t count = 5;
    hp_conn_free(NULL);
    hp_conn_close(NULL);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_conn_local_addresses(NULL, &addr, 1, &count));
    CHECK(count == 0);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_conn_public_address(NULL, 0, &addr, NULL));
    CHECK(addr.family == HP_FAMILY_NONE && addr.port == 0);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_conn_attempt(NULL, NULL, 0, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_conn_next_event(NULL, 0, &event));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_conn_event_fd(NULL, &fd));
    CHECK(fd == HP_INVALID_SOCKET);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_conn_get_info(NULL, &info));
    count = 5;
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_conn_write(NULL, &byte, 1, 0, &count, NULL));
    CHECK(count == 0);
    count = 5;
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_conn_read(NULL, &byte, 1, 0, &count, NULL));
    CHECK(count == 0);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_conn_export_key(NULL, key, 1, key));
    CHECK(all_bytes(key, sizeof key, 0));
    fd = 7;
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_conn_take(NULL, &fd, NULL));
    CHECK(fd == HP_INVALID_SOCKET);
}

/* One that is not connected yet, and then one that is over. */
static void out_of_turn(int32_t transport)
{
    hp_conn_options options = usual(transport);
    hp_conn *conn = make(&options);
    hp_error error = HP_ERROR_INIT;
    hp_addr addresses[HP_CONN_MAX_ADDRESSES + 1], addr;
    hp_socket_t fd = 7;
    struct event_room event;
    struct info_room info;
    uint8_t key[HP_KEY_LEN] = { 1 }, byte = 1;
    size_t count = 5;
    static const uint32_t bad_events[] = BAD_SIZES(hp_conn_event), bad_infos[] = BAD_SIZES(hp_conn_info);

    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_conn_local_addresses(conn, NULL, 1, &count));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_conn_local_addresses(conn, &addr, 1, NULL));
    CHECK_STATUS(HP_STATUS_BUFFER_TOO_SMALL, hp_conn_local_addresses(conn, NULL, 0, &count));
    CHECK(count == 1);
    CHECK_STATUS(HP_STATUS_OK, hp_conn_local_addresses(conn, &addr, 1, &count));
    CHECK(count == 1 && addr.family == HP_FAMILY_IPV4 && addr.port != 0);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_conn_public_address(conn, 0, NULL, NULL));
    CHECK_STATUS(HP_STATUS_NOTHING, hp_conn_public_address(conn, -1, &addr, &error));
    CHECK(error.status == HP_STATUS_NOTHING);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_conn_event_fd(conn, NULL));
    CHECK_STATUS(HP_STATUS_OK, hp_conn_event_fd(conn, &fd));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_conn_take(conn, NULL, NULL));
    CHECK_STATUS(HP_STATUS_NOT_CONNECTED, hp_conn_take(conn, &fd, &error));
    CHECK_STATUS(HP_STATUS_NOT_CONNECTED, hp_conn_write(conn, &byte, 1, 0, NULL, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_conn_write(conn, NULL, 1, 0, NULL, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_conn_read(conn, &byte, 1, 0, NULL, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_conn_read(conn, NULL, 1, 0, &count, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_conn_read(conn, &byte, 0, 0, &count, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_conn_read(conn, &byte, 1, 0, &count, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_conn_export_key(conn, NULL, 1, key));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_conn_export_key(conn, key, 1, NULL));
    CHECK_STATUS(HP_STATUS_NOT_FOUND, hp_conn_export_key(conn, NULL, 0, key));

    for (size_t i = 0; i < COUNT(bad_events); i++) {
        memset(&event, CANARY, sizeof event);
        event.now.struct_size = bad_events[i];
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_conn_next_event(conn, 0, &event.now));
        CHECK(all_bytes((char *)&event + 4, sizeof event - 4, CANARY));
    }
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_conn_next_event(conn, 0, NULL));
    for (size_t i = 0; i < COUNT(bad_infos); i++) {
        memset(&info, CANARY, sizeof info);
        info.now.struct_size = bad_infos[i];
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_conn_get_info(conn, &info.now));
        CHECK(all_bytes((char *)&info + 4, sizeof info - 4, CANARY));
    }
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_conn_get_info(conn, NULL));
    memset(&info, CANARY, sizeof info);
    info.now.struct_size = sizeof info.now + LATER;
    CHECK_STATUS(HP_STATUS_NOT_CONNECTED, hp_conn_get_info(conn, &info.now));
    is_zeroed(&info, sizeof info.now + LATER, sizeof info);
    memset(&event, CANARY, sizeof event);
    event.now.struct_size = sizeof event.now + LATER;
    CHECK_STATUS(HP_STATUS_NOTHING, hp_conn_next_event(conn, 0, &event.now));
    is_zeroed(&event, sizeof event.now + LATER, sizeof event);

    for (size_t i = 0; i < COUNT(addresses); i++)
        CHECK_STATUS(HP_STATUS_OK, hp_addr_parse("127.0.0.1:9", &addresses[i]));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_conn_attempt(conn, NULL, 1, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_conn_attempt(conn, addresses, COUNT(addresses), &error));
    addresses[1].port = 0;
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_conn_attempt(conn, addresses, 2, &error));
    addresses[1].port = 9;
    addresses[1].family = HP_FAMILY_NONE;
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_conn_attempt(conn, addresses, 2, &error));
    CHECK_STATUS(HP_STATUS_OK, hp_conn_attempt(conn, addresses, 1, &error));
    CHECK_STATUS(HP_STATUS_ALREADY_ATTEMPTED, hp_conn_attempt(conn, addresses, 1, &error));
    CHECK(error.status == HP_STATUS_ALREADY_ATTEMPTED);

    hp_conn_close(conn);
    hp_conn_close(conn);
    event.now.struct_size = sizeof event.now;
    CHECK_STATUS(HP_STATUS_OK, hp_conn_next_event(conn, -1, &event.now));
    CHECK(event.now.kind == HP_CONN_ENDED && event.now.reason == HP_END_CLOSED && event.now.message == NULL);
    CHECK_STATUS(HP_STATUS_CANCELLED, hp_conn_next_event(conn, -1, &event.now));
    CHECK_STATUS(HP_STATUS_NOT_CONNECTED, hp_conn_take(conn, &fd, NULL));
    hp_conn_free(conn);
}

int main(void)
{
    end_at_the_latest_in(120);
    initialisers();
    making();
    without_a_connection();
    out_of_turn(HP_TRANSPORT_UDP);
    out_of_turn(HP_TRANSPORT_TCP);
    return 0;
}
