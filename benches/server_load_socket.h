/*
 * The one socket of server_load.c, and what it sends and receives at a time. Whoever includes this has defined _GNU_SOURCE.
 */
#ifndef SERVER_LOAD_SOCKET_H
#define SERVER_LOAD_SOCKET_H

#include "server_load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 64, BUFFER = 16 << 20 };
static const long long SECOND = 1000000000;

/* A control message, aligned as the kernel wants it. */
union control {
    size_t align;
    unsigned char bytes[CMSG_SPACE(sizeof(struct in_pktinfo))];
};

struct batch {
    struct mmsghdr headers[BATCH];
    struct iovec iovs[BATCH];
    union control controls[BATCH];
    unsigned char bytes[BATCH][LONGEST];
};

static struct batch in, out;
static struct sockaddr_in server;
static int fd, queued;
static uint64_t sent_total, failed_total, received_total;

static long long now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * SECOND + time.tv_nsec;
}

static void flush(void)
{
    for (int done = 0; done < queued;) {
        int count = sendmmsg(fd, out.headers + done, (unsigned)(queued - done), 0);
        if (count > 0) {
            done += count;
            sent_total += (uint64_t)count;
        } else if (errno != EINTR) {
            done++;
            failed_total++;
        }
    }
    queued = 0;
}

/* The place for one more datagram, from that client's address. */
static unsigned char *place(uint32_t index)
{
    if (queued == BATCH)
        flush();
    struct in_pktinfo info = { .ipi_spec_dst.s_addr = htonl(address_of(index)) };
    memcpy(CMSG_DATA((struct cmsghdr *)out.controls[queued].bytes), &info, sizeof info);
    return out.bytes[queued];
}

/* Whose answer that is by the address that it came to; no client's number if that was not asked for. */
static uint32_t addressee(struct msghdr *header)
{
    struct cmsghdr *message = header->msg_control != NULL ? CMSG_FIRSTHDR(header) : NULL;
    if (message == NULL || message->cmsg_type != IP_PKTINFO)
        return UINT32_MAX;
    struct in_pktinfo info;
    memcpy(&info, CMSG_DATA(message), sizeof info);
    return client_at(ntohl(info.ipi_addr.s_addr));
}

/* Takes what is there; returns how many there are in `in`. */
static int take(bool by_address)
{
    for (int i = 0; i < BATCH; i++) {
        in.headers[i].msg_hdr.msg_control = by_address ? in.controls[i].bytes : NULL;
        in.headers[i].msg_hdr.msg_controllen = by_address ? sizeof in.controls[i].bytes : 0;
    }
    int count = recvmmsg(fd, in.headers, BATCH, MSG_DONTWAIT, NULL);
    received_total += count > 0 ? (uint64_t)count : 0;
    return count > 0 ? count : 0;
}

static bool open_socket(void)
{
    struct sockaddr_in ours = { .sin_family = AF_INET };
    int size = BUFFER;
    fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&ours, sizeof ours) != 0)
        return false;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) != 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    for (int i = 0; i < BATCH; i++) {
        in.iovs[i] = (struct iovec){ .iov_base = in.bytes[i], .iov_len = LONGEST };
        in.headers[i].msg_hdr = (struct msghdr){ .msg_iov = &in.iovs[i], .msg_iovlen = 1 };
        out.iovs[i].iov_base = out.bytes[i];
        *(struct cmsghdr *)out.controls[i].bytes = (struct cmsghdr){
            .cmsg_level = IPPROTO_IP, .cmsg_type = IP_PKTINFO, .cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo))
        };
        out.headers[i].msg_hdr = (struct msghdr){
            .msg_name = &server, .msg_namelen = sizeof server, .msg_iov = &out.iovs[i], .msg_iovlen = 1,
            .msg_control = &out.controls[i], .msg_controllen = sizeof out.controls[i]
        };
    }
    return true;
}

#endif
