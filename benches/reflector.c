/*
 * The least that a server can be, for hp-server to be measured against: it answers every datagram with that same datagram, cut or
 * filled up to one length. It knows no messages, clients or limits.
 *
 *   reflector ADDRESS THREADS SIZE [LEAST]
 *
 *   port <port>
 *
 * ADDRESS is `any` or an IPv4 address, THREADS is how many sockets share it, SIZE is the length of each answer. Datagrams of less
 * than LEAST bytes are taken and not answered, as a server does with acknowledgements.
 *
 * Its sockets are what hp-server's are: `any` is IPv6 and IPv4 at once, and answers leave from the address that was asked; batches
 * are of the same size, and so are the buffers that it asks for. It runs until it is killed. Linux only.
 */
#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

enum { BATCH = 32, LONGEST = 2048, RECEIVE_BUFFER = 4 << 20, TICK_US = 20000, MOST_THREADS = 64 };

/* One thread's socket and memory. */
struct worker {
    int fd;
    bool any;
    size_t size, least;
    unsigned char buffers[BATCH][LONGEST];
    struct sockaddr_storage names[BATCH];
    /* Aligned as the kernel wants it. */
    union {
        size_t align;
        unsigned char bytes[64];
    } controls[BATCH];
    struct iovec iovs[BATCH];
    struct mmsghdr headers[BATCH];
};

/* Answers leave from the address that was asked, by whatever interface leads to the asker. */
static void forget_interface(struct msghdr *header)
{
    struct cmsghdr *message = CMSG_FIRSTHDR(header);
    if (message != NULL && message->cmsg_level == IPPROTO_IPV6 && message->cmsg_type == IPV6_PKTINFO) {
        struct in6_pktinfo info;
        memcpy(&info, CMSG_DATA(message), sizeof info);
        info.ipi6_ifindex = 0;
        memcpy(CMSG_DATA(message), &info, sizeof info);
    }
}

static void *reflect(void *argument)
{
    struct worker *worker = argument;
    for (int i = 0; i < BATCH; i++) {
        worker->iovs[i].iov_base = worker->buffers[i];
        worker->headers[i].msg_hdr.msg_iov = &worker->iovs[i];
        worker->headers[i].msg_hdr.msg_iovlen = 1;
        worker->headers[i].msg_hdr.msg_name = &worker->names[i];
    }
    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            struct msghdr *header = &worker->headers[i].msg_hdr;
            worker->iovs[i].iov_base = worker->buffers[i];
            worker->iovs[i].iov_len = LONGEST;
            header->msg_namelen = sizeof worker->names[i];
            header->msg_control = worker->any ? worker->controls[i].bytes : NULL;
            header->msg_controllen = worker->any ? sizeof worker->controls[i].bytes : 0;
            header->msg_flags = 0;
        }
        int count = recvmmsg(worker->fd, worker->headers, BATCH, MSG_WAITFORONE, NULL);
        if (count < 0) {
            if (errno == EAGAIN || errno == EINTR || errno == ECONNREFUSED)
                continue;
            perror("reflector: recvmmsg");
            exit(1);
        }
        int answers = 0;
        for (int i = 0; i < count; i++) {
            if (worker->headers[i].msg_len < worker->least)
                continue;
            if (worker->any)
                forget_interface(&worker->headers[i].msg_hdr);
            /* The kernel reads what it needs of a header, whichever it was received with. */
            if (answers != i) {
                struct iovec *iov = worker->headers[answers].msg_hdr.msg_iov;
                iov->iov_base = worker->headers[i].msg_hdr.msg_iov->iov_base;
                struct msghdr moved = worker->headers[i].msg_hdr;
                moved.msg_iov = iov;
                worker->headers[answers].msg_hdr = moved;
            }
            worker->iovs[answers].iov_len = worker->size;
            answers++;
        }
        for (int done = 0; done < answers;) {
            int sent = sendmmsg(worker->fd, worker->headers + done, (unsigned)(answers - done), MSG_DONTWAIT);
            done += sent > 0 ? sent : 1;
        }
        for (int i = 0; i < count; i++)
            worker->headers[i].msg_hdr.msg_name = &worker->names[i];
    }
}

/* A socket that shares its port; -1 on failure. */
static int listen_at(const char *text, int port)
{
    bool any = strcmp(text, "any") == 0;
    struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_addr = IN6ADDR_ANY_INIT };
    struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    if (!any && inet_pton(AF_INET, text, &four.sin_addr) != 1) {
        errno = EINVAL;
        return -1;
    }
    int fd = socket(any ? AF_INET6 : AF_INET, SOCK_DGRAM, 0), on = 1, off = 0, size = RECEIVE_BUFFER;
    struct timeval tick = { .tv_usec = TICK_US };
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof tick) != 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) != 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (any && (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) != 0 ||
                setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on) != 0))
        return -1;
    const struct sockaddr *address = any ? (const struct sockaddr *)&six : (const struct sockaddr *)&four;
    return bind(fd, address, any ? sizeof six : sizeof four) == 0 ? fd : -1;
}

int main(int argc, char **argv)
{
    int threads = argc > 2 ? atoi(argv[2]) : 0, size = argc > 3 ? atoi(argv[3]) : -1;
    if (argc < 4 || argc > 5 || threads < 1 || threads > MOST_THREADS || size < 0 || size > LONGEST) {
        fprintf(stderr, "usage: reflector ADDRESS THREADS SIZE [LEAST]\n");
        return 2;
    }
    int port = 0;
    pthread_t thread;
    for (int i = 0; i < threads; i++) {
        struct worker *worker = calloc(1, sizeof *worker);
        if (worker == NULL || (worker->fd = listen_at(argv[1], port)) < 0) {
            perror("reflector");
            return 1;
        }
        struct sockaddr_storage ours;
        socklen_t len = sizeof ours;
        if (port == 0 && getsockname(worker->fd, (struct sockaddr *)&ours, &len) == 0)
            /* The port lies at the same place in both families' addresses. */
            port = ntohs(((struct sockaddr_in *)&ours)->sin_port);
        worker->any = strcmp(argv[1], "any") == 0;
        worker->size = (size_t)size;
        worker->least = argc > 4 ? (size_t)atoi(argv[4]) : 0;
        if (pthread_create(&thread, NULL, reflect, worker) != 0)
            return 1;
    }
    printf("port %d\n", port);
    fflush(stdout);
    pthread_join(thread, NULL);
    return 1;
}
