/*
 * libholepunch: UDP holes between peers behind NATs that share a session ID, and the raw socket to go with them.
 * Licence: MIT or Apache-2.0, at your choice.
 *
 * Start here: two programs run this with the same server and the same ID, each behind a NAT of its own.
 *
 *   #include <holepunch.h>
 *   #include <stdio.h>
 *   #include <string.h>
 *   #include <sys/socket.h>
 *   #include <unistd.h>
 *
 *   int main(int argc, char **argv)
 *   {
 *       const char *server = argc > 1 ? argv[1] : "rendezvous.example.org:5000";
 *       const char *id = argc > 2 ? argv[2] : "an ID that both sides know";
 *       hp_error error = HP_ERROR_INIT;
 *       hp_client *client;
 *       if (hp_client_new(server, &client, &error) != HP_STATUS_OK ||
 *           hp_connect(client, (const uint8_t *)id, strlen(id), 1, &error) != HP_STATUS_OK) {
 *           fprintf(stderr, "%s: %s\n", hp_status_name(error.status), error.message);
 *           return 1;
 *       }
 *       hp_peer peer = HP_PEER_INIT;
 *       hp_socket_t sock;
 *       struct sockaddr_storage to;
 *       uint32_t to_len;
 *       hp_peer_get(client, 0, &peer);
 *       hp_socket_take(client, peer.socket, &sock);
 *       hp_addr_to_sockaddr(&peer.endpoint, &to, sizeof to, &to_len);
 *       sendto((int)sock, "hello", 5, 0, (struct sockaddr *)&to, to_len);
 *       uint8_t text[1500];
 *       size_t len;
 *       hp_status early = hp_early_receive(client, text, sizeof text, &len, NULL, NULL);
 *       hp_client_free(client);
 *       while (early != HP_STATUS_OK) {
 *           ssize_t n = recv((int)sock, text, sizeof text, 0);
 *           len = n < 0 ? 0 : (size_t)n;
 *           if (n < 0 || !hp_is_control_packet(text, len))
 *               break;
 *       }
 *       printf("%.*s\n", (int)len, (const char *)text);
 *       return close((int)sock);
 *   }
 *
 * Conventions
 *   Names    hp_*_new makes an object that the caller owns, hp_*_free ends it (NULL is a no-op), hp_*_take moves something
 *            to the caller for good; plain nouns are borrowed.
 *   Results  hp_status, 0 on success. Outputs are zeroed on entry and written on success. Details go to a caller-owned
 *            hp_error, the last argument, or NULL.
 *   Strings  UTF-8, NUL-terminated. Byte strings are a pointer and a length; NULL only with length 0.
 *   Structs  whose first member is struct_size grow at their end in later versions; the HP_*_INIT macros set it.
 *   Threads  each function says "any thread" or "one thread at a time per client" (or server); another thread is answered
 *            HP_STATUS_BUSY while a call is running.
 *   Sessions hp_connect opens holes and hands over the sockets. hp_session_join goes on: everybody who shares the ID, encrypted,
 *            for as long as one stays; peers come, go and move, and messages are delivered or known not to be.
 *   Plain addresses  hp_conn is for programs that tell each other their addresses by means of their own: addresses in, a connection
 *            over UDP or TCP out, no server needed.
 *   Limits   64 peers a call, 256 in a session, 16 endpoints tried of each peer, session IDs of 1000 bytes, 1 MiB of early datagrams.
 *   Trust    Whoever knows the session ID is in. The library authenticates who opens a hole, but what the application sends
 *            through a taken socket is not encrypted: run TLS, QUIC, DTLS or Noise over it. Sessions are encrypted from end to end.
 */

#ifndef HOLEPUNCH_H
#define HOLEPUNCH_H

/* Generated from src/ffi by `make header`; do not edit. */

#include <stddef.h>
#include <stdint.h>

/* How a struct with struct_size is initialised. */
#define HP_ERROR_INIT { sizeof(hp_error), 0, 0, { 0 } }
#define HP_PEER_INIT { sizeof(hp_peer), 0, { 0, 0, 0, { 0 } }, 0, 0, 0, 0, 0, 0, 0, 0 }
#define HP_ATTEMPT_INIT { sizeof(hp_attempt), 0, { 0, 0, 0, { 0 } }, 0, 0 }
#define HP_NAT_REPORT_INIT { sizeof(hp_nat_report), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, { 0, 0, 0, { 0 } }, \
                             { 0, 0, 0, { 0 } }, { 0, 0, 0, { 0 } } }
#define HP_RELAY_OPTIONS_INIT { sizeof(hp_relay_options), 8, 1000, 0, 1048576, 60000, 43200000 }
#define HP_TCP_OPTIONS_INIT { sizeof(hp_tcp_options), 4096, 256, 0 }
#define HP_SESSION_OPTIONS_INIT { sizeof(hp_session_options), 0, NULL, NULL, 0, 4194304, 2097152 }
#define HP_SESSION_EVENT_INIT { sizeof(hp_session_event), 0, { { 0 } }, 0, 0, { 0, 0, 0, { 0 } }, 0, 0, 0, { 0 }, NULL, 0, NULL, 0 }
#define HP_SESSION_PEER_INIT { sizeof(hp_session_peer), 0, { { 0 } }, 0, 0, { 0, 0, 0, { 0 } }, 0, 0, { 0 } }
#define HP_SESSION_COUNTERS_INIT { sizeof(hp_session_counters), 0, 0, 0, 0, 0 }
#define HP_CONN_OPTIONS_INIT { sizeof(hp_conn_options), 1, NULL, 0, 0, 1, { 0, 0, 0, { 0 } }, 0, 3000, 3, 0, NULL, \
                               { 0, 0, 0, { 0 } } }
#define HP_CONN_EVENT_INIT { sizeof(hp_conn_event), 0, { 0, 0, 0, { 0 } }, 0, 0, 0, 0, NULL, 0, NULL }
#define HP_CONN_INFO_INIT { sizeof(hp_conn_info), 0, { 0, 0, 0, { 0 } }, { 0, 0, 0, { 0 } }, 0, 0, 0, 0 }
#define HP_COUNTERS_INIT { sizeof(hp_counters), 0, 0, 0, 0, 0, 0, 0, 0, 0 }
#define HP_SERVER_COUNTERS_INIT { sizeof(hp_server_counters), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, \
                                  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, \
                                  0, 0, 0, 0, 0, 0 }
#define HP_SERVER_LIMITS_INIT { sizeof(hp_server_limits), 257, 8192, 2000, 3, 0, 268435456 }

/* A socket: a file descriptor. */
typedef intptr_t hp_socket_t;
/* No socket. */
#define HP_INVALID_SOCKET ((hp_socket_t)-1)

/* Version of this header. hp_version() tells the library's. */
#define HP_VERSION_MAJOR 0
/* Minor version of this header. */
#define HP_VERSION_MINOR 1
/* Patch version of this header. */
#define HP_VERSION_PATCH 0

/* Version of the binary interface; a library with another one cannot be used with this header. */
#define HP_ABI_VERSION 1

/* Size of a buffer that holds any generated session ID with its terminating NUL. */
#define HP_SESSION_ID_TEXT_LEN 33

/* Size of hp_error.message. */
#define HP_ERROR_MESSAGE_LEN 256

/* hp_addr.family: no address. */
#define HP_FAMILY_NONE 0
/* hp_addr.family: IPv4; the address is the first 4 bytes of ip. */
#define HP_FAMILY_IPV4 4
/* hp_addr.family: IPv6; the address is all 16 bytes of ip. */
#define HP_FAMILY_IPV6 6

/* Size of a buffer that holds any address that hp_addr_format writes, with its terminating NUL. */
#define HP_ADDR_TEXT_LEN 64

/* hp_peer.path: an address of the peer's own interface; nothing stands between. */
#define HP_PATH_HOST 1
/* hp_peer.path: the peer's endpoint as the rendezvous server sees it. */
#define HP_PATH_REFLEXIVE 2
/* hp_peer.path: a port that the peer's router was asked to open. */
#define HP_PATH_MAPPED 3
/* hp_peer.path: learned from the peer's own authenticated probe. */
#define HP_PATH_PEER_REFLEXIVE 4
/* hp_peer.path: guessed from a symmetric NAT's pattern, or found among random ports. */
#define HP_PATH_PREDICTED 5
/* hp_peer.path: forwarded by the server. */
#define HP_PATH_RELAYED 6

/* hp_peer.relay_refused: the server was not asked to forward, or agreed. */
#define HP_REFUSAL_NONE 0
/* hp_peer.relay_refused: the server forwards nothing. */
#define HP_REFUSAL_NOT_OFFERED 1
/* hp_peer.relay_refused: the server knows no such native peer, or not any more. */
#define HP_REFUSAL_UNKNOWN_PEER 2
/* hp_peer.relay_refused: the server forwards as much as it allows, in all or for this client. */
#define HP_REFUSAL_FULL 3

/* Datagrams. */
#define HP_TRANSPORT_UDP 1
/* A byte stream. */
#define HP_TRANSPORT_TCP 2

/* hp_peer.rtt_us: not measured (the plain dialect has no means). */
#define HP_RTT_UNKNOWN UINT32_MAX

/* Log level: a bug, or lost service. */
#define HP_LOG_ERROR 1
/* Log level: something to look at. */
#define HP_LOG_WARN 2
/* Log level: what the library does. */
#define HP_LOG_INFO 3
/* Log level: details, with addresses and peer IDs. */
#define HP_LOG_DEBUG 4
/* Log level: every step. */
#define HP_LOG_TRACE 5

/* Dialect policy: native where the other side understands it, else plain. The default. */
#define HP_DIALECT_AUTO 0
/* Dialect policy: native only; every peer is authenticated, and the server never sees the session ID. */
#define HP_DIALECT_NATIVE 1
/* Dialect policy: plain only, as the existing Go tools speak it; nothing is authenticated. */
#define HP_DIALECT_PLAIN 2

/* Most peers that one call connects to. */
#define HP_MAX_PEERS 64
/* Longest session ID in bytes. */
#define HP_MAX_SESSION_ID_LEN 1000

/* Path policy: direct paths; where there is none for two seconds, or can be none, the server forwards, if it offers that. The default. */
#define HP_PATHS_DIRECT_PREFERRED 0
/* Path policy: direct paths only. */
#define HP_PATHS_DIRECT_ONLY 1
/* Path policy: only what the server forwards; the peer's own endpoints are sent nothing. */
#define HP_PATHS_RELAY_ONLY 2

