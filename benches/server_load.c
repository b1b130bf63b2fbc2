/*
 * Any number of clients of a rendezvous server, up to seven million, by way of one socket; see server.py.
 *
 *   server_load PORT native|plain [wait] [bare]
 *
 * The server is at PORT of 127.0.0.1. Each client has an address of its own in 127.0.0.0/8. `wait`: sleeps when there is nothing to
 * do, as it must where server and generator share processors; otherwise it never sleeps, so that nobody has to wake it. `bare`: what
 * answers is reflector.c, so whatever comes is an answer.
 *
 * Each line of input asks for one thing, and is answered by one line:
 *
 *   populate <clients> <per session> <window>    registers so many, once only, and keeps them registered meanwhile; gives up when
 *                                                there have not been more for 10 s
 *   populated <registered> <ns> <datagrams sent> <refused>
 *
 *   rate <what> <ms> <window>                    as many requests as can be answered, at most so many under way at a time
 *   rate <answered> <lost> <ns> <refused> <bytes of an answer> <datagrams, both ways>
 *
 *   latency <what> <ms> <per second>             requests at a fixed rate, each timed from when it was due
 *   latency <answered> <sent> <p50 ns> <p99 ns> <p99.9 ns> <most ns> <latest start ns>
 *
 *   hold <ms> <window>                           nothing but what keeps the clients registered
 *   held <heartbeats> <refused>
 *
 *   check <clients>                              asks for so many of the native clients whether they are registered
 *   checked <yes> <no>
 *
 *   churn <ms> <per second>                      clients join, renew, say that they are there, leave, and fall silent
 *   churned <joined> <left> <silenced> <refused> <registered>
 *
 *   flood <datagrams> <per second>               random ones, and valid ones that were changed, from everywhere
 *   flooded <sent>
 *
 *   totals
 *   totals <datagrams sent> <not taken by the kernel> <received>
 *
 * <what> is `poll` (plain), `renewal` (a Register with a cookie, not acknowledged until the end), `registration` (the same,
 * acknowledged as clients do) or `presence`. Updates are always acknowledged; a client that does not is sent them again and again,
 * and that would be measured instead. Native clients that were not heard for 8 s say that they are there, plain ones for 20 s,
 * whatever is going on. It ends with its input. Linux only.
 */
#define _GNU_SOURCE

#include "server_load.h"
#include "server_load_socket.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LOST_AFTER_MS = 200, SETTLE_MS = 50, SETTLE_AT_MOST_MS = 500, GIVE_UP_MS = 10000 };

enum what { POPULATE, HOLD, CHECK, POLL, RENEWAL, REGISTRATION, BEAT, CHURN, FLOOD };

/* What is going on. */
static struct {
    enum what what;
    long long ms;
    /* One of the two: at most so many under way, or so many a second. */
    long long window, per_second;
    /* 0: as many as there is time for. */
    uint64_t limit;
    /* When each client's request was due, and how long the answers took; NULL if nobody asks. */
    long long *due;
    uint32_t *took;
    /* Whether clients are told by the addresses that they are answered at. */
    bool by_address;
} task;

static struct {
    uint64_t started, answered, answered_bytes, lost, refused, beats, joined, left, silenced;
    long long latest;
} tally;

static bool native, bare, may_wait;
static uint64_t seed;
/* Clients that are registered, and the next one that was never heard of. */
static uint32_t present, next_new;
/* Where a round over all clients stands: of those who are asked, and of those who might have to say that they are there. */
static uint32_t position, stride, hand;
static long long hand_ns, under_way, heard_ns, now;
/* Whether each client is meant to be registered. */
static unsigned char *wanted;

static uint32_t now_ms(void)
{
    return (uint32_t)(now / 1000000);
}

static uint64_t random64(void)
{
    return mix(++seed);
}

static void queue(uint32_t index, enum message message)
{
    unsigned char *at = place(index);
    out.iovs[queued].iov_len = build(at, index, message);
    queued++;
}

static void queue_first(uint32_t index)
{
    clients[index].heard_ms = now_ms();
    queue(index, native ? SEND_REGISTER : SEND_POLL);
}

static void forget(uint32_t index)
{
    present -= clients[index].instance != 0;
    clients[index].instance = clients[index].revision = 0;
}

