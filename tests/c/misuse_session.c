/*
 * As misuse.c, for sessions.
 *
 *   misuse_session SERVER ID
 */
#include "sessions.h"
#include "sized.h"

static const char *server, *name;
static hp_session *const stale = (hp_session *)&server;
static const hp_peer_id nobody = { { 0 } };
static const hp_peer_id stranger = { { 1, 2, 3 } };

struct options_room {
    hp_session_options now;
    unsigned char later[LATER];
};
struct event_room {
    hp_session_event now;
    unsigned char later[LATER], beyond[BEYOND];
};
struct peer_room {
    hp_session_peer now;
    unsigned char later[LATER], beyond[BEYOND];
};
struct counters_room {
    hp_session_counters now;
    unsigned char later[LATER], beyond[BEYOND];
};

/* The header's words about the defaults, and the sizes that are the ABI. */
static void initialisers(void)
{
    hp_session_options options = HP_SESSION_OPTIONS_INIT;
    hp_session_event event = HP_SESSION_EVENT_INIT;
    hp_session_peer peer = HP_SESSION_PEER_INIT;
    hp_session_counters counters = HP_SESSION_COUNTERS_INIT;
    CHECK(options.struct_size == sizeof options && options.plain_peers == 0);
    CHECK(options.identity == NULL && options.pinned == NULL && options.pinned_count == 0);
    CHECK(options.max_unacknowledged == 4194304 && options.max_unfetched == 2097152);
    CHECK(event.struct_size == sizeof event && all_bytes((char *)&event + 4, sizeof event - 4, 0));
    CHECK(peer.struct_size == sizeof peer && all_bytes((char *)&peer + 4, sizeof peer - 4, 0));
    CHECK(counters.struct_size == sizeof counters && all_bytes((char *)&counters + 4, sizeof counters - 4, 0));
}

/* Under an ID that nobody else has had: the server may hear of a goodbye only after the next has joined. */
static hp_session *join_alone(const hp_session_options *options)
{
    static int number;
    char id[100];
    CHECK(snprintf(id, sizeof id, "%s %d", name, number++) < (int)sizeof id);
    hp_client *client = new_client(server);
    /* A session that finds out about its NAT registers again, and is told of that, too. */
    CHECK_STATUS(HP_STATUS_OK, hp_client_set_techniques(client, 0));
    return join_by(client, id, options);
}

/* It joins nothing, and says so in each of its outputs. */
static void is_refused(hp_status expected, hp_client *client, const void *id, size_t id_len,
                       const hp_session_options *options)
{
    hp_error error = HP_ERROR_INIT;
    hp_session *session = stale;
    CHECK_STATUS(expected, hp_session_join(client, id, id_len, options, &session, &error));
    CHECK(session == NULL && error.status == expected && error.message[0] != '\0');
    session = stale;
    CHECK_STATUS(expected, hp_session_join(client, id, id_len, options, &session, NULL));
    CHECK(session == NULL);
}

