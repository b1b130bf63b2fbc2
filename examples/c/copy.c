/*
 * Copies a file to a peer whose addresses one is told, over a TCP connection between the two.
 *
 *   copy [--server HOST:PORT | --stun HOST:PORT] --id ID | --unauthenticated  send FILE
 *   copy [--server HOST:PORT | --stun HOST:PORT] --id ID | --unauthenticated  receive FILE
 *
 * Both sides start it and tell each other what it prints; then each enters the other's addresses, on one line, within 9 seconds
 * of each other. What comes is written to FILE.part, which takes FILE's name and place once it is whole. On stdout:
 *
 *   local <address>                         one line per address
 *   public <address>                        if a server was asked and has answered
 *   connected <address> <path> <rtt ms>
 *   sent <n> bytes in <s> s                 or "received"; once the receiver has the whole file
 *
 * The socket is the program's own as soon as it is connected: what follows is read(2) and write(2), and not encrypted. It goes
 * like this: the sender says the file's length, 8 bytes, most significant first, and then what is in it; the receiver repeats
 * those 8 bytes once the file has its name.
 *
 * Exit status: 0, 1 if the file was not copied, 2 for wrong usage.
 */
#include "exchange.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>

/* How long the peer may neither send nor take anything, in seconds. */
#define PATIENCE 30
#define LENGTH_LEN 8

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int trouble(const char *what, const char *why)
{
    fprintf(stderr, "copy: %s: %s\n", what, why);
    return 1;
}

/* What has become of the peer, after a read or write that has failed, or found the end. */
static int peer_trouble(uint64_t done)
{
    char what[100];
    snprintf(what, sizeof what, "after %llu bytes", (unsigned long long)done);
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return trouble(what, "the peer is silent");
    return trouble(what, errno == 0 ? "the peer has closed the connection" : strerror(errno));
}

/* Reads up to len bytes, fewer at the end only. Returns how many, or -1. */
static ssize_t read_fully(int fd, void *data, size_t len)
{
    size_t done = 0;
    while (done < len) {
        ssize_t n = read(fd, (char *)data + done, len - done);
        if (n == 0)
            break;
        if (n < 0 && errno != EINTR)
            return -1;
        done += n > 0 ? (size_t)n : 0;
    }
    return (ssize_t)done;
}

static int write_fully(int fd, const void *data, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = write(fd, (const char *)data + done, len - done);
        if (n < 0 && errno != EINTR)
            return 0;
        done += n > 0 ? (size_t)n : 0;
    }
    return 1;
}

/* Reads what the peer must have said; with errno 0 if it has ended the connection instead. */
static int read_from_peer(int sock, void *data, size_t len)
{
    errno = 0;
    ssize_t n = read_fully(sock, data, len);
    if (n >= 0 && (size_t)n < len)
        errno = 0;
    return n == (ssize_t)len;
}

static void put_length(uint64_t length, uint8_t bytes[LENGTH_LEN])
{
    for (int i = 0; i < LENGTH_LEN; i++)
        bytes[i] = (uint8_t)(length >> (56 - 8 * i));
}

static uint64_t get_length(const uint8_t bytes[LENGTH_LEN])
{
    uint64_t length = 0;
    for (int i = 0; i < LENGTH_LEN; i++)
        length = length << 8 | bytes[i];
    return length;
}

static uint8_t buffer[1 << 16];

static size_t next_chunk(uint64_t left)
{
    return left < sizeof buffer ? (size_t)left : sizeof buffer;
}

static int report(const char *done, uint64_t length, double begin)
{
    printf("%s %llu bytes in %.3f s\n", done, (unsigned long long)length, now() - begin);
    return 0;
}

/* Returns the exit status, as all of these do. */
static int send_file(int sock, int file, uint64_t length, const char *path)
{
    uint8_t said[LENGTH_LEN], heard[LENGTH_LEN];
    double begin = now();
    put_length(length, said);
    if (!write_fully(sock, said, sizeof said))
        return peer_trouble(0);
    for (uint64_t done = 0; done < length;) {
        size_t chunk = next_chunk(length - done);
        ssize_t n = read_fully(file, buffer, chunk);
        if (n < 0)
            return trouble(path, strerror(errno));
        if ((size_t)n < chunk)
            return trouble(path, "it has become shorter meanwhile");
        if (!write_fully(sock, buffer, chunk))
            return peer_trouble(done);
        done += chunk;
    }
    if (!read_from_peer(sock, heard, sizeof heard))
        return peer_trouble(length);
    if (memcmp(said, heard, sizeof said) != 0)
        return trouble("the peer", "it says that it has received something else");
    return report("sent", length, begin);
}

