/*
 * Talk with a peer whose addresses one is told: by mail, by voice, by whatever means people have.
 *
 *   addresses [--tcp | --udp] [--server HOST:PORT | --stun HOST:PORT] --id ID | --unauthenticated
 *
 * Both sides start it and tell each other what it prints; then each enters the other's addresses, on one line, within 9 seconds
 * of each other. From then on, lines from stdin go to the peer. On stdout:
 *
 *   local <address>                         one line per address
 *   public <address>                        if a server was asked and has answered
 *   connected <address> <path> <rtt ms>
 *   peer: <text>                            one line per line of the peer's
 *
 * Lines are not encrypted. Over UDP they may be lost, and without an ID nobody is told over UDP that the peer has gone. Trouble
 * is told on stderr. Leaves on SIGINT, SIGTERM, at the end of input, and when the peer does.
 *
 * Exit status: 0, 1 if the peer was not reached or the connection has failed, 2 for wrong usage.
 */
#include "exchange.h"

#include <poll.h>
#include <signal.h>

#define MAX_LINE 1200
/* After the end of input, so that the peer's last lines are not missed. */
#define LINGER_MS 200
/* How long one write waits for room, before what the peer says has its turn. */
#define WRITE_MS 50

/* A signal may come at any time: what it writes here wakes poll(2). */
static int stop_pipe[2];

static void on_signal(int number)
{
    int before = errno;
    (void)number;
    if (write(stop_pipe[1], "", 1) < 0)
        errno = before;
}

static int catch_signals(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    return pipe(stop_pipe) == 0 && sigaction(SIGINT, &action, NULL) == 0 && sigaction(SIGTERM, &action, NULL) == 0;
}

/* A peer's bytes may be anything, and some of them would drive a terminal. */
static void print_text(const uint8_t *text, size_t len, int ends_lines)
{
    static int in_line;
    for (size_t i = 0; i < len; i++) {
        if (!in_line)
            printf("peer: ");
        in_line = text[i] != '\n';
        putchar(in_line && (text[i] < ' ' || text[i] == 0x7F) ? '?' : text[i]);
    }
    if (in_line && !ends_lines) {
        putchar('\n');
        in_line = 0;
    }
}

/* Lines that were read and not sent. */
struct input {
    char bytes[MAX_LINE + 1];
    size_t len;
    int ended;
};

/* Reads what there is; called only if there is room. */
static void read_input(struct input *input)
{
    ssize_t n = read(STDIN_FILENO, input->bytes + input->len, MAX_LINE - input->len);
    if (n > 0)
        input->len += (size_t)n;
    else
        input->ended = n == 0 || errno != EINTR;
    /* The last line's end. */
    if (input->ended && input->len > 0 && input->bytes[input->len - 1] != '\n')
        input->bytes[input->len++] = '\n';
}

/* How much of it can be sent: a whole line, or one that is too long. */
static size_t next_line(const struct input *input)
{
    const char *newline = memchr(input->bytes, '\n', input->len);
    if (newline != NULL)
        return (size_t)(newline - input->bytes) + 1;
    return input->len >= MAX_LINE ? input->len : 0;
}

/* Sends the lines that are whole, until the system takes no more; the rest is kept for later. */
static void send_lines(const hp_conn *conn, struct input *input)
{
    size_t line, sent;
    while ((line = next_line(input)) > 0) {
        hp_error error = HP_ERROR_INIT;
        hp_status status = hp_conn_write(conn, (const uint8_t *)input->bytes, line, WRITE_MS, &sent, &error);
        if (status == HP_STATUS_FULL)
            return;
        if (status != HP_STATUS_OK) {
            /* Whether it is over, and why, an event tells. */
            print_trouble("addresses", &error);
            sent = line;
        }
        input->len -= sent;
        memmove(input->bytes, input->bytes + sent, input->len);
    }
}

enum { CONNECTING, CONNECTED, OVER };

/* Prints all that has happened; returns the exit status that it ends with, if it is over. */
static int print_events(const hp_conn *conn, int ends_lines, int *stage)
{
    hp_conn_event event = HP_CONN_EVENT_INIT;
    int exit_status = 0;
    while (hp_conn_next_event(conn, 0, &event) == HP_STATUS_OK) {
        if (event.kind == HP_CONN_CONNECTED) {
            *stage = CONNECTED;
            print_connected(conn, &event.endpoint);
        } else if (event.kind == HP_CONN_DATA) {
            print_text(event.data, event.data_len, ends_lines);
        } else if (event.kind == HP_CONN_ENDED) {
            *stage = OVER;
            exit_status = print_end("addresses", &event);
        }
    }
    fflush(stdout);
    return exit_status;
}

/* Until the input ends, a signal comes or it is over; returns the exit status. */
static int talk(const hp_conn *conn, int ends_lines)
{
    static struct input input;
    hp_socket_t events;
    int stage = CONNECTING;
    if (hp_conn_event_fd(conn, &events) != HP_STATUS_OK)
        return 1;
    struct pollfd fds[] = { { STDIN_FILENO, POLLIN, 0 }, { (int)events, POLLIN, 0 }, { stop_pipe[0], POLLIN, 0 } };
    for (;;) {
        int waits = stage == CONNECTED && next_line(&input) > 0;
        int lingers = input.ended && !waits;
        fds[0].fd = stage == CONNECTED && !input.ended && input.len < MAX_LINE ? STDIN_FILENO : -1;
        int ready = poll(fds, 3, waits ? 0 : lingers ? LINGER_MS : -1);
        if (ready < 0 && errno != EINTR)
            return 1;
        if (ready < 0)
            continue;
        int exit_status = print_events(conn, ends_lines, &stage);
        if (stage == OVER)
            return exit_status;
        if (fds[2].revents != 0 || (lingers && ready == 0))
            return 0;
        if (fds[0].revents != 0)
            read_input(&input);
        if (stage == CONNECTED)
            send_lines(conn, &input);
    }
}

int main(int argc, char **argv)
{
    hp_conn_options options = HP_CONN_OPTIONS_INIT;
    if (parse_options(argc, argv, &options) != argc) {
        fprintf(stderr, "usage: addresses [--tcp | --udp] [--server HOST:PORT | --stun HOST:PORT] --id ID | --unauthenticated\n"
                        "  --tcp, --udp        what carries the connection, default: UDP\n" EXCHANGE_USAGE);
        return 2;
    }
    hp_conn *conn = open_conn("addresses", &options);
    if (conn == NULL)
        return 1;
    int exit_status = 1;
    if (attempt_peer("addresses", conn)) {
        if (catch_signals())
            /* Programs of another kind need not end their lines. */
            exit_status = talk(conn, !options.unauthenticated);
        else
            perror("addresses");
    }
    /* Says goodbye. */
    hp_conn_free(conn);
    return exit_status;
}
