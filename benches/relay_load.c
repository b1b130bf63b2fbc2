/*
 * Two clients that are forwarded to each other, and all that one of them can send through to the other; see relay.py.
 *
 *   relay_load SERVER
 *
 *   pair <relay's port> <sender's port> <receiver's port>   the two have met, through the relay only
 *
 * Then each line of input asks for one measurement, and is answered by one line:
 *
 *   <port> <size> <ms>          send datagrams of so many bytes to that port of 127.0.0.1, for so long
 *   arrived <count> <lost> <ns>
 *
 * Whatever stands at the port has to send them on to the receiver. At most WINDOW of them are under way at a time: enough
 * that it is never idle, and too few to overrun a queue. They leave in bursts that the kernel cuts up (UDP_SEGMENT), which
 * costs this program less than the forwarding costs the other, and the receiver never sleeps, so that nobody has to wake it.
 * It ends with its input. Linux only.
 */
#define _GNU_SOURCE

#include <holepunch.h>

#include <arpa/inet.h>
#include <netinet/udp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

enum { BURST = 32, WINDOW = 512, LONGEST = 1400, LOST_AFTER_MS = 50, RECEIVE_BUFFER = 4 << 20 };

/* One of the two clients, and what it got. */
struct side {
    const char *server;
    hp_status status;
    hp_error error;
    struct sockaddr_storage relay;
    int fd;
};

static const char session[] = "relay_load";

static void *meet(void *argument)
{
    struct side *side = argument;
    hp_client *client;
    hp_peer peer = HP_PEER_INIT;
    hp_socket_t fd = HP_INVALID_SOCKET;
    uint32_t len;
    side->status = hp_client_new(side->server, &client, &side->error);
    if (side->status != HP_STATUS_OK)
        return NULL;
    hp_client_set_path_policy(client, HP_PATHS_RELAY_ONLY);
    hp_client_set_timeout_ms(client, 10000);
    side->status = hp_connect(client, (const uint8_t *)session, strlen(session), 1, &side->error);
    if (side->status == HP_STATUS_OK)
        side->status = hp_peer_get(client, 0, &peer);
    if (side->status == HP_STATUS_OK)
        side->status = hp_addr_to_sockaddr(&peer.endpoint, &side->relay, sizeof side->relay, &len);
    if (side->status == HP_STATUS_OK)
        side->status = hp_socket_take(client, peer.socket, &fd);
    side->fd = (int)fd;
    hp_client_free(client);
    return NULL;
}

static long long now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* The port of a socket address; 0 if it is not an IPv4 one. */
static int port_of(const struct sockaddr_storage *address)
{
    return address->ss_family == AF_INET ? ntohs(((const struct sockaddr_in *)address)->sin_port) : 0;
}

static int local_port(int fd)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof address;
    return getsockname(fd, (struct sockaddr *)&address, &len) == 0 ? port_of(&address) : 0;
}

/* Counts what waits and is of the right length; the clients' last probes are of others. Copies none of it. */
static int drain(int fd, unsigned size)
{
    static struct mmsghdr headers[BURST];
    int arrived = 0, count;
    do {
        count = recvmmsg(fd, headers, BURST, MSG_DONTWAIT | MSG_TRUNC, NULL);
        for (int i = 0; i < count; i++)
            arrived += headers[i].msg_len == size;
    } while (count == BURST);
    return arrived;
}

static int send_burst(int fd, struct sockaddr_in *to, size_t size)
{
    static unsigned char payload[BURST * LONGEST];
    return sendto(fd, payload, BURST * size, 0, (struct sockaddr *)to, sizeof *to) == (ssize_t)(BURST * size);
}

static int measure(int sender, int receiver, int port, int size, long long ms)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (setsockopt(sender, SOL_UDP, UDP_SEGMENT, &size, sizeof size) != 0)
        return -1;
    long long begin = now_ns(), end = begin + ms * 1000000, now = begin, heard = begin;
    long long arrived = 0, lost = 0, under_way = 0;
    while (now < end) {
        while (under_way + BURST <= WINDOW) {
            if (!send_burst(sender, &to, (size_t)size))
                return -1;
            under_way += BURST;
        }
        int count = drain(receiver, (unsigned)size);
        arrived += count;
        under_way -= count < under_way ? count : under_way;
        now = now_ns();
        if (count > 0) {
            heard = now;
        } else if (now - heard > LOST_AFTER_MS * 1000000LL) {
            lost += under_way;
            under_way = 0;
            heard = now;
        }
    }
    /* The rest must not count as the next measurement's. */
    struct pollfd polled = { .fd = receiver, .events = POLLIN };
    while (poll(&polled, 1, LOST_AFTER_MS) == 1)
        drain(receiver, (unsigned)size);
    printf("arrived %lld %lld %lld\n", arrived, lost, now - begin);
    fflush(stdout);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: relay_load SERVER\n");
        return 2;
    }
    struct side sides[2] = {
        { .server = argv[1], .error = HP_ERROR_INIT },
        { .server = argv[1], .error = HP_ERROR_INIT },
    };
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, meet, &sides[i]) != 0)
            return 1;
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 2; i++)
        if (sides[i].status != HP_STATUS_OK) {
            fprintf(stderr, "relay_load: %s (%s)\n", sides[i].error.message, hp_status_name(sides[i].status));
            return 1;
        }
    int sender = sides[0].fd, receiver = sides[1].fd, buffer = RECEIVE_BUFFER;
    if (setsockopt(receiver, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer) != 0)
        setsockopt(receiver, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    printf("pair %d %d %d\n", port_of(&sides[0].relay), local_port(sender), local_port(receiver));
    fflush(stdout);

    int port, size;
    long long ms;
    while (scanf("%d %d %lld", &port, &size, &ms) == 3)
        if (size < 1 || size > LONGEST || measure(sender, receiver, port, size, ms) != 0) {
            perror("relay_load");
            return 1;
        }
    return 0;
}
