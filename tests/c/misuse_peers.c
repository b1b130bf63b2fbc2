/*
 * As misuse.c, for what a call leaves behind: peers, counters, sockets, early datagrams.
 *
 *   misuse_peers SERVER ID
 */
#include "sized.h"

#include <fcntl.h>

struct peer_room {
    hp_peer now;
    unsigned char later[LATER], beyond[BEYOND];
};
struct counters_room {
    hp_counters now;
    unsigned char later[LATER], beyond[BEYOND];
};

static const uint32_t bad_indices[] = { 1, 2, HP_MAX_PEERS, INT32_MAX, UINT32_MAX };

static hp_status get_peer(const hp_client *client, uint32_t index, struct peer_room *room, uint32_t struct_size)
{
    memset(room, CANARY, sizeof *room);
    room->now.struct_size = struct_size;
    return hp_peer_get(client, index, &room->now);
}

static hp_status get_counters(const hp_client *client, struct counters_room *room, uint32_t struct_size)
{
    memset(room, CANARY, sizeof *room);
    room->now.struct_size = struct_size;
    return hp_client_counters(client, &room->now);
}

static void peers(const hp_client *client)
{
    static const uint32_t bad_sizes[] = BAD_SIZES(hp_peer);
    struct peer_room room;
    CHECK(hp_peer_count(NULL) == 0);
    CHECK(hp_peer_count(client) == 1);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_peer_get(client, 0, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_peer_get(NULL, 0, NULL));
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, get_peer(client, 0, &room, bad_sizes[i]));
        CHECK(room.now.struct_size == bad_sizes[i] && all_bytes((char *)&room + 4, sizeof room - 4, CANARY));
    }
    for (uint32_t size = sizeof(hp_peer); size <= sizeof(hp_peer) + LATER; size += LATER) {
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, get_peer(NULL, 0, &room, size));
        is_zeroed(&room, size, sizeof room);
        for (size_t i = 0; i < COUNT(bad_indices); i++) {
            CHECK_STATUS(HP_STATUS_NOT_FOUND, get_peer(client, bad_indices[i], &room, size));
            is_zeroed(&room, size, sizeof room);
        }
        CHECK_STATUS(HP_STATUS_OK, get_peer(client, 0, &room, size));
        CHECK(room.now.struct_size == size && room.now.endpoint.family == HP_FAMILY_IPV4 && room.now.socket == 0);
        CHECK(room.now.connected == 1 && room.now.authenticated == 1 && room.now.rtt_us < HP_RTT_UNKNOWN);
        CHECK(strcmp(hp_path_name(room.now.path), "unknown") != 0);
        CHECK(room.now.guesses == 0 && room.now.relay_refused == HP_REFUSAL_NONE);
        CHECK(all_bytes(room.later, size - sizeof(hp_peer), 0));
        CHECK(all_bytes((char *)&room + size, sizeof room - size, CANARY));
    }
}

static void counters(const hp_client *client)
{
    static const uint32_t bad_sizes[] = BAD_SIZES(hp_counters);
    struct counters_room room;
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_counters(client, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_client_counters(NULL, NULL));
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, get_counters(client, &room, bad_sizes[i]));
        CHECK(room.now.struct_size == bad_sizes[i] && all_bytes((char *)&room + 4, sizeof room - 4, CANARY));
    }
    for (uint32_t size = sizeof(hp_counters); size <= sizeof(hp_counters) + LATER; size += LATER) {
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, get_counters(NULL, &room, size));
        is_zeroed(&room, size, sizeof room);
        CHECK_STATUS(HP_STATUS_OK, get_counters(client, &room, size));
        CHECK(room.now.struct_size == size && room.now.reserved == 0);
        CHECK(room.now.probes_sent > 0 && room.now.forged == 0);
        CHECK(all_bytes(room.later, size - sizeof(hp_counters), 0));
        CHECK(all_bytes((char *)&room + size, sizeof room - size, CANARY));
    }
}

static void sockets(hp_client *client)
{
    hp_socket_t lent, taken, none = 0;
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_socket_fd(client, 0, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_socket_take(client, 0, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_socket_fd(NULL, 0, &none));
    CHECK(none == HP_INVALID_SOCKET);
    none = 0;
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_socket_take(NULL, 0, &none));
    CHECK(none == HP_INVALID_SOCKET);
    for (size_t i = 0; i < COUNT(bad_indices); i++) {
        none = 0;
        CHECK_STATUS(HP_STATUS_NOT_FOUND, hp_socket_fd(client, bad_indices[i], &none));
        CHECK(none == HP_INVALID_SOCKET);
        none = 0;
        CHECK_STATUS(HP_STATUS_NOT_FOUND, hp_socket_take(client, bad_indices[i], &none));
        CHECK(none == HP_INVALID_SOCKET);
    }
    /* Lent as often as one likes, taken once; none of the failures above took it. */
    CHECK_STATUS(HP_STATUS_OK, hp_socket_fd(client, 0, &lent));
    CHECK_STATUS(HP_STATUS_OK, hp_socket_fd(client, 0, &taken));
    CHECK(lent == taken);
    CHECK_STATUS(HP_STATUS_OK, hp_socket_take(client, 0, &taken));
    CHECK(taken == lent && fcntl((int)taken, F_GETFD) >= 0);
    none = 0;
    CHECK_STATUS(HP_STATUS_NOT_FOUND, hp_socket_take(client, 0, &none));
    CHECK(none == HP_INVALID_SOCKET);
    none = 0;
    CHECK_STATUS(HP_STATUS_NOT_FOUND, hp_socket_fd(client, 0, &none));
    CHECK(none == HP_INVALID_SOCKET);
    CHECK(close((int)taken) == 0);
    /* What the call found is still told. */
    CHECK(hp_peer_count(client) == 1);
}