static void joining(void)
{
    static const uint32_t bad_error_sizes[] = BAD_SIZES(hp_error);
    hp_client *client = new_client(server);
    hp_error error = HP_ERROR_INIT;
    hp_session *session = stale;
    char unknown_host[259];
    uint8_t *id = malloc(HP_MAX_SESSION_ID_LEN + 1);
    CHECK(id != NULL);
    memset(id, 'i', HP_MAX_SESSION_ID_LEN + 1);
    is_refused(HP_STATUS_INVALID_ARGUMENT, NULL, "id", 2, NULL);
    is_refused(HP_STATUS_INVALID_ARGUMENT, client, NULL, 1, NULL);
    is_refused(HP_STATUS_INVALID_ARGUMENT, client, id, SIZE_MAX, NULL);
    is_refused(HP_STATUS_INVALID_SESSION_ID, client, NULL, 0, NULL);
    is_refused(HP_STATUS_INVALID_SESSION_ID, client, id, 0, NULL);
    is_refused(HP_STATUS_INVALID_SESSION_ID, client, id, HP_MAX_SESSION_ID_LEN + 1, NULL);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_join(client, id, 1, NULL, NULL, &error));
    CHECK(error.status == HP_STATUS_INVALID_ARGUMENT);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_join(client, id, 1, NULL, NULL, NULL));
    for (size_t i = 0; i < COUNT(bad_error_sizes); i++) {
        memset(&error, CANARY, sizeof error);
        error.struct_size = bad_error_sizes[i];
        session = stale;
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_join(client, id, 1, NULL, &session, &error));
        CHECK(session == NULL && all_bytes((char *)&error + 4, sizeof error - 4, CANARY));
    }
    CHECK_STATUS(HP_STATUS_OK, hp_session_join(client, id, HP_MAX_SESSION_ID_LEN, NULL, &session, NULL));
    hp_session_free(session);
    hp_client_free(client);

    /* No label of a name is that long, so no name server is asked. */
    memset(unknown_host, 'a', sizeof unknown_host);
    strcpy(unknown_host + sizeof unknown_host - sizeof ":5000", ":5000");
    client = new_client(unknown_host);
    is_refused(HP_STATUS_SERVER_NOT_FOUND, client, "id", 2, NULL);
    hp_client_free(client);
    free(id);
}

static void options(void)
{
    static const uint32_t bad_sizes[] = BAD_SIZES(hp_session_options);
    static const int32_t bad_bools[] = { INT32_MIN, -1, 2, INT32_MAX };
    static const uint64_t bad_unfetched[] = { 0, 1, 2047 };
    static const uint8_t keys[2 * HP_KEY_LEN] = { 9 };
    const hp_session_options fresh = HP_SESSION_OPTIONS_INIT;
    struct options_room room;
    hp_session_options options;
    hp_client *client = new_client(server);
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        options = fresh;
        options.struct_size = bad_sizes[i];
        is_refused(HP_STATUS_INVALID_ARGUMENT, client, "id", 2, &options);
    }
    for (size_t i = 0; i < COUNT(bad_bools); i++) {
        options = fresh;
        options.plain_peers = bad_bools[i];
        is_refused(HP_STATUS_INVALID_ARGUMENT, client, "id", 2, &options);
    }
    for (size_t i = 0; i < COUNT(bad_unfetched); i++) {
        options = fresh;
        options.max_unfetched = bad_unfetched[i];
        is_refused(HP_STATUS_INVALID_ARGUMENT, client, "id", 2, &options);
    }
    options = fresh;
    options.pinned_count = 1;
    is_refused(HP_STATUS_INVALID_ARGUMENT, client, "id", 2, &options);
    /* So many keys are more bytes than there can be, and than a size_t can say: none of them is looked at. */
    options.pinned = keys;
    options.pinned_count = SIZE_MAX / HP_KEY_LEN;
    is_refused(HP_STATUS_INVALID_ARGUMENT, client, "id", 2, &options);
    options.pinned_count = SIZE_MAX / HP_KEY_LEN + 2;
    is_refused(HP_STATUS_INVALID_ARGUMENT, client, "id", 2, &options);
    /* An empty list would let nobody in. */
    options.pinned_count = 0;
    is_refused(HP_STATUS_INVALID_ARGUMENT, client, "id", 2, &options);

    /* The limits' edges, and a later version's options, which this one does not look at. */
    memset(&room, CANARY, sizeof room);
    room.now = fresh;
    room.now.struct_size = sizeof room;
    room.now.pinned = keys;
    room.now.pinned_count = 2;
    room.now.identity = keys;
    room.now.plain_peers = 1;
    room.now.max_unacknowledged = UINT64_MAX;
    room.now.max_unfetched = UINT64_MAX;
    hp_session_free(join_alone(&room.now));
    room.now.max_unacknowledged = 0;
    room.now.max_unfetched = 2048;
    hp_session_free(join_alone(&room.now));
    CHECK(all_bytes(room.later, LATER, CANARY));
    hp_client_free(client);
}

