/*
 * Sockets that the caller has made: which of them hp_client_give_socket takes, whose they are then, and that holes over
 * them work; and hp_cancel_clear.
 *
 *   give_socket SERVER SERVER_IPV6 ID [again]
 *
 * The servers are on 127.0.0.1 and on [::1]. With "again", a client is given what it has already; nothing else is tried.
 */
#include "sized.h"

#include <fcntl.h>
#include <sys/un.h>

#define ID ((const uint8_t *)"give_socket")
#define ID_LEN 11
#define AT_ONCE_US 2000000

static const char *server, *server_ipv6, *id;

static int is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

/* address: of IPv6 if it has a bracket. both_families: for an IPv6 one. */
static int bind_to(const char *address, int both_families)
{
    struct sockaddr_storage local;
    uint32_t len;
    hp_addr addr;
    CHECK_STATUS(HP_STATUS_OK, hp_addr_parse(address, &addr));
    CHECK_STATUS(HP_STATUS_OK, hp_addr_to_sockaddr(&addr, &local, sizeof local, &len));
    int fd = socket(local.ss_family, SOCK_DGRAM, 0), only_ipv6 = !both_families;
    CHECK(fd >= 0);
    if (addr.family == HP_FAMILY_IPV6)
        CHECK(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only_ipv6, sizeof only_ipv6) == 0);
    CHECK(bind(fd, (struct sockaddr *)&local, len) == 0);
    return fd;
}

static hp_addr bound_to(int fd)
{
    struct sockaddr_storage local;
    socklen_t len = sizeof local;
    hp_addr addr;
    CHECK(getsockname(fd, (struct sockaddr *)&local, &len) == 0);
    CHECK_STATUS(HP_STATUS_OK, hp_addr_from_sockaddr(&local, len, &addr));
    return addr;
}

static int lent_socket(const hp_client *client)
{
    hp_socket_t lent = 0;
    CHECK_STATUS(HP_STATUS_OK, hp_socket_fd(client, 0, &lent));
    return (int)lent;
}

/* The socket stays the caller's, as it was, and the client's own stays with the client. */
static void is_refused(hp_client *client, int fd)
{
    const int own = lent_socket(client), status = fcntl(fd, F_GETFL), descriptor = fcntl(fd, F_GETFD);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_give_socket(client, fd));
    CHECK(status >= 0 && fcntl(fd, F_GETFL) == status && fcntl(fd, F_GETFD) == descriptor);
    CHECK(lent_socket(client) == own && is_open(own));
}

static void what_cannot_serve(void)
{
    static const hp_socket_t no_sockets[] = { HP_INVALID_SOCKET, -2, INT32_MIN, INTPTR_MIN, INT32_MAX, INTPTR_MAX };
    struct sockaddr_in loopback;
    struct sockaddr_un path;
    int fds[8], pair[2], good = bind_to("127.0.0.1:0", 0);
    hp_client *client = new_client(server);
    CHECK_STATUS(HP_STATUS_OK, hp_client_give_socket(client, bind_to("127.0.0.1:0", 0)));

    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_give_socket(NULL, good));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_give_socket(NULL, HP_INVALID_SOCKET));
    for (size_t i = 0; i < COUNT(no_sockets); i++)
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_give_socket(client, no_sockets[i]));
#if INTPTR_MAX > INT32_MAX
    /* The lower half is a good socket's. */
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_give_socket(client, good + ((hp_socket_t)1 << 32)));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_give_socket(client, good - ((hp_socket_t)1 << 32)));
#endif
    CHECK(is_open(good));
    CHECK(close(good) == 0);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_give_socket(client, good));

    memset(&loopback, 0, sizeof loopback);
    loopback.sin_family = AF_INET;
    loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    memset(&path, 0, sizeof path);
    path.sun_family = AF_UNIX;
    /* TCP: unbound, bound. UDP: unbound, unbound, connected. Unix: unbound, bound to a name of its own. No socket. */
    fds[0] = socket(AF_INET, SOCK_STREAM, 0);
    fds[1] = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(fds[1], (struct sockaddr *)&loopback, sizeof loopback) == 0);
    fds[2] = socket(AF_INET, SOCK_DGRAM, 0);
    fds[3] = socket(AF_INET6, SOCK_DGRAM, 0);
    fds[4] = bind_to("127.0.0.1:0", 0);
    loopback.sin_port = htons(9);
    CHECK(connect(fds[4], (struct sockaddr *)&loopback, sizeof loopback) == 0);
    fds[5] = socket(AF_UNIX, SOCK_DGRAM, 0);
    fds[6] = socket(AF_UNIX, SOCK_DGRAM, 0);
    CHECK(bind(fds[6], (struct sockaddr *)&path, sizeof path.sun_family) == 0);
    fds[7] = open("/dev/null", O_RDWR);
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0);
    for (size_t i = 0; i < COUNT(fds); i++)
        is_refused(client, fds[i]);
    is_refused(client, pair[0]);
    hp_client_free(client);
    for (size_t i = 0; i < COUNT(fds); i++)
        CHECK(close(fds[i]) == 0);
    CHECK(close(pair[0]) == 0 && close(pair[1]) == 0);
}