static hp_status export_key(const hp_client *client, uint32_t index, const char *label, uint8_t key[HP_KEY_LEN])
{
    memset(key, CANARY, HP_KEY_LEN);
    hp_status status = hp_peer_export_key(client, index, (const uint8_t *)label, strlen(label), key);
    CHECK(all_bytes(key, HP_KEY_LEN, 0) == (status != HP_STATUS_OK));
    return status;
}

static void exported_keys(hp_client *const pair[2])
{
    uint8_t key[HP_KEY_LEN], same[HP_KEY_LEN], other[HP_KEY_LEN];
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_peer_export_key(pair[0], 0, key, 1, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_peer_export_key(NULL, 0, NULL, 0, NULL));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, export_key(NULL, 0, "label", key));
    memset(key, CANARY, sizeof key);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_peer_export_key(pair[0], 0, NULL, 1, key));
    CHECK(all_bytes(key, sizeof key, 0));
    memset(key, CANARY, sizeof key);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_peer_export_key(pair[0], 0, same, SIZE_MAX, key));
    CHECK(all_bytes(key, sizeof key, 0));
    for (size_t i = 0; i < COUNT(bad_indices); i++)
        CHECK_STATUS(HP_STATUS_NOT_FOUND, export_key(pair[0], bad_indices[i], "label", key));

    CHECK_STATUS(HP_STATUS_OK, export_key(pair[0], 0, "label", key));
    CHECK_STATUS(HP_STATUS_OK, export_key(pair[1], 0, "label", same));
    CHECK_STATUS(HP_STATUS_OK, export_key(pair[0], 0, "lapel", other));
    CHECK(memcmp(key, same, sizeof key) == 0 && memcmp(key, other, sizeof key) != 0);
    CHECK_STATUS(HP_STATUS_OK, hp_peer_export_key(pair[0], 0, NULL, 0, key));
    CHECK_STATUS(HP_STATUS_OK, export_key(pair[1], 0, "", same));
    CHECK(memcmp(key, same, sizeof key) == 0 && memcmp(key, other, sizeof key) != 0);
}

/* A client that has not called, or whose call failed before it began, has nothing. */
static void nothing_there_yet(const char *server)
{
    struct peer_room room;
    hp_client *client = new_client(server);
    hp_counters counted = HP_COUNTERS_INIT;
    hp_socket_t none = 0;
    size_t len = 99;
    uint8_t key[HP_KEY_LEN];
    for (int called = 0; called < 2; called++) {
        CHECK(hp_peer_count(client) == 0);
        CHECK_STATUS(HP_STATUS_NOT_FOUND, get_peer(client, 0, &room, sizeof(hp_peer)));
        is_zeroed(&room, sizeof(hp_peer), sizeof room);
        CHECK_STATUS(HP_STATUS_NOT_FOUND, hp_socket_fd(client, 0, &none));
        CHECK_STATUS(HP_STATUS_NOT_FOUND, hp_socket_take(client, 0, &none));
        CHECK(none == HP_INVALID_SOCKET);
        CHECK_STATUS(HP_STATUS_NOT_FOUND, export_key(client, 0, "label", key));
        CHECK_STATUS(HP_STATUS_NOTHING, hp_early_receive(client, NULL, 0, &len, NULL, NULL));
        CHECK(len == 0);
        CHECK_STATUS(HP_STATUS_OK, hp_client_counters(client, &counted));
        CHECK(counted.probes_sent == 0);
        CHECK_STATUS(HP_STATUS_INVALID_SESSION_ID, hp_connect(client, NULL, 0, 1, NULL));
    }
    hp_client_free(client);
}

/* An existing plain tool that has handed over too early: whoever probes it is sent what its application has to say. */
static void *chatterbox(void *argument)
{
    int fd = *(int *)argument;
    struct sockaddr_storage source;
    socklen_t source_len = sizeof source;
    char probe[2000];
    await_datagram(fd);
    CHECK(recvfrom(fd, probe, sizeof probe, 0, (struct sockaddr *)&source, &source_len) >= 0);
    CHECK(sendto(fd, "first", 5, 0, (struct sockaddr *)&source, source_len) == 5);
    CHECK(sendto(fd, "2", 1, 0, (struct sockaddr *)&source, source_len) == 1);
    return NULL;
}

