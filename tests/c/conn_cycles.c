/*
 * Makes connections that come to nothing and ends them, again and again. Nothing may pile up.
 *
 *   conn_cycles CYCLES [memory]
 *
 * With "memory", resident memory is watched, too, as in cycles.c.
 */
#include "conns.h"

static void cycle(const hp_addr nowhere[2], int number)
{
    const hp_conn_options options = usual(both_transports[number % 2]);
    const int how = number / 2 % 4;
    hp_conn *conn = make(&options);
    if (how > 0)
        CHECK_STATUS(HP_STATUS_OK, hp_conn_attempt(conn, nowhere, 2, NULL));
    if (how == 2) {
        hp_conn_close(conn);
        expect_end(conn, HP_END_CLOSED);
    } else if (how == 3) {
        /* In the midst of it. */
        sleep_us(number * 7919L % 2001);
    }
    hp_conn_free(conn);
}

int main(int argc, char **argv)
{
    end_at_the_latest_in(120);
    CHECK(argc == 2 || argc == 3);
    const int cycles = atoi(argv[1]);
    const int fds = count_fds();
    hp_addr nowhere[2];
    long half = 0;
    CHECK(cycles >= 2);
    CHECK_STATUS(HP_STATUS_OK, hp_addr_parse("127.0.0.1:9", &nowhere[0]));
    CHECK_STATUS(HP_STATUS_OK, hp_addr_parse("127.0.0.1:10", &nowhere[1]));
    for (int number = 0; number < cycles; number++) {
        if (number == cycles / 2)
            half = resident_kib();
        cycle(nowhere, number);
        CHECK(count_fds() == fds);
    }
    await_a_single_thread();
    long grown = resident_kib() - half;
    printf("memory grew by %ld KiB in the second half\n", grown);
    CHECK(argc == 2 || grown <= MAX_GROWTH_KIB);
    return 0;
}