/* Two clients meet, as connect_pair's do, but the first one has been given a socket. */
static void connect_with(int fd, const char *at, hp_client *pair[2])
{
    struct caller callers[2];
    for (int i = 0; i < 2; i++) {
        pair[i] = new_client(at);
        CHECK_STATUS(HP_STATUS_OK, hp_client_set_timeout_ms(pair[i], PATIENCE_MS));
        if (i == 0)
            CHECK_STATUS(HP_STATUS_OK, hp_client_give_socket(pair[i], fd));
        start_caller(&callers[i], pair[i], id);
    }
    for (int i = 0; i < 2; i++)
        CHECK_STATUS(HP_STATUS_OK, join_caller(&callers[i]));
}

static hp_addr peer_of(const hp_client *client)
{
    hp_peer peer = HP_PEER_INIT;
    CHECK(hp_peer_count(client) == 1);
    CHECK_STATUS(HP_STATUS_OK, hp_peer_get(client, 0, &peer));
    CHECK(peer.connected == 1 && peer.authenticated == 1 && peer.socket == 0);
    return peer.endpoint;
}

static int take(hp_client *client)
{
    hp_socket_t taken = 0;
    CHECK_STATUS(HP_STATUS_OK, hp_socket_take(client, 0, &taken));
    CHECK_STATUS(HP_STATUS_NOT_FOUND, hp_socket_take(client, 0, &(hp_socket_t){ 0 }));
    return (int)taken;
}

static void say(int fd, const hp_addr *to, const char *text)
{
    struct sockaddr_storage address;
    uint32_t len;
    CHECK_STATUS(HP_STATUS_OK, hp_addr_to_sockaddr(to, &address, sizeof address, &len));
    CHECK(sendto(fd, text, strlen(text), 0, (struct sockaddr *)&address, len) == (ssize_t)strlen(text));
}

/* The next datagram that is not the library's. */
static void hears(int fd, const hp_addr *from, const char *text)
{
    struct sockaddr_storage address;
    socklen_t len;
    hp_addr source;
    char heard[1500];
    ssize_t size;
    do {
        len = sizeof address;
        await_datagram(fd);
        size = recvfrom(fd, heard, sizeof heard, 0, (struct sockaddr *)&address, &len);
        CHECK(size >= 0);
    } while (hp_is_control_packet((const uint8_t *)heard, (size_t)size));
    CHECK_STATUS(HP_STATUS_OK, hp_addr_from_sockaddr(&address, len, &source));
    CHECK(memcmp(&source, from, sizeof source) == 0);
    CHECK((size_t)size == strlen(text) && memcmp(heard, text, strlen(text)) == 0);
}

/* Whether errors are reported to whoever asks for them, as the library has it during a call. */
static int has_recverr(int fd, int is_ipv6)
{
    int value = -1;
    socklen_t len = sizeof value;
    CHECK(getsockopt(fd, is_ipv6 ? IPPROTO_IPV6 : IPPROTO_IP, is_ipv6 ? IPV6_RECVERR : IP_RECVERR, &value, &len) == 0);
    return value;
}