static void note_answer(uint32_t index, bool counts, size_t len)
{
    under_way -= under_way > 0;
    heard_ns = now;
    if (task.due != NULL) {
        if (index >= client_count || task.due[index] == 0)
            return;
        long long took = now - task.due[index];
        task.due[index] = 0;
        task.took[tally.answered] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
    }
    tally.answered += counts;
    tally.answered_bytes += counts ? len : 0;
}

/* Takes an answer that does not say whose it is, unless the address does. */
static void read_plain(uint32_t index, size_t len)
{
    if (task.what == POPULATE && index < client_count && clients[index].instance == 0) {
        clients[index].instance = 1;
        present++;
        note_answer(index, true, len);
    } else if (len > 0 || per_session == 1) {
        /* Any other empty datagram keeps a NAT's mapping alive. */
        note_answer(index, task.what == POLL, len);
    }
}

static void read_registered(uint32_t index, const unsigned char *datagram, size_t len)
{
    struct client *client = &clients[index];
    bool first = client->instance == 0;
    if (len < REGISTERED_BLOCK_AT || datagram[OBSERVED_AT] != 4 ||
        !apply_block(client, datagram + REGISTERED_BLOCK_AT, len - REGISTERED_BLOCK_AT))
        return;
    client->handle = get64(datagram + HANDLE_AT);
    client->heard_ms = now_ms();
    present += first && client->instance != 0;
    note_answer(index, true, len);
    if (first || task.what != RENEWAL)
        queue(index, SEND_ACKNOWLEDGEMENT);
}

static void read_native(const unsigned char *datagram, size_t len)
{
    uint64_t token = get64(datagram + TOKEN_AT);
    uint32_t index = (uint32_t)token;
    /* An answer to a former life is nobody's. */
    if (index >= client_count || token != token_of(index))
        return;
    struct client *client = &clients[index];
    if (bare) {
        note_answer(index, true, len);
        if (task.what == REGISTRATION)
            queue(index, SEND_ACKNOWLEDGEMENT);
        return;
    }
    switch (datagram[7]) {
    case CHALLENGE:
        if (len >= COOKIE_AT + COOKIE && wanted[index]) {
            memcpy(client->cookie, datagram + COOKIE_AT, COOKIE);
            queue(index, SEND_REGISTER);
        }
        break;
    case REGISTERED:
        if (wanted[index])
            read_registered(index, datagram, len);
        break;
    case UPDATE:
        /* Whoever joined may be told of before the answer to this one's registration, which alone brings the handle. */
        if (wanted[index] && client->instance != 0 && len > UPDATE_BLOCK_AT &&
            apply_block(client, datagram + UPDATE_BLOCK_AT, len - UPDATE_BLOCK_AT)) {
            client->heard_ms = now_ms();
            queue(index, SEND_ACKNOWLEDGEMENT);
        }
        break;
    case PRESENCE_ACK:
        client->heard_ms = now_ms();
        note_answer(index, task.what == BEAT || task.what == CHECK, len);
        break;
    case REFUSED:
        tally.refused++;
        forget(index);
        note_answer(index, false, len);
        break;
    default:
        break;
    }
}

/* Takes what is there; returns how many there were. */
static int receive(void)
{
    int count = take(task.by_address);
    now = count > 0 ? now_ns() : now;
    for (int i = 0; i < count; i++) {
        size_t len = in.headers[i].msg_len;
        if (len >= TOKEN_AT + 8 && memcmp(in.bytes[i], magic, sizeof magic) == 0)
            read_native(in.bytes[i], len);
        else
            read_plain(addressee(&in.headers[i].msg_hdr), len);
    }
    return count;
}

/* Goes on with the round in which clients that were not heard for long say that they are there, with at most `room` datagrams. */
static int turn_hand(int room)
{
    const long long round_ns = (native ? 2 : 5) * SECOND;
    const uint32_t silent_ms = native ? 8000 : 20000, again_ms = 1000;
    const uint32_t known = task.what == POPULATE ? next_new : client_count;
    if (bare || known == 0 || task.what == CHECK || task.what == FLOOD)
        return 0;
    if (hand_ns < now - round_ns)
        hand_ns = now - round_ns;
    int used = 0;
    for (long long step = round_ns / known; hand_ns + step <= now && used < room; hand_ns += step + 1) {
        struct client *client = &clients[hand];
        uint32_t silent = now_ms() - client->heard_ms;
        if (wanted[hand] && client->instance == 0 && silent > again_ms) {
            queue_first(hand);
            used++;
        } else if (wanted[hand] && client->instance != 0 && silent > silent_ms) {
            queue(hand, native ? SEND_PRESENCE : SEND_POLL);
            if (!native)
                client->heard_ms = now_ms();
            tally.beats++;
            used++;
        }
        hand = hand + 1 >= known ? 0 : hand + 1;
    }
    under_way += used;
    return used;
}

