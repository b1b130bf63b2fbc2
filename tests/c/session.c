/*
 * Sessions that meet by way of a server, in one process: who is there, what is said, who leaves; keys, pinned and exported;
 * descriptors to poll; plain peers.
 *
 *   session SERVER ID
 */
#include "sessions.h"
#include "sized.h"

#include <fcntl.h>

static const char *server, *name;

/* An ID for each part, so that none meets another's. */
static const char *id_of(const char *part)
{
    static char id[200];
    CHECK(snprintf(id, sizeof id, "%s %s", name, part) < (int)sizeof id);
    return id;
}

/* Three who know each other again by fixed keys. X25519 passes over the lowest three bits. */
static const uint8_t identities[3][HP_KEY_LEN] = { { 8 }, { 16 }, { 24 } };

static void public_key(int number, uint8_t key[HP_KEY_LEN])
{
    CHECK_STATUS(HP_STATUS_OK, hp_identity_public_key(identities[number], key));
}

static hp_session *join_as(int number, const char *id, const uint8_t *pinned, size_t pinned_count)
{
    hp_session_options options = HP_SESSION_OPTIONS_INIT;
    uint8_t identity[HP_KEY_LEN], expected[HP_KEY_LEN], key[HP_KEY_LEN];
    memcpy(identity, identities[number], sizeof identity);
    options.identity = identity;
    options.pinned = pinned;
    options.pinned_count = pinned_count;
    hp_session *session = join(server, id, &options);
    /* It was copied. */
    memset(identity, 0, sizeof identity);
    public_key(number, expected);
    CHECK_STATUS(HP_STATUS_OK, hp_session_public_key(session, key));
    CHECK(memcmp(key, expected, sizeof key) == 0);
    return session;
}

static void has_nothing_of_messages(const hp_session_event *event)
{
    CHECK(event->data == NULL && event->data_len == 0 && event->undelivered == NULL && event->undelivered_count == 0);
}

static void is_joined(const hp_session_event *event)
{
    CHECK(event->encrypted == 1 && event->endpoint.family == HP_FAMILY_NONE && event->path == 0 && event->rtt_us == 0);
    CHECK(event->reason == 0 && event->number == 0 && all_bytes(event->key, sizeof event->key, 0));
    has_nothing_of_messages(event);
}

static void is_connected(const hp_session *session, const hp_session_event *event, const uint8_t key[HP_KEY_LEN])
{
    hp_session_peer peer = HP_SESSION_PEER_INIT;
    CHECK(event->encrypted == 1 && event->endpoint.family == HP_FAMILY_IPV4 && event->endpoint.port != 0);
    CHECK(strcmp(hp_path_name(event->path), "unknown") != 0 && event->reason == 0 && event->number == 0);
    CHECK(memcmp(event->key, key, HP_KEY_LEN) == 0);
    has_nothing_of_messages(event);
    CHECK_STATUS(HP_STATUS_OK, hp_session_peer_get(session, &event->peer, &peer));
    CHECK(peer.struct_size == sizeof peer && is_same(&peer.peer, &event->peer) && peer.connected == 1);
    CHECK(strcmp(hp_path_name(peer.path), "unknown") != 0 && peer.endpoint.family == HP_FAMILY_IPV4);
    CHECK(peer.encrypted == 1 && peer.undelivered == 0 && memcmp(peer.key, key, HP_KEY_LEN) == 0);
}

/* Whom of the three an event is about. */
static int whose(hp_session *const all[3], const hp_session_event *event)
{
    for (int i = 0; i < 3; i++) {
        const hp_peer_id id = local_id(all[i]);
        if (is_same(&id, &event->peer))
            return i;
    }
    return -1;
}

static void is_registered(const hp_session_event *event)
{
    CHECK(event->endpoint.family == HP_FAMILY_IPV4 && event->endpoint.port != 0 && event->encrypted == 0);
    CHECK(all_bytes(&event->peer, sizeof event->peer, 0) && all_bytes(event->key, sizeof event->key, 0));
    has_nothing_of_messages(event);
}

