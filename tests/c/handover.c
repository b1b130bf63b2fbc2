/*
 * Two processes connect, take the socket, and exchange datagrams over it. Everything arrives once and intact, and what
 * else arrives is the library's own, and known as such.
 *
 *   handover SERVER ID ROLE
 *
 *   take    expects one peer, and starts to send as soon as it has the socket, whether or not the peer's call has returned
 *   late    expects two, so that the first one speaks while this one still connects; reads the early datagrams first
 *   guest   keeps a late one waiting, then is the second peer; says nothing
 *   lend    as take, with the lent socket instead of a taken one
 *
 * Each says "started" on stdout once a window of datagrams is out (a guest: once it is connected), and at the end what
 * it has counted. A guest ends with its input.
 */
#include "check.h"

#include <fcntl.h>
#include <sys/time.h>

#define TOTAL 10000
/* So many are on their way at most: far less than a socket's buffer holds, so that none is lost on the way. */
#define WINDOW 64
#define ACK_EVERY 16
/* Header: 'D' or 'A', three bytes of nothing, a number, a checksum; then the payload. */
#define HEADER 16
#define MAX_PAYLOAD 500

static int fd;
static struct sockaddr_storage peer_address;
static uint32_t peer_address_len;
static hp_addr peer_endpoint;

static uint32_t sent, acknowledged, received, early, control;
static unsigned char seen[TOTAL];

static void write_number(unsigned char *to, uint64_t number, int bytes)
{
    for (int i = bytes - 1; i >= 0; i--, number >>= 8)
        to[i] = (unsigned char)number;
}

static uint64_t read_number(const unsigned char *from, int bytes)
{
    uint64_t number = 0;
    for (int i = 0; i < bytes; i++)
        number = number << 8 | from[i];
    return number;
}

/* FNV-1a over everything but the checksum itself. */
static uint64_t checksum(const unsigned char *datagram, size_t len)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < len; i++)
        if (i < 8 || i >= HEADER)
            hash = (hash ^ datagram[i]) * 1099511628211u;
    return hash;
}

static size_t payload_len(uint32_t number)
{
    return number % (MAX_PAYLOAD + 1);
}

static void send_one(char kind, uint32_t number)
{
    unsigned char datagram[HEADER + MAX_PAYLOAD] = { (unsigned char)kind };
    size_t len = HEADER;
    write_number(datagram + 4, number, 4);
    if (kind == 'D')
        for (size_t end = len + payload_len(number); len < end; len++)
            datagram[len] = (unsigned char)(number * 31 + len * 7);
    write_number(datagram + 8, checksum(datagram, len), 8);
    CHECK(sendto(fd, datagram, len, 0, (struct sockaddr *)&peer_address, peer_address_len) == (ssize_t)len);
}

static void fill_window(void)
{
    while (sent < TOTAL && sent - acknowledged < WINDOW)
        send_one('D', sent++);
}

/* Any datagram that did not come from the library. */
static void handle(const unsigned char *datagram, size_t len)
{
    CHECK(len >= HEADER && len <= HEADER + MAX_PAYLOAD);
    CHECK(read_number(datagram + 8, 8) == checksum(datagram, len));
    uint32_t number = (uint32_t)read_number(datagram + 4, 4);
    if (datagram[0] == 'A') {
        CHECK(len == HEADER && number > acknowledged && number <= sent);
        acknowledged = number;
        return;
    }
    CHECK(datagram[0] == 'D' && number < TOTAL && len == HEADER + payload_len(number));
    CHECK(!seen[number]);
    seen[number] = 1;
    received++;
    if (received % ACK_EVERY == 0 || received == TOTAL)
        send_one('A', received);
}

static int receive_one(int flags)
{
    unsigned char datagram[2000];
    struct sockaddr_storage from;
    socklen_t from_len = sizeof from;
    hp_addr source;
    ssize_t len = recvfrom(fd, datagram, sizeof datagram, flags, (struct sockaddr *)&from, &from_len);
    if (len < 0)
        return 0;
    if (hp_is_control_packet(datagram, (size_t)len)) {
        control++;
        return 1;
    }
    CHECK_STATUS(HP_STATUS_OK, hp_addr_from_sockaddr(&from, from_len, &source));
    CHECK(memcmp(&source, &peer_endpoint, sizeof source) == 0);
    handle(datagram, (size_t)len);
    return 1;
}

static void exchange(void)
{
    /* The socket blocks, so this is what ends a wait for what never comes. */
    struct timeval limit = { PATIENCE_MS / 1000, 0 };
    CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    fill_window();
    puts("started");
    while (acknowledged < TOTAL || received < TOTAL) {
        if (!receive_one(0)) {
            fprintf(stderr, "stalled: %u sent, %u acknowledged, %u received (errno %d)\n", sent, acknowledged, received,
                    errno);
            exit(1);
        }
        fill_window();
    }
    /* Nothing arrives twice. */
    while (receive_one(MSG_DONTWAIT))
        continue;
}