static void keys(const hp_session *session)
{
    char text[HP_FINGERPRINT_TEXT_LEN + 1];
    uint8_t key[HP_KEY_LEN], identity[HP_KEY_LEN] = { 5 };
    hp_peer_id id = stranger;
    size_t needed = 99;
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_local_id(session, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_local_id(NULL, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_local_id(NULL, &id));
    CHECK(is_same(&id, &nobody));
    memset(key, CANARY, sizeof key);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_public_key(session, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_public_key(NULL, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_public_key(NULL, key));
    CHECK(all_bytes(key, sizeof key, 0));
    memset(key, CANARY, sizeof key);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_identity_public_key(identity, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_identity_public_key(NULL, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_identity_public_key(NULL, key));
    CHECK(all_bytes(key, sizeof key, 0));

    memset(text, 'x', sizeof text);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_key_fingerprint(NULL, NULL, 0, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_key_fingerprint(NULL, text, sizeof text, &needed));
    CHECK(needed == 0 && text[0] == '\0');
    text[0] = 'x';
    CHECK_STATUS(HP_STATUS_BUFFER_TOO_SMALL, hp_key_fingerprint(key, NULL, SIZE_MAX, NULL));
    CHECK_STATUS(HP_STATUS_BUFFER_TOO_SMALL, hp_key_fingerprint(key, text, 0, &needed));
    CHECK(needed == HP_FINGERPRINT_TEXT_LEN && text[0] == 'x');
    needed = 0;
    CHECK_STATUS(HP_STATUS_BUFFER_TOO_SMALL, hp_key_fingerprint(key, text, HP_FINGERPRINT_TEXT_LEN - 1, &needed));
    CHECK(needed == HP_FINGERPRINT_TEXT_LEN && text[0] == '\0' && all_bytes(text + 1, sizeof text - 1, 'x'));
    CHECK_STATUS(HP_STATUS_OK, hp_key_fingerprint(key, text, HP_FINGERPRINT_TEXT_LEN, NULL));
    CHECK(strlen(text) == HP_FINGERPRINT_TEXT_LEN - 1 && text[HP_FINGERPRINT_TEXT_LEN] == 'x');
    CHECK(strspn(text, "0123456789abcdef ") == HP_FINGERPRINT_TEXT_LEN - 1);
}

/* Nobody is there whom it could be about. */
static void peers(const hp_session *session)
{
    const hp_peer_id own = local_id(session), *const not_there[] = { &nobody, &stranger, &own };
    static const uint32_t bad_sizes[] = BAD_SIZES(hp_session_peer);
    struct peer_room room;
    hp_peer_id ids[2] = { stranger, stranger };
    uint8_t key[HP_KEY_LEN];
    size_t count = 99;
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_peers(NULL, ids, 2, &count));
    CHECK(count == 0);
    count = 99;
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_peers(session, NULL, 1, &count));
    CHECK(count == 0);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_peers(session, ids, 2, NULL));
    count = 99;
    CHECK_STATUS(HP_STATUS_OK, hp_session_peers(session, NULL, 0, &count));
    CHECK(count == 0);
    CHECK_STATUS(HP_STATUS_OK, hp_session_peers(session, ids, 2, &count));
    CHECK(count == 0 && is_same(&ids[0], &stranger) && is_same(&ids[1], &stranger));

    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_peer_get(session, &stranger, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_peer_get(NULL, NULL, NULL));
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        memset(&room, CANARY, sizeof room);
        room.now.struct_size = bad_sizes[i];
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_peer_get(session, &stranger, &room.now));
        CHECK(room.now.struct_size == bad_sizes[i] && all_bytes((char *)&room + 4, sizeof room - 4, CANARY));
    }
    for (uint32_t size = sizeof(hp_session_peer); size <= sizeof(hp_session_peer) + LATER; size += LATER) {
        memset(&room, CANARY, sizeof room);
        room.now.struct_size = size;
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_peer_get(NULL, &stranger, &room.now));
        is_zeroed(&room, size, sizeof room);
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_peer_get(session, NULL, &room.now));
        for (size_t i = 0; i < COUNT(not_there); i++) {
            memset((char *)&room + 4, CANARY, sizeof room - 4);
            CHECK_STATUS(HP_STATUS_NOT_FOUND, hp_session_peer_get(session, not_there[i], &room.now));
            is_zeroed(&room, size, sizeof room);
        }
    }

    memset(key, CANARY, sizeof key);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_export_key(session, &stranger, key, 1, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_export_key(NULL, &stranger, NULL, 0, key));
    CHECK(all_bytes(key, sizeof key, 0));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_export_key(session, NULL, NULL, 0, key));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_export_key(session, &stranger, NULL, 1, key));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_export_key(session, &stranger, ids[0].bytes, SIZE_MAX, key));
    for (size_t i = 0; i < COUNT(not_there); i++) {
        memset(key, CANARY, sizeof key);
        CHECK_STATUS(HP_STATUS_NOT_FOUND, hp_session_export_key(session, not_there[i], NULL, 0, key));
        CHECK(all_bytes(key, sizeof key, 0));
    }
}