static void hole_over(const char *address, int both_families, const char *at, int nonblocking)
{
    hp_client *pair[2];
    const int fd = bind_to(address, both_families), on = 1;
    const hp_addr bound = bound_to(fd);
    const int is_ipv6 = strchr(address, '[') != NULL;
    CHECK(fcntl(fd, F_SETFL, nonblocking ? O_NONBLOCK : 0) == 0);
    CHECK(fcntl(fd, F_SETFD, nonblocking ? FD_CLOEXEC : 0) == 0);
    CHECK(setsockopt(fd, is_ipv6 ? IPPROTO_IPV6 : IPPROTO_IP, is_ipv6 ? IPV6_RECVERR : IP_RECVERR, &on, sizeof on) == 0);
    const int status = fcntl(fd, F_GETFL), descriptor = fcntl(fd, F_GETFD);

    connect_with(fd, at, pair);
    CHECK(lent_socket(pair[0]) == fd && take(pair[0]) == fd);
    const int other = take(pair[1]);
    const hp_addr us = peer_of(pair[1]), them = peer_of(pair[0]);
    CHECK(us.port == bound.port && bound_to(fd).port == bound.port);
    for (int i = 0; i < 2; i++)
        hp_client_free(pair[i]);

    CHECK(fcntl(fd, F_GETFL) == status && fcntl(fd, F_GETFD) == descriptor);
    CHECK(!has_recverr(fd, 0) && (!is_ipv6 || !has_recverr(fd, 1)));
    say(fd, &them, "from the given one");
    hears(other, &us, "from the given one");
    say(other, &us, "from the other");
    hears(fd, &them, "from the other");
    CHECK(close(fd) == 0 && close(other) == 0);
}

static void holes(void)
{
    for (int nonblocking = 0; nonblocking < 2; nonblocking++) {
        hole_over("127.0.0.1:0", 0, server, nonblocking);
        hole_over("0.0.0.0:0", 0, server, nonblocking);
        hole_over("[::]:0", 0, server_ipv6, nonblocking);
        hole_over("[::1]:0", 1, server_ipv6, nonblocking);
        hole_over("[::]:0", 1, server, nonblocking);
        hole_over("[::]:0", 1, server_ipv6, nonblocking);
        hole_over("[::ffff:127.0.0.1]:0", 1, server, nonblocking);
    }
}

/* The socket is not replaced by one that would do; it can be had back. */
static void of_the_wrong_family(void)
{
    const int fds[] = { bind_to("[::]:0", 0), bind_to("127.0.0.1:0", 0) };
    const char *const at[] = { server, server_ipv6 };
    for (int i = 0; i < 2; i++) {
        hp_client *client = new_client(at[i]);
        CHECK_STATUS(HP_STATUS_OK, hp_client_give_socket(client, fds[i]));
        CHECK_STATUS(HP_STATUS_SERVER_UNREACHABLE, hp_connect(client, ID, ID_LEN, 1, NULL));
        CHECK(take(client) == fds[i]);
        hp_client_free(client);
        CHECK(close(fds[i]) == 0);
    }
}

static int may_be_alone(hp_status status)
{
    return status == HP_STATUS_TIMED_OUT_WAITING || status == HP_STATUS_TIMED_OUT_PUNCHING ||
           status == HP_STATUS_SERVER_SILENT;
}

/* From the next call on until it is taken; then the client makes its own again, where it was told to. */
static void serves_every_call_until_taken(void)
{
    hp_client *client = new_client(server);
    hp_addr local;
    const int fd = bind_to("127.0.0.1:0", 0);
    CHECK_STATUS(HP_STATUS_OK, hp_client_set_timeout_ms(client, 20));
    CHECK_STATUS(HP_STATUS_OK, hp_addr_parse("127.0.0.3:0", &local));
    CHECK_STATUS(HP_STATUS_OK, hp_client_set_local_addr(client, &local));
    CHECK_STATUS(HP_STATUS_OK, hp_client_give_socket(client, fd));
    for (int i = 0; i < 3; i++) {
        CHECK(lent_socket(client) == fd && is_open(fd));
        CHECK(may_be_alone(hp_connect(client, ID, ID_LEN, 1, NULL)));
    }
    CHECK(take(client) == fd);
    CHECK(may_be_alone(hp_connect(client, ID, ID_LEN, 1, NULL)));
    const int own = lent_socket(client);
    const hp_addr made = bound_to(own);
    CHECK(own != fd && memcmp(made.ip, local.ip, sizeof made.ip) == 0);
    hp_client_free(client);
    CHECK(!is_open(own) && close(fd) == 0);
}

