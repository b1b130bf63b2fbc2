/*
 * Frees a client while its hp_connect blocks in another thread.
 *
 *   free_during_connect SERVER ROUNDS
 *
 * The header promises that hp_client_free waits until that call has returned and closes the sockets. So after it nothing
 * of the library may touch the caller's memory any more, or hold a descriptor. The window in which a library could break
 * that is tiny; on one processor, where the thread that frees is woken in the midst of it, it is wide open.
 */
#include "check.h"

#include <semaphore.h>

static sem_t registered;

static void on_line(int32_t level, const char *target, const char *message, void *user_data)
{
    (void)level, (void)target, (void)user_data;
    if (strstr(message, "registered") != NULL)
        sem_post(&registered);
}

static void await_registration(void)
{
    struct timespec end;
    int got;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += PATIENCE_MS / 1000;
    while ((got = sem_timedwait(&registered, &end)) != 0 && errno == EINTR)
        continue;
    CHECK(got == 0);
}

/* Outlives the round, so that a write after hp_client_free is seen rather than undefined. */
static struct caller caller;

static void free_while_connecting(const char *server, void (*await_begin)(void))
{
    const int without = count_fds();
    while (sem_trywait(&registered) == 0)
        continue;
    hp_client *client = new_client(server);
    start_caller(&caller, client, "free during connect");
    await_begin();
    CHECK(count_fds() > without);
    hp_client_free(client);
    /* Not after joining: the call must have ended by now. */
    int32_t reported = ((volatile hp_error *)&caller.error)->status;
    int left = count_fds();
    CHECK_STATUS(HP_STATUS_CANCELLED, join_caller(&caller));
    CHECK_STATUS(HP_STATUS_CANCELLED, reported);
    CHECK(left == without);
}

static int silent;

static void await_silent_server(void)
{
    await_datagram(silent);
}

int main(int argc, char **argv)
{
    end_at_the_latest_in(120);
    CHECK(argc == 3);
    int fds = count_fds();
    CHECK(sem_init(&registered, 0, 0) == 0);
    CHECK_STATUS(HP_STATUS_OK, hp_set_log_callback(on_line, HP_LOG_DEBUG, NULL, NULL));
    for (int round = 0; round < atoi(argv[2]); round++) {
        if (round % 2 == 0) {
            free_while_connecting(argv[1], await_registration);
        } else {
            /* A new one each time: what arrives there is of this round. */
            char server[HP_ADDR_TEXT_LEN];
            silent = bind_loopback(server);
            free_while_connecting(server, await_silent_server);
            close(silent);
        }
    }
    CHECK_STATUS(HP_STATUS_OK, hp_set_log_callback(NULL, HP_LOG_DEBUG, NULL, NULL));
    sem_destroy(&registered);
    await_a_single_thread();
    CHECK(count_fds() == fds);
    return 0;
}