static void early_datagrams(const char *server)
{
    char text[HP_ADDR_TEXT_LEN];
    hp_addr endpoints[2], source;
    pthread_t thread;
    hp_client *client = new_client(server);
    hp_peer peer = HP_PEER_INIT;
    int talking = bind_loopback(text);
    CHECK_STATUS(HP_STATUS_OK, hp_addr_parse(text, &endpoints[1]));
    int silent = bind_loopback(text);
    CHECK_STATUS(HP_STATUS_OK, hp_addr_parse(text, &endpoints[0]));

    CHECK_STATUS(HP_STATUS_OK, hp_client_set_dialect(client, HP_DIALECT_PLAIN));
    CHECK(pthread_create(&thread, NULL, chatterbox, &talking) == 0);
    /* The silent one keeps the call going. Its time is up too soon only if the other thread does not run for so long. */
    CHECK_STATUS(HP_STATUS_OK, hp_client_set_timeout_ms(client, 2500));
    CHECK_STATUS(HP_STATUS_TIMED_OUT_PUNCHING, hp_connect_peers(client, (const uint8_t *)"id", 2, endpoints, 2, NULL));
    CHECK(pthread_join(thread, NULL) == 0);

    /* The connected one comes first, whatever order it was named in. */
    CHECK(hp_peer_count(client) == 2);
    CHECK_STATUS(HP_STATUS_OK, hp_peer_get(client, 0, &peer));
    CHECK(peer.connected == 1 && peer.authenticated == 0 && peer.rtt_us == HP_RTT_UNKNOWN);
    CHECK(memcmp(&peer.endpoint, &endpoints[1], sizeof peer.endpoint) == 0);
    CHECK_STATUS(HP_STATUS_OK, hp_peer_get(client, 1, &peer));
    CHECK(peer.connected == 0 && memcmp(&peer.endpoint, &endpoints[0], sizeof peer.endpoint) == 0);
    /* Nothing is secret between plain peers, or where there is no hole. */
    uint8_t key[HP_KEY_LEN];
    for (uint32_t index = 0; index < 2; index++)
        CHECK_STATUS(HP_STATUS_NOT_FOUND, export_key(client, index, "label", key));

    uint8_t buffer[10];
    size_t len = 99;
    uint32_t socket = 99;
    memset(buffer, CANARY, sizeof buffer);
    memset(&source, CANARY, sizeof source);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_early_receive(NULL, buffer, sizeof buffer, &len, &source, &socket));
    CHECK(len == 0 && socket == 0 && all_bytes(&source, sizeof source, 0));
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_early_receive(client, buffer, sizeof buffer, NULL, &source, &socket));
    len = 99, socket = 99;
    memset(&source, CANARY, sizeof source);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_early_receive(client, NULL, sizeof buffer, &len, &source, &socket));
    CHECK(len == 0 && socket == 0 && all_bytes(&source, sizeof source, 0));
    static const size_t short_capacities[] = { 0, 1, 4 };
    for (size_t i = 0; i < COUNT(short_capacities); i++) {
        len = 99, socket = 99;
        memset(&source, CANARY, sizeof source);
        CHECK_STATUS(HP_STATUS_BUFFER_TOO_SMALL,
                     hp_early_receive(client, buffer, short_capacities[i], &len, &source, &socket));
        CHECK(len == 5 && socket == 0 && all_bytes(&source, sizeof source, 0));
    }
    CHECK_STATUS(HP_STATUS_BUFFER_TOO_SMALL, hp_early_receive(client, NULL, 0, &len, NULL, NULL));
    CHECK(len == 5 && all_bytes(buffer, sizeof buffer, CANARY));
    CHECK_STATUS(HP_STATUS_OK, hp_early_receive(client, buffer, 5, &len, &source, &socket));
    CHECK(len == 5 && memcmp(buffer, "first", 5) == 0 && all_bytes(buffer + 5, sizeof buffer - 5, CANARY));
    CHECK(socket == 0 && memcmp(&source, &endpoints[1], sizeof source) == 0);
    CHECK_STATUS(HP_STATUS_OK, hp_early_receive(client, buffer, sizeof buffer, &len, NULL, NULL));
    CHECK(len == 1 && buffer[0] == '2');
    CHECK_STATUS(HP_STATUS_NOTHING, hp_early_receive(client, buffer, sizeof buffer, &len, &source, &socket));
    CHECK(len == 0 && all_bytes(&source, sizeof source, 0));
    close(talking);
    close(silent);
    hp_client_free(client);
}

int main(int argc, char **argv)
{
    hp_client *pair[2];
    end_at_the_latest_in(60);
    CHECK(argc == 3);
    int fds = count_fds();
    nothing_there_yet(argv[1]);
    connect_pair(argv[1], argv[2], pair);
    exported_keys(pair);
    for (int i = 0; i < 2; i++) {
        peers(pair[i]);
        counters(pair[i]);
        sockets(pair[i]);
        hp_client_free(pair[i]);
    }
    early_datagrams(argv[1]);
    CHECK(count_fds() == fds);
    return 0;
}