static void counters(const hp_session *session)
{
    static const uint32_t bad_sizes[] = BAD_SIZES(hp_session_counters);
    struct counters_room room;
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_get_counters(session, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_get_counters(NULL, NULL));
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        memset(&room, CANARY, sizeof room);
        room.now.struct_size = bad_sizes[i];
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_get_counters(session, &room.now));
        CHECK(room.now.struct_size == bad_sizes[i] && all_bytes((char *)&room + 4, sizeof room - 4, CANARY));
    }
    for (uint32_t size = sizeof(hp_session_counters); size <= sizeof(hp_session_counters) + LATER; size += LATER) {
        memset(&room, CANARY, sizeof room);
        room.now.struct_size = size;
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_get_counters(NULL, &room.now));
        is_zeroed(&room, size, sizeof room);
        memset((char *)&room + 4, CANARY, sizeof room - 4);
        CHECK_STATUS(HP_STATUS_OK, hp_session_get_counters(session, &room.now));
        is_zeroed(&room, size, sizeof room);
    }
}

static hp_status send_one(const hp_session *session, const hp_peer_id *to, const uint8_t *data, size_t len)
{
    hp_error error = HP_ERROR_INIT;
    uint64_t number = 99;
    hp_status status = hp_session_send(session, to, data, len, &number, &error);
    CHECK(error.status == status && (error.message[0] != '\0') == (status != HP_STATUS_OK));
    CHECK((number != 0) == (status == HP_STATUS_OK));
    return status;
}

static void sending(const hp_session *session)
{
    static const uint32_t bad_error_sizes[] = BAD_SIZES(hp_error);
    static const uint8_t data[HP_SESSION_MAX_MESSAGE_LEN + 1];
    hp_error error;
    uint64_t number = 99;
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, send_one(NULL, NULL, data, 1));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, send_one(session, NULL, NULL, 1));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, send_one(session, NULL, data, SIZE_MAX));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_send(NULL, NULL, NULL, 0, NULL, NULL));
    for (size_t i = 0; i < COUNT(bad_error_sizes); i++) {
        memset(&error, CANARY, sizeof error);
        error.struct_size = bad_error_sizes[i];
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_send(session, NULL, data, 1, &number, &error));
        CHECK(number == 0 && all_bytes((char *)&error + 4, sizeof error - 4, CANARY));
        number = 99;
    }
    CHECK_STATUS(HP_STATUS_NOT_FOUND, send_one(session, &stranger, data, 1));
    CHECK_STATUS(HP_STATUS_NOT_FOUND, send_one(session, &nobody, data, 0));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, send_one(session, NULL, data, HP_SESSION_MAX_MESSAGE_LEN + 1));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, send_one(session, &stranger, data, HP_SESSION_MAX_MESSAGE_LEN + 1));
    /* To nobody, all can be said; none of the failures above has used up a number. */
    CHECK_STATUS(HP_STATUS_OK, hp_session_send(session, NULL, data, HP_SESSION_MAX_MESSAGE_LEN, &number, NULL));
    CHECK(number == 1);
    CHECK_STATUS(HP_STATUS_OK, hp_session_send(session, NULL, NULL, 0, &number, NULL));
    CHECK(number == 2);
}

