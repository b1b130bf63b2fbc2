/* The shortest program that opens a hole: `connect [SERVER [ID]]`. Also the example at the top of holepunch.h. */
#include <holepunch.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    const char *server = argc > 1 ? argv[1] : "rendezvous.example.org:5000";
    const char *id = argc > 2 ? argv[2] : "an ID that both sides know";
    hp_error error = HP_ERROR_INIT;
    hp_client *client;
    if (hp_client_new(server, &client, &error) != HP_STATUS_OK ||
        hp_connect(client, (const uint8_t *)id, strlen(id), 1, &error) != HP_STATUS_OK) {
        fprintf(stderr, "%s: %s\n", hp_status_name(error.status), error.message);
        return 1;
    }
    hp_peer peer = HP_PEER_INIT;
    hp_socket_t sock;
    struct sockaddr_storage to;
    uint32_t to_len;
    hp_peer_get(client, 0, &peer);
    hp_socket_take(client, peer.socket, &sock);
    hp_addr_to_sockaddr(&peer.endpoint, &to, sizeof to, &to_len);
    sendto((int)sock, "hello", 5, 0, (struct sockaddr *)&to, to_len);
    uint8_t text[1500];
    size_t len;
    hp_status early = hp_early_receive(client, text, sizeof text, &len, NULL, NULL);
    hp_client_free(client);
    while (early != HP_STATUS_OK) {
        ssize_t n = recv((int)sock, text, sizeof text, 0);
        len = n < 0 ? 0 : (size_t)n;
        if (n < 0 || !hp_is_control_packet(text, len))
            break;
    }
    printf("%.*s\n", (int)len, (const char *)text);
    return close((int)sock);
}