/* Hears of each of the others that it joins, then that it is connected, and where the server sees it: which it returns. */
static hp_addr meets_the_others(hp_session *const all[3], int own)
{
    hp_addr endpoint = { 0, 0, 0, { 0 } };
    int joined = 0, connected = 0;
    while (connected != (7 & ~(1 << own)) || endpoint.family == HP_FAMILY_NONE) {
        hp_session_event event = await_event(all[own], 0, NULL);
        int other = whose(all, &event);
        uint8_t key[HP_KEY_LEN];
        CHECK((other < 0) == (event.kind == HP_EVENT_REGISTERED));
        if (event.kind == HP_EVENT_JOINED) {
            is_joined(&event);
            CHECK(other != own && (joined & 1 << other) == 0);
            joined |= 1 << other;
        } else if (event.kind == HP_EVENT_CONNECTED) {
            public_key(other, key);
            is_connected(all[own], &event, key);
            CHECK((joined & ~connected & 1 << other) != 0);
            connected |= 1 << other;
        } else if (event.kind == HP_EVENT_REGISTERED) {
            is_registered(&event);
            endpoint = event.endpoint;
        }
    }
    return endpoint;
}

static hp_status export_key(const hp_session *session, const hp_session *other, const char *label, uint8_t *key)
{
    const hp_peer_id id = local_id(other);
    memset(key, CANARY, HP_KEY_LEN);
    return hp_session_export_key(session, &id, (const uint8_t *)label, strlen(label), key);
}

static void exports_a_key(const hp_session *session, const hp_session *other, const char *label, uint8_t *key)
{
    CHECK_STATUS(HP_STATUS_OK, export_key(session, other, label, key));
    CHECK(!all_bytes(key, HP_KEY_LEN, 0) && !all_bytes(key, HP_KEY_LEN, CANARY));
}

/* Until it is connected there is no key; who has left has none. */
static void keys_come_with_connections(void)
{
    const char *id = id_of("keys");
    uint8_t key[HP_KEY_LEN], same[HP_KEY_LEN];
    hp_session_peer peer = HP_SESSION_PEER_INIT;
    hp_session *left = join(server, id, NULL), *right = join(server, id, NULL);
    const hp_peer_id right_id = local_id(right);
    hp_status status;
    for (long long end = now_us() + PATIENCE_MS * 1000LL; (status = export_key(left, right, "", key)) != HP_STATUS_OK;) {
        CHECK_STATUS(HP_STATUS_NOT_FOUND, status);
        CHECK(all_bytes(key, sizeof key, 0) && now_us() < end);
        sleep_us(100);
    }
    CHECK_STATUS(HP_STATUS_OK, hp_session_peer_get(left, &right_id, &peer));
    CHECK(peer.connected == 1);
    await_connected(left, right);
    exports_a_key(right, left, "", same);
    CHECK(memcmp(key, same, sizeof key) == 0);
    hp_session_free(right);
    hp_session_event event = await_event(left, HP_EVENT_LEFT, &right_id);
    CHECK(event.reason == HP_LEFT_GOODBYE && event.number == 0 && event.undelivered_count == 0);
    memset(key, CANARY, sizeof key);
    CHECK_STATUS(HP_STATUS_NOT_FOUND, hp_session_export_key(left, &right_id, NULL, 0, key));
    CHECK(all_bytes(key, sizeof key, 0));
    CHECK_STATUS(HP_STATUS_NOT_FOUND, hp_session_peer_get(left, &right_id, &peer));
    hp_session_free(left);
}

static void lists_the_others(hp_session *const all[3], int own)
{
    const hp_peer_id first = local_id(all[(own + 1) % 3]), second = local_id(all[(own + 2) % 3]);
    hp_peer_id ids[3];
    size_t count;
    for (size_t capacity = 0; capacity <= 3; capacity++) {
        size_t written = capacity < 2 ? capacity : 2;
        count = 99;
        memset(ids, CANARY, sizeof ids);
        CHECK_STATUS(capacity < 2 ? HP_STATUS_BUFFER_TOO_SMALL : HP_STATUS_OK,
                     hp_session_peers(all[own], capacity == 0 ? NULL : ids, capacity, &count));
        CHECK(count == 2 && all_bytes(ids + written, sizeof ids - written * sizeof *ids, CANARY));
    }
    CHECK((is_same(&ids[0], &first) && is_same(&ids[1], &second)) ||
          (is_same(&ids[0], &second) && is_same(&ids[1], &first)));
}