/* Technique: find out what our own NAT does, and tell the peers; prediction and many sockets need it. */
#define HP_TECHNIQUE_DIAGNOSIS 1
/* Technique: send the first probes with a low TTL, so that they open our NAT and do not reach the peer's before it is open. */
#define HP_TECHNIQUE_LOW_TTL 2
/* Technique: where a NAT counts, probe the ports that come next. */
#define HP_TECHNIQUE_PREDICTION 4
/* Technique: where a NAT chooses ports at random, up to 256 sockets on one side and 1024 probes from the other. */
#define HP_TECHNIQUE_MANY_SOCKETS 8
/* Technique: where that could help, have our router open a port (PCP, NAT-PMP, UPnP-IGD). */
#define HP_TECHNIQUE_PORT_MAPPING 16
/* Technique: where ordinary NATs do not connect as they should, probe from a further socket, whose mapping nothing has spoiled. */
#define HP_TECHNIQUE_FRESH_SOCKET 32

/* All techniques; the default. */
#define HP_TECHNIQUES_ALL 63

/* Cause: nothing kept the peer from being reached, or too little is known to say. */
#define HP_CAUSE_UNKNOWN 0
/* Cause: the peer left before a hole was open. */
#define HP_CAUSE_PEER_LEFT 1
/* Cause: both NATs give each peer another port. */
#define HP_CAUSE_BOTH_SYMMETRIC 2
/* Cause: nothing of the peer's came through, although both NATs would let it. */
#define HP_CAUSE_NOTHING_HEARD 3
/* Cause: the peer's probes come through, ours or its answers do not. */
#define HP_CAUSE_ONE_WAY 4
/* Cause: the two sides insist on different kinds of paths or dialects. */
#define HP_CAUSE_POLICY 5
/* Cause: the call ended before enough could be tried. */
#define HP_CAUSE_TOO_SHORT 6
/* Cause: one NAT gives each peer another port, and the right one was not found. */
#define HP_CAUSE_NOT_FOUND 7
/* hp_peer_cause: the server hears one of the two sides over TCP only, and the other one does not use TCP. */
#define HP_CAUSE_NO_TCP 8
/* hp_peer_cause: nobody answered over TCP. */
#define HP_CAUSE_TCP_UNANSWERED 9
/* hp_peer_cause: attempts over TCP were refused; a router answers in the peer's name. */
#define HP_CAUSE_TCP_REFUSED 10
/* hp_peer_cause: over TCP somebody else was there, or nothing was said. */
#define HP_CAUSE_TCP_STRANGER 11

/* hp_client_set_transport: UDP, and TCP with those of whom, as of ourselves, the server has heard over TCP only. */
#define HP_TRANSPORT_EITHER 3

/* hp_nat_report.mapping, .filtering, .allocation, .hairpin: not known. */
#define HP_NAT_UNKNOWN 0

/* hp_nat_report.mapping: no NAT. */
#define HP_MAPPING_NONE 1
/* hp_nat_report.mapping: the same outside endpoint towards everyone. */
#define HP_MAPPING_ENDPOINT_INDEPENDENT 2
/* hp_nat_report.mapping: another one for each remote address. */
#define HP_MAPPING_ADDRESS_DEPENDENT 3
/* hp_nat_report.mapping: another one for each remote endpoint. */
#define HP_MAPPING_ADDRESS_AND_PORT_DEPENDENT 4

/* hp_nat_report.filtering: everyone is let in. */
#define HP_FILTERING_ENDPOINT_INDEPENDENT 1
/* hp_nat_report.filtering: addresses that were sent to. */
#define HP_FILTERING_ADDRESS_DEPENDENT 2
/* hp_nat_report.filtering: endpoints that were sent to. */
#define HP_FILTERING_ADDRESS_AND_PORT_DEPENDENT 3
/* hp_nat_report.filtering: other ports of an address that was sent to, at least; the server has only one address to ask from. */
#define HP_FILTERING_NOT_PORT_DEPENDENT 4

/* hp_nat_report.allocation: each mapping's port is the one before plus step. */
#define HP_ALLOCATION_SEQUENTIAL 1
/* hp_nat_report.allocation: without a pattern. */
#define HP_ALLOCATION_RANDOM 2

/* hp_nat_report.hairpin: outside endpoints cannot be reached from inside. */
#define HP_HAIRPIN_NO 1
/* hp_nat_report.hairpin: they can. */
#define HP_HAIRPIN_YES 2

/* Bit of hp_nat_report.port_mapping: PCP. */
#define HP_PORT_MAPPING_PCP 1
/* Bit of hp_nat_report.port_mapping: NAT-PMP. */
#define HP_PORT_MAPPING_NAT_PMP 2
/* Bit of hp_nat_report.port_mapping: UPnP-IGD. */
#define HP_PORT_MAPPING_UPNP 4

/* Size of a key, public or private. */
#define HP_KEY_LEN 32

/* Size of a buffer that holds any fingerprint with its terminating NUL. */
#define HP_FINGERPRINT_TEXT_LEN 40

/* Event: the server keeps us, under endpoint; for the first time, or again. */
#define HP_EVENT_REGISTERED 1
/* Event: the server does not answer any more. Peers that are connected stay so. */
#define HP_EVENT_SERVER_LOST 2
/* Event: the server answers again. */
#define HP_EVENT_SERVER_REGAINED 3
/* Event: the server does not take us, for reason HP_REFUSED_*; it is asked again. */
#define HP_EVENT_REFUSED 4
/* Event: the session cannot go on and was left; reason is the system's error number (errno). */
#define HP_EVENT_FAILED 5
/* Event: peer is there, and is being reached. */
#define HP_EVENT_JOINED 6
/* Event: messages flow to and from peer, who holds key, over path to endpoint. */
#define HP_EVENT_CONNECTED 7
/* Event: they flow over another path to another endpoint. */
#define HP_EVENT_PATH_CHANGED 8
/* Event: peer says data. */
#define HP_EVENT_MESSAGE 9
/* Event: peer has got our message with this number. */
#define HP_EVENT_DELIVERED 10
/* Event: our message to all with this number was not taken for peer, for whom too much waits already. */
#define HP_EVENT_UNTAKEN 11
/* Event: peer is gone, for reason HP_LEFT_*, and has not got our messages with the undelivered numbers, as far as is known. */
#define HP_EVENT_LEFT 12

/*
 * Event: so many events as number says were not kept, because nobody asked for those before. Messages are among them
 * only if they are plain peers', or beyond 16 MiB of peers who have left.
 */
#define HP_EVENT_UNTOLD 13

/* hp_session_event.reason of HP_EVENT_LEFT: it said goodbye. */
#define HP_LEFT_GOODBYE 1
/* hp_session_event.reason of HP_EVENT_LEFT: the server has not heard of it for long, and neither have we. */
#define HP_LEFT_TIMED_OUT 2
/* hp_session_event.reason of HP_EVENT_LEFT: it may be there, but nothing comes through any more. */
#define HP_LEFT_UNREACHABLE 3
/* hp_session_event.reason of HP_EVENT_LEFT: it holds key, which is not allowed. */
#define HP_LEFT_WRONG_KEY 4
/* hp_session_event.reason of HP_EVENT_LEFT: it was we who left the session. */
#define HP_LEFT_WE_LEFT 5

/* hp_session_event.reason of HP_EVENT_REFUSED: the session has as many members as the server allows. */
#define HP_REFUSED_SESSION_FULL 1
/* hp_session_event.reason of HP_EVENT_REFUSED: the server has as many registrations as it can hold. */
#define HP_REFUSED_SERVER_FULL 2
/* hp_session_event.reason of HP_EVENT_REFUSED: the server does not speak the native dialect, and sessions need it. */
#define HP_REFUSED_DIALECT 3
/* hp_session_event.reason of HP_EVENT_REFUSED: another one. */
#define HP_REFUSED_OTHER 4

/* Most members of a session, ourselves not counted. */
#define HP_SESSION_MAX_PEERS 256
/* Longest message in bytes. */
#define HP_SESSION_MAX_MESSAGE_LEN 65536
/* Longest message to a peer that is not encrypted. */
#define HP_SESSION_MAX_PLAIN_MESSAGE_LEN 1200

/* hp_conn_options.address_source: nobody tells our public address. */
#define HP_ADDRESS_NOBODY 0
/* hp_conn_options.address_source: a server of ours, address_server; over TCP it must have been started with --tcp. */
#define HP_ADDRESS_SERVER 1
/* hp_conn_options.address_source: a STUN server (RFC 8489), address_server. */
#define HP_ADDRESS_STUN 2
/* hp_conn_options.address_source: the caller, who knows it: address_known, whose port does not count. */
#define HP_ADDRESS_KNOWN 3

/* Event: endpoint is our public address; or it cannot be found out, and status says why. */
#define HP_CONN_PUBLIC_ADDRESS 1
/* Event: the connection is there; endpoint is the peer's. Once at most. */
#define HP_CONN_CONNECTED 2
/* Event: the peer has sent data: over UDP a datagram, over TCP what has come. */
#define HP_CONN_DATA 3
/* Event: it is over, for reason HP_END_*. Once, and the last one. */
#define HP_CONN_ENDED 4

/* hp_conn_event.reason: we have closed it. */
#define HP_END_CLOSED 1
/* hp_conn_event.reason: the peer has. */
#define HP_END_CLOSED_BY_PEER 2
/* hp_conn_event.reason: nothing has come from the peer for 30 s; over UDP, if it is authenticated and data_events is 1. */
#define HP_END_SILENT 3
/* hp_conn_event.reason: it has failed; os_error is the system's error number (errno). */
#define HP_END_FAILED 4
/* hp_conn_event.reason: the peer was not reached; status and message say why. */
#define HP_END_NOT_REACHED 5

/* Most addresses that a peer may be tried at. */
#define HP_CONN_MAX_ADDRESSES 16
/* Longest datagram that hp_conn_write sends. */
#define HP_CONN_MAX_DATAGRAM_LEN 65507