static void start_churn(uint32_t index)
{
    uint64_t chance = random64() % 100;
    if (!wanted[index] || clients[index].instance == 0) {
        if (!wanted[index]) {
            begin_life(index);
            wanted[index] = true;
            tally.joined++;
        }
        queue_first(index);
        /* Nobody says that a plain client is registered. */
        clients[index].instance = !native;
        present += !native;
    } else if (chance < 15) {
        bool says_so = native && chance < 10;
        for (int copy = 0; says_so && copy < 2; copy++)
            queue(index, SEND_LEAVE);
        tally.left += says_so;
        tally.silenced += !says_so;
        wanted[index] = false;
        forget(index);
    } else {
        queue(index, !native ? SEND_POLL : chance < 20 ? SEND_REGISTER : SEND_PRESENCE);
        if (!native)
            clients[index].heard_ms = now_ms();
    }
}

/* Half is noise, a quarter noise behind the head of a native message, a quarter a valid message with some bytes changed. */
static void start_flood(void)
{
    uint64_t random = random64();
    bool changed = (random & 3) == 0 && client_count > 0;
    uint32_t index = changed ? (uint32_t)(random >> 8) % client_count : (uint32_t)(random >> 8) & 0x1FFFFF;
    unsigned char *at = place(index);
    size_t len = 0;
    if (changed) {
        static const enum message messages[] = { SEND_REGISTER, SEND_PRESENCE, SEND_ACKNOWLEDGEMENT, SEND_LEAVE };
        len = build(at, index, messages[random >> 40 & 3]);
        for (int changes = 1 + (int)(random >> 44 & 3); changes > 0; changes--) {
            uint64_t change = random64();
            at[change % len] ^= (unsigned char)(change >> 32);
        }
        size_t other = (size_t)(random >> 48) % 160;
        len = (random & 0x70) == 0 && other < len ? other : len;
    } else {
        /* Most datagrams are short. */
        len = (size_t)(random >> 32) % ((random & 0x80) != 0 ? 160 : LONGEST + 1);
        for (size_t i = 0; i + 8 <= len; i += 8)
            put64(at + i, random64());
        if ((random & 3) == 1 && len >= HEADER) {
            memcpy(at, magic, sizeof magic);
            at[7] = (unsigned char)(random >> 52 & 0x3F);
        }
    }
    out.iovs[queued].iov_len = len;
    queued++;
}

/* Sends one more request, which was due then; false if there is none. */
static bool start_one(long long due)
{
    static const enum message messages[] = {
        [POLL] = SEND_POLL, [RENEWAL] = SEND_REGISTER, [REGISTRATION] = SEND_REGISTER, [BEAT] = SEND_PRESENCE,
        [CHECK] = SEND_PRESENCE
    };
    if (task.what == HOLD || (task.what == POPULATE && next_new == client_count))
        return false;
    tally.started++;
    if (task.what == FLOOD) {
        start_flood();
        return true;
    }
    if (task.what == CHURN) {
        start_churn((uint32_t)(random64() % client_count));
        return true;
    }
    under_way++;
    if (task.what == POPULATE) {
        wanted[next_new] = true;
        queue_first(next_new++);
        return true;
    }
    position = (uint32_t)(((uint64_t)position + stride) % client_count);
    if (task.due != NULL)
        task.due[position] = due;
    if (clients[position].instance == 0 && task.what != CHECK)
        queue_first(position);
    else
        queue(position, messages[task.what]);
    if (!native)
        clients[position].heard_ms = now_ms();
    return true;
}

static bool is_finished(void)
{
    bool all = task.limit != 0 && tally.started >= task.limit;
    return task.what == POPULATE ? present == client_count : task.what == FLOOD ? all : all && under_way == 0;
}

/* Sleeps until something comes, or is due. */
static void wait_a_moment(long long begin)
{
    long long next = task.per_second > 0 ? begin + (long long)(tally.started + 1) * SECOND / task.per_second - now : 2000000;
    struct timespec pause = { .tv_nsec = next < 50000 ? 50000 : next > 2000000 ? 2000000 : next };
    struct pollfd polled = { .fd = fd, .events = POLLIN };
    ppoll(&polled, 1, &pause, NULL);
}