static void whose_it_is(void)
{
    hp_client *pair[2];
    hp_client *client = new_client(server);
    const int first = bind_to("127.0.0.1:0", 0), second = bind_to("127.0.0.1:0", 0);
    CHECK_STATUS(HP_STATUS_OK, hp_client_give_socket(client, first));
    CHECK(lent_socket(client) == first && is_open(first));
    CHECK_STATUS(HP_STATUS_OK, hp_client_give_socket(client, second));
    CHECK(!is_open(first) && lent_socket(client) == second && is_open(second));
    hp_client_free(client);
    CHECK(!is_open(second));

    /* What an earlier call left goes with the sockets that it used. */
    connect_pair(server, id, pair);
    const int own = lent_socket(pair[0]), given = bind_to("127.0.0.1:0", 0);
    CHECK(hp_peer_count(pair[0]) == 1);
    CHECK_STATUS(HP_STATUS_OK, hp_client_give_socket(pair[0], given));
    CHECK(!is_open(own) && hp_peer_count(pair[0]) == 0 && lent_socket(pair[0]) == given);
    for (int i = 0; i < 2; i++)
        hp_client_free(pair[i]);
    CHECK(!is_open(given));
}

/* Whether that is refused or does nothing: the client still has it, and closes nothing that was opened since. */
static void what_the_client_has(void)
{
    hp_client *client = new_client(server);
    const int fd = bind_to("127.0.0.1:0", 0);
    CHECK_STATUS(HP_STATUS_OK, hp_client_give_socket(client, fd));
    for (int i = 0; i < 2; i++) {
        hp_status status = hp_client_give_socket(client, lent_socket(client));
        CHECK(status == HP_STATUS_OK || status == HP_STATUS_INVALID_ARGUMENT);
        CHECK(is_open(fd) && lent_socket(client) == fd);
    }
    const int opened = open("/dev/null", O_RDONLY);
    CHECK(opened >= 0 && opened != fd);
    hp_client_free(client);
    CHECK(!is_open(fd) && close(opened) == 0);
}

static void a_duplicate(void)
{
    for (int taken = 0; taken < 2; taken++) {
        hp_client *pair[2];
        const int original = bind_to("127.0.0.1:0", 0), duplicate = dup(original);
        CHECK(duplicate >= 0);
        connect_with(duplicate, server, pair);
        const hp_addr us = peer_of(pair[1]), them = peer_of(pair[0]);
        CHECK(us.port == bound_to(original).port && lent_socket(pair[0]) == duplicate);
        if (taken)
            CHECK(take(pair[0]) == duplicate && close(duplicate) == 0);
        hp_client_free(pair[0]);
        CHECK(!is_open(duplicate) && is_open(original));
        /* What was the client's is gone, the hole is not. */
        const int other = take(pair[1]);
        hp_client_free(pair[1]);
        say(other, &us, "still there?");
        hears(original, &them, "still there?");
        CHECK(close(original) == 0 && close(other) == 0);
    }
}

struct signaller {
    hp_client *client;
    hp_addr peer;
    hp_status status;
    pthread_t thread;
};

static void *run_signaller(void *argument)
{
    struct signaller *signaller = argument;
    signaller->status = hp_connect_peers(signaller->client, ID, ID_LEN, &signaller->peer, 1, NULL);
    return NULL;
}

