/*
 * What the programs about sessions share: joining, and waiting for what happens.
 */
#ifndef SESSIONS_H
#define SESSIONS_H

#include "check.h"

/* Joins by way of a client, and frees that at once: the session does not need it. */
static inline hp_session *join_by(hp_client *client, const char *id, const hp_session_options *options)
{
    hp_session *session = NULL;
    hp_error error = HP_ERROR_INIT;
    hp_status status = hp_session_join(client, (const uint8_t *)id, strlen(id), options, &session, &error);
    if (status != HP_STATUS_OK)
        fprintf(stderr, "%s\n", error.message);
    CHECK_STATUS(HP_STATUS_OK, status);
    CHECK(session != NULL && error.status == HP_STATUS_OK);
    hp_client_free(client);
    return session;
}

static inline hp_session *join(const char *server, const char *id, const hp_session_options *options)
{
    return join_by(new_client(server), id, options);
}

static inline hp_peer_id local_id(const hp_session *session)
{
    hp_peer_id id;
    CHECK_STATUS(HP_STATUS_OK, hp_session_local_id(session, &id));
    CHECK(!all_bytes(&id, sizeof id, 0));
    return id;
}

static inline int is_same(const hp_peer_id *left, const hp_peer_id *right)
{
    return memcmp(left, right, sizeof *left) == 0;
}

/* The next event of a kind (0: of any), about a peer unless that is NULL; others are passed over. */
#define await_event(session, kind, peer) await_event_at((session), (kind), (peer), __FILE__, __LINE__)

static inline hp_session_event await_event_at(const hp_session *session, int32_t kind, const hp_peer_id *peer,
                                              const char *file, int line)
{
    hp_session_event event = HP_SESSION_EVENT_INIT;
    long long end = now_us() + PATIENCE_MS * 1000LL;
    do {
        long long rest_ms = (end - now_us()) / 1000;
        hp_status status = hp_session_next_event(session, rest_ms > 0 ? rest_ms : 0, &event);
        check_status(HP_STATUS_OK, status, "hp_session_next_event", file, line);
    } while ((kind != 0 && event.kind != kind) || (peer != NULL && !is_same(&event.peer, peer)));
    return event;
}

/* Each of two is told that the other is connected. */
static inline void await_connected(const hp_session *left, const hp_session *right)
{
    hp_peer_id left_id = local_id(left), right_id = local_id(right);
    await_event(left, HP_EVENT_CONNECTED, &right_id);
    await_event(right, HP_EVENT_CONNECTED, &left_id);
}

static inline void say(const hp_session *session, const hp_peer_id *to, const char *text)
{
    CHECK_STATUS(HP_STATUS_OK, hp_session_send(session, to, (const uint8_t *)text, strlen(text), NULL, NULL));
}

static inline int is_text(const hp_session_event *event, const char *text)
{
    return event->data_len == strlen(text) && memcmp(event->data, text, event->data_len) == 0;
}

#endif