/* The longest message that there is, of a content of its own. */
static void talk_to_all(const hp_session *session, int own)
{
    static uint8_t longest[HP_SESSION_MAX_MESSAGE_LEN];
    uint64_t number;
    memset(longest, 'a' + own, sizeof longest);
    CHECK_STATUS(HP_STATUS_OK, hp_session_send(session, NULL, longest, sizeof longest, &number, NULL));
    CHECK(number == 1);
}

/* What both of the others have said, and that they have heard. */
static void hears_the_others(hp_session *const all[3], int own)
{
    int heard = 0, delivered = 0;
    while ((heard & delivered) != (7 & ~(1 << own))) {
        hp_session_event event = await_event(all[own], 0, NULL);
        int other = whose(all, &event);
        if (event.kind == HP_EVENT_MESSAGE) {
            CHECK(event.data_len == HP_SESSION_MAX_MESSAGE_LEN && all_bytes(event.data, event.data_len, 'a' + other));
            CHECK(event.encrypted == 1 && event.number == 0 && (heard & 1 << other) == 0);
            heard |= 1 << other;
        } else if (event.kind == HP_EVENT_DELIVERED) {
            has_nothing_of_messages(&event);
            CHECK(event.encrypted == 1 && event.number == 1 && (delivered & 1 << other) == 0);
            delivered |= 1 << other;
        }
    }
}

static void talks_to_one(hp_session *const all[3])
{
    const hp_peer_id from = local_id(all[0]), to = local_id(all[1]);
    hp_session_event event;
    uint64_t number;
    CHECK_STATUS(HP_STATUS_OK, hp_session_send(all[0], &to, (const uint8_t *)"you", 3, &number, NULL));
    CHECK(number == 2);
    event = await_event(all[0], HP_EVENT_DELIVERED, &to);
    CHECK(event.number == 2);
    CHECK_STATUS(HP_STATUS_OK, hp_session_send(all[0], NULL, NULL, 0, &number, NULL));
    CHECK(number == 3);
    event = await_event(all[1], HP_EVENT_MESSAGE, &from);
    CHECK(is_text(&event, "you"));
    /* Of which the third has heard nothing. */
    for (int i = 1; i < 3; i++) {
        event = await_event(all[i], HP_EVENT_MESSAGE, &from);
        CHECK(event.data_len == 0);
        event = await_event(all[0], HP_EVENT_DELIVERED, NULL);
        CHECK(event.number == 3);
    }
}

static void exports_keys(hp_session *const all[3])
{
    uint8_t key[HP_KEY_LEN], same[HP_KEY_LEN], of_label[HP_KEY_LEN], of_other[HP_KEY_LEN];
    exports_a_key(all[0], all[1], "label", key);
    exports_a_key(all[1], all[0], "label", same);
    exports_a_key(all[0], all[1], "lapel", of_label);
    exports_a_key(all[0], all[2], "label", of_other);
    CHECK(memcmp(key, same, sizeof key) == 0 && memcmp(key, of_label, sizeof key) != 0);
    CHECK(memcmp(key, of_other, sizeof key) != 0 && memcmp(of_label, of_other, sizeof key) != 0);
    CHECK_STATUS(HP_STATUS_NOT_FOUND, export_key(all[0], all[0], "label", key));
    CHECK(all_bytes(key, sizeof key, 0));
}

static uint64_t strangers(const hp_session *session)
{
    hp_session_counters counters = HP_SESSION_COUNTERS_INIT;
    CHECK_STATUS(HP_STATUS_OK, hp_session_get_counters(session, &counters));
    CHECK(counters.struct_size == sizeof counters && counters.reserved == 0);
    CHECK(counters.forged == 0);
    return counters.strangers;
}

/* What nobody of the session has sent. */
static void counts_strangers(const hp_session *session, const hp_addr *endpoint)
{
    char own[HP_ADDR_TEXT_LEN];
    struct sockaddr_storage to;
    uint32_t to_len;
    int fd = bind_loopback(own);
    uint64_t before = strangers(session);
    CHECK_STATUS(HP_STATUS_OK, hp_addr_to_sockaddr(endpoint, &to, sizeof to, &to_len));
    CHECK(sendto(fd, "who is there?", 13, 0, (struct sockaddr *)&to, to_len) == 13);
    for (long long end = now_us() + PATIENCE_MS * 1000LL; strangers(session) == before; sleep_us(1000))
        CHECK(now_us() < end);
    close(fd);
}

