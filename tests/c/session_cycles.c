/*
 * Joins and leaves, alone and in company, again and again. Nothing may pile up.
 *
 *   session_cycles SERVER ID CYCLES [memory]
 *
 * With "memory", resident memory is watched, too, as in cycles.c.
 */
#include "sessions.h"

static void cycle(const char *server, const char *name, int number)
{
    char id[200];
    CHECK(snprintf(id, sizeof id, "%s %d", name, number) < (int)sizeof id);
    hp_session *session = join(server, id, NULL);
    if (number % 4 == 0) {
        /* Before the server has answered, or just then. */
        sleep_us(number * 7919L % 2001);
    } else if (number % 4 == 1) {
        await_event(session, HP_EVENT_REGISTERED, NULL);
        hp_session_leave(session);
    } else {
        hp_session *other = join(server, id, NULL);
        const hp_peer_id id_of_other = local_id(other);
        await_connected(session, other);
        say(session, NULL, "hello");
        say(other, NULL, "hello");
        /* With what it was told, or with that and more unfetched. */
        if (number % 4 == 2)
            await_event(session, HP_EVENT_MESSAGE, NULL);
        hp_session_free(other);
        await_event(session, HP_EVENT_LEFT, &id_of_other);
    }
    hp_session_free(session);
}

int main(int argc, char **argv)
{
    end_at_the_latest_in(120);
    CHECK(argc == 4 || argc == 5);
    const int cycles = atoi(argv[3]);
    const int fds = count_fds();
    long half = 0;
    CHECK(cycles >= 2);
    for (int number = 0; number < cycles; number++) {
        if (number == cycles / 2)
            half = resident_kib();
        cycle(argv[1], argv[2], number);
        CHECK(count_fds() == fds);
    }
    await_a_single_thread();
    long grown = resident_kib() - half;
    printf("memory grew by %ld KiB in the second half\n", grown);
    CHECK(argc == 4 || grown <= MAX_GROWTH_KIB);
    return 0;
}
