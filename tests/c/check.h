/*
 * What the test programs share: checks that say what failed and where, time, what /proc knows of this process, and
 * clients that connect in threads of their own.
 */
#ifndef CHECK_H
#define CHECK_H

#include <holepunch.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Longer than any wait that succeeds, even on a busy machine under valgrind. */
#define PATIENCE_MS 20000

#define CHECK(condition) check_that((condition) != 0, #condition, __FILE__, __LINE__)
/* Names both statuses if they differ. */
#define CHECK_STATUS(expected, call) check_status((expected), (call), #call, __FILE__, __LINE__)

static inline void check_that(int holds, const char *what, const char *file, int line)
{
    if (!holds) {
        fprintf(stderr, "%s:%d: does not hold: %s (errno %d)\n", file, line, what, errno);
        exit(1);
    }
}

static inline void check_status(hp_status expected, hp_status actual, const char *call, const char *file, int line)
{
    if (actual != expected) {
        fprintf(stderr, "%s:%d: %s instead of %s from %s\n", file, line, hp_status_name(actual),
                hp_status_name(expected), call);
        exit(1);
    }
}

/* Whether len bytes are all value. */
static inline int all_bytes(const void *data, size_t len, unsigned char value)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < len; i++)
        if (bytes[i] != value)
            return 0;
    return 1;
}

/* Ends the program by SIGALRM should it hang and nobody else end it. */
static inline void end_at_the_latest_in(unsigned seconds)
{
    alarm(seconds);
    setvbuf(stdout, NULL, _IOLBF, 0);
}

static inline long long now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static inline void sleep_us(long us)
{
    struct timespec rest = { us / 1000000, us % 1000000 * 1000 };
    while (nanosleep(&rest, &rest) != 0 && errno == EINTR)
        continue;
}

static inline int count_entries(const char *path)
{
    int count = 0;
    DIR *directory = opendir(path);
    CHECK(directory != NULL);
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(directory);
    return count;
}

static inline int count_fds(void)
{
    return count_entries("/proc/self/fd");
}

/* What a program may grow by that does the same again and again. */
#define MAX_GROWTH_KIB 1024

static inline long resident_kib(void)
{
    long kib = -1;
    char line[256];
    FILE *status = fopen("/proc/self/status", "r");
    CHECK(status != NULL);
    while (kib < 0 && fgets(line, sizeof line, status) != NULL)
        sscanf(line, "VmRSS: %ld kB", &kib);
    fclose(status);
    CHECK(kib > 0);
    return kib;
}

/* A thread that was joined leaves /proc a moment later. */
static inline void await_a_single_thread(void)
{
    for (long long end = now_us() + PATIENCE_MS * 1000LL; count_entries("/proc/self/task") != 1; sleep_us(1000))
        CHECK(now_us() < end);
}

static inline hp_client *new_client(const char *server)
{
    hp_client *client;
    CHECK_STATUS(HP_STATUS_OK, hp_client_new(server, &client, NULL));
    CHECK(client != NULL);
    return client;
}

/* One hp_connect in a thread of its own. */
struct caller {
    hp_client *client;
    const char *id;
    hp_status status;
    hp_error error;
    pthread_t thread;
};

static inline void *run_caller(void *argument)
{
    struct caller *caller = argument;
    caller->status = hp_connect(caller->client, (const uint8_t *)caller->id, strlen(caller->id), 1, &caller->error);
    return NULL;
}

static inline void start_caller(struct caller *caller, hp_client *client, const char *id)
{
    static const struct caller fresh = { NULL, NULL, HP_STATUS_NOTHING, HP_ERROR_INIT, 0 };
    *caller = fresh;
    caller->client = client;
    caller->id = id;
    CHECK(pthread_create(&caller->thread, NULL, run_caller, caller) == 0);
}

static inline hp_status join_caller(struct caller *caller)
{
    CHECK(pthread_join(caller->thread, NULL) == 0);
    CHECK(caller->error.status == caller->status);
    return caller->status;
}

/* Two new clients that have met. */
static inline void connect_pair(const char *server, const char *id, hp_client *pair[2])
{
    struct caller callers[2];
    for (int i = 0; i < 2; i++) {
        pair[i] = new_client(server);
        CHECK_STATUS(HP_STATUS_OK, hp_client_set_timeout_ms(pair[i], PATIENCE_MS));
        start_caller(&callers[i], pair[i], id);
    }
    for (int i = 0; i < 2; i++) {
        hp_status status = join_caller(&callers[i]);
        if (status != HP_STATUS_OK)
            fprintf(stderr, "%s\n", callers[i].error.message);
        CHECK_STATUS(HP_STATUS_OK, status);
    }
}

/* A UDP socket on loopback; its address goes to text. As a server it never answers, so that a call goes on and on. */
static inline int bind_loopback(char text[HP_ADDR_TEXT_LEN])
{
    struct sockaddr_in address;
    socklen_t len = sizeof address;
    hp_addr addr;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&address, &len) == 0);
    CHECK_STATUS(HP_STATUS_OK, hp_addr_from_sockaddr(&address, len, &addr));
    CHECK_STATUS(HP_STATUS_OK, hp_addr_format(&addr, text, HP_ADDR_TEXT_LEN, NULL));
    return fd;
}

/* The first datagram at a silent server is the proof that a call is running. */
static inline void await_datagram(int fd)
{
    struct pollfd polled = { fd, POLLIN, 0 };
    CHECK(poll(&polled, 1, PATIENCE_MS) == 1);
}

#endif
