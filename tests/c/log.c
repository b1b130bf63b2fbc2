/*
 * What the header promises of the log callback.
 *
 *   log SERVER ID
 */
#include "check.h"

#define TALKERS 3
#define REPLACEMENTS 300

/* One registration. Its address is the user_data. */
struct registration {
    int32_t max_level;
    /* How long a call takes, so that other threads queue up behind it with lines of their own. */
    long call_us;
    int may_be_called, calls, frees;
    int32_t highest_level;
};

/* Held during every callback: if two ever run at a time, one finds it taken. */
static pthread_mutex_t inside = PTHREAD_MUTEX_INITIALIZER;
/* Guards calls. */
static pthread_mutex_t counting = PTHREAD_MUTEX_INITIALIZER;

static void on_line(int32_t level, const char *target, const char *message, void *user_data)
{
    struct registration *registration = user_data;
    CHECK(pthread_mutex_trylock(&inside) == 0);
    CHECK(registration->may_be_called && registration->frees == 0);
    CHECK(level >= HP_LOG_ERROR && level <= registration->max_level);
    CHECK(strncmp(target, "holepunch", 9) == 0);
    CHECK(message[0] != '\0');
    if (level > registration->highest_level)
        registration->highest_level = level;
    pthread_mutex_lock(&counting);
    registration->calls++;
    pthread_mutex_unlock(&counting);
    if (registration->call_us > 0)
        sleep_us(registration->call_us);
    CHECK(pthread_mutex_unlock(&inside) == 0);
}

static void on_free(void *user_data)
{
    struct registration *registration = user_data;
    CHECK(registration->frees == 0);
    registration->frees++;
}

static hp_status set_slow(struct registration *registration, int32_t max_level, long call_us)
{
    static const struct registration fresh;
    *registration = fresh;
    registration->max_level = max_level;
    registration->call_us = call_us;
    registration->may_be_called = 1;
    return hp_set_log_callback(on_line, max_level, registration, on_free);
}

static hp_status set(struct registration *registration, int32_t max_level)
{
    return set_slow(registration, max_level, 0);
}

/* Ends logging: from here on a call is an error. */
static void end(struct registration *registration)
{
    CHECK(registration->frees == 0);
    CHECK_STATUS(HP_STATUS_OK, hp_set_log_callback(NULL, HP_LOG_ERROR, NULL, NULL));
    CHECK(registration->frees == 1);
    registration->may_be_called = 0;
}

/* Two clients connect in two threads, so that lines come from both. */
static void connect_once(const char *server, const char *id)
{
    hp_client *pair[2];
    connect_pair(server, id, pair);
    hp_client_free(pair[0]);
    hp_client_free(pair[1]);
}

static void lines_come_up_to_the_level(const char *server, const char *id)
{
    struct registration registration;
    CHECK_STATUS(HP_STATUS_OK, set(&registration, HP_LOG_TRACE));
    connect_once(server, id);
    end(&registration);
    int all = registration.calls;
    CHECK(all > 0 && registration.highest_level >= HP_LOG_DEBUG);

    CHECK_STATUS(HP_STATUS_OK, set(&registration, HP_LOG_INFO));
    connect_once(server, id);
    end(&registration);
    CHECK(registration.calls > 0 && registration.calls < all);
    CHECK(registration.highest_level == HP_LOG_INFO);

    /* Nothing is wrong, so there is nothing to warn of. */
    CHECK_STATUS(HP_STATUS_OK, set(&registration, HP_LOG_WARN));
    connect_once(server, id);
    end(&registration);
    CHECK(registration.calls == 0);

    connect_once(server, id);
    CHECK(registration.calls == 0 && registration.frees == 1);
}

static void user_data_is_freed_once(void)
{
    struct registration first, second, unused;
    CHECK_STATUS(HP_STATUS_OK, set(&first, HP_LOG_INFO));
    CHECK(first.frees == 0);
    CHECK_STATUS(HP_STATUS_OK, set(&second, HP_LOG_INFO));
    CHECK(first.frees == 1 && second.frees == 0);

    /* A call that fails frees what it was given, and leaves what is there. */
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, set(&unused, 0));
    CHECK(unused.frees == 1);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, set(&unused, HP_LOG_TRACE + 1));
    CHECK(unused.frees == 1);
    CHECK(first.frees == 1 && second.frees == 0);

    /* Without a callback there is no use for the data. */
    unused.frees = 0;
    CHECK_STATUS(HP_STATUS_OK, hp_set_log_callback(NULL, HP_LOG_INFO, &unused, on_free));
    CHECK(unused.frees == 1 && second.frees == 1);
    CHECK_STATUS(HP_STATUS_OK, hp_set_log_callback(NULL, HP_LOG_INFO, NULL, NULL));
    CHECK(first.frees == 1 && second.frees == 1 && unused.frees == 1);

    /* Neither data nor a function to free it is required. */
    CHECK_STATUS(HP_STATUS_OK, hp_set_log_callback(on_line, HP_LOG_INFO, NULL, NULL));
    CHECK_STATUS(HP_STATUS_OK, hp_set_log_callback(NULL, HP_LOG_INFO, NULL, NULL));
}

