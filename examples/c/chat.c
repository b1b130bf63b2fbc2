/*
 * Chat with every peer that shares an ID.
 *
 *   chat [--dialect auto|native|plain] [--timeout MS] RENDEZVOUS ID NUM_PEERS
 *
 * Lines from stdin go to every peer, as in the existing Go chat, with which this one can talk. On stdout, for scripts:
 *
 *   peer <i> <endpoint> <path> <rtt ms>      one line per peer
 *   connected <n> <ms since start>
 *   <i>: <text>                              one line per message
 *
 * Exit status: 0 at the end of input, 1 if the peers were not reached, 2 for wrong usage.
 */
#include <holepunch.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_MESSAGE 1200
/* After the end of input, so that the peers' last messages are not missed. */
#define LINGER_MS 200

struct peer {
    hp_addr endpoint;
    int fd;
};

static struct peer peers[256];
static uint32_t peer_count;
static int sockets[HP_MAX_PEERS];
static nfds_t socket_count;

static long long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int usage(void)
{
    fprintf(stderr, "usage: chat [--dialect auto|native|plain] [--timeout MS] RENDEZVOUS ID NUM_PEERS\n"
                    "  RENDEZVOUS  host:port of the server\n"
                    "  ID          1 to %d bytes that all participants share\n"
                    "  NUM_PEERS   how many others take part, 1 to %d\n"
                    "  --timeout   total time to connect in milliseconds, default 40000; negative: for ever\n",
            HP_MAX_SESSION_ID_LEN, HP_MAX_PEERS);
    return 2;
}

static int parse_number(const char *text, long long min, long long max, long long *number)
{
    char *end;
    errno = 0;
    *number = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && *number >= min && *number <= max;
}

/* Takes the socket that a peer's hole belongs to; several peers may share one. */
static int take_socket(hp_client *client, uint32_t index)
{
    while (socket_count <= index) {
        hp_socket_t fd;
        if (hp_socket_take(client, (uint32_t)socket_count, &fd) != HP_STATUS_OK)
            return -1;
        sockets[socket_count++] = (int)fd;
    }
    return sockets[index];
}

static void print_message(const hp_addr *source, const char *text, size_t len)
{
    for (uint32_t i = 0; i < peer_count; i++) {
        if (memcmp(&peers[i].endpoint, source, sizeof *source) == 0) {
            printf("%u: %.*s\n", i, (int)len, text);
            fflush(stdout);
            return;
        }
    }
}

static void list_peers(hp_client *client, long long start)
{
    for (uint32_t i = 0; i < hp_peer_count(client) && i < sizeof peers / sizeof *peers; i++) {
        hp_peer peer = HP_PEER_INIT;
        char endpoint[HP_ADDR_TEXT_LEN];
        if (hp_peer_get(client, i, &peer) != HP_STATUS_OK ||
            hp_addr_format(&peer.endpoint, endpoint, sizeof endpoint, NULL) != HP_STATUS_OK)
            break;
        peers[i].endpoint = peer.endpoint;
        peers[i].fd = take_socket(client, peer.socket);
        peer_count = i + 1;
        if (peer.rtt_us == HP_RTT_UNKNOWN)
            printf("peer %u %s %s -\n", i, endpoint, hp_path_name(peer.path));
        else
            printf("peer %u %s %s %.3f\n", i, endpoint, hp_path_name(peer.path), peer.rtt_us / 1000.0);
    }
    printf("connected %u %lld\n", peer_count, now_ms() - start);
    fflush(stdout);
}

/* What peers said while we were still connecting to others. */
static void print_early_messages(hp_client *client)
{
    uint8_t text[65536];
    size_t len;
    hp_addr source;
    while (hp_early_receive(client, text, sizeof text, &len, &source, NULL) == HP_STATUS_OK)
        print_message(&source, (const char *)text, len);
}

static void send_to_all(const char *text, size_t len)
{
    for (uint32_t i = 0; i < peer_count; i++) {
        struct sockaddr_storage to;
        uint32_t to_len;
        if (hp_addr_to_sockaddr(&peers[i].endpoint, &to, sizeof to, &to_len) != HP_STATUS_OK ||
            sendto(peers[i].fd, text, len, 0, (struct sockaddr *)&to, to_len) < 0)
            perror("chat: sending");
    }
}

