/*
 * While hp_connect runs, everything else on that client is answered HP_STATUS_BUSY at once, from any other thread.
 * Neither that nor a signal disturbs the running call.
 */
#include "check.h"

#include <signal.h>

#define ID ((const uint8_t *)"busy")
#define ID_LEN 4

/* All of them together; the running call would go on for much longer. */
#define AT_ONCE_US 2000000

static void all_are_busy(hp_client *client)
{
    hp_error error = HP_ERROR_INIT;
    hp_peer peer = HP_PEER_INIT;
    hp_counters counters = HP_COUNTERS_INIT;
    hp_socket_t sock = 0;
    hp_addr addr, source;
    uint8_t buffer[16];
    size_t len = 99;
    uint32_t index = 99;
    uint8_t key[HP_KEY_LEN] = { 99 };
    hp_session *session = (hp_session *)&len;
    CHECK_STATUS(HP_STATUS_OK, hp_addr_parse("127.0.0.1:9", &addr));
    memset(&source, 0xAA, sizeof source);
    CHECK_STATUS(HP_STATUS_BUSY, hp_client_set_timeout_ms(client, 1));
    CHECK_STATUS(HP_STATUS_BUSY, hp_client_set_server_retry_ms(client, 1));
    CHECK_STATUS(HP_STATUS_BUSY, hp_client_set_peer_retry_ms(client, 1));
    CHECK_STATUS(HP_STATUS_BUSY, hp_client_set_local_addr(client, &addr));
    CHECK_STATUS(HP_STATUS_BUSY, hp_client_set_local_addr(client, NULL));
    CHECK_STATUS(HP_STATUS_BUSY, hp_client_set_dialect(client, HP_DIALECT_PLAIN));
    CHECK_STATUS(HP_STATUS_BUSY, hp_connect(client, ID, ID_LEN, 1, &error));
    CHECK(error.status == HP_STATUS_BUSY && error.message[0] != '\0');
    CHECK_STATUS(HP_STATUS_BUSY, hp_connect(client, ID, ID_LEN, 1, NULL));
    CHECK_STATUS(HP_STATUS_BUSY, hp_connect_peers(client, ID, ID_LEN, &addr, 1, &error));
    CHECK(hp_peer_count(client) == 0);
    peer.rtt_us = 99;
    CHECK_STATUS(HP_STATUS_BUSY, hp_peer_get(client, 0, &peer));
    CHECK(peer.rtt_us == 0);
    counters.forged = 99;
    CHECK_STATUS(HP_STATUS_BUSY, hp_client_counters(client, &counters));
    CHECK(counters.forged == 0);
    CHECK_STATUS(HP_STATUS_BUSY, hp_socket_fd(client, 0, &sock));
    CHECK(sock == HP_INVALID_SOCKET);
    sock = 0;
    CHECK_STATUS(HP_STATUS_BUSY, hp_socket_take(client, 0, &sock));
    CHECK(sock == HP_INVALID_SOCKET);
    CHECK_STATUS(HP_STATUS_BUSY, hp_client_give_socket(client, HP_INVALID_SOCKET));
    CHECK_STATUS(HP_STATUS_BUSY, hp_early_receive(client, buffer, sizeof buffer, &len, &source, &index));
    CHECK(len == 0 && index == 0 && all_bytes(&source, sizeof source, 0));
    CHECK_STATUS(HP_STATUS_BUSY, hp_peer_export_key(client, 0, NULL, 0, key));
    CHECK(all_bytes(key, sizeof key, 0));
    CHECK_STATUS(HP_STATUS_BUSY, hp_session_join(client, ID, ID_LEN, NULL, &session, &error));
    CHECK(session == NULL && error.status == HP_STATUS_BUSY);
}

static volatile sig_atomic_t signals;

static void on_signal(int number)
{
    (void)number;
    signals++;
}

/* System calls that they interrupt fail with EINTR, since SA_RESTART is not set. */
static void interrupt(pthread_t thread)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    for (int i = 0; i < 10; i++) {
        CHECK(pthread_kill(thread, SIGUSR1) == 0);
        for (long long end = now_us() + PATIENCE_MS * 1000LL; signals <= i; sleep_us(500))
            CHECK(now_us() < end);
    }
}

int main(void)
{
    char server[HP_ADDR_TEXT_LEN];
    struct caller caller;
    end_at_the_latest_in(60);
    int silent = bind_loopback(server);
    hp_client *client = new_client(server);
    CHECK_STATUS(HP_STATUS_OK, hp_client_set_timeout_ms(client, -1));
    start_caller(&caller, client, "busy");
    await_datagram(silent);

    long long start = now_us();
    all_are_busy(client);
    CHECK(now_us() - start < AT_ONCE_US);

    /* None of that has disturbed the running call, and it leaves the client free. */
    interrupt(caller.thread);
    CHECK_STATUS(HP_STATUS_BUSY, hp_client_set_timeout_ms(client, 1));
    hp_cancel(client);
    CHECK_STATUS(HP_STATUS_CANCELLED, join_caller(&caller));
    CHECK_STATUS(HP_STATUS_OK, hp_client_set_timeout_ms(client, 1));
    CHECK_STATUS(HP_STATUS_SERVER_SILENT, hp_connect(client, ID, ID_LEN, 1, NULL));
    hp_client_free(client);
    close(silent);
    return 0;
}