static void three_meet_talk_and_leave(void)
{
    const char *id = id_of("three");
    hp_session *all[3];
    hp_session_event event = HP_SESSION_EVENT_INIT;
    hp_status status;
    for (int i = 0; i < 3; i++)
        all[i] = join_as(i, id, NULL, 0);
    hp_addr endpoints[3];
    for (int i = 0; i < 3; i++)
        endpoints[i] = meets_the_others(all, i);
    for (int i = 0; i < 3; i++) {
        lists_the_others(all, i);
        talk_to_all(all[i], i);
    }
    for (int i = 0; i < 3; i++)
        hears_the_others(all, i);
    talks_to_one(all);
    exports_keys(all);
    counts_strangers(all[0], &endpoints[0]);

    const hp_peer_id gone = local_id(all[2]);
    hp_session_leave(all[2]);
    for (int i = 0; i < 2; i++) {
        event = await_event(all[i], HP_EVENT_LEFT, &gone);
        CHECK(event.reason == HP_LEFT_GOODBYE && event.encrypted == 1 && event.undelivered_count == 0);
        CHECK_STATUS(HP_STATUS_NOT_FOUND, hp_session_send(all[i], &gone, (const uint8_t *)"late", 4, NULL, NULL));
    }
    while ((status = hp_session_next_event(all[2], -1, &event)) == HP_STATUS_OK)
        continue;
    CHECK_STATUS(HP_STATUS_CANCELLED, status);
    for (int i = 0; i < 3; i++)
        hp_session_free(all[i]);
}

/* One does not fetch what it is told, and leaves: each message is known to have come, or else not. */
static void every_message_is_accounted_for(void)
{
    enum { MESSAGES = 200 };
    static const uint8_t text[1000];
    const char *id = id_of("account");
    hp_session_options options = HP_SESSION_OPTIONS_INIT;
    options.max_unfetched = 2048;
    hp_session *talker = join(server, id, NULL), *sleeper = join(server, id, &options);
    const hp_peer_id to = local_id(sleeper);
    uint64_t number = 0, delivered = 0;
    hp_session_event event;
    await_connected(talker, sleeper);
    for (int i = 0; i < MESSAGES; i++)
        CHECK_STATUS(HP_STATUS_OK, hp_session_send(talker, &to, text, sizeof text, &number, NULL));
    CHECK(number == MESSAGES);
    event = await_event(talker, HP_EVENT_DELIVERED, &to);
    CHECK(event.number == ++delivered);
    hp_session_free(sleeper);
    while ((event = await_event(talker, 0, NULL)).kind != HP_EVENT_LEFT)
        if (event.kind == HP_EVENT_DELIVERED)
            CHECK(event.number == ++delivered);
    CHECK(is_same(&event.peer, &to) && event.reason == HP_LEFT_GOODBYE && event.data == NULL);
    CHECK(event.undelivered_count > 0 && event.number == event.undelivered_count);
    CHECK(delivered + event.undelivered_count == MESSAGES);
    for (size_t i = 0; i < event.undelivered_count; i++)
        CHECK(event.undelivered[i] == delivered + 1 + i);
    hp_session_free(talker);
}

/* Only the second's key is let in. */
static void other_keys_are_refused(void)
{
    const char *id = id_of("pinned");
    uint8_t pinned[2 * HP_KEY_LEN], wrong[HP_KEY_LEN];
    memset(pinned, CANARY, sizeof pinned);
    public_key(1, pinned + HP_KEY_LEN);
    public_key(2, wrong);
    hp_session *careful = join_as(0, id, pinned, 2);
    memset(pinned, 0, sizeof pinned);
    hp_session *other = join_as(2, id, NULL, 0);
    const hp_peer_id refused = local_id(other);
    hp_session_event event = await_event(careful, HP_EVENT_LEFT, &refused);
    CHECK(event.reason == HP_LEFT_WRONG_KEY && memcmp(event.key, wrong, sizeof wrong) == 0);
    CHECK_STATUS(HP_STATUS_NOT_FOUND, hp_session_send(careful, &refused, wrong, 1, NULL, NULL));
    hp_session *welcome = join_as(1, id, NULL, 0);
    await_connected(careful, welcome);
    say(careful, NULL, "for you only");
    const hp_peer_id from = local_id(careful);
    event = await_event(welcome, HP_EVENT_MESSAGE, &from);
    CHECK(is_text(&event, "for you only"));
    hp_session_free(careful);
    hp_session_free(other);
    hp_session_free(welcome);
}