/* Alone, once the server has answered, nothing happens. */
static void events(const hp_session *session)
{
    static const uint32_t bad_sizes[] = BAD_SIZES(hp_session_event);
    static const int64_t times[] = { 0, 1 };
    struct event_room room;
    hp_socket_t fd = 0;
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_next_event(session, -1, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_next_event(NULL, -1, NULL));
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        memset(&room, CANARY, sizeof room);
        room.now.struct_size = bad_sizes[i];
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_next_event(session, -1, &room.now));
        CHECK(room.now.struct_size == bad_sizes[i] && all_bytes((char *)&room + 4, sizeof room - 4, CANARY));
    }
    for (uint32_t size = sizeof(hp_session_event); size <= sizeof(hp_session_event) + LATER; size += LATER) {
        memset(&room, CANARY, sizeof room);
        room.now.struct_size = size;
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_next_event(NULL, -1, &room.now));
        is_zeroed(&room, size, sizeof room);
        for (size_t i = 0; i < COUNT(times); i++) {
            memset((char *)&room + 4, CANARY, sizeof room - 4);
            CHECK_STATUS(HP_STATUS_NOTHING, hp_session_next_event(session, times[i], &room.now));
            is_zeroed(&room, size, sizeof room);
        }
    }
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_event_fd(session, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_event_fd(NULL, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_session_event_fd(NULL, &fd));
    CHECK(fd == HP_INVALID_SOCKET);
}

/* A later version's larger event, filled. */
static void larger_event(void)
{
    struct event_room room;
    hp_session *session = join_alone(NULL);
    memset(&room, CANARY, sizeof room);
    room.now.struct_size = sizeof(hp_session_event) + LATER;
    CHECK_STATUS(HP_STATUS_OK, hp_session_next_event(session, INT64_MAX, &room.now));
    CHECK(room.now.struct_size == sizeof(hp_session_event) + LATER && room.now.kind == HP_EVENT_REGISTERED);
    CHECK(room.now.endpoint.family == HP_FAMILY_IPV4 && is_same(&room.now.peer, &nobody));
    CHECK(all_bytes(room.later, LATER, 0) && all_bytes(room.beyond, BEYOND, CANARY));
    hp_session_free(session);
}

/* One hp_session_next_event in a thread of its own. */
struct listener {
    const hp_session *session;
    int64_t timeout_ms;
    hp_status status;
    pthread_t thread;
};

static void *listen_once(void *argument)
{
    struct listener *listener = argument;
    hp_session_event event = HP_SESSION_EVENT_INIT;
    /* Only as long as the other thread, which looks whether this one is here, is in its way. */
    do
        listener->status = hp_session_next_event(listener->session, listener->timeout_ms, &event);
    while (listener->status == HP_STATUS_BUSY);
    return NULL;
}

/* Until it is there, which HP_STATUS_BUSY shows, and nothing else does. */
static void start_listener(struct listener *listener, const hp_session *session, int64_t timeout_ms)
{
    hp_session_event event = HP_SESSION_EVENT_INIT;
    hp_status status;
    long long end = now_us() + PATIENCE_MS * 1000LL;
    listener->session = session;
    listener->timeout_ms = timeout_ms;
    CHECK(pthread_create(&listener->thread, NULL, listen_once, listener) == 0);
    while ((status = hp_session_next_event(session, 0, &event)) != HP_STATUS_BUSY) {
        CHECK_STATUS(HP_STATUS_NOTHING, status);
        CHECK(now_us() < end);
        sleep_us(1000);
    }
    CHECK(all_bytes((char *)&event + 4, sizeof event - 4, 0));
}

