/*
 * Talk with everybody who shares an ID, encrypted from end to end, for as long as one stays.
 *
 *   room RENDEZVOUS ID
 *
 * Lines from stdin go to everybody who is there. On stdout, where members are called by the first 8 digits of their names:
 *
 *   you are <name> <fingerprint>
 *   <name> is here: <fingerprint> <endpoint> <path>
 *   <name>: <text>                               one line per message
 *   <name> has left: <reason>
 *
 * Fingerprints are what people compare to know each other. Trouble is told on stderr. Leaves on SIGINT, SIGTERM and at the
 * end of input, when everybody there has got the last line or 10 seconds have passed.
 *
 * Exit status: 0, 1 if the session could not be joined or has failed, 2 for wrong usage.
 */
#include <holepunch.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MAX_LINE 4096
#define NAME_LEN 9
/* Longest wait for the last lines to arrive after the end of input, in seconds. */
#define PATIENCE 10

/* A signal may come at any time, SIGALRM when it is time to go: what it writes here wakes poll(2). */
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
    return pipe(stop_pipe) == 0 && sigaction(SIGINT, &action, NULL) == 0 && sigaction(SIGTERM, &action, NULL) == 0 &&
           sigaction(SIGALRM, &action, NULL) == 0;
}

/* The last line's number, and how many members have got it. */
static uint64_t last;
static size_t got_last;

static const char *name_of(const hp_peer_id *id, char name[NAME_LEN])
{
    for (int i = 0; i < 4; i++)
        snprintf(name + 2 * i, 3, "%02x", id->bytes[i]);
    return name;
}

static const char *reason_of(int32_t reason)
{
    switch (reason) {
    case HP_LEFT_GOODBYE:
        return "goodbye";
    case HP_LEFT_TIMED_OUT:
        return "timed out";
    case HP_LEFT_UNREACHABLE:
        return "unreachable";
    case HP_LEFT_WRONG_KEY:
        return "wrong key";
    default:
        return "unknown";
    }
}

/* Others' bytes may be anything, and some of them would drive a terminal. */
static void print_message(const char *name, const uint8_t *text, size_t len)
{
    printf("%s: ", name);
    for (size_t i = 0; i < len; i++)
        putchar(text[i] < ' ' || text[i] == 0x7F ? '?' : text[i]);
    putchar('\n');
}

/* Returns 0 if the session is over. */
static int print_event(const hp_session_event *event)
{
    char name[NAME_LEN], fingerprint[HP_FINGERPRINT_TEXT_LEN], endpoint[HP_ADDR_TEXT_LEN];
    name_of(&event->peer, name);
    switch (event->kind) {
    case HP_EVENT_SERVER_LOST:
        fprintf(stderr, "room: the server does not answer\n");
        break;
    case HP_EVENT_SERVER_REGAINED:
        fprintf(stderr, "room: the server answers again\n");
        break;
    case HP_EVENT_REFUSED:
        fprintf(stderr, "room: the server does not take us (reason %d)\n", (int)event->reason);
        break;
    case HP_EVENT_FAILED:
        fprintf(stderr, "room: %s\n", strerror(event->reason));
        return 0;
    case HP_EVENT_CONNECTED:
        hp_key_fingerprint(event->key, fingerprint, sizeof fingerprint, NULL);
        hp_addr_format(&event->endpoint, endpoint, sizeof endpoint, NULL);
        printf("%s is here: %s %s %s\n", name, fingerprint, endpoint, hp_path_name(event->path));
        break;
    case HP_EVENT_MESSAGE:
        print_message(name, event->data, event->data_len);
        break;
    case HP_EVENT_DELIVERED:
        got_last += event->number == last;
        break;
    case HP_EVENT_UNTAKEN:
        fprintf(stderr, "room: %s has missed a line; too much waits for it already\n", name);
        break;
    case HP_EVENT_LEFT:
        printf("%s has left: %s\n", name, reason_of(event->reason));
        if (event->undelivered_count > 0)
            fprintf(stderr, "room: %s may have missed %zu messages\n", name, event->undelivered_count);
        break;
    default:
        break;
    }
    return 1;
}

/* Prints all that has happened; returns 0 if the session is over. */
static int print_events(hp_session *session)
{
    hp_session_event event = HP_SESSION_EVENT_INIT;
    hp_status status;
    while ((status = hp_session_next_event(session, 0, &event)) == HP_STATUS_OK)
        if (!print_event(&event))
            return 0;
    fflush(stdout);
    return status == HP_STATUS_NOTHING;
}