static int is_readable(const hp_session *session, int timeout_ms)
{
    hp_socket_t fd;
    CHECK_STATUS(HP_STATUS_OK, hp_session_event_fd(session, &fd));
    struct pollfd polled = { (int)fd, POLLIN, 0 };
    return poll(&polled, 1, timeout_ms) == 1;
}

static void waiting_can_be_left_to_poll(void)
{
    static const char *const texts[] = { "one", "two", "three" };
    const char *id = id_of("poll");
    hp_session *talker = join(server, id, NULL), *listener = join(server, id, NULL);
    hp_session_event event = HP_SESSION_EVENT_INIT;
    hp_status status;
    await_connected(talker, listener);
    /* Nothing to fetch is nothing to read, unless something has happened in between. */
    for (long long end = now_us() + PATIENCE_MS * 1000LL; is_readable(listener, 0); CHECK(now_us() < end))
        while ((status = hp_session_next_event(listener, 0, &event)) != HP_STATUS_NOTHING)
            CHECK_STATUS(HP_STATUS_OK, status);
    for (size_t i = 0; i < COUNT(texts); i++)
        say(talker, NULL, texts[i]);
    for (size_t heard = 0; heard < COUNT(texts);) {
        CHECK(is_readable(listener, PATIENCE_MS));
        status = hp_session_next_event(listener, 0, &event);
        CHECK(status == HP_STATUS_OK || status == HP_STATUS_NOTHING);
        if (status == HP_STATUS_OK && event.kind == HP_EVENT_MESSAGE)
            CHECK(is_text(&event, texts[heard++]));
    }
    hp_session_leave(listener);
    CHECK(is_readable(listener, PATIENCE_MS));
    hp_session_free(listener);
    hp_session_free(talker);
}

