/*
 * What addresses.c and copy.c share: their options, and the exchange of addresses, which the people who run them tell each
 * other by means of their own.
 */
#ifndef EXCHANGE_H
#define EXCHANGE_H

#include <holepunch.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What is said of these options where usage is told. */
#define EXCHANGE_USAGE                                                                            \
    "  --server HOST:PORT  ask this hp-server for our public address\n"                           \
    "  --stun HOST:PORT    ask this STUN server for it\n"                                         \
    "  --id ID             1 to 1000 bytes that both sides share, and nobody else knows\n"        \
    "  --unauthenticated   take whoever is at the peer's addresses for the peer\n"                \
    "The addresses of the peer are read from the first line of standard input, separated by\n"    \
    "commas; if that is empty, the peer is waited for.\n"

/* Reads the options into what a connection is made with. Returns where other arguments begin, or 0 for wrong usage. */
static inline int parse_options(int argc, char **argv, hp_conn_options *options)
{
    int at = 1;
    for (; at < argc && strncmp(argv[at], "--", 2) == 0; at++) {
        const char *name = argv[at];
        if (strcmp(name, "--tcp") == 0) {
            options->transport = HP_TRANSPORT_TCP;
        } else if (strcmp(name, "--udp") == 0) {
            options->transport = HP_TRANSPORT_UDP;
        } else if (strcmp(name, "--unauthenticated") == 0) {
            options->unauthenticated = 1;
        } else if (++at == argc) {
            return 0;
        } else if (strcmp(name, "--id") == 0) {
            options->id = (const uint8_t *)argv[at];
            options->id_len = strlen(argv[at]);
        } else if (options->address_server == NULL && (strcmp(name, "--server") == 0 || strcmp(name, "--stun") == 0)) {
            options->address_source = strcmp(name, "--stun") == 0 ? HP_ADDRESS_STUN : HP_ADDRESS_SERVER;
            options->address_server = argv[at];
        } else {
            return 0;
        }
    }
    return (options->id == NULL) == options->unauthenticated ? at : 0;
}

static inline void print_trouble(const char *program, const hp_error *error)
{
    fprintf(stderr, "%s: %s (%s)\n", program, error->message, hp_status_name(error->status));
}

static inline void print_address(const char *what, const hp_addr *address)
{
    char text[HP_ADDR_TEXT_LEN];
    if (hp_addr_format(address, text, sizeof text, NULL) == HP_STATUS_OK)
        printf("%s %s\n", what, text);
}

/* Makes a connection and prints the addresses that the peer is to be told. Returns NULL, having said why, if there is none. */
static inline hp_conn *open_conn(const char *program, const hp_conn_options *options)
{
    hp_error error = HP_ERROR_INIT;
    hp_addr local[8], public_address;
    hp_conn *conn;
    size_t count;
    if (hp_conn_new(options, &conn, &error) != HP_STATUS_OK) {
        print_trouble(program, &error);
        return NULL;
    }
    if (hp_conn_local_addresses(conn, local, sizeof local / sizeof *local, &count) == HP_STATUS_OK)
        for (size_t i = 0; i < count; i++)
            print_address("local", &local[i]);
    /* Without it, peers in the same network can still be met, and all whom we can reach. */
    hp_status status = hp_conn_public_address(conn, -1, &public_address, &error);
    if (status == HP_STATUS_OK)
        print_address("public", &public_address);
    else if (status != HP_STATUS_NOTHING)
        print_trouble(program, &error);
    fflush(stdout);
    return conn;
}

/* Reads a line byte by byte, so that what follows it is left for others. Returns 0 at the end of input or if it is too long. */
static inline int read_line(char *line, size_t capacity)
{
    for (size_t len = 0; len < capacity;) {
        ssize_t n = read(STDIN_FILENO, line + len, 1);
        if (n == 0 || (n < 0 && errno != EINTR))
            return 0;
        if (n == 1 && line[len] == '\n') {
            line[len] = '\0';
            return 1;
        }
        len += n == 1;
    }
    return 0;
}

/* Asks for the peer's addresses and begins to look for it there. Returns 0, having said why, if there is nothing to begin with. */
static inline int attempt_peer(const char *program, const hp_conn *conn)
{
    char line[HP_CONN_MAX_ADDRESSES * HP_ADDR_TEXT_LEN];
    hp_addr addresses[HP_CONN_MAX_ADDRESSES];
    hp_error error = HP_ERROR_INIT;
    size_t count = 0;
    fprintf(stderr, "%s: the peer's addresses, separated by commas, or nothing to wait for it:\n", program);
    if (!read_line(line, sizeof line)) {
        fprintf(stderr, "%s: there is no line with the peer's addresses\n", program);
        return 0;
    }
    const char *separators = ", \t\r";
    for (char *text = strtok(line, separators); text != NULL; text = strtok(NULL, separators)) {
        if (count == HP_CONN_MAX_ADDRESSES) {
            fprintf(stderr, "%s: a peer has at most %d addresses\n", program, HP_CONN_MAX_ADDRESSES);
            return 0;
        }
        if (hp_addr_parse(text, &addresses[count++]) != HP_STATUS_OK) {
            fprintf(stderr, "%s: not an address: %s\n", program, text);
            return 0;
        }
    }
    if (hp_conn_attempt(conn, addresses, count, &error) != HP_STATUS_OK) {
        print_trouble(program, &error);
        return 0;
    }
    return 1;
}

static inline void print_connected(const hp_conn *conn, const hp_addr *remote)
{
    hp_conn_info info = HP_CONN_INFO_INIT;
    char text[HP_ADDR_TEXT_LEN] = "";
    hp_addr_format(remote, text, sizeof text, NULL);
    /* The peer may have gone again. */
    if (hp_conn_get_info(conn, &info) != HP_STATUS_OK)
        printf("connected %s\n", text);
    else if (info.rtt_us == HP_RTT_UNKNOWN)
        printf("connected %s %s -\n", text, hp_path_name(info.path));
    else
        printf("connected %s %s %.3f\n", text, hp_path_name(info.path), info.rtt_us / 1000.0);
    fflush(stdout);
}

/* Says why it is over. Returns the exit status. */
static inline int print_end(const char *program, const hp_conn_event *end)
{
    switch (end->reason) {
    case HP_END_CLOSED:
        return 0;
    case HP_END_CLOSED_BY_PEER:
        fprintf(stderr, "%s: the peer has closed the connection\n", program);
        return 0;
    case HP_END_SILENT:
        fprintf(stderr, "%s: the peer is silent\n", program);
        return 1;
    case HP_END_NOT_REACHED:
        fprintf(stderr, "%s: %s (%s)\n", program, end->message, hp_status_name(end->status));
        return 1;
    default:
        fprintf(stderr, "%s: the connection has failed: %s\n", program, strerror(end->os_error));
        return 1;
    }
}

#endif