/* Does the task; returns how long that took. */
static long long drive(void)
{
    int on = task.by_address;
    setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
    memset(&tally, 0, sizeof tally);
    bool waits = may_wait || task.what == HOLD || task.what == CHURN || task.what == FLOOD;
    long long begin = now_ns(), end = begin + task.ms * 1000000, progress_ns = begin;
    uint32_t progress = present;
    under_way = 0;
    heard_ns = now = begin;
    while (now < end && !is_finished() && now - progress_ns < GIVE_UP_MS * 1000000LL) {
        if (task.what != POPULATE || progress < present) {
            progress = present;
            progress_ns = now;
        }
        long long due = task.per_second * (now - begin) / SECOND - (long long)tally.started;
        int room = (int)(task.per_second > 0 ? due : task.window - under_way);
        room = room > BATCH ? BATCH : room;
        room -= turn_hand(task.per_second > 0 ? BATCH : room);
        for (; room > 0 && (task.limit == 0 || tally.started < task.limit); room--) {
            long long then = task.per_second > 0 ? begin + (long long)(tally.started + 1) * SECOND / task.per_second : now;
            tally.latest = now - then > tally.latest ? now - then : tally.latest;
            if (!start_one(then))
                break;
        }
        flush();
        int count = receive();
        flush();
        now = now_ns();
        if (count == 0 && under_way > 0 && now - heard_ns > LOST_AFTER_MS * 1000000LL) {
            tally.lost += (uint64_t)under_way;
            under_way = 0;
            heard_ns = now;
        }
        if (count == 0 && waits)
            wait_a_moment(begin);
    }
    return now_ns() - begin;
}

/* The rest must not count as the next task's, nor may anybody wait for an acknowledgement. */
static void settle(void)
{
    if (task.what == RENEWAL && !bare && client_count <= 1 << 16)
        for (uint32_t i = 0; i < client_count; i++)
            if (clients[i].instance != 0)
                queue(i, SEND_ACKNOWLEDGEMENT);
    flush();
    struct pollfd polled = { .fd = fd, .events = POLLIN };
    /* It may never come to rest: servers keep NATs' mappings alive. */
    long long end = now_ns() + SETTLE_AT_MOST_MS * 1000000LL;
    while (now_ns() < end && poll(&polled, 1, SETTLE_MS) == 1) {
        receive();
        flush();
    }
}

