/*
 * Makes a client, connects, cancels from another thread, frees; again and again. Nothing may pile up.
 *
 *   cycles SERVER CYCLES [memory]
 *
 * With "memory", resident memory is watched, too; sanitizers and valgrind keep what is freed and do their own counting.
 */
#include "check.h"

#define MAX_MEDIAN_CANCEL_US 50000

static int by_size(const void *left, const void *right)
{
    long long a = *(const long long *)left, b = *(const long long *)right;
    return (a > b) - (a < b);
}

/* From hp_cancel to the end of the call, in microseconds. */
static long long cycle(const char *server, int number)
{
    struct caller caller;
    char id[40];
    snprintf(id, sizeof id, "cycle %d of %ld", number, (long)getpid());
    hp_client *client = new_client(server);
    start_caller(&caller, client, id);
    /* Anywhere from before the call begins until the server has answered and beyond. */
    sleep_us(number * 7919L % 2001);
    long long start = now_us();
    hp_cancel(client);
    CHECK_STATUS(HP_STATUS_CANCELLED, join_caller(&caller));
    long long took = now_us() - start;
    hp_client_free(client);
    return took;
}

int main(int argc, char **argv)
{
    end_at_the_latest_in(120);
    CHECK(argc == 3 || argc == 4);
    const int cycles = atoi(argv[2]);
    const int watches_memory = argc == 4;
    CHECK(cycles >= 2);
    long long *took = calloc((size_t)cycles, sizeof *took);
    CHECK(took != NULL);
    const int fds = count_fds();
    long half = 0;
    for (int number = 0; number < cycles; number++) {
        if (number == cycles / 2)
            half = resident_kib();
        took[number] = cycle(argv[1], number);
    }
    long grown = resident_kib() - half;
    await_a_single_thread();
    CHECK(count_fds() == fds);
    qsort(took, (size_t)cycles, sizeof *took, by_size);
    printf("cancelled in %lld us (median), %lld us (most); memory grew by %ld KiB in the second half\n",
           took[cycles / 2], took[cycles - 1], grown);
    CHECK(took[cycles / 2] < MAX_MEDIAN_CANCEL_US);
    CHECK(!watches_memory || grown <= MAX_GROWTH_KIB);
    free(took);
    return 0;
}