/* As the header describes a socket that is handed over. */
static void is_in_order(void)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof address;
    int value = -1;
    int flags = fcntl(fd, F_GETFL);
    CHECK(flags >= 0 && (flags & O_NONBLOCK) == 0);
    CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC);
    CHECK(getpeername(fd, (struct sockaddr *)&address, &len) == -1 && errno == ENOTCONN);
    len = sizeof value;
    CHECK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &len) == 0 && value == 0);
    len = sizeof value;
    CHECK(getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &len) == 0 && value == SOCK_DGRAM);
}

/* An option that the library has set for its own use would report, as an error of this socket, that nobody is there. */
static void is_not_disturbed_by_closed_ports(void)
{
    char text[HP_ADDR_TEXT_LEN];
    struct sockaddr_storage closed;
    uint32_t closed_len;
    hp_addr addr;
    close(bind_loopback(text));
    CHECK_STATUS(HP_STATUS_OK, hp_addr_parse(text, &addr));
    CHECK_STATUS(HP_STATUS_OK, hp_addr_to_sockaddr(&addr, &closed, sizeof closed, &closed_len));
    for (int i = 0; i < 3; i++, sleep_us(2000))
        CHECK(sendto(fd, "?", 1, 0, (struct sockaddr *)&closed, closed_len) == 1);
    is_in_order();
}

static void set_peer(const hp_addr *endpoint)
{
    peer_endpoint = *endpoint;
    CHECK_STATUS(HP_STATUS_OK,
                 hp_addr_to_sockaddr(&peer_endpoint, &peer_address, sizeof peer_address, &peer_address_len));
}

/* Reads what was said before hp_connect returned. All of it is the first peer's: the guest is silent. */
static void read_early(hp_client *client)
{
    uint8_t datagram[2000];
    size_t len;
    hp_addr source;
    uint32_t socket;
    for (;; early++) {
        hp_status status = hp_early_receive(client, datagram, sizeof datagram, &len, &source, &socket);
        if (status == HP_STATUS_NOTHING)
            return;
        CHECK_STATUS(HP_STATUS_OK, status);
        if (early == 0)
            set_peer(&source);
        CHECK(socket == 0 && memcmp(&source, &peer_endpoint, sizeof source) == 0);
        CHECK(!hp_is_control_packet(datagram, len));
        handle(datagram, len);
    }
}

int main(int argc, char **argv)
{
    end_at_the_latest_in(100);
    CHECK(argc == 4);
    const char *role = argv[3];
    const int is_late = strcmp(role, "late") == 0, is_guest = strcmp(role, "guest") == 0;
    const int lends = strcmp(role, "lend") == 0;
    const uint32_t expected = is_late ? 2 : 1;
    CHECK(is_late || lends || is_guest || strcmp(role, "take") == 0);

    hp_error error = HP_ERROR_INIT;
    hp_peer peer = HP_PEER_INIT;
    hp_socket_t sock = HP_INVALID_SOCKET;
    hp_client *client = new_client(argv[1]);
    CHECK_STATUS(HP_STATUS_OK, hp_client_set_timeout_ms(client, 2 * PATIENCE_MS));
    hp_status status = hp_connect(client, (const uint8_t *)argv[2], strlen(argv[2]), expected, &error);
    if (status != HP_STATUS_OK)
        fprintf(stderr, "%s\n", error.message);
    CHECK_STATUS(HP_STATUS_OK, status);
    CHECK(hp_peer_count(client) == expected);
    CHECK_STATUS(HP_STATUS_OK, hp_peer_get(client, 0, &peer));
    CHECK(peer.socket == 0);
    CHECK_STATUS(HP_STATUS_OK, lends ? hp_socket_fd(client, 0, &sock) : hp_socket_take(client, 0, &sock));
    fd = (int)sock;
    is_in_order();
    if (is_guest) {
        puts("started");
        while (getchar() != EOF)
            continue;
    } else {
        set_peer(&peer.endpoint);
        read_early(client);
        CHECK(!is_late || early > 0);
        if (!lends) {
            hp_client_free(client);
            client = NULL;
            /* Still open, and as it was. */
            is_in_order();
        }
        exchange();
        is_not_disturbed_by_closed_ports();
    }
    hp_client_free(client);
    if (lends) {
        CHECK(fcntl(fd, F_GETFD) == -1 && errno == EBADF);
    } else {
        is_in_order();
        CHECK(close(fd) == 0);
    }
    printf("sent %u received %u early %u control %u\n", sent, received, early, control);
    return 0;
}