static hp_status join_listener(struct listener *listener)
{
    CHECK(pthread_join(listener->thread, NULL) == 0);
    return listener->status;
}

static void leaving(hp_session *session)
{
    const hp_peer_id own = local_id(session);
    struct listener listener;
    hp_session_event event = HP_SESSION_EVENT_INIT;
    hp_session_peer peer = HP_SESSION_PEER_INIT;
    hp_peer_id ids[1], id;
    uint8_t key[HP_KEY_LEN], data = 0;
    hp_socket_t fd;
    size_t count;
    hp_session_leave(NULL);
    start_listener(&listener, session, INT64_MAX);
    /* Nothing else has to wait for the one that listens. */
    keys(session), peers(session), counters(session);
    CHECK_STATUS(HP_STATUS_NOT_FOUND, send_one(session, &stranger, &data, 1));
    hp_session_leave(session);
    CHECK_STATUS(HP_STATUS_CANCELLED, join_listener(&listener));
    for (int i = 0; i < 2; i++) {
        CHECK_STATUS(HP_STATUS_CANCELLED, hp_session_next_event(session, i == 0 ? 0 : -1, &event));
        CHECK_STATUS(HP_STATUS_CANCELLED, send_one(session, NULL, &data, 1));
        CHECK_STATUS(HP_STATUS_CANCELLED, send_one(session, &stranger, &data, 1));
        hp_session_leave(session);
    }
    CHECK(all_bytes((char *)&event + 4, sizeof event - 4, 0));
    CHECK_STATUS(HP_STATUS_OK, hp_session_local_id(session, &id));
    CHECK(is_same(&id, &own));
    CHECK_STATUS(HP_STATUS_OK, hp_session_public_key(session, key));
    CHECK_STATUS(HP_STATUS_OK, hp_session_peers(session, ids, 1, &count));
    CHECK_STATUS(HP_STATUS_NOT_FOUND, hp_session_peer_get(session, &stranger, &peer));
    CHECK_STATUS(HP_STATUS_NOT_FOUND, hp_session_export_key(session, &stranger, NULL, 0, key));
    counters(session);
    /* Who polls is told of the end, too, and for good. */
    CHECK_STATUS(HP_STATUS_OK, hp_session_event_fd(session, &fd));
    struct pollfd polled = { (int)fd, POLLIN, 0 };
    CHECK(poll(&polled, 1, PATIENCE_MS) == 1);
}

static hp_session *registered(void)
{
    hp_session *session = join_alone(NULL);
    await_event(session, HP_EVENT_REGISTERED, NULL);
    return session;
}

static void freeing_while_another_listens(void)
{
    struct listener listener;
    for (int round = 0; round < 20; round++) {
        hp_session *session = registered();
        start_listener(&listener, session, round % 2 == 0 ? -1 : INT64_MAX);
        hp_session_free(session);
        CHECK_STATUS(HP_STATUS_CANCELLED, join_listener(&listener));
    }
    hp_session_free(NULL);
}

int main(int argc, char **argv)
{
    end_at_the_latest_in(90);
    CHECK(argc == 3);
    server = argv[1];
    name = argv[2];
    int fds = count_fds();
    initialisers();
    joining();
    options();
    larger_event();
    hp_session *session = registered();
    keys(session);
    peers(session);
    counters(session);
    sending(session);
    events(session);
    leaving(session);
    hp_session_free(session);
    freeing_while_another_listens();
    await_a_single_thread();
    CHECK(count_fds() == fds);
    return 0;
}