static void replace_from_within(int32_t level, const char *target, const char *message, void *user_data)
{
    struct registration unused = { HP_LOG_TRACE, 0, 0, 0, 0, 0 };
    (void)level, (void)target, (void)message;
    CHECK_STATUS(HP_STATUS_UNSUPPORTED, hp_set_log_callback(on_line, HP_LOG_TRACE, &unused, on_free));
    CHECK(unused.frees == 1);
    CHECK_STATUS(HP_STATUS_UNSUPPORTED, hp_set_log_callback(NULL, HP_LOG_TRACE, NULL, NULL));
    ++*(int *)user_data;
}

static void callback_cannot_replace_itself(const char *server, const char *id)
{
    int calls = 0;
    CHECK_STATUS(HP_STATUS_OK, hp_set_log_callback(replace_from_within, HP_LOG_TRACE, &calls, NULL));
    connect_once(server, id);
    CHECK_STATUS(HP_STATUS_OK, hp_set_log_callback(NULL, HP_LOG_TRACE, NULL, NULL));
    CHECK(calls > 0);
}

static void cancel_from_within(int32_t level, const char *target, const char *message, void *user_data)
{
    (void)level, (void)target;
    if (strstr(message, "registered") != NULL)
        hp_cancel(user_data);
}

static void callback_may_cancel(const char *server)
{
    struct caller caller;
    hp_client *client = new_client(server);
    CHECK_STATUS(HP_STATUS_OK, hp_set_log_callback(cancel_from_within, HP_LOG_DEBUG, client, NULL));
    start_caller(&caller, client, "cancelled by its own callback");
    CHECK_STATUS(HP_STATUS_CANCELLED, join_caller(&caller));
    CHECK_STATUS(HP_STATUS_OK, hp_set_log_callback(NULL, HP_LOG_DEBUG, NULL, NULL));
    hp_client_free(client);
}

/* Sends from loopback to a network that is not there, which fails and is logged at HP_LOG_DEBUG, every millisecond. */
static void *talk(void *argument)
{
    hp_client *client = argument;
    hp_addr local, nowhere;
    CHECK_STATUS(HP_STATUS_OK, hp_addr_parse("127.0.0.1:0", &local));
    CHECK_STATUS(HP_STATUS_OK, hp_addr_parse("192.0.2.1:9", &nowhere));
    CHECK_STATUS(HP_STATUS_OK, hp_client_set_local_addr(client, &local));
    CHECK_STATUS(HP_STATUS_OK, hp_client_set_peer_retry_ms(client, 1));
    CHECK_STATUS(HP_STATUS_OK, hp_client_set_timeout_ms(client, -1));
    CHECK_STATUS(HP_STATUS_CANCELLED, hp_connect_peers(client, (const uint8_t *)"id", 2, &nowhere, 1, NULL));
    return NULL;
}

static void wait_for_calls(const struct registration *registration, int calls)
{
    long long give_up = now_us() + PATIENCE_MS * 1000LL;
    for (int seen = 0; seen < calls; sleep_us(200)) {
        CHECK(now_us() < give_up);
        pthread_mutex_lock(&counting);
        seen = registration->calls;
        pthread_mutex_unlock(&counting);
    }
}

/* Several threads log while this one replaces the callback again and again: no late call, none of too high a level. */
static void replacing_while_others_log(void)
{
    hp_client *clients[TALKERS];
    pthread_t threads[TALKERS];
    static struct registration registrations[REPLACEMENTS];
    for (int i = 0; i < TALKERS; i++) {
        clients[i] = new_client("127.0.0.1:9");
        CHECK(pthread_create(&threads[i], NULL, talk, clients[i]) == 0);
    }
    for (int i = 0; i < REPLACEMENTS; i++) {
        struct registration *now = &registrations[i];
        CHECK_STATUS(HP_STATUS_OK, set_slow(now, i % 2 == 0 ? HP_LOG_DEBUG : HP_LOG_ERROR, 300));
        if (i > 0 && i % 10 != 0) {
            CHECK(registrations[i - 1].frees == 1);
            registrations[i - 1].may_be_called = 0;
        }
        if (i % 10 == 0)
            wait_for_calls(now, TALKERS);
        sleep_us(i * 7919L % 1500);
        if (i % 10 == 9)
            end(now);
    }
    for (int i = 0; i < TALKERS; i++) {
        hp_cancel(clients[i]);
        CHECK(pthread_join(threads[i], NULL) == 0);
        hp_client_free(clients[i]);
    }
    for (int i = 0; i < REPLACEMENTS; i++)
        CHECK(registrations[i].frees == 1);
}

int main(int argc, char **argv)
{
    end_at_the_latest_in(60);
    CHECK(argc == 3);
    lines_come_up_to_the_level(argv[1], argv[2]);
    user_data_is_freed_once();
    callback_cannot_replace_itself(argv[1], argv[2]);
    callback_may_cancel(argv[1]);
    replacing_while_others_log();
    await_a_single_thread();
    return 0;
}
