/*
 * A bug in the library costs one client, not the process.
 *
 *   panic SERVER ID
 *
 * Needs the library's feature test-panic, which adds hp_test_panic: it panics as a bug would.
 */
#include "check.h"

hp_status hp_test_panic(hp_client *client);

static void is_poisoned(hp_client *client)
{
    hp_error error = HP_ERROR_INIT;
    hp_peer peer = HP_PEER_INIT;
    hp_counters counters = HP_COUNTERS_INIT;
    hp_socket_t sock = 0;
    hp_addr addr;
    char text[HP_ADDR_TEXT_LEN];
    uint8_t buffer[16];
    size_t len = 99;
    const uint8_t *id = (const uint8_t *)"id";
    CHECK_STATUS(HP_STATUS_OK, hp_addr_parse("127.0.0.1:9", &addr));
    CHECK_STATUS(HP_STATUS_POISONED, hp_test_panic(client));
    CHECK_STATUS(HP_STATUS_POISONED, hp_client_set_timeout_ms(client, 1));
    CHECK_STATUS(HP_STATUS_POISONED, hp_client_set_server_retry_ms(client, 1));
    CHECK_STATUS(HP_STATUS_POISONED, hp_client_set_peer_retry_ms(client, 1));
    CHECK_STATUS(HP_STATUS_POISONED, hp_client_set_local_addr(client, NULL));
    CHECK_STATUS(HP_STATUS_POISONED, hp_client_set_dialect(client, HP_DIALECT_AUTO));
    CHECK_STATUS(HP_STATUS_POISONED, hp_connect(client, id, 2, 1, &error));
    CHECK(error.status == HP_STATUS_POISONED && error.message[0] != '\0');
    CHECK_STATUS(HP_STATUS_POISONED, hp_connect_peers(client, id, 2, &addr, 1, NULL));
    CHECK(hp_peer_count(client) == 0);
    CHECK_STATUS(HP_STATUS_POISONED, hp_peer_get(client, 0, &peer));
    CHECK(peer.connected == 0);
    CHECK_STATUS(HP_STATUS_POISONED, hp_client_counters(client, &counters));
    CHECK_STATUS(HP_STATUS_POISONED, hp_socket_fd(client, 0, &sock));
    CHECK(sock == HP_INVALID_SOCKET);
    CHECK_STATUS(HP_STATUS_POISONED, hp_socket_take(client, 0, &sock));
    CHECK(sock == HP_INVALID_SOCKET);
    int given = bind_loopback(text);
    CHECK_STATUS(HP_STATUS_POISONED, hp_client_give_socket(client, given));
    CHECK(close(given) == 0);
    CHECK_STATUS(HP_STATUS_POISONED, hp_early_receive(client, buffer, sizeof buffer, &len, NULL, NULL));
    CHECK(len == 0);
    hp_cancel(client);
    hp_cancel_clear(client);
}

int main(int argc, char **argv)
{
    hp_client *pair[2];
    end_at_the_latest_in(60);
    CHECK(argc == 3);
    const int fds = count_fds();
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_test_panic(NULL));

    /* A client that owns a socket and peers, beside one that is none the worse. */
    connect_pair(argv[1], argv[2], pair);
    CHECK_STATUS(HP_STATUS_PANIC, hp_test_panic(pair[0]));
    is_poisoned(pair[0]);
    is_poisoned(pair[0]);
    CHECK(hp_peer_count(pair[1]) == 1);
    hp_client_free(pair[0]);
    hp_client_free(pair[1]);
    CHECK(count_fds() == fds);

    /* One that has done nothing yet; then life goes on. */
    hp_client *client = new_client(argv[1]);
    CHECK_STATUS(HP_STATUS_PANIC, hp_test_panic(client));
    hp_client_free(client);
    connect_pair(argv[1], argv[2], pair);
    hp_client_free(pair[0]);
    hp_client_free(pair[1]);
    await_a_single_thread();
    CHECK(count_fds() == fds);
    return 0;
}