static void receive(int fd)
{
    char text[65536];
    struct sockaddr_storage from;
    socklen_t from_len = sizeof from;
    hp_addr source;
    ssize_t len = recvfrom(fd, text, sizeof text, MSG_DONTWAIT, (struct sockaddr *)&from, &from_len);
    if (len >= 0 && !hp_is_control_packet((const uint8_t *)text, (size_t)len) &&
        hp_addr_from_sockaddr(&from, from_len, &source) == HP_STATUS_OK)
        print_message(&source, text, (size_t)len);
}

/* Sends the whole lines among the first len bytes of the buffer; returns how many bytes are left at its start. */
static size_t send_lines(char *buffer, size_t len, size_t capacity)
{
    char *start = buffer, *newline;
    while ((newline = memchr(start, '\n', len)) != NULL || len == capacity) {
        size_t line = newline != NULL ? (size_t)(newline - start) : len;
        size_t used = newline != NULL ? line + 1 : line;
        if (line > 0)
            send_to_all(start, line);
        start += used;
        len -= used;
    }
    memmove(buffer, start, len);
    return len;
}

static void chat(void)
{
    char input[MAX_MESSAGE];
    size_t input_len = 0;
    long long end = -1;
    struct pollfd fds[HP_MAX_PEERS + 1];
    for (nfds_t i = 0; i < socket_count; i++)
        fds[i] = (struct pollfd){ .fd = sockets[i], .events = POLLIN };
    fds[socket_count] = (struct pollfd){ .fd = STDIN_FILENO, .events = POLLIN };
    while (end < 0 || now_ms() < end) {
        if (poll(fds, socket_count + 1, end < 0 ? -1 : (int)(end - now_ms())) < 0 && errno != EINTR)
            break;
        for (nfds_t i = 0; i < socket_count; i++)
            if (fds[i].revents != 0)
                receive(sockets[i]);
        if (fds[socket_count].revents != 0 && end < 0) {
            ssize_t n = read(STDIN_FILENO, input + input_len, sizeof input - input_len);
            if (n > 0) {
                input_len = send_lines(input, input_len + (size_t)n, sizeof input);
            } else if (n == 0 || errno != EINTR) {
                if (input_len > 0)
                    send_to_all(input, input_len);
                end = now_ms() + LINGER_MS;
                fds[socket_count].fd = -1;
            }
        }
    }
}

int main(int argc, char **argv)
{
    long long start = now_ms(), timeout = 40000, expected;
    int32_t dialect = HP_DIALECT_AUTO;
    int at = 1;
    for (; at + 1 < argc && strncmp(argv[at], "--", 2) == 0; at += 2) {
        if (strcmp(argv[at], "--timeout") == 0 && parse_number(argv[at + 1], -1, 1000000000, &timeout))
            continue;
        if (strcmp(argv[at], "--dialect") != 0)
            return usage();
        if (strcmp(argv[at + 1], "native") == 0)
            dialect = HP_DIALECT_NATIVE;
        else if (strcmp(argv[at + 1], "plain") == 0)
            dialect = HP_DIALECT_PLAIN;
        else if (strcmp(argv[at + 1], "auto") != 0)
            return usage();
    }
    if (argc - at != 3 || !parse_number(argv[at + 2], 1, HP_MAX_PEERS, &expected))
        return usage();

    hp_error error = HP_ERROR_INIT;
    hp_client *client;
    const char *id = argv[at + 1];
    hp_status status = hp_client_new(argv[at], &client, &error);
    if (status == HP_STATUS_OK) {
        hp_client_set_timeout_ms(client, timeout);
        hp_client_set_dialect(client, dialect);
        status = hp_connect(client, (const uint8_t *)id, strlen(id), (uint32_t)expected, &error);
    }
    if (status != HP_STATUS_OK) {
        fprintf(stderr, "chat: %s (%s)\n", error.message, hp_status_name(status));
        hp_client_free(client);
        return 1;
    }
    list_peers(client, start);
    print_early_messages(client);
    hp_client_free(client);
    chat();
    return 0;
}