/* Who has signalling of his own knows the endpoints of both sockets before any client does. */
static void without_the_server(void)
{
    struct signaller both[2];
    const int fds[] = { bind_to("127.0.0.1:0", 0), bind_to("[::ffff:127.0.0.1]:0", 1) };
    for (int i = 0; i < 2; i++) {
        both[i].client = new_client(server);
        both[i].peer = bound_to(fds[1 - i]);
        CHECK_STATUS(HP_STATUS_OK, hp_client_set_timeout_ms(both[i].client, PATIENCE_MS));
        CHECK_STATUS(HP_STATUS_OK, hp_client_give_socket(both[i].client, fds[i]));
        CHECK(pthread_create(&both[i].thread, NULL, run_signaller, &both[i]) == 0);
    }
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_join(both[i].thread, NULL) == 0);
        CHECK_STATUS(HP_STATUS_OK, both[i].status);
        const hp_addr peer = peer_of(both[i].client);
        CHECK(memcmp(&peer, &both[i].peer, sizeof peer) == 0 && take(both[i].client) == fds[i]);
        hp_client_free(both[i].client);
        CHECK(is_open(fds[i]));
    }
    say(fds[0], &both[0].peer, "hello");
    hears(fds[1], &both[1].peer, "hello");
    CHECK(close(fds[0]) == 0 && close(fds[1]) == 0);
}

static void during_a_call(void)
{
    char text[HP_ADDR_TEXT_LEN];
    struct caller caller;
    int silent = bind_loopback(text), before = bind_to("127.0.0.1:0", 0), during = bind_to("127.0.0.1:0", 0);
    hp_client *client = new_client(text);
    CHECK_STATUS(HP_STATUS_OK, hp_client_set_timeout_ms(client, -1));
    CHECK_STATUS(HP_STATUS_OK, hp_client_give_socket(client, before));
    start_caller(&caller, client, id);
    await_datagram(silent);
    CHECK_STATUS(HP_STATUS_BUSY, hp_client_give_socket(client, during));
    CHECK_STATUS(HP_STATUS_BUSY, hp_client_give_socket(client, before));
    /* There is nothing to take back. */
    hp_cancel_clear(client);
    CHECK(is_open(during) && is_open(before));
    hp_cancel(client);
    CHECK_STATUS(HP_STATUS_CANCELLED, join_caller(&caller));
    CHECK(lent_socket(client) == before);
    hp_client_free(client);
    CHECK(!is_open(before) && close(during) == 0);
    close(silent);
}

static void cancellations_taken_back(void)
{
    const int timeout_ms = 100;
    char text[HP_ADDR_TEXT_LEN];
    int silent = bind_loopback(text);
    hp_client *client = new_client(text);
    hp_cancel_clear(NULL);
    for (int cancels = 0; cancels < 3; cancels++) {
        for (int i = 0; i < cancels; i++)
            hp_cancel(client);
        hp_cancel_clear(client);
        CHECK_STATUS(HP_STATUS_OK, hp_client_set_timeout_ms(client, timeout_ms));
        long long since = now_us();
        CHECK_STATUS(HP_STATUS_SERVER_SILENT, hp_connect(client, ID, ID_LEN, 1, NULL));
        CHECK(now_us() - since >= timeout_ms * 1000LL);

        /* One that comes after it is none that it takes back. */
        hp_cancel_clear(client);
        hp_cancel(client);
        CHECK_STATUS(HP_STATUS_OK, hp_client_set_timeout_ms(client, -1));
        since = now_us();
        CHECK_STATUS(HP_STATUS_CANCELLED, hp_connect(client, ID, ID_LEN, 1, NULL));
        CHECK(now_us() - since < AT_ONCE_US);
    }
    hp_client_free(client);
    close(silent);
}

int main(int argc, char **argv)
{
    end_at_the_latest_in(60);
    CHECK(argc == 4 || argc == 5);
    server = argv[1], server_ipv6 = argv[2], id = argv[3];
    if (argc == 5) {
        what_the_client_has();
        return 0;
    }
    const int fds = count_fds();
    what_cannot_serve();
    holes();
    of_the_wrong_family();
    serves_every_call_until_taken();
    whose_it_is();
    a_duplicate();
    without_the_server();
    during_a_call();
    cancellations_taken_back();
    await_a_single_thread();
    CHECK(count_fds() == fds);
    return 0;
}
