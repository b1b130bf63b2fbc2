/*
 * The least that a relay can be, for `hp-server --relay` to be measured against: what comes in on one of two UDP sockets
 * leaves by the other, for a fixed peer. It knows no tickets, pairs or limits.
 *
 *   forwarder PEER_PORT PEER_PORT
 *
 *   ports <port> <port>   where it listens, on 127.0.0.1: what the first gets goes to the second peer, and the other way
 *                         round
 *
 * Like the server, it asks for a large receive buffer and connects none of its sockets. It runs until it is killed. Linux only.
 */
#define _GNU_SOURCE

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

enum { BATCH = 32, LONGEST = 2048, RECEIVE_BUFFER = 4 << 20 };

static unsigned char buffers[BATCH][LONGEST];
static struct iovec iovs[BATCH];
static struct mmsghdr headers[BATCH];

static int fail(const char *what)
{
    perror(what);
    return 1;
}

static struct sockaddr_in loopback(int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

/* Forwards one batch. What the kernel does not take is lost; -1 if nothing can be received any more. */
static int forward(int from, int to, struct sockaddr_in *peer)
{
    for (int i = 0; i < BATCH; i++) {
        iovs[i].iov_len = LONGEST;
        headers[i].msg_hdr.msg_name = NULL;
        headers[i].msg_hdr.msg_namelen = 0;
    }
    int count = recvmmsg(from, headers, BATCH, MSG_DONTWAIT, NULL);
    if (count < 0)
        return -1;
    for (int i = 0; i < count; i++) {
        iovs[i].iov_len = headers[i].msg_len;
        headers[i].msg_hdr.msg_name = peer;
        headers[i].msg_hdr.msg_namelen = sizeof *peer;
    }
    for (int done = 0; done < count;) {
        int sent = sendmmsg(to, headers + done, (unsigned)(count - done), MSG_DONTWAIT);
        done += sent > 0 ? sent : 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: forwarder PEER_PORT PEER_PORT\n");
        return 2;
    }
    struct sockaddr_in peers[2];
    struct pollfd polled[2];
    int ports[2];
    for (int side = 0; side < 2; side++) {
        struct sockaddr_in ours = loopback(0);
        socklen_t len = sizeof ours;
        int size = RECEIVE_BUFFER, fd = socket(AF_INET, SOCK_DGRAM, 0);
        if (fd < 0 || bind(fd, (struct sockaddr *)&ours, sizeof ours) != 0 ||
            getsockname(fd, (struct sockaddr *)&ours, &len) != 0)
            return fail("forwarder: socket");
        if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) != 0)
            setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
        peers[side] = loopback(atoi(argv[1 + side]));
        polled[side] = (struct pollfd){ .fd = fd, .events = POLLIN };
        ports[side] = ntohs(ours.sin_port);
    }
    for (int i = 0; i < BATCH; i++) {
        iovs[i].iov_base = buffers[i];
        headers[i].msg_hdr.msg_iov = &iovs[i];
        headers[i].msg_hdr.msg_iovlen = 1;
    }
    printf("ports %d %d\n", ports[0], ports[1]);
    fflush(stdout);

    while (poll(polled, 2, -1) >= 0)
        for (int side = 0; side < 2; side++)
            if (polled[side].revents != 0 && forward(polled[side].fd, polled[1 - side].fd, &peers[1 - side]) != 0)
                return fail("forwarder: recvmmsg");
    return fail("forwarder: poll");
}