/* Room for so many clients; false if there is none. In a bare server's eyes, all are registered. */
static bool make_clients(uint32_t count, uint32_t of_each_session)
{
    if (client_count != 0 || count < 1 || count > MOST_CLIENTS || of_each_session < 1)
        return false;
    per_session = of_each_session;
    clients = calloc(count, sizeof *clients);
    epochs = calloc(count / per_session + 1, sizeof *epochs);
    wanted = calloc(count, sizeof *wanted);
    if (clients == NULL || epochs == NULL || wanted == NULL)
        return false;
    client_count = count;
    /* About the golden section, so that those asked in a row are far from each other, and coprime, so that nobody is left out. */
    for (stride = (uint32_t)(count * 0.618) + 1;; stride++) {
        uint32_t a = count, b = stride;
        while (b != 0) {
            uint32_t rest = a % b;
            a = b;
            b = rest;
        }
        if (a == 1)
            break;
    }
    for (uint32_t i = 0; bare && i < count; i++) {
        clients[i].instance = 1;
        wanted[i] = true;
    }
    present = next_new = bare ? count : 0;
    return true;
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static bool measure_latency(void)
{
    task.due = calloc(client_count, sizeof *task.due);
    task.took = calloc((size_t)(task.per_second * task.ms / 1000 + BATCH), sizeof *task.took);
    if (task.due == NULL || task.took == NULL)
        return false;
    task.by_address = true;
    drive();
    unsigned long long answered = tally.answered, sent = tally.started;
    uint32_t *took = task.took;
    long long *due = task.due;
    task.due = NULL;
    settle();
    qsort(took, answered, sizeof *took, compare);
    uint32_t at[4] = { 0 };
    for (int i = 0; answered > 0 && i < 4; i++)
        at[i] = took[(answered - 1) * (unsigned[]){ 500, 990, 999, 1000 }[i] / 1000];
    printf("latency %llu %llu %u %u %u %u %lld\n", answered, sent, at[0], at[1], at[2], at[3], tally.latest);
    free(took);
    free(due);
    return true;
}

static bool find_what(const char *word)
{
    static const char *const words[] = {
        [POLL] = "poll", [RENEWAL] = "renewal", [REGISTRATION] = "registration", [BEAT] = "presence"
    };
    for (int what = POLL; what <= BEAT; what++)
        if (strcmp(word, words[what]) == 0) {
            task.what = (enum what)what;
            return native == (what != POLL);
        }
    return false;
}

/* Does what one line asks for, and answers; false if it makes no sense. */
static bool obey(const char *line)
{
    char word[16];
    long long a, b, c;
    const long long forever = 24 * 3600 * 1000LL;
    memset(&task, 0, sizeof task);
    if (strncmp(line, "totals", 6) == 0) {
        settle();
        printf("totals %llu %llu %llu\n", (unsigned long long)sent_total, (unsigned long long)failed_total,
               (unsigned long long)received_total);
        return true;
    }
    if (sscanf(line, "populate %lld %lld %lld", &a, &b, &c) == 3) {
        task.what = POPULATE;
        task.ms = forever;
        task.window = c;
        task.by_address = !native;
        if (!make_clients((uint32_t)a, (uint32_t)b))
            return false;
        uint64_t before = sent_total;
        long long took = drive();
        settle();
        printf("populated %u %lld %llu %llu\n", present, took, (unsigned long long)(sent_total - before),
               (unsigned long long)tally.refused);
        return true;
    }
    if (sscanf(line, "flood %lld %lld", &a, &b) == 2) {
        task.what = FLOOD;
        task.ms = forever;
        task.limit = (uint64_t)a;
        task.per_second = b;
        drive();
        printf("flooded %llu\n", (unsigned long long)tally.started);
        return a > 0 && b > 0;
    }
    if (client_count == 0)
        return false;
    if (sscanf(line, "rate %15s %lld %lld", word, &task.ms, &task.window) == 3 && find_what(word)) {
        /* Nobody asks twice at a time. */
        task.window = task.window > client_count / 2 ? (client_count + 1) / 2 : task.window;
        unsigned long long before = sent_total + received_total;
        long long took = drive();
        unsigned long long answered = tally.answered, lost = tally.lost, bytes = tally.answered_bytes;
        settle();
        printf("rate %llu %llu %lld %llu %llu %llu\n", answered, lost, took, (unsigned long long)tally.refused,
               answered > 0 ? (bytes + answered / 2) / answered : 0, sent_total + received_total - before);
    } else if (sscanf(line, "latency %15s %lld %lld", word, &task.ms, &task.per_second) == 3 && find_what(word)) {
        return task.per_second > 0 && measure_latency();
    } else if (sscanf(line, "hold %lld %lld", &task.ms, &task.window) == 2) {
        task.what = HOLD;
        drive();
        settle();
        printf("held %llu %llu\n", (unsigned long long)tally.beats, (unsigned long long)tally.refused);
    } else if (sscanf(line, "check %lld", &a) == 1 && native) {
        task.what = CHECK;
        task.ms = forever;
        task.window = 256;
        task.limit = (uint64_t)(a > client_count ? client_count : a);
        drive();
        printf("checked %llu %llu\n", (unsigned long long)tally.answered, (unsigned long long)tally.refused);
    } else if (sscanf(line, "churn %lld %lld", &task.ms, &task.per_second) == 2 && task.per_second > 0) {
        task.what = CHURN;
        drive();
        printf("churned %llu %llu %llu %llu %u\n", (unsigned long long)tally.joined, (unsigned long long)tally.left,
               (unsigned long long)tally.silenced, (unsigned long long)tally.refused, present);
    } else {
        return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    for (int i = 3; i < argc; i++) {
        may_wait |= strcmp(argv[i], "wait") == 0;
        bare |= strcmp(argv[i], "bare") == 0;
    }
    native = argc > 2 && strcmp(argv[2], "native") == 0;
    if (argc < 3 || (!native && strcmp(argv[2], "plain") != 0)) {
        fprintf(stderr, "usage: server_load PORT native|plain [wait] [bare]\n");
        return 2;
    }
    server = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])) };
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    salt = mix((uint64_t)now_ns() ^ (uint64_t)getpid());
    if (!open_socket()) {
        perror("server_load");
        return 1;
    }
    char line[128];
    while (fgets(line, sizeof line, stdin) != NULL) {
        if (!obey(line)) {
            fprintf(stderr, "server_load: cannot do: %s", line);
            return 1;
        }
        fflush(stdout);
    }
    return 0;
}
