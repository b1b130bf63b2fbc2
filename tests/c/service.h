/*
 * What the server's test programs share: a server that runs in a thread of its own.
 */
#ifndef SERVICE_H
#define SERVICE_H

#include "check.h"

#define AT_ONCE_US 1000000

#define AWAIT(condition)                                                                \
    for (long long end = now_us() + PATIENCE_MS * 1000LL; !(condition); sleep_us(1000)) \
    check_that(now_us() < end, #condition, __FILE__, __LINE__)

static inline hp_server *new_server(const char *address)
{
    hp_server *server = NULL;
    CHECK_STATUS(HP_STATUS_OK, hp_server_new(address, &server, NULL));
    CHECK(server != NULL);
    CHECK_STATUS(HP_STATUS_OK, hp_server_set_workers(server, 2));
    return server;
}

static inline hp_server_counters counters_of(const hp_server *server)
{
    hp_server_counters counters = HP_SERVER_COUNTERS_INIT;
    CHECK_STATUS(HP_STATUS_OK, hp_server_get_counters(server, &counters));
    return counters;
}

/* One hp_server_run in a thread of its own. */
struct service {
    hp_server *server;
    /* Where clients on this host find it. */
    hp_addr address;
    char text[HP_ADDR_TEXT_LEN];
    hp_status status;
    hp_error error;
    pthread_t thread;
};

static inline void *run_service(void *argument)
{
    struct service *service = argument;
    service->status = hp_server_run(service->server, &service->error);
    return NULL;
}

static inline void start_unbound(struct service *service, hp_server *server)
{
    static const hp_error fresh = HP_ERROR_INIT;
    memset(service, 0, sizeof *service);
    service->server = server;
    service->error = fresh;
    service->status = service->error.status = HP_STATUS_NOTHING;
    CHECK(pthread_create(&service->thread, NULL, run_service, service) == 0);
}

static inline void send_to(int fd, const hp_addr *to, const char *data)
{
    struct sockaddr_storage address;
    uint32_t len;
    CHECK_STATUS(HP_STATUS_OK, hp_addr_to_sockaddr(to, &address, sizeof address, &len));
    CHECK(sendto(fd, data, strlen(data), 0, (struct sockaddr *)&address, len) == (ssize_t)strlen(data));
}

/* Bound before it runs; when this returns, it has received a datagram, which means nothing. */
static inline void start(struct service *service, hp_server *server)
{
    hp_addr bound;
    char own[HP_ADDR_TEXT_LEN];
    int fd = bind_loopback(own);
    CHECK_STATUS(HP_STATUS_OK, hp_server_bind(server, NULL));
    CHECK_STATUS(HP_STATUS_OK, hp_server_local_addr(server, &bound));
    start_unbound(service, server);
    service->address = bound;
    if (all_bytes(bound.ip, sizeof bound.ip, 0)) {
        CHECK_STATUS(HP_STATUS_OK, hp_addr_parse("127.0.0.1:0", &service->address));
        service->address.port = bound.port;
    }
    CHECK_STATUS(HP_STATUS_OK, hp_addr_format(&service->address, service->text, sizeof service->text, NULL));
    send_to(fd, &service->address, "");
    AWAIT(counters_of(server).dropped == 1);
    close(fd);
}

static inline void stop_and_join(struct service *service)
{
    long long since = now_us();
    hp_server_stop(service->server);
    CHECK(pthread_join(service->thread, NULL) == 0);
    CHECK(now_us() - since < AT_ONCE_US);
    CHECK_STATUS(HP_STATUS_OK, service->status);
    CHECK(service->error.status == HP_STATUS_OK && service->error.message[0] == '\0');
}

static inline void end_service(struct service *service)
{
    stop_and_join(service);
    hp_server_free(service->server);
}

#endif
