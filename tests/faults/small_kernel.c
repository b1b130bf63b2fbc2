/*
 * A kernel with little room, for a program that is started with this in LD_PRELOAD.
 *
 *   HP_FAULT_BUFFER=BYTES  every UDP socket's buffers have that size, whatever the program asks for
 *   HP_FAULT_SEND=COUNT    every COUNT-th call of sendmmsg fails with ENOBUFS, as if a device's queue were full
 *
 * The limits in /proc/sys/net/core would be everyone's on the machine, and a program with privileges is not bound by them.
 */
#define _GNU_SOURCE

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static int number_in(const char *name)
{
    const char *text = getenv(name);
    return text == NULL ? 0 : atoi(text);
}

static void *next(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    int (*real)(int, int, int, const void *, socklen_t);
    *(void **)&real = next("setsockopt");
    int small = number_in("HP_FAULT_BUFFER");
    if (small > 0 && level == SOL_SOCKET && (name == SO_RCVBUF || name == SO_RCVBUFFORCE))
        return real(fd, level, SO_RCVBUF, &small, sizeof small);
    return real(fd, level, name, value, len);
}

int bind(int fd, const struct sockaddr *address, socklen_t len)
{
    int (*real)(int, const struct sockaddr *, socklen_t);
    *(void **)&real = next("bind");
    int small = number_in("HP_FAULT_BUFFER"), type = 0;
    socklen_t type_len = sizeof type;
    if (small > 0 && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) == 0 && type == SOCK_DGRAM) {
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    }
    return real(fd, address, len);
}

int sendmmsg(int fd, struct mmsghdr *headers, unsigned count, int flags)
{
    static atomic_uint calls;
    int (*real)(int, struct mmsghdr *, unsigned, int);
    *(void **)&real = next("sendmmsg");
    int every = number_in("HP_FAULT_SEND");
    if (every > 0 && atomic_fetch_add(&calls, 1) % (unsigned)every == 0) {
        errno = ENOBUFS;
        return -1;
    }
    return real(fd, headers, count, flags);
}
