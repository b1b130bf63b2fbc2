/*
 * Times one call of hp_connect, for the laboratory's tests and the benchmark.
 *
 *   timed_connect [--dialect auto|native|plain] [--transport udp|tcp|either] [--timeout MS] [--local IP:PORT]
 *                 [--techniques BITS] SERVER ID PEERS
 *
 *   ready                                    the client is made; one line of input opens the gate
 *   call <unix ns>                           CLOCK_REALTIME, so that the times of several processes compare
 *   return <unix ns> <status name>
 *   peer <i> <endpoint> <path> <rtt ms>      one line per connected peer, "-" where no time was measured
 *
 * It then stays, with its sockets open as a real program's would be, until its input ends. Exit status: 0 if the call
 * succeeded, 1 if not, 2 for wrong usage.
 */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <holepunch.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *const dialects[] = { "auto", "native", "plain" };
static const char *const transports[] = { "udp", "tcp", "either" };
static const int32_t transport_numbers[] = { HP_TRANSPORT_UDP, HP_TRANSPORT_TCP, HP_TRANSPORT_EITHER };
static const int32_t dialect_numbers[] = { HP_DIALECT_AUTO, HP_DIALECT_NATIVE, HP_DIALECT_PLAIN };

static int usage(void)
{
    fprintf(stderr, "usage: timed_connect [--dialect auto|native|plain] [--transport udp|tcp|either] [--timeout MS] "
                    "[--local IP:PORT] [--techniques BITS] SERVER ID PEERS\n");
    return 2;
}

static long long now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (long long)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Consumes one line, or what there is of it; 0 if there is none. */
static int skip_line(void)
{
    int c = getchar();
    if (c == EOF)
        return 0;
    while (c != '\n' && c != EOF)
        c = getchar();
    return 1;
}

static void list_peers(const hp_client *client)
{
    for (uint32_t i = 0; i < hp_peer_count(client); i++) {
        hp_peer peer = HP_PEER_INIT;
        char endpoint[HP_ADDR_TEXT_LEN];
        if (hp_peer_get(client, i, &peer) != HP_STATUS_OK || !peer.connected ||
            hp_addr_format(&peer.endpoint, endpoint, sizeof endpoint, NULL) != HP_STATUS_OK)
            continue;
        if (peer.rtt_us == HP_RTT_UNKNOWN)
            printf("peer %u %s %s -\n", (unsigned)i, endpoint, hp_path_name(peer.path));
        else
            printf("peer %u %s %s %.3f\n", (unsigned)i, endpoint, hp_path_name(peer.path), peer.rtt_us / 1000.0);
    }
}

struct settings {
    int32_t dialect;
    int32_t transport;
    const char *local;
    uint32_t techniques;
    int32_t timeout_ms;
};

/* Which of three names it is; -1 if none. */
static int position(const char *const *names, const char *name)
{
    for (int i = 0; i < 3; i++)
        if (strcmp(name, names[i]) == 0)
            return i;
    return -1;
}

static int parse_option(struct settings *settings, const char *option, const char *value)
{
    char *end;
    if (strcmp(option, "--dialect") == 0) {
        int number = position(dialects, value);
        settings->dialect = number < 0 ? 0 : dialect_numbers[number];
        return number >= 0;
    }
    if (strcmp(option, "--transport") == 0) {
        int number = position(transports, value);
        settings->transport = number < 0 ? 0 : transport_numbers[number];
        return number >= 0;
    }
    if (strcmp(option, "--techniques") == 0) {
        settings->techniques = (uint32_t)strtoul(value, &end, 0);
        return end != value && *end == '\0';
    }
    if (strcmp(option, "--timeout") == 0) {
        settings->timeout_ms = (int32_t)strtol(value, &end, 10);
        return end != value && *end == '\0';
    }
    settings->local = value;
    return strcmp(option, "--local") == 0;
}

static hp_status configure(hp_client *client, const struct settings *settings)
{
    hp_status status = hp_client_set_dialect(client, settings->dialect);
    if (status == HP_STATUS_OK)
        status = hp_client_set_transport(client, settings->transport);
    if (status == HP_STATUS_OK)
        status = hp_client_set_techniques(client, settings->techniques);
    if (status == HP_STATUS_OK)
        status = hp_client_set_timeout_ms(client, settings->timeout_ms);
    if (status != HP_STATUS_OK || settings->local == NULL)
        return status;
    hp_addr local;
    status = hp_addr_parse(settings->local, &local);
    return status == HP_STATUS_OK ? hp_client_set_local_addr(client, &local) : status;
}

int main(int argc, char **argv)
{
    struct settings settings = { HP_DIALECT_AUTO, HP_TRANSPORT_UDP, NULL, HP_TECHNIQUES_ALL, 40000 };
    int at = 1;
    for (; argc - at > 3; at += 2) {
        if (argc - at < 5 || !parse_option(&settings, argv[at], argv[at + 1]))
            return usage();
    }
    if (argc - at != 3)
        return usage();
    char *end;
    long expected = strtol(argv[at + 2], &end, 10);
    if (end == argv[at + 2] || *end != '\0' || expected < 1 || expected > HP_MAX_PEERS)
        return usage();

    const char *id = argv[at + 1];
    hp_error error = HP_ERROR_INIT;
    hp_client *client;
    if (hp_client_new(argv[at], &client, &error) != HP_STATUS_OK) {
        fprintf(stderr, "timed_connect: %s (%s)\n", error.message, hp_status_name(error.status));
        return 1;
    }
    hp_status configured = configure(client, &settings);
    if (configured != HP_STATUS_OK) {
        fprintf(stderr, "timed_connect: %s\n", hp_status_name(configured));
        return 2;
    }
    puts("ready");
    fflush(stdout);
    if (!skip_line()) {
        fprintf(stderr, "timed_connect: the input ended before the gate was opened\n");
        hp_client_free(client);
        return 1;
    }

    long long called = now_ns();
    hp_status status = hp_connect(client, (const uint8_t *)id, strlen(id), (uint32_t)expected, &error);
    long long returned = now_ns();
    /* Printed only now: a write before the call would be part of what is measured. */
    printf("call %lld\nreturn %lld %s\n", called, returned, hp_status_name(status));
    if (status == HP_STATUS_OK)
        list_peers(client);
    else
        fprintf(stderr, "timed_connect: %s (%s)\n", error.message, hp_status_name(status));
    fflush(stdout);
    while (status == HP_STATUS_OK && skip_line())
        continue;
    hp_client_free(client);
    return status == HP_STATUS_OK ? 0 : 1;
}
