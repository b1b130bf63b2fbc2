/*
 * What server_load.c knows of a server's clients, and the datagrams that they send: sections 3, 4 and 6 of docs/protocol.md.
 *
 * All that can be computed of a client is computed again whenever it is needed, so that a million of them take 45 MB.
 */
#ifndef SERVER_LOAD_H
#define SERVER_LOAD_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
    HEADER = 8,
    TOKEN_AT = HEADER,
    /* Of a Challenge. */
    COOKIE_AT = 20,
    COOKIE = 16,
    /* Of a Registered that names an IPv4 endpoint. */
    OBSERVED_AT = 20,
    HANDLE_AT = 27,
    REGISTERED_BLOCK_AT = 39,
    UPDATE_BLOCK_AT = 16,
    BLOCK_HEAD = 17,
    REASON_AT = 20,
    PLAIN_ID = 16,
    LONGEST = 1472
};

enum type {
    REGISTER = 1,
    CHALLENGE,
    REGISTERED,
    UPDATE,
    PRESENCE,
    PRESENCE_ACK,
    LEAVE,
    LEFT,
    REFUSED
};

/* What a client can send. */
enum message { SEND_REGISTER, SEND_PRESENCE, SEND_ACKNOWLEDGEMENT, SEND_LEAVE, SEND_POLL };

static const unsigned char magic[7] = { 0x0E, 'h', 'o', 'l', 'e', 'p', 1 };

/* One client. Its number is its place; what the server has told it is kept, beside when it was heard last. */
struct client {
    uint64_t handle;
    unsigned char cookie[COOKIE];
    /* 0: not registered. A plain client that was answered has 1. */
    uint32_t instance;
    uint32_t revision;
    uint32_t sequence;
    uint32_t heard_ms;
    /* How often it has begun anew, under another token and peer ID. */
    uint32_t life;
};

static struct client *clients;
/* How often each session has begun anew, under another name. */
static uint32_t *epochs;
static uint32_t client_count, per_session;
/* What makes the names of one run different from those of another. */
static uint64_t salt;

static uint64_t mix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

static void put16(unsigned char *at, uint32_t value)
{
    at[0] = (unsigned char)(value >> 8);
    at[1] = (unsigned char)value;
}

static void put32(unsigned char *at, uint32_t value)
{
    put16(at, value >> 16);
    put16(at + 2, value);
}

static void put64(unsigned char *at, uint64_t value)
{
    put32(at, (uint32_t)(value >> 32));
    put32(at + 4, (uint32_t)value);
}

static uint32_t get32(const unsigned char *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint64_t get64(const unsigned char *at)
{
    return (uint64_t)get32(at) << 32 | get32(at + 4);
}

/*
 * Every client has an address of its own, as clients have that come from all over the internet; all have the same port. Neighbours
 * in number are far apart in address. The factor is odd, so that it has an inverse, and such that nobody below 7 million gets
 * 127.0.0.0, 127.0.0.1 or 127.255.255.255.
 */
enum { ADDRESS_FACTOR = 0x3779B1, ADDRESS_INVERSE = 0x8B2F51, ADDRESS_MASK = 0xFFFFFF, MOST_CLIENTS = 7000000 };

static uint32_t address_of(uint32_t index)
{
    return 0x7F000000 | ((index + 1) * (uint32_t)ADDRESS_FACTOR & ADDRESS_MASK);
}

static uint32_t client_at(uint32_t address)
{
    return ((address & ADDRESS_MASK) * (uint32_t)ADDRESS_INVERSE & ADDRESS_MASK) - 1;
}

/* The lower half tells the client, so that an answer is not looked up. */
static uint64_t token_of(uint32_t index)
{
    return (uint64_t)((uint32_t)salt + clients[index].life) << 32 | index;
}

static uint32_t session_of(uint32_t index)
{
    return index / per_session;
}

/* Two host candidates and what the NAT does: 29 bytes, which a client at home says. */
static size_t put_profile(unsigned char *at, uint32_t index)
{
    static const unsigned char nat[9] = { 0x05, 7, 2, 3, 0, 0, 0, 0, 0 };
    memcpy(at, nat, sizeof nat);
    unsigned char *candidate = at + sizeof nat;
    for (uint32_t i = 0; i < 2; i++, candidate += 10) {
        static const unsigned char head[4] = { 0x01, 8, 1, 4 };
        memcpy(candidate, head, sizeof head);
        put16(candidate + 4, 0x8000 | index);
        put32(candidate + 6, (i == 0 ? 0xC0A80000 : 0x0A000000) | (index & 0xFFFF));
    }
    return (size_t)(candidate - at);
}

static void put_hex(unsigned char *at, uint32_t value)
{
    for (int i = 7; i >= 0; i--, value >>= 4)
        at[i] = (unsigned char)"0123456789abcdef"[value & 15];
}

/* Writes what a client sends; returns its length. */
static size_t build(unsigned char *at, uint32_t index, enum message message)
{
    static const unsigned char types[] = {
        [SEND_REGISTER] = REGISTER, [SEND_PRESENCE] = PRESENCE, [SEND_ACKNOWLEDGEMENT] = PRESENCE, [SEND_LEAVE] = LEAVE
    };
    struct client *client = &clients[index];
    uint32_t session = session_of(index), epoch = epochs[session];
    if (message == SEND_POLL) {
        put_hex(at, session);
        put_hex(at + 8, (uint32_t)salt + epoch);
        return PLAIN_ID;
    }
    uint64_t token = token_of(index);
    memcpy(at, magic, sizeof magic);
    at[7] = types[message];
    put64(at + TOKEN_AT, token);
    if (message == SEND_REGISTER) {
        put32(at + 16, ++client->sequence);
        for (uint32_t i = 0; i < 4; i++)
            put64(at + 20 + 8 * i, mix(salt + ((uint64_t)epoch << 32 | session) * 4 + i));
        put64(at + 52, mix(token ^ salt));
        put64(at + 60, mix(token));
        memcpy(at + 68, client->cookie, COOKIE);
        put32(at + 84, client->instance);
        put32(at + 88, client->revision);
        return 92 + put_profile(at + 92, index);
    }
    put64(at + 16, client->handle);
    put32(at + 24, ++client->sequence);
    if (message == SEND_LEAVE)
        return 28;
    put32(at + 28, client->instance);
    put32(at + 32, client->revision);
    at[36] = message == SEND_PRESENCE;
    return 37;
}

/* Applies an update block as a client does (section 4.3); false if it is none. */
static bool apply_block(struct client *client, const unsigned char *block, size_t len)
{
    if (len < BLOCK_HEAD)
        return false;
    uint32_t instance = get32(block), from = get32(block + 4), to = get32(block + 8);
    if (instance != client->instance && from == 0) {
        client->instance = instance;
        client->revision = to;
    } else if (instance == client->instance && from <= client->revision && client->revision < to) {
        client->revision = to;
    }
    return true;
}

/* Has the client begin anew, in a session that begins anew with it if nobody else is in that. */
static void begin_life(uint32_t index)
{
    uint32_t session = session_of(index), first = session * per_session;
    bool alone = true;
    for (uint32_t i = first; i < first + per_session && i < client_count; i++)
        alone &= clients[i].instance == 0;
    epochs[session] += alone;
    clients[index].life++;
    clients[index].instance = clients[index].revision = 0;
    clients[index].handle = 0;
}

#endif