/* An existing plain tool, which is no session's. */
static void plain_peers_are_marked(void)
{
    static const uint8_t data[HP_SESSION_MAX_PLAIN_MESSAGE_LEN + 1] = { 7 };
    const char *id = id_of("plain");
    hp_session_options options = HP_SESSION_OPTIONS_INIT;
    struct caller caller;
    hp_peer peer = HP_PEER_INIT;
    hp_socket_t sock;
    struct sockaddr_storage to;
    uint32_t to_len;
    uint8_t buffer[2000], key[HP_KEY_LEN];
    ssize_t len;
    options.plain_peers = 1;
    hp_session *open = join(server, id, &options), *closed = join(server, id, NULL);
    await_connected(open, closed);
    const hp_peer_id open_id = local_id(open);

    hp_client *client = new_client(server);
    CHECK_STATUS(HP_STATUS_OK, hp_client_set_dialect(client, HP_DIALECT_PLAIN));
    CHECK_STATUS(HP_STATUS_OK, hp_client_set_timeout_ms(client, PATIENCE_MS));
    start_caller(&caller, client, id);
    hp_session_event event = await_event(open, HP_EVENT_JOINED, NULL);
    const hp_peer_id plain = event.peer;
    CHECK(event.encrypted == 0 && !all_bytes(&plain, sizeof plain, 0));
    event = await_event(open, HP_EVENT_CONNECTED, &plain);
    CHECK(event.encrypted == 0 && event.endpoint.family == HP_FAMILY_IPV4 && all_bytes(event.key, sizeof event.key, 0));
    CHECK_STATUS(HP_STATUS_OK, join_caller(&caller));
    CHECK_STATUS(HP_STATUS_OK, hp_peer_get(client, 0, &peer));
    CHECK(peer.authenticated == 0);
    CHECK_STATUS(HP_STATUS_OK, hp_socket_take(client, peer.socket, &sock));
    hp_client_free(client);

    hp_session_peer member = HP_SESSION_PEER_INIT;
    CHECK_STATUS(HP_STATUS_OK, hp_session_peer_get(open, &plain, &member));
    CHECK(member.connected == 1 && member.encrypted == 0 && all_bytes(member.key, sizeof member.key, 0));
    CHECK_STATUS(HP_STATUS_NOT_FOUND, hp_session_export_key(open, &plain, (const uint8_t *)"label", 5, key));
    CHECK_STATUS(HP_STATUS_OK, hp_addr_to_sockaddr(&peer.endpoint, &to, sizeof to, &to_len));
    CHECK(sendto((int)sock, "in the open", 11, 0, (struct sockaddr *)&to, to_len) == 11);
    event = await_event(open, HP_EVENT_MESSAGE, &plain);
    CHECK(event.encrypted == 0 && is_text(&event, "in the open"));

    static const struct {
        const uint8_t *data;
        size_t len;
    } unsuitable[] = { { data, sizeof data }, { NULL, 0 }, { (const uint8_t *)"SYN", 3 }, { (const uint8_t *)"ACK", 3 } };
    for (size_t i = 0; i < COUNT(unsuitable); i++)
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT,
                     hp_session_send(open, &plain, unsuitable[i].data, unsuitable[i].len, NULL, NULL));
    CHECK_STATUS(HP_STATUS_OK, hp_session_send(open, NULL, data, sizeof data - 1, NULL, NULL));
    do {
        struct pollfd polled = { (int)sock, POLLIN, 0 };
        CHECK(poll(&polled, 1, PATIENCE_MS) == 1);
        len = recv((int)sock, buffer, sizeof buffer, 0);
        CHECK(len >= 0);
    } while (hp_is_control_packet(buffer, (size_t)len));
    CHECK(len == sizeof data - 1 && memcmp(buffer, data, (size_t)len) == 0);
    /* The encrypted one has got it, too; the closed session has never heard of the plain one. */
    event = await_event(closed, 0, &open_id);
    CHECK(event.kind == HP_EVENT_MESSAGE && event.encrypted == 1 && event.data_len == sizeof data - 1);
    CHECK_STATUS(HP_STATUS_NOT_FOUND, hp_session_peer_get(closed, &plain, &member));
    close((int)sock);
    hp_session_free(open);
    hp_session_free(closed);
}

/* The client's socket is the session's from then on; the client joins another with one of its own. */
static void a_given_socket_becomes_the_sessions(void)
{
    char text[HP_ADDR_TEXT_LEN];
    hp_addr bound;
    hp_session *first;
    int fd = bind_loopback(text);
    hp_client *client = new_client(server);
    CHECK_STATUS(HP_STATUS_OK, hp_addr_parse(text, &bound));
    CHECK_STATUS(HP_STATUS_OK, hp_client_give_socket(client, fd));
    CHECK_STATUS(HP_STATUS_OK, hp_session_join(client, (const uint8_t *)name, strlen(name), NULL, &first, NULL));
    hp_session *second = join_by(client, name, NULL);
    await_connected(first, second);
    const hp_peer_id first_id = local_id(first), second_id = local_id(second);
    CHECK(!is_same(&first_id, &second_id) && fcntl(fd, F_GETFD) >= 0);
    hp_session_peer peer = HP_SESSION_PEER_INIT;
    CHECK_STATUS(HP_STATUS_OK, hp_session_peer_get(second, &first_id, &peer));
    CHECK(peer.endpoint.port == bound.port);
    hp_session_free(first);
    CHECK(fcntl(fd, F_GETFD) == -1 && errno == EBADF);
    await_event(second, HP_EVENT_LEFT, &first_id);
    hp_session_free(second);
}

int main(int argc, char **argv)
{
    end_at_the_latest_in(90);
    CHECK(argc == 3);
    server = argv[1];
    name = argv[2];
    int fds = count_fds();
    three_meet_talk_and_leave();
    keys_come_with_connections();
    every_message_is_accounted_for();
    other_keys_are_refused();
    waiting_can_be_left_to_poll();
    plain_peers_are_marked();
    a_given_socket_becomes_the_sessions();
    await_a_single_thread();
    CHECK(count_fds() == fds);
    return 0;
}