/* Lines that were read and not sent. */
struct input {
    char bytes[MAX_LINE];
    size_t len;
    int ended;
};

/* Reads what there is; called only if there is room. */
static void read_input(struct input *input)
{
    ssize_t n = read(STDIN_FILENO, input->bytes + input->len, sizeof input->bytes - input->len);
    if (n > 0)
        input->len += (size_t)n;
    else
        input->ended = n == 0 || errno != EINTR;
}

/* Sends the lines that are whole, until too much waits; then they are kept for later. */
static void send_lines(hp_session *session, struct input *input)
{
    while (input->len > 0) {
        const char *newline = memchr(input->bytes, '\n', input->len);
        size_t line = newline != NULL ? (size_t)(newline - input->bytes) : input->len;
        size_t used = newline != NULL ? line + 1 : line;
        if (newline == NULL && input->len < sizeof input->bytes && !input->ended)
            return;
        hp_error error = HP_ERROR_INIT;
        uint64_t number;
        hp_status status = hp_session_send(session, NULL, (const uint8_t *)input->bytes, line, &number, &error);
        if (status == HP_STATUS_FULL)
            return;
        last = number;
        got_last = 0;
        if (status != HP_STATUS_OK)
            fprintf(stderr, "room: %s\n", error.message);
        input->len -= used;
        memmove(input->bytes, input->bytes + used, input->len);
    }
}

static int everybody_has_got_all(hp_session *session)
{
    size_t count;
    hp_session_peers(session, NULL, 0, &count);
    return got_last >= count || last == 0;
}

/* Until the input ends, a signal comes or the session fails; returns the exit status. */
static int talk(hp_session *session)
{
    static struct input input;
    hp_socket_t events;
    if (hp_session_event_fd(session, &events) != HP_STATUS_OK)
        return 1;
    struct pollfd fds[] = { { STDIN_FILENO, POLLIN, 0 }, { (int)events, POLLIN, 0 }, { stop_pipe[0], POLLIN, 0 } };
    for (;;) {
        /* Lines that wait are tried again with every event. */
        fds[0].fd = !input.ended && input.len < sizeof input.bytes ? STDIN_FILENO : -1;
        if (poll(fds, 3, -1) < 0) {
            if (errno == EINTR)
                continue;
            return 1;
        }
        if (!print_events(session))
            return 1;
        if (fds[2].revents != 0)
            return 0;
        if (fds[0].revents != 0) {
            read_input(&input);
            if (input.ended)
                alarm(PATIENCE);
        }
        send_lines(session, &input);
        if (input.ended && input.len == 0 && everybody_has_got_all(session))
            return 0;
    }
}

int main(int argc, char **argv)
{
    hp_error error = HP_ERROR_INIT;
    hp_client *client;
    hp_session *session = NULL;
    if (argc != 3) {
        fprintf(stderr, "usage: room RENDEZVOUS ID\n"
                        "  RENDEZVOUS  host:port of the server\n"
                        "  ID          1 to %d bytes that all members share, and nobody else knows\n",
                HP_MAX_SESSION_ID_LEN);
        return 2;
    }
    if (!catch_signals()) {
        perror("room");
        return 1;
    }
    hp_status status = hp_client_new(argv[1], &client, &error);
    if (status == HP_STATUS_OK)
        status = hp_session_join(client, (const uint8_t *)argv[2], strlen(argv[2]), NULL, &session, &error);
    hp_client_free(client);
    if (status != HP_STATUS_OK) {
        fprintf(stderr, "room: %s (%s)\n", error.message, hp_status_name(status));
        return 1;
    }

    hp_peer_id own;
    uint8_t key[HP_KEY_LEN];
    char name[NAME_LEN], fingerprint[HP_FINGERPRINT_TEXT_LEN];
    hp_session_local_id(session, &own);
    hp_session_public_key(session, key);
    hp_key_fingerprint(key, fingerprint, sizeof fingerprint, NULL);
    printf("you are %s %s\n", name_of(&own, name), fingerprint);
    fflush(stdout);
    int exit_status = talk(session);
    /* Says goodbye. */
    hp_session_free(session);
    return exit_status;
}