/* What a call came to. 0 is success, errors are negative; numbers are never reused and the same on every system. */
enum hp_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif /* defined(__cplusplus) || __STDC_VERSION__ >= 202311L */
 {
    /* Success. */
    HP_STATUS_OK = 0,
    /* A pointer is NULL where it must not be, or a value is out of its range. */
    HP_STATUS_INVALID_ARGUMENT = -1,
    /* The buffer is too small; the required size has been written. */
    HP_STATUS_BUFFER_TOO_SMALL = -2,
    /* Another call is running on this handle. */
    HP_STATUS_BUSY = -3,
    /* A bug in the library; the handle can only be freed. */
    HP_STATUS_PANIC = -4,
    /* An earlier call on this handle met a bug; it can only be freed. */
    HP_STATUS_POISONED = -5,
    /* The session ID is empty or longer than 1000 bytes. */
    HP_STATUS_INVALID_SESSION_ID = -10,
    /* The server is not given as host:port. */
    HP_STATUS_INVALID_SERVER = -11,
    /* The server's name has no address. */
    HP_STATUS_SERVER_NOT_FOUND = -12,
    /* A local socket could not be made, bound or used; see os_error. */
    HP_STATUS_SOCKET = -13,
    /* Time is up, and the server never answered. */
    HP_STATUS_SERVER_SILENT = -20,
    /* The network says that the server cannot be reached. */
    HP_STATUS_SERVER_UNREACHABLE = -21,
    /* The server's host says that nothing listens on that port. */
    HP_STATUS_SERVER_PORT_CLOSED = -22,
    /* The server is full, or the session is. */
    HP_STATUS_SERVER_REFUSED = -23,
    /* The server speaks only a dialect that the client was told not to speak. */
    HP_STATUS_DIALECT_MISMATCH = -24,
    /* The server's host answers over TCP, but not over UDP, which seems to be blocked on the way. */
    HP_STATUS_UDP_BLOCKED = -25,
    /* Time is up, and the server has named too few peers; those it has named are listed. */
    HP_STATUS_TIMED_OUT_WAITING = -30,
    /* Time is up, and too few of the named peers were reached; all are listed. */
    HP_STATUS_TIMED_OUT_PUNCHING = -31,
    /* hp_cancel or hp_client_free was called. */
    HP_STATUS_CANCELLED = -32,
    /* Somebody else is at the peer's addresses, who does not know the ID. */
    HP_STATUS_STRANGER = -33,
    /* There is no such peer or socket, or the socket has been taken. */
    HP_STATUS_NOT_FOUND = -40,
    /* There is nothing (more) to read. */
    HP_STATUS_NOTHING = -41,
    /* So much waits already that nothing more is taken; later there is room. */
    HP_STATUS_FULL = -42,
    /* There is no connection, or not any more. */
    HP_STATUS_NOT_CONNECTED = -43,
    /* What can be done once has been done. */
    HP_STATUS_ALREADY_ATTEMPTED = -44,
    /* Not possible here: the process logs through Rust already, or the call comes from within a callback. */
    HP_STATUS_UNSUPPORTED = -50,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum hp_status hp_status;
#else
typedef int32_t hp_status;
#endif /* __STDC_VERSION__ >= 202311L */
#endif /* __cplusplus */

/* A client of one rendezvous server. */
typedef struct hp_client hp_client;

/* A connection between two programs that tell each other their addresses by means of their own. */
typedef struct hp_conn hp_conn;

/* A rendezvous server. */
typedef struct hp_server hp_server;

/* A session that we are in: everybody who shares an ID, for as long as one stays. */
typedef struct hp_session hp_session;

/* An IP address and port. Plain data: copy and compare it freely (unused bytes are 0). */
typedef struct hp_addr {
    /* HP_FAMILY_IPV4, HP_FAMILY_IPV6 or HP_FAMILY_NONE. */
    uint16_t family;
    /* Port in host byte order. */
    uint16_t port;
    /* IPv6 scope ID of a link-local address, else 0. */
    uint32_t scope;
    /* The address in network byte order. */
    uint8_t ip[16];
} hp_addr;

/*
 * Takes a log line: its HP_LOG_* level, its source such as "holepunch::client", and its text. Both strings are UTF-8 and
 * the library's; they are gone when the callback returns.
 */
typedef void (*hp_log_fn)(int32_t level, const char *target, const char *message, void *user_data);

/* Frees a callback's user_data. */
typedef void (*hp_free_fn)(void *user_data);

/*
 * Details of a failed call. The caller owns it, sets struct_size (HP_ERROR_INIT does) and passes it as the last argument,
 * or NULL. It is overwritten by every call that is given it, on success with status 0 and an empty message.
 */
typedef struct hp_error {
    /* sizeof(hp_error), set by the caller. */
    uint32_t struct_size;
    /* The hp_status that the call returns. */
    int32_t status;
    /* The operating system's error number (errno), or 0. */
    int32_t os_error;
    /* A sentence in English, UTF-8, NUL-terminated, cut if it is too long. */
    char message[HP_ERROR_MESSAGE_LEN];
} hp_error;

/* A peer that a call has found. The caller sets struct_size (HP_PEER_INIT does) before hp_peer_get fills the rest. */
typedef struct hp_peer {
    /* sizeof(hp_peer), set by the caller. */
    uint32_t struct_size;
    /* How the endpoint was learned: HP_PATH_*. */
    int32_t path;
    /* Where the peer is reached: the other end of the hole. */
    struct hp_addr endpoint;
    /* Round-trip time over the hole in microseconds, or HP_RTT_UNKNOWN. */
    uint32_t rtt_us;
    /* Which socket the hole belongs to, for hp_socket_fd and hp_socket_take. */
    uint32_t socket;
    /* 1 if the hole is confirmed in both directions (always, after a call that succeeded), else 0. */
    int32_t connected;
    /* 1 if the peer proved that it knows the session ID, 0 if it merely spoke from a listed endpoint (plain dialect). */
    int32_t authenticated;
    /* How many probes were sent to ports that were only guessed; they are among no attempt's. */
    uint32_t guesses;
    /* Why the server did not forward to the peer when it was asked to: HP_REFUSAL_*. */
    int32_t relay_refused;
    /* What carries the hole: HP_TRANSPORT_UDP or HP_TRANSPORT_TCP. */
    int32_t transport;
    /* 0. */
    uint32_t reserved;
} hp_peer;

/* What the last call has counted. The caller sets struct_size (HP_COUNTERS_INIT does). */
typedef struct hp_counters {
    /* sizeof(hp_counters), set by the caller. */
    uint32_t struct_size;
    /* 0. */
    uint32_t reserved;
    /* Datagrams sent to peers. */
    uint64_t probes_sent;
    /* Probes whose authentication tag is wrong: made by someone who does not know the session ID. */
    uint64_t forged;
    /* Authentic probes that were seen before or are too old. */
    uint64_t replayed;
    /* Authentic probes of our own, or for someone else. */
    uint64_t misdirected;
    /* Malformed datagrams in the native dialect. */
    uint64_t malformed;
    /* Datagrams from sources that are neither the server nor a peer. */
    uint64_t strangers;
    /* Datagrams from the server's address that made no sense. */
    uint64_t server_dropped;
    /* Peers and endpoints beyond the limits. */
    uint64_t over_limit;
} hp_counters;

/* One endpoint at which a peer was looked for. The caller sets struct_size (HP_ATTEMPT_INIT does). */
typedef struct hp_attempt {
    /* sizeof(hp_attempt), set by the caller. */
    uint32_t struct_size;
    /* How the endpoint was learned: HP_PATH_*. */
    int32_t path;
    /* Where. */
    struct hp_addr endpoint;
    /* Probes sent there. */
    uint32_t probes_sent;
    /* Authentic probes that came from there. */
    uint32_t probes_received;
} hp_attempt;

/* What stands between this host and the server. The caller sets struct_size (HP_NAT_REPORT_INIT does). */
typedef struct hp_nat_report {
    /* sizeof(hp_nat_report), set by the caller. */
    uint32_t struct_size;
    /* HP_NAT_UNKNOWN or HP_MAPPING_*. */
    int32_t mapping;
    /* HP_NAT_UNKNOWN or HP_FILTERING_*. */
    int32_t filtering;
    /* HP_NAT_UNKNOWN (also where there is nothing to choose) or HP_ALLOCATION_*. */
    int32_t allocation;
    /* Sequential: the difference between two mappings' ports; else 0. */
    int32_t step;
    /* Sequential: the last port seen; random: the lowest one; else 0. */
    uint32_t first_port;
    /* Random: the highest port seen; else 0. */
    uint32_t last_port;
    /* HP_NAT_UNKNOWN or HP_HAIRPIN_*. */
    int32_t hairpin;
    /* By what the router can be asked to open ports: HP_PORT_MAPPING_* bits. */
    uint32_t port_mapping;
    /* Routers on the way that have private addresses, or -1 if none of them told. */
    int32_t inner_routers;
    /* How long an unused mapping lives at least, in milliseconds; 0 if that was not asked for or nothing survived. */
    uint64_t lifetime_min_ms;
    /* How long it lives at most; 0 if that was not asked for or the end was not seen. */
    uint64_t lifetime_max_ms;
    /* The host's own IPv4 endpoint; family 0 if there is none. */
    struct hp_addr local;
    /* The same as the server sees it; family 0 if it was not reached over IPv4. */
    struct hp_addr observed;
    /* The host's IPv6 endpoint as the server sees it; family 0 if it was not reached over IPv6. */
    struct hp_addr observed_ipv6;
} hp_nat_report;

/* What a session is joined with. HP_SESSION_OPTIONS_INIT sets struct_size and the defaults. */
typedef struct hp_session_options {
    /* sizeof(hp_session_options), set by the caller. */
    uint32_t struct_size;

    /*
     * 1: existing plain tools that the server names are let in. Nothing is encrypted, authenticated or repeated between them
     * and us, as every event about them says. 0.
     */
    int32_t plain_peers;
    /* Our private key (X25519): HP_KEY_LEN random bytes, by whose public key the peers know us again; copied. NULL: a fresh one. */
    const uint8_t *identity;
    /* If not NULL, the only public keys that peers may hold: pinned_count times HP_KEY_LEN bytes, copied. NULL. */
    const uint8_t *pinned;
    /* How many: at least 1 if pinned is not NULL. 0. */
    size_t pinned_count;
    /* Bytes of messages to one peer that may wait until it has got them, and 64 for each of their parts of 1154 bytes. 4194304. */
    uint64_t max_unacknowledged;
    /* Bytes of messages from one peer that may wait to be fetched, and 64 for each; then it waits. 2097152; at least 2048. */
    uint64_t max_unfetched;
} hp_session_options;

/* A member's name in a session: another one each time it joins. Plain data: copy and compare it freely. */
typedef struct hp_peer_id {
    /* All zero: nobody. */
    uint8_t bytes[16];
} hp_peer_id;

/* What happened. The caller sets struct_size (HP_SESSION_EVENT_INIT does); members that an event has no use for are 0. */
typedef struct hp_session_event {
    /* sizeof(hp_session_event), set by the caller. */
    uint32_t struct_size;
    /* HP_EVENT_*. */
    int32_t kind;
    /* About whom. */
    struct hp_peer_id peer;

    /*
     * About a peer: 1 if what it says and hears is encrypted and authenticated, 0 if it speaks the plain dialect, and anyone on
     * the way may read, forge and drop what is said.
     */
    int32_t encrypted;
    /* How endpoint was learned: HP_PATH_*. */
    int32_t path;
    /* Where the peer is reached; HP_EVENT_REGISTERED: where the server sees us. */
    struct hp_addr endpoint;
    /* HP_EVENT_CONNECTED and HP_EVENT_PATH_CHANGED: round-trip time in microseconds, or HP_RTT_UNKNOWN. */
    uint32_t rtt_us;
    /* HP_LEFT_*, HP_REFUSED_* or an errno. */
    int32_t reason;
    /* The message's number, or how many. */
    uint64_t number;
    /* The peer's public key, if it has one. */
    uint8_t key[32];
    /* HP_EVENT_MESSAGE: data_len bytes; NULL if there are none. Valid until the next hp_session_next_event or hp_session_free. */
    const uint8_t *data;
    /* Length of data. */
    size_t data_len;
    /* HP_EVENT_LEFT: undelivered_count numbers of messages; NULL if there are none. Valid as long as data. */
    const uint64_t *undelivered;
    /* Length of undelivered. */
    size_t undelivered_count;
} hp_session_event;

/* A member, as it is known now. The caller sets struct_size (HP_SESSION_PEER_INIT does). */
typedef struct hp_session_peer {
    /* sizeof(hp_session_peer), set by the caller. */
    uint32_t struct_size;
    /* 1 if messages flow, else 0; then path, endpoint and key are 0. */
    int32_t connected;
    /* Its name. */
    struct hp_peer_id peer;
    /* As in hp_session_event. */
    int32_t encrypted;
    /* How endpoint was learned: HP_PATH_*. */
    int32_t path;
    /* Where it is reached. */
    struct hp_addr endpoint;
    /* Round-trip time in microseconds, or HP_RTT_UNKNOWN. */
    uint32_t rtt_us;
    /* How many messages of ours it is not known to have got. */
    uint32_t undelivered;
    /* Its public key. */
    uint8_t key[32];
} hp_session_peer;

/* What a session has dropped. The caller sets struct_size (HP_SESSION_COUNTERS_INIT does). */
typedef struct hp_session_counters {
    /* sizeof(hp_session_counters), set by the caller. */
    uint32_t struct_size;
    /* 0. */
    uint32_t reserved;
    /* Datagrams of nobody who is known here, or that make no sense. */
    uint64_t strangers;
    /* Sealed datagrams, handshakes and probes that are not authentic. */
    uint64_t forged;
    /* Sealed datagrams and probes that had come before, or are too old to tell. */
    uint64_t replayed;
    /* Without sense: the server's, or our own dialect's, or authentic. */
    uint64_t malformed;
} hp_session_counters;

/* What a connection is made with. HP_CONN_OPTIONS_INIT sets struct_size and the defaults. */
typedef struct hp_conn_options {
    /* sizeof(hp_conn_options), set by the caller. */
    uint32_t struct_size;
    /* HP_TRANSPORT_*. UDP. */
    int32_t transport;

    /*
     * What both sides share and prove to each other before the connection is reported: id_len bytes, 1 to HP_MAX_SESSION_ID_LEN, copied.
     * NULL only if unauthenticated is 1. NULL.
     */
    const uint8_t *id;
    /* Length of id. */
    size_t id_len;
    /* 1: nobody proves anything; whoever is at the peer's addresses is the peer, and over TCP nothing of the library's is sent. 0. */
    int32_t unauthenticated;
    /* 1: what comes becomes events. 0: the caller reads with hp_conn_read, or takes the socket. 1. */
    int32_t data_events;
    /* The address to bind to, and port; family HP_FAMILY_NONE: all, on a port of the system's choice. */
    struct hp_addr local;
    /* Who tells our public address: HP_ADDRESS_*. HP_ADDRESS_NOBODY. */
    int32_t address_source;
    /* How long an attempt at one address may take, 1 to 3600000 ms. 3000. */
    uint32_t attempt_timeout_ms;
    /* How many such times the peer is looked for, 1 to 1000. 3. */
    uint32_t attempts;
    /* 0. */
    uint32_t reserved;
    /* HP_ADDRESS_SERVER and HP_ADDRESS_STUN: "host:port", copied. NULL. */
    const char *address_server;
    /* HP_ADDRESS_KNOWN: the address. */
    struct hp_addr address_known;
} hp_conn_options;

/* What happened. The caller sets struct_size (HP_CONN_EVENT_INIT does); members that an event has no use for are 0. */
typedef struct hp_conn_event {
    /* sizeof(hp_conn_event), set by the caller. */
    uint32_t struct_size;
    /* HP_CONN_*. */
    int32_t kind;
    /* Our public address, or where the peer is. */
    struct hp_addr endpoint;
    /* HP_CONN_ENDED: HP_END_*. */
    int32_t reason;
    /* HP_CONN_PUBLIC_ADDRESS and HP_END_NOT_REACHED: the hp_status that says why not. */
    int32_t status;
    /* The system's error number (errno), where it had one. */
    int32_t os_error;
    /* 0. */
    uint32_t reserved;
    /* HP_CONN_DATA: data_len bytes. Valid until the next hp_conn_next_event or hp_conn_free. */
    const uint8_t *data;
    /* Length of data. */
    size_t data_len;
    /* What status is about, in English, NUL-terminated; NULL without. Valid as long as data. */
    const char *message;
} hp_conn_event;

/* A connection that is there. The caller sets struct_size (HP_CONN_INFO_INIT does). */
typedef struct hp_conn_info {
    /* sizeof(hp_conn_info), set by the caller. */
    uint32_t struct_size;
    /* HP_TRANSPORT_*. */
    int32_t transport;
    /* Our own end. */
    struct hp_addr local;
    /* The peer's. */
    struct hp_addr remote;
    /* How that was learned: HP_PATH_REFLEXIVE if it was given, HP_PATH_PEER_REFLEXIVE if the peer came from there. */
    int32_t path;
    /* How long an answer took, in microseconds, or HP_RTT_UNKNOWN. */
    uint32_t rtt_us;
    /* 1 if the peer has proven that it knows the ID, else 0. */
    int32_t authenticated;
    /* 0. */
    uint32_t reserved;
} hp_conn_info;

/* What a server has counted. The caller sets struct_size (HP_SERVER_COUNTERS_INIT does). */
typedef struct hp_server_counters {
    /* sizeof(hp_server_counters), set by the caller. */
    uint32_t struct_size;
    /* 0. */
    uint32_t reserved;
    /* Datagrams received. */
    uint64_t received;
    /* Datagrams sent. */
    uint64_t sent;
    /* Received datagrams that were nothing the server answers, and messages over TCP that name no registration of their sender's. */
    uint64_t dropped;
    /* Registrations that had to show a cookie first. */
    uint64_t challenged;
    /* Datagrams that the kernel did not take. */
    uint64_t send_failed;
    /* Registrations now. */
    uint64_t endpoints;
    /* Sessions now. */
    uint64_t sessions;
    /* Native clients that registered. */
    uint64_t native_joined;
    /* Plain clients that registered. */
    uint64_t plain_joined;
    /* Clients that said goodbye or were replaced. */
    uint64_t left;
    /* Clients that fell silent. */
    uint64_t expired;
    /* Registrations refused for a limit or a taken peer ID. */
    uint64_t refused;
    /* Pairs of clients that the server forwards between now. */
    uint64_t relay_pairs;
    /* Pairs that were granted, those that have ended included. */
    uint64_t relay_granted;
    /* Requests to be forwarded that were refused: for a limit, an unknown peer, or because the server does not forward. */
    uint64_t relay_refused;
    /* Datagrams that were forwarded. They are among received and sent, too. */
    uint64_t relay_forwarded;
    /* Their payload in bytes. */
    uint64_t relay_forwarded_bytes;
    /* Datagrams that were not forwarded because their pair had used up what it is allowed. */
    uint64_t relay_over_limit;
    /* Other datagrams at the relay's ports that were not forwarded: nobody's, or for one who has not come yet. */
    uint64_t relay_dropped;
    /* Connections over TCP now. */
    uint64_t tcp_connections;
    /* Connections that were taken, those that have ended included. */
    uint64_t tcp_accepted;
    /* Connections that were closed at once, because there were as many as there may be, in all or from that address. */
    uint64_t tcp_over_limit;
    /* How often the system had no room for another connection; it waits until there is some. */
    uint64_t tcp_accept_failed;
    /* Connections that were closed because what came was no message in a frame, or none that the server understands. */
    uint64_t tcp_malformed;
    /* Connections that were closed because nothing came for too long. */
    uint64_t tcp_silent;
    /* Connections that were closed because more than 64 KiB waited for them to be read. */
    uint64_t tcp_slow;
    /* Messages received over connections. */
    uint64_t tcp_received;
    /* Messages sent over connections. */
    uint64_t tcp_sent;
    /* Messages that were not sent: their receiver's connection was gone, or too many waited. */
    uint64_t tcp_unsent;
    /* Pairs of clients whose connections the server forwards now. */
    uint64_t tcp_relay_pairs;
    /* Such pairs that were granted, those that have ended included. */
    uint64_t tcp_relay_granted;
    /* Requests for that that were refused for a limit; others are in relay_refused. */
    uint64_t tcp_relay_refused;
    /* How often both connections of a pair had come. */
    uint64_t tcp_relay_joined;
    /* Bytes that were taken from them to be forwarded. */
    uint64_t tcp_relay_bytes;
    /* Connections that showed a ticket of nobody's, or of a pair whose both connections are there. */
    uint64_t tcp_relay_unknown;
    /* Connections that waited in vain for the other one. */
    uint64_t tcp_relay_alone;
    /* Datagrams that the kernel dropped because the server's receive buffers were full. */
    uint64_t kernel_dropped;
    /* Datagrams that were dropped because too many came from their prefix. */
    uint64_t rate_limited;
    /* Requests of clients that were not registered yet, dropped because the server could not keep up. */
    uint64_t shed;
    /* Answers that plain clients did not get, since too little had come from there. */
    uint64_t plain_withheld;
    /* Bytes that registrations take now. */
    uint64_t memory;
    /* 1 if the server cannot keep up now, else 0. */
    uint64_t overloaded;
} hp_server_counters;

/*
 * What clients may take of a server. A prefix is one IPv4 address, or the first 56 bits of an IPv6 address, which is what one
 * customer is given. HP_SERVER_LIMITS_INIT sets struct_size and the defaults.
 */
typedef struct hp_server_limits {
    /* sizeof(hp_server_limits), set by the caller. */
    uint32_t struct_size;
    /* Most registrations of one session, 2 to 257. 257. */
    uint32_t endpoints_per_session;
    /* Most registrations, and so sessions, from one prefix, at least 2. 8192. */
    uint32_t endpoints_per_prefix;
    /* Datagrams a second that are heard from one prefix, two seconds' worth at once, at least 10; 0 for no limit. 2000. */
    uint32_t datagrams_per_second;

    /*
     * A plain client, which proves no address, is sent at most so many times what came from there, IP and UDP headers included; 0 for
     * no limit. 3.
     */
    uint32_t plain_amplification;
    /* 0. */
    uint32_t reserved;
    /* Most bytes that registrations may take, at least 1048576; each of 64 shards has its even share. 268435456. */
    uint64_t memory;
} hp_server_limits;

/* What a server that forwards allows. HP_RELAY_OPTIONS_INIT sets struct_size and the defaults. */
typedef struct hp_relay_options {
    /* sizeof(hp_relay_options), set by the caller. */
    uint32_t struct_size;
    /* Ports, from the tenth after the server's own, 1 to 64; one client can have so many pairs. 8. */
    uint32_t ports;
    /* Most pairs at a time, of datagrams and of TCP connections each, at least 1. 1000. */
    uint32_t max_pairs;
    /* 0. */
    uint32_t reserved;
    /* Payload a second of one pair, both ways together, at least 2048; 0 for no limit. 1048576. */
    uint64_t bytes_per_second;
    /* After so long without a datagram a pair ends, in milliseconds, at least 1. 60000. */
    uint64_t idle_ms;
    /* After so long every pair ends, in milliseconds, at least 1. 43200000. */
    uint64_t lifetime_ms;
} hp_relay_options;

/* What a server that takes connections over TCP allows. HP_TCP_OPTIONS_INIT sets struct_size and the defaults. */
typedef struct hp_tcp_options {
    /* sizeof(hp_tcp_options), set by the caller. */
    uint32_t struct_size;
    /* Most connections at a time, 1 to 65536; each takes a descriptor, and a forwarded pair takes two. 4096. */
    uint32_t max_connections;
    /* The same from one IPv4 address, or one IPv6 network of 64 bits, 1 to 65536. 256. */
    uint32_t max_connections_per_address;
    /* 0. */
    uint32_t reserved;
} hp_tcp_options;

#ifdef __cplusplus
extern "C" {
#endif /* __cplusplus */

/* The library's version, such as "0.1.0". The string is static. Any thread. Since 0.1. */
const char *hp_version(void);

/* The library's HP_ABI_VERSION; compare it with the header's. Any thread. Since 0.1. */
uint32_t hp_abi_version(void);

/*
 * Whether a datagram read from a taken or lent socket is the library's own and to be ignored: 1 or 0.
 *
 * A peer that has not handed over yet may go on sending for a moment. True for every datagram of the native dialect and,
 * because of the plain dialect, for an empty one and for exactly "SYN" or "ACK"; so an application's protocol must not use
 * these three as whole datagrams. NULL data is 1 (empty) with len 0, else 0. Any thread. Since 0.1.
 */
int32_t hp_is_control_packet(const uint8_t *data,
                             size_t len);

/*
 * Writes a fresh session ID of 128 random bits as 32 hexadecimal digits and a NUL: a secret that no server can guess.
 *
 * buffer: HP_SESSION_ID_TEXT_LEN bytes. needed: NULL, or set to that number.
 * Returns HP_STATUS_OK, HP_STATUS_BUFFER_TOO_SMALL, HP_STATUS_SOCKET (no randomness), HP_STATUS_PANIC.
 * Any thread. Since 0.1.
 */
hp_status hp_session_id_generate(char *buffer,
                                 size_t capacity,
                                 size_t *needed);

/*
 * A status' name, such as "HP_STATUS_OK"; "HP_STATUS_UNKNOWN" for any other number.
 * The string is static. Any thread. Since 0.1.
 */
const char *hp_status_name(int32_t status);

/*
 * What a status means, in English, without a full stop; "unknown status" for any other number.
 * The string is static. Any thread. Since 0.1.
 */
const char *hp_status_message(int32_t status);

/*
 * Reads "192.0.2.1:5000" or "[2001:db8::1]:5000" (no names).
 *
 * text: UTF-8, NUL-terminated. out: written on success, else zeroed.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_PANIC. Any thread. Since 0.1.
 */
hp_status hp_addr_parse(const char *text, struct hp_addr *out);

/*
 * Writes an address as hp_addr_parse reads it, NUL-terminated.
 *
 * buffer: capacity bytes; HP_ADDR_TEXT_LEN always suffice. needed: NULL, or set to the size required with the NUL.
 * Returns HP_STATUS_OK, HP_STATUS_BUFFER_TOO_SMALL, HP_STATUS_INVALID_ARGUMENT (addr is NULL or of no family),
 * HP_STATUS_PANIC. Any thread. Since 0.1.
 */
hp_status hp_addr_format(const struct hp_addr *addr,
                         char *buffer,
                         size_t capacity,
                         size_t *needed);

/*
 * Turns an address into a struct sockaddr_in or sockaddr_in6 for sendto and the like.
 *
 * sockaddr: capacity bytes (sizeof(struct sockaddr_storage) always suffices). len: set to the bytes required, which is
 * what sendto wants as its last argument; a socklen_t where that is 32 bits wide.
 * Returns HP_STATUS_OK, HP_STATUS_BUFFER_TOO_SMALL, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_PANIC. Any thread. Since 0.1.
 */
hp_status hp_addr_to_sockaddr(const struct hp_addr *addr,
                              void *sockaddr,
                              uint32_t capacity,
                              uint32_t *len);

/*
 * Turns what recvfrom wrote into an address. An IPv4-mapped IPv6 address becomes IPv4.
 *
 * sockaddr: len bytes. out: written on success, else zeroed.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT (NULL, too short, or neither IPv4 nor IPv6), HP_STATUS_PANIC.
 * Any thread. Since 0.1.
 */
hp_status hp_addr_from_sockaddr(const void *sockaddr,
                                uint32_t len,
                                struct hp_addr *out);

/*
 * Sends the library's log lines to a callback; without one the library is silent.
 *
 * callback: called from any thread, never two calls at a time; it must not call hp_set_log_callback. NULL ends logging;
 * when the call returns, the former callback is not running and will not be called again.
 * max_level: HP_LOG_ERROR to HP_LOG_TRACE; lines beyond it are not made.
 * user_data: passed to the callback; may be NULL. free_user_data: called with user_data when the callback is replaced or the
 * call fails; may be NULL.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT (max_level), HP_STATUS_UNSUPPORTED (called from the callback, or the
 * process has another logger of Rust's), HP_STATUS_PANIC. Any thread. Since 0.1.
 */
hp_status hp_set_log_callback(hp_log_fn callback,
                              int32_t max_level,
                              void *user_data,
                              hp_free_fn free_user_data);

/*
 * Makes a client.
 *
 * server: "host:port" of the rendezvous server, UTF-8, NUL-terminated; a name, an IPv4 address or an IPv6 address in
 * brackets. A name is looked up by each hp_connect. out: the client, to be freed with hp_client_free; NULL on failure.
 * error: NULL or details.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_INVALID_SERVER, HP_STATUS_SOCKET, HP_STATUS_PANIC.
 * Any thread. Since 0.1.
 */
hp_status hp_client_new(const char *server,
                        struct hp_client **out,
                        struct hp_error *error);

/*
 * Frees a client: cancels a call that runs on it in another thread, waits until that call has returned, and closes the
 * sockets that were not taken. NULL is a no-op. No other call may begin on the client once this one has.
 * Any thread, but not from within a callback. Since 0.1.
 */
void hp_client_free(struct hp_client *client);

/*
 * Sets the time that a call has in total, in milliseconds: 40000 at first; negative for ever; 0 returns at once.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT (client is NULL), HP_STATUS_BUSY, HP_STATUS_POISONED, HP_STATUS_PANIC.
 * One thread at a time per client. Since 0.1.
 */
hp_status hp_client_set_timeout_ms(struct hp_client *client,
                                   int64_t timeout_ms);

/*
 * Sets the longest pause between two unanswered requests to the server, in milliseconds: 100 at first, 1 to 10000.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUSY, HP_STATUS_POISONED, HP_STATUS_PANIC.
 * One thread at a time per client. Since 0.1.
 */
hp_status hp_client_set_server_retry_ms(struct hp_client *client,
                                        uint32_t pause_ms);

/*
 * Sets the longest pause between two probes of a peer's endpoint, in milliseconds: 100 at first, 1 to 10000. The first
 * probes follow each other faster; plain ones come half as long again apart, so that the existing tools get a word in.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUSY, HP_STATUS_POISONED, HP_STATUS_PANIC.
 * One thread at a time per client. Since 0.1.
 */
hp_status hp_client_set_peer_retry_ms(struct hp_client *client,
                                      uint32_t pause_ms);

/*
 * Sets the local address to bind to, which also fixes the address family. local: copied; NULL, the default, lets the system
 * choose; port 0 lets it choose the port.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT (client is NULL, or local is of no family), HP_STATUS_BUSY,
 * HP_STATUS_POISONED, HP_STATUS_PANIC. One thread at a time per client. Since 0.1.
 */
hp_status hp_client_set_local_addr(struct hp_client *client,
                                   const struct hp_addr *local);

/*
 * Sets which dialects may be spoken: HP_DIALECT_AUTO (the default), HP_DIALECT_NATIVE or HP_DIALECT_PLAIN.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUSY, HP_STATUS_POISONED, HP_STATUS_PANIC.
 * One thread at a time per client. Since 0.1.
 */
hp_status hp_client_set_dialect(struct hp_client *client, int32_t dialect);

/*
 * Meets others that call this with the same session ID and opens a hole to each. Blocks until holes to at least that many
 * peers are open, time is up, or hp_cancel. All I/O happens within this call: none is left when it returns, but for a
 * thread that may still be asking the system's resolver for the server's name, which knows no cancelling.
 *
 * id: id_len bytes, 1 to HP_MAX_SESSION_ID_LEN; the same for all. peers: how many others are expected, 1 to HP_MAX_PEERS;
 * more are no error. error: NULL or details.
 * Afterwards hp_peer_get lists the peers: on success the connected ones, on failure all that were found. A socket that an
 * earlier call left and that was not taken is used again.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_INVALID_SESSION_ID, HP_STATUS_SERVER_NOT_FOUND,
 * HP_STATUS_SOCKET, HP_STATUS_SERVER_SILENT, HP_STATUS_SERVER_UNREACHABLE, HP_STATUS_SERVER_PORT_CLOSED,
 * HP_STATUS_UDP_BLOCKED, HP_STATUS_SERVER_REFUSED, HP_STATUS_DIALECT_MISMATCH, HP_STATUS_TIMED_OUT_WAITING,
 * HP_STATUS_TIMED_OUT_PUNCHING, HP_STATUS_CANCELLED, HP_STATUS_BUSY, HP_STATUS_POISONED, HP_STATUS_PANIC.
 * One thread at a time per client. Since 0.1.
 */
hp_status hp_connect(struct hp_client *client,
                     const uint8_t *id,
                     size_t id_len,
                     uint32_t peers,
                     struct hp_error *error);

/*
 * Opens holes to peers at known endpoints, without the server: goes on after hp_connect timed out, or serves callers with
 * signalling of their own. Both sides must call it. Blocks until holes to all of them are open, time is up, or hp_cancel.
 *
 * id: as for hp_connect. endpoints: count of them, 1 to HP_MAX_PEERS. error: NULL or details.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_INVALID_SESSION_ID, HP_STATUS_SOCKET,
 * HP_STATUS_TIMED_OUT_PUNCHING, HP_STATUS_CANCELLED, HP_STATUS_BUSY, HP_STATUS_POISONED, HP_STATUS_PANIC.
 * One thread at a time per client. Since 0.1.
 */
hp_status hp_connect_peers(struct hp_client *client,
                           const uint8_t *id,
                           size_t id_len,
                           const struct hp_addr *endpoints,
                           size_t count,
                           struct hp_error *error);

/*
 * Has the running hp_connect, hp_connect_peers or hp_client_check_nat return HP_STATUS_CANCELLED at once; if none runs, the
 * next one does.
 * NULL is a no-op. Any thread, any number of times. Since 0.1.
 */
void hp_cancel(const struct hp_client *client);

/*
 * Takes back an hp_cancel that no call has spent yet, as when the call that it was meant for had just ended. NULL is a no-op.
 * Any thread; an hp_cancel at the same time may be taken back, too. Since 0.1.
 */
void hp_cancel_clear(const struct hp_client *client);

/* How many peers the last call has found; 0 for NULL or a busy client. One thread at a time per client. Since 0.1. */
uint32_t hp_peer_count(const struct hp_client *client);

/*
 * Describes peer number index (from 0) of the last call; connected ones come first.
 *
 * out: its struct_size is set by the caller (HP_PEER_INIT); the rest is zeroed on entry and written on success.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_NOT_FOUND, HP_STATUS_BUSY, HP_STATUS_POISONED,
 * HP_STATUS_PANIC. One thread at a time per client. Since 0.1.
 */
hp_status hp_peer_get(const struct hp_client *client, uint32_t index, struct hp_peer *out);

/*
 * The name of an HP_PATH_* number, such as "reflexive"; "unknown" for any other. The string is static. Any thread.
 * Since 0.1.
 */
const char *hp_path_name(int32_t path);

/*
 * What the last call has counted.
 *
 * out: its struct_size is set by the caller (HP_COUNTERS_INIT); the rest is zeroed on entry and written on success.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUSY, HP_STATUS_POISONED, HP_STATUS_PANIC.
 * One thread at a time per client. Since 0.1.
 */
hp_status hp_client_counters(const struct hp_client *client,
                             struct hp_counters *out);

/*
 * Lends a socket: it stays the client's and closes with it. Not to be used while a call is running.
 *
 * index: hp_peer.socket; 0 is the first peer's. out: the descriptor, or HP_INVALID_SOCKET.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_NOT_FOUND (no such socket, or taken), HP_STATUS_BUSY,
 * HP_STATUS_POISONED, HP_STATUS_PANIC. One thread at a time per client. Since 0.1.
 */
hp_status hp_socket_fd(const struct hp_client *client,
                       uint32_t index,
                       hp_socket_t *out);

/*
 * Takes a socket: it is the caller's for good, to be closed with close(). Nothing of the library touches it any more. It is
 * a UDP socket, unconnected, blocking, close-on-exec; an IPv6 one takes no IPv4. Read the early datagrams first
 * (hp_early_receive), and ignore those for which hp_is_control_packet holds. Of a peer whose transport is HP_TRANSPORT_TCP it is a
 * connected stream, blocking, close-on-exec, in which nothing of the library's comes.
 *
 * index, out, result, threads: as for hp_socket_fd. Since 0.1.
 */
hp_status hp_socket_take(struct hp_client *client,
                         uint32_t index,
                         hp_socket_t *out);

/*
 * Gives the client a socket of the caller's to use instead of its own, from the next call on until hp_socket_take moves it
 * back; the client closes it otherwise. The client's other sockets are closed. It must be a UDP socket, bound and
 * unconnected; an IPv6 one that takes IPv4, too, serves both. Its O_NONBLOCK stays as it is; its IP_RECVERR ends up off.
 *
 * socket: on failure it stays the caller's. A duplicate (dup) does as well, as long as nobody reads it during calls.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUSY, HP_STATUS_POISONED, HP_STATUS_PANIC.
 * One thread at a time per client. Since 0.1.
 */
hp_status hp_client_give_socket(struct hp_client *client,
                                hp_socket_t socket);

/*
 * Gives the next datagram that a peer's application sent before hp_connect returned: while this client was still connecting to
 * others, or waiting for that peer's last word. They came before those in the socket.
 *
 * buffer: capacity bytes. len: set to the datagram's length, also if it does not fit; it then stays. source: NULL, or set
 * to the peer's endpoint. socket: NULL, or set to the socket's index.
 * Returns HP_STATUS_OK, HP_STATUS_NOTHING (no more), HP_STATUS_BUFFER_TOO_SMALL, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUSY,
 * HP_STATUS_POISONED, HP_STATUS_PANIC. One thread at a time per client. Since 0.1.
 */
hp_status hp_early_receive(struct hp_client *client,
                           uint8_t *buffer,
                           size_t capacity,
                           size_t *len,
                           struct hp_addr *source,
                           uint32_t *socket);

/*
 * Sets which paths are good enough: HP_PATHS_DIRECT_PREFERRED (the default), HP_PATHS_DIRECT_ONLY or HP_PATHS_RELAY_ONLY.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUSY, HP_STATUS_POISONED, HP_STATUS_PANIC.
 * One thread at a time per client. Since 0.1.
 */
hp_status hp_client_set_path_policy(struct hp_client *client,
                                    int32_t policy);

/*
 * Sets what may carry holes: HP_TRANSPORT_UDP (the default), HP_TRANSPORT_TCP, or HP_TRANSPORT_EITHER, which asks the server over UDP,
 * and over TCP as well once that has been silent for a second. Over TCP the server must have been started with --tcp and speak native, each
 * peer has a connection and so a socket of its own (hp_peer.transport tells which have), and hp_socket_take gives a connected one.
 * Sessions, and hp_connect_peers, use UDP whatever is set here.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUSY, HP_STATUS_POISONED, HP_STATUS_PANIC.
 * One thread at a time per client. Since 0.1.
 */
hp_status hp_client_set_transport(struct hp_client *client,
                                  int32_t transport);

/*
 * Sets what may be done to get through beside probing known endpoints: HP_TECHNIQUE_* bits, HP_TECHNIQUES_ALL at first.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT (also for other bits), HP_STATUS_BUSY, HP_STATUS_POISONED,
 * HP_STATUS_PANIC.
 * One thread at a time per client. Since 0.1.
 */
hp_status hp_client_set_techniques(struct hp_client *client,
                                   uint32_t techniques);

/*
 * What probably kept peer number index, as hp_peer_get counts them, from being reached: HP_CAUSE_*. HP_CAUSE_UNKNOWN for a
 * connected peer, and where there is no such peer or the client is NULL or busy.
 * One thread at a time per client. Since 0.1.
 */
int32_t hp_peer_cause(const struct hp_client *client,
                      uint32_t index);

/*
 * A cause and what helps, in English, in a sentence or two; valid for ever. Never NULL.
 * Any thread. Since 0.1.
 */
const char *hp_cause_text(int32_t cause);

/*
 * The name of an HP_REFUSAL_* number, such as "not-offered"; "unknown" for any other. The string is static. Any thread.
 * Since 0.1.
 */
const char *hp_refusal_name(int32_t refusal);

/*
 * At how many endpoints peer number index was looked for; 0 if there is no such peer or the client is NULL or busy.
 * One thread at a time per client. Since 0.1.
 */
uint32_t hp_peer_attempt_count(const struct hp_client *client,
                               uint32_t index);

/*
 * Describes attempt number attempt, from 0, at peer number index. out: zeroed on entry (as much as struct_size says) and
 * filled on success.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_NOT_FOUND, HP_STATUS_BUSY, HP_STATUS_POISONED,
 * HP_STATUS_PANIC.
 * One thread at a time per client. Since 0.1.
 */
hp_status hp_peer_attempt_get(const struct hp_client *client,
                              uint32_t index,
                              uint32_t attempt,
                              struct hp_attempt *out);

/*
 * Asks the server, from fresh sockets, what the NAT in the way does. Blocks for a second or two, within the client's
 * timeout; hp_cancel ends it. What earlier calls left is not touched.
 *
 * longest_lifetime_ms: how long to wait at most, 10000 to 300000 (more counts as that, less as 0), to see how long an unused
 * mapping lives; 0 not to look. The call, and its timeout, then take so much longer.
 * out: zeroed on entry (as much as struct_size says) and filled on success. error: NULL or details.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_SERVER_NOT_FOUND, HP_STATUS_SOCKET, HP_STATUS_SERVER_SILENT,
 * HP_STATUS_SERVER_UNREACHABLE, HP_STATUS_SERVER_PORT_CLOSED, HP_STATUS_UDP_BLOCKED, HP_STATUS_DIALECT_MISMATCH (the
 * server is a plain one), HP_STATUS_TIMED_OUT_WAITING (the server has answered, but not to all questions), HP_STATUS_CANCELLED, HP_STATUS_BUSY, HP_STATUS_POISONED, HP_STATUS_PANIC.
 * One thread at a time per client. Since 0.1.
 */
hp_status hp_client_check_nat(struct hp_client *client,
                              uint32_t longest_lifetime_ms,
                              struct hp_nat_report *out,
                              struct hp_error *error);

/*
 * A key for a protocol that is run over the hole to a peer of the last call: the same on both sides, different for each label,
 * known to nobody else, and forward secret. Another one after each call.
 *
 * index: as for hp_peer_get. label: label_len bytes that say what the key is for. key: HP_KEY_LEN bytes, zeroed on failure.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_NOT_FOUND (there is no such peer, or it is not connected and
 * authenticated), HP_STATUS_BUSY, HP_STATUS_POISONED, HP_STATUS_PANIC. One thread at a time per client. Since 0.1.
 */
hp_status hp_peer_export_key(const struct hp_client *client,
                             uint32_t index,
                             const uint8_t *label,
                             size_t label_len,
                             uint8_t *key);

/*
 * What people compare of a public key: 32 hexadecimal digits in groups of four, NUL-terminated.
 *
 * key: HP_KEY_LEN bytes. buffer: capacity bytes; HP_FINGERPRINT_TEXT_LEN suffice. needed: NULL, or set to the size required.
 * Returns HP_STATUS_OK, HP_STATUS_BUFFER_TOO_SMALL, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_PANIC. Any thread. Since 0.1.
 */
hp_status hp_key_fingerprint(const uint8_t *key,
                             char *buffer,
                             size_t capacity,
                             size_t *needed);

/*
 * The public key of an identity. identity, key: HP_KEY_LEN bytes.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_PANIC. Any thread. Since 0.1.
 */
hp_status hp_identity_public_key(const uint8_t *identity, uint8_t *key);

/*
 * Joins the session of those who share the ID, by way of the client's server and with its settings; the dialect's is of no
 * account, since the server must speak native and never sees the ID. Looks up the server, within the client's timeout, and
 * returns; who is there, and whether the server answers, are events.
 *
 * client: may be used for something else or freed afterwards; a socket that it holds becomes the session's. id: id_len bytes,
 * 1 to HP_MAX_SESSION_ID_LEN; the same for all. options: NULL for the defaults. out: the session, to be freed with
 * hp_session_free; NULL on failure. error: NULL or details.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_INVALID_SESSION_ID, HP_STATUS_SERVER_NOT_FOUND,
 * HP_STATUS_SERVER_SILENT (the look-up took too long), HP_STATUS_SERVER_UNREACHABLE, HP_STATUS_SOCKET, HP_STATUS_CANCELLED,
 * HP_STATUS_BUSY, HP_STATUS_POISONED, HP_STATUS_PANIC. One thread at a time per client. Since 0.1.
 */
hp_status hp_session_join(struct hp_client *client,
                          const uint8_t *id,
                          size_t id_len,
                          const struct hp_session_options *options,
                          struct hp_session **out,
                          struct hp_error *error);

/*
 * Frees a session: leaves it, as hp_session_leave does, has an hp_session_next_event that runs in another thread return, and
 * waits until that and the session's own thread have ended. NULL is a no-op. No other call may begin on the session once this
 * one has. Any thread, but not from within a callback. Since 0.1.
 */
void hp_session_free(struct hp_session *session);

/*
 * Says goodbye to everybody, who are told at once. What has come can still be fetched, and HP_EVENT_LEFT of each peer, with the
 * messages that it has not got, as far as is known. NULL is a no-op. Any thread, any number of times. Since 0.1.
 */
void hp_session_leave(const struct hp_session *session);

/*
 * Our own name in the session. out: zeroed on failure.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_PANIC. Any thread. Since 0.1.
 */
hp_status hp_session_local_id(const struct hp_session *session, struct hp_peer_id *out);

/*
 * Our own public key. key: HP_KEY_LEN bytes, zeroed on failure.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_PANIC. Any thread. Since 0.1.
 */
hp_status hp_session_public_key(const struct hp_session *session, uint8_t *key);

/*
 * Sends a message to a peer or, with NULL, to everybody who is there. Each gets it once and in order with the others of ours,
 * or is gone: HP_EVENT_DELIVERED or HP_EVENT_LEFT tell which. A peer that is not connected yet gets it when it is. To a peer
 * that is not encrypted it goes once, in one datagram, and nothing is told.
 *
 * to: NULL, or whom. data: len bytes, at most HP_SESSION_MAX_MESSAGE_LEN, copied; HP_SESSION_MAX_PLAIN_MESSAGE_LEN to a peer that
 * is not encrypted, and then nothing for which hp_is_control_packet holds. number: NULL, or set to what events will call the
 * message: 1, 2, 3 ...; 0 on failure. error: NULL or details.
 * Returns HP_STATUS_OK (for everybody: also if there is nobody, or if only some have room, which HP_EVENT_UNTAKEN tells),
 * HP_STATUS_INVALID_ARGUMENT, HP_STATUS_NOT_FOUND (there is no such peer), HP_STATUS_FULL (too much waits for all of them, or
 * 8192 events to be fetched; try again after some have been), HP_STATUS_CANCELLED (the session was left), HP_STATUS_PANIC.
 * Any thread. Since 0.1.
 */
hp_status hp_session_send(const struct hp_session *session,
                          const struct hp_peer_id *to,
                          const uint8_t *data,
                          size_t len,
                          uint64_t *number,
                          struct hp_error *error);

/*
 * The next event: at once, or within timeout_ms milliseconds (negative: however long it takes). Messages that are not asked
 * for make their senders wait; nothing is lost. Of other events 16384 are kept, and then counted: HP_EVENT_UNTOLD.
 *
 * event: its struct_size is set by the caller (HP_SESSION_EVENT_INIT); the rest is zeroed on entry and written on success.
 * What it points to is valid until the next call of this function or hp_session_free.
 * Returns HP_STATUS_OK, HP_STATUS_NOTHING (nothing happened in that time), HP_STATUS_CANCELLED (the session was left, and
 * nothing more will happen), HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUSY, HP_STATUS_POISONED, HP_STATUS_PANIC. One thread at a
 * time per session. Since 0.1.
 */
hp_status hp_session_next_event(const struct hp_session *session,
                                int64_t timeout_ms,
                                struct hp_session_event *event);

/*
 * A descriptor that poll(2) and the like find readable while hp_session_next_event has something to say. Borrowed: neither
 * read from it nor close it. fd: HP_INVALID_SOCKET on failure.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_PANIC. Any thread. Since 0.1.
 */
hp_status hp_session_event_fd(const struct hp_session *session,
                              hp_socket_t *fd);

/*
 * Who is there: their names. ids: room for capacity of them (HP_SESSION_MAX_PEERS always suffice); NULL with 0. count: set to
 * how many there are, also if they do not fit.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUFFER_TOO_SMALL (as many as fit were written),
 * HP_STATUS_PANIC. Any thread. Since 0.1.
 */
hp_status hp_session_peers(const struct hp_session *session,
                           struct hp_peer_id *ids,
                           size_t capacity,
                           size_t *count);

/*
 * A peer of the session, as it is known now. id: whose name. out: its struct_size is set by the caller (HP_SESSION_PEER_INIT); the
 * rest is zeroed on entry and written on success.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_NOT_FOUND, HP_STATUS_PANIC. Any thread. Since 0.1.
 */
hp_status hp_session_peer_get(const struct hp_session *session,
                              const struct hp_peer_id *id,
                              struct hp_session_peer *out);

/*
 * A key for another protocol between us and a peer: the same on both sides, different for each label, known to nobody else, and
 * forward secret. Another one each time the peer joins.
 *
 * id: whose name. label: label_len bytes that say what the key is for. key: HP_KEY_LEN bytes, zeroed on failure.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_NOT_FOUND (there is no such peer, it is not connected, or it is
 * not encrypted), HP_STATUS_PANIC. Any thread. Since 0.1.
 */
hp_status hp_session_export_key(const struct hp_session *session,
                                const struct hp_peer_id *id,
                                const uint8_t *label,
                                size_t label_len,
                                uint8_t *key);

/*
 * What the session has dropped. out: its struct_size is set by the caller (HP_SESSION_COUNTERS_INIT); the rest is zeroed on
 * entry and written on success.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_PANIC. Any thread. Since 0.1.
 */
hp_status hp_session_get_counters(const struct hp_session *session,
                                  struct hp_session_counters *out);

/*
 * Binds to a port and, if somebody is to be asked for our public address, asks. Nobody is let in, and nothing is sent to a peer, before
 * hp_conn_attempt.
 *
 * options: copied. out: the connection, to be freed with hp_conn_free; NULL on failure. error: NULL or details.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_INVALID_SESSION_ID, HP_STATUS_INVALID_SERVER, HP_STATUS_SERVER_UNREACHABLE
 * (it has no address of the local address' family), HP_STATUS_SOCKET, HP_STATUS_PANIC. Any thread. Since 0.1.
 */
hp_status hp_conn_new(const struct hp_conn_options *options,
                      struct hp_conn **out,
                      struct hp_error *error);

/*
 * Frees a connection: closes it, as hp_conn_close does, has calls that run in other threads return, and waits until they and the
 * connection's own thread have ended. NULL is a no-op. No other call may begin on the connection once this one has. Any thread. Since
 * 0.1.
 */
void hp_conn_free(struct hp_conn *conn);

/*
 * Ends it: attempts end, a connection is closed, and HP_CONN_ENDED comes, unless it has. NULL is a no-op. Any thread, any number of
 * times. Since 0.1.
 */
void hp_conn_close(const struct hp_conn *conn);

/*
 * Our own addresses, for peers in the same network: of each address family the one that leads elsewhere first.
 *
 * addresses: room for capacity of them (8 always suffice); NULL with 0. count: set to how many there are, also if they do not fit.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUFFER_TOO_SMALL (as many as fit were written), HP_STATUS_PANIC. Any
 * thread. Since 0.1.
 */
hp_status hp_conn_local_addresses(const struct hp_conn *conn,
                                  struct hp_addr *addresses,
                                  size_t capacity,
                                  size_t *count);

/*
 * Our address as others see it, waited for timeout_ms milliseconds (negative: however long it takes, which is 3 s at most, and the
 * look-up of the server's name).
 *
 * out: zeroed on failure. error: NULL or details.
 * Returns HP_STATUS_OK, HP_STATUS_NOTHING (nobody was to be asked, or there is no answer yet), HP_STATUS_INVALID_ARGUMENT,
 * HP_STATUS_SERVER_NOT_FOUND, HP_STATUS_SERVER_UNREACHABLE, HP_STATUS_SERVER_SILENT (or hp_conn_attempt was faster),
 * HP_STATUS_SERVER_REFUSED (it answers something else),
 * HP_STATUS_CANCELLED (it is over), HP_STATUS_PANIC. Any thread. Since 0.1.
 */
hp_status hp_conn_public_address(const struct hp_conn *conn,
                                 int64_t timeout_ms,
                                 struct hp_addr *out,
                                 struct hp_error *error);

/*
 * Looks for the peer at these addresses, all at the same time, and lets it in if it comes to ours; with none, the latter only. Once.
 * The other side must do the same, within the time that the options give. What comes of it is an event.
 *
 * addresses: count of them, at most HP_CONN_MAX_ADDRESSES; NULL with 0. error: NULL or details.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_ALREADY_ATTEMPTED, HP_STATUS_PANIC. Any thread. Since 0.1.
 */
hp_status hp_conn_attempt(const struct hp_conn *conn,
                          const struct hp_addr *addresses,
                          size_t count,
                          struct hp_error *error);

/*
 * The next event: at once, or within timeout_ms milliseconds (negative: however long it takes). Data that is not asked for makes the
 * peer wait, over TCP, once 1 MiB waits; over UDP the system drops what comes then.
 *
 * event: its struct_size is set by the caller (HP_CONN_EVENT_INIT); the rest is zeroed on entry and written on success. What it points
 * to is valid until the next call of this function or hp_conn_free.
 * Returns HP_STATUS_OK, HP_STATUS_NOTHING (nothing happened in that time), HP_STATUS_CANCELLED (it is over, and nothing more will
 * happen), HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUSY, HP_STATUS_POISONED, HP_STATUS_PANIC. One thread at a time per connection.
 * Since 0.1.
 */
hp_status hp_conn_next_event(const struct hp_conn *conn,
                             int64_t timeout_ms,
                             struct hp_conn_event *event);

/*
 * A descriptor that poll(2) and the like find readable while hp_conn_next_event has something to say, and once it is over. Borrowed:
 * neither read from it nor close it. fd: HP_INVALID_SOCKET on failure.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_PANIC. Any thread. Since 0.1.
 */
hp_status hp_conn_event_fd(const struct hp_conn *conn,
                           hp_socket_t *fd);

/*
 * The connection, while it is there. out: its struct_size is set by the caller (HP_CONN_INFO_INIT); the rest is zeroed on entry and
 * written on success.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_NOT_CONNECTED, HP_STATUS_PANIC. Any thread. Since 0.1.
 */
hp_status hp_conn_get_info(const struct hp_conn *conn,
                           struct hp_conn_info *out);

/*
 * Sends bytes to the peer. Over UDP they are one datagram, which is sent at once or lost. Over TCP it is waited until the system has
 * taken all of them, for timeout_ms milliseconds (negative: however long it takes).
 *
 * data: len bytes; over UDP at most HP_CONN_MAX_DATAGRAM_LEN. written: NULL, or set to how many the system has taken, which are less than
 * len only if time was up; 0 on failure. error: NULL or details.
 * Returns HP_STATUS_OK, HP_STATUS_FULL (the system takes none in that time), HP_STATUS_INVALID_ARGUMENT, HP_STATUS_NOT_CONNECTED,
 * HP_STATUS_SOCKET, HP_STATUS_PANIC. Any thread. Since 0.1.
 */
hp_status hp_conn_write(const struct hp_conn *conn,
                        const uint8_t *data,
                        size_t len,
                        int64_t timeout_ms,
                        size_t *written,
                        struct hp_error *error);

/*
 * Reads what comes from the peer, if data_events is 0: over UDP one datagram, of which what does not fit is lost. Waits for timeout_ms
 * milliseconds (negative: however long it takes). After hp_conn_take, datagrams that had come before are still read, and no others.
 *
 * data: capacity bytes, at least 1. len: set to how many were read; 0 over TCP: the peer has closed the connection. error: NULL or
 * details.
 * Returns HP_STATUS_OK, HP_STATUS_TIMED_OUT_WAITING, HP_STATUS_INVALID_ARGUMENT (or data_events is 1), HP_STATUS_NOT_CONNECTED,
 * HP_STATUS_SOCKET, HP_STATUS_PANIC. Any thread. Since 0.1.
 */
hp_status hp_conn_read(const struct hp_conn *conn,
                       uint8_t *data,
                       size_t capacity,
                       int64_t timeout_ms,
                       size_t *len,
                       struct hp_error *error);

/*
 * A key for a protocol that is run over the connection: the same on both sides, different for each label, known to nobody else, and
 * forward secret.
 *
 * label: label_len bytes that say what the key is for. key: HP_KEY_LEN bytes, zeroed on failure.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_NOT_FOUND (there is no authenticated connection), HP_STATUS_PANIC. Any
 * thread. Since 0.1.
 */
hp_status hp_conn_export_key(const struct hp_conn *conn,
                             const uint8_t *label,
                             size_t label_len,
                             uint8_t *key);

/*
 * Moves the connection's socket to the caller for good: a connected TCP stream, or an unconnected UDP socket to be used towards the
 * peer's endpoint (hp_conn_get_info before); blocking, close-on-exec. Nothing of the library's touches it any more, and no further events
 * come; those that had come are still told. Calls in other threads that wait for the connection return. On a UDP socket, datagrams for
 * which hp_is_control_packet holds may still come and are to be ignored.
 *
 * socket: HP_INVALID_SOCKET on failure. error: NULL or details.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_NOT_CONNECTED, HP_STATUS_PANIC. Any thread. Since 0.1.
 */
hp_status hp_conn_take(const struct hp_conn *conn,
                       hp_socket_t *socket,
                       struct hp_error *error);

/*
 * Makes a server, which does nothing before hp_server_run.
 *
 * address: where to listen, UTF-8, NUL-terminated: "host:port", or ":port" or "port" for all addresses of IPv6 and IPv4;
 * NULL is ":5000"; with port 0 the system chooses one. A name is looked up, which takes its time. out: the server, to be
 * freed with hp_server_free; NULL on failure. error: NULL or details.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_INVALID_SERVER, HP_STATUS_PANIC. Any thread. Since 0.1.
 */
hp_status hp_server_new(const char *address,
                        struct hp_server **out,
                        struct hp_error *error);

/*
 * Frees a server: stops it, waits until an hp_server_run in another thread has returned, and closes its sockets. NULL is a
 * no-op. No other call may begin on the server once this one has. Any thread, but not from within a callback. Since 0.1.
 */
void hp_server_free(struct hp_server *server);

/*
 * Sets which dialects are served: HP_DIALECT_AUTO (both, the default), HP_DIALECT_NATIVE or HP_DIALECT_PLAIN.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUSY (it is bound already), HP_STATUS_PANIC.
 * Any thread. Since 0.1.
 */
hp_status hp_server_set_dialect(struct hp_server *server, int32_t dialect);

/*
 * Sets how many threads serve, 1 to 64: one per core, at most 4, at first.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUSY (it is bound already), HP_STATUS_PANIC.
 * Any thread. Since 0.1.
 */
hp_status hp_server_set_workers(struct hp_server *server, uint32_t workers);

/*
 * Sets the most registrations at a time, at least 256: 1048576 at first.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUSY (it is bound already), HP_STATUS_PANIC.
 * Any thread. Since 0.1.
 */
hp_status hp_server_set_max_endpoints(struct hp_server *server, uint64_t endpoints);

/*
 * Sets after how much silence a plain client is forgotten, in milliseconds: 40000 at first; negative: never. Also while the
 * server runs, for present clients, too.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT (server is NULL), HP_STATUS_PANIC. Any thread. Since 0.1.
 */
hp_status hp_server_set_plain_expiry_ms(struct hp_server *server,
                                        int64_t expiry_ms);

/*
 * Sets the longest session ID that a plain client may use, 1 to 1024 bytes: 1024 at first. Also while the server runs.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_PANIC. Any thread. Since 0.1.
 */
hp_status hp_server_set_max_plain_id_len(struct hp_server *server,
                                         uint32_t len);

/*
 * Binds the sockets, so that errors show and the port is known before hp_server_run, which otherwise does it. Clients'
 * datagrams wait in them. Does nothing on a server that is bound already. error: NULL or details.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_SOCKET, HP_STATUS_PANIC. Any thread. Since 0.1.
 */
hp_status hp_server_bind(struct hp_server *server,
                         struct hp_error *error);

/*
 * The address that a bound server listens on. out: written on success, else zeroed.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_NOT_FOUND (it is not bound yet), HP_STATUS_PANIC.
 * Any thread. Since 0.1.
 */
hp_status hp_server_local_addr(const struct hp_server *server, struct hp_addr *out);

/*
 * Serves, in this thread and others that it starts and ends, until hp_server_stop. A server that was stopped stays stopped:
 * running it again returns HP_STATUS_OK at once. error: NULL or details.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_SOCKET, HP_STATUS_BUSY (it is running), HP_STATUS_POISONED,
 * HP_STATUS_PANIC. One thread at a time per server. Since 0.1.
 */
hp_status hp_server_run(struct hp_server *server,
                        struct hp_error *error);

/*
 * Has hp_server_run return within 50 ms; before it, it will return at once. NULL is a no-op. Any thread, any number of times.
 * Since 0.1.
 */
void hp_server_stop(const struct hp_server *server);

/*
 * What a server has counted since it was bound.
 *
 * out: its struct_size is set by the caller (HP_SERVER_COUNTERS_INIT); the rest is zeroed on entry and written on success.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_NOT_FOUND (it is not bound yet), HP_STATUS_PANIC.
 * Any thread. Since 0.1.
 */
hp_status hp_server_get_counters(const struct hp_server *server,
                                 struct hp_server_counters *out);

/*
 * The endpoints of all present registrations, in no order.
 *
 * out: room for capacity of them; NULL with 0. count: set to how many there are, also if they do not fit.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUFFER_TOO_SMALL (as many as fit were written),
 * HP_STATUS_NOT_FOUND (it is not bound yet), HP_STATUS_PANIC. Any thread. Since 0.1.
 */
hp_status hp_server_endpoints(const struct hp_server *server,
                              struct hp_addr *out,
                              size_t capacity,
                              size_t *count);

/*
 * Sets what clients may take; the most registrations at a time are set by hp_server_set_max_endpoints. Also while the server runs:
 * who is registered stays, even where there is no longer room for as many.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT (then all stays as it was), HP_STATUS_PANIC. Any thread. Since 0.1.
 */
hp_status hp_server_set_limits(struct hp_server *server,
                               const struct hp_server_limits *limits);

/*
 * Sets on how many of the ports after its own, 0 to 4, the server tells native clients which source it sees, so that they
 * learn what their NATs do; one more answers from. 3 at first. Ports that are taken are done without. Not 0 as long as another
 * address is set.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUSY (it is bound already), HP_STATUS_PANIC.
 * Any thread. Since 0.1.
 */
hp_status hp_server_set_alternate_ports(struct hp_server *server,
                                        uint32_t count);

/*
 * Sets another IP address of this host for the same purpose, as text; NULL, as at first: there is none. It must be another
 * one than the server's own, of a family that the server listens on, and with alternate ports. One that this host does not
 * have, or whose ports are taken, is found when the server is bound: HP_STATUS_SOCKET.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT (also for any, multicast, broadcast, link-local IPv6 and IPv4-mapped
 * addresses), HP_STATUS_BUSY (it is bound already), HP_STATUS_PANIC.
 * Any thread. Since 0.1.
 */
hp_status hp_server_set_other_address(struct hp_server *server,
                                      const char *address);

/*
 * Has the server forward between native clients that find no direct way; NULL, as at first: it does not.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUSY (it is bound already), HP_STATUS_PANIC.
 * Any thread. Since 0.1.
 */
hp_status hp_server_set_relay(struct hp_server *server, const struct hp_relay_options *options);

/*
 * Has the server take connections over TCP from native clients, too, at the same address and on the same port numbers, and forward
 * between connections if it forwards at all; NULL, as at first: it does not. Where the server's own port is taken over TCP, binding
 * it fails: HP_STATUS_SOCKET.
 * Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUSY (it is bound already), HP_STATUS_PANIC.
 * Any thread. Since 0.1.
 */
hp_status hp_server_set_tcp(struct hp_server *server,
                            const struct hp_tcp_options *options);

#ifdef __cplusplus
}  /* extern "C" */
#endif  /* __cplusplus */

#endif  /* HOLEPUNCH_H */