static int receive_file(int sock, int file, const char *part, const char *path)
{
    uint8_t said[LENGTH_LEN];
    double begin = now();
    if (!read_from_peer(sock, said, sizeof said))
        return peer_trouble(0);
    const uint64_t length = get_length(said);
    for (uint64_t done = 0; done < length;) {
        size_t chunk = next_chunk(length - done);
        if (!read_from_peer(sock, buffer, chunk))
            return peer_trouble(done);
        if (!write_fully(file, buffer, chunk))
            return trouble(part, strerror(errno));
        done += chunk;
    }
    if (fsync(file) != 0 || rename(part, path) != 0)
        return trouble(path, strerror(errno));
    /* The file is there, whether or not the peer still hears of it. */
    if (!write_fully(sock, said, sizeof said))
        fprintf(stderr, "copy: the peer has gone without knowing that the file is whole: %s\n", strerror(errno));
    return report("received", length, begin);
}

/* Returns a socket that is connected with the peer, or -1, having said why. */
static int meet(const hp_conn_options *options)
{
    hp_conn_event event = HP_CONN_EVENT_INIT;
    hp_error error = HP_ERROR_INIT;
    hp_socket_t sock = HP_INVALID_SOCKET;
    hp_conn *conn = open_conn("copy", options);
    if (conn != NULL && attempt_peer("copy", conn)) {
        while (hp_conn_next_event(conn, -1, &event) == HP_STATUS_OK) {
            if (event.kind == HP_CONN_ENDED)
                print_end("copy", &event);
            if (event.kind != HP_CONN_CONNECTED)
                continue;
            print_connected(conn, &event.endpoint);
            if (hp_conn_take(conn, &sock, &error) != HP_STATUS_OK)
                print_trouble("copy", &error);
            break;
        }
    }
    hp_conn_free(conn);
    return (int)sock;
}

static int copy(const hp_conn_options *options, int sends, int file, const char *part, const char *path)
{
    const struct timeval patience = { PATIENCE, 0 };
    struct stat about;
    if (fstat(file, &about) != 0)
        return trouble(path, strerror(errno));
    if (!S_ISREG(about.st_mode))
        return trouble(path, "it is not a regular file");
    int sock = meet(options);
    if (sock < 0)
        return 1;
    int exit_status = 1;
    if (setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0 ||
        setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) != 0)
        perror("copy");
    else if (sends)
        exit_status = send_file(sock, file, (uint64_t)about.st_size, path);
    else
        exit_status = receive_file(sock, file, part, path);
    close(sock);
    return exit_status;
}

static int usage(void)
{
    fprintf(stderr, "usage: copy [--server HOST:PORT | --stun HOST:PORT] --id ID | --unauthenticated  send FILE\n"
                    "       copy [--server HOST:PORT | --stun HOST:PORT] --id ID | --unauthenticated  receive FILE\n"
                    "  FILE                what is sent, or what is made of it there, in the place of an older one\n" EXCHANGE_USAGE);
    return 2;
}

int main(int argc, char **argv)
{
    hp_conn_options options = HP_CONN_OPTIONS_INIT;
    options.transport = HP_TRANSPORT_TCP;
    options.data_events = 0;
    int at = parse_options(argc, argv, &options);
    if (at == 0 || argc - at != 2 || options.transport != HP_TRANSPORT_TCP)
        return usage();
    int sends = strcmp(argv[at], "send") == 0;
    const char *path = argv[at + 1];
    if (!sends && strcmp(argv[at], "receive") != 0)
        return usage();

    /* A peer that has gone is an error, and no signal. */
    signal(SIGPIPE, SIG_IGN);
    char *part = malloc(strlen(path) + sizeof ".part");
    if (part == NULL)
        return trouble(path, strerror(errno));
    strcat(strcpy(part, path), ".part");
    int file = sends ? open(path, O_RDONLY) : open(part, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    int exit_status = 1;
    if (file < 0) {
        trouble(sends ? path : part, strerror(errno));
    } else {
        exit_status = copy(&options, sends, file, part, path);
        close(file);
        if (!sends && exit_status != 0)
            unlink(part);
    }
    free(part);
    return exit_status;
}
