/*
 * The header stands alone, bears being included twice, and its initialisers are what C and C++ take: compiled as every
 * standard of both that the project supports, and run to see that the names are found as C's.
 */
#include <holepunch.h>
#include <holepunch.h>

static hp_error an_error = HP_ERROR_INIT;
static hp_peer a_peer = HP_PEER_INIT;
static hp_counters some_counters = HP_COUNTERS_INIT;
static hp_session_options some_options = HP_SESSION_OPTIONS_INIT;
static hp_session_event an_event = HP_SESSION_EVENT_INIT;
static hp_session_peer a_member = HP_SESSION_PEER_INIT;
static hp_session_counters session_counters = HP_SESSION_COUNTERS_INIT;
static hp_conn_options conn_options = HP_CONN_OPTIONS_INIT;
static hp_conn_event conn_event = HP_CONN_EVENT_INIT;
static hp_conn_info conn_info = HP_CONN_INFO_INIT;

/* The layout is the ABI: no padding, and the same for every compiler. */
#define SAME(left, right) ((left) == (right) ? 0 : 1)

int main(void)
{
    hp_status status = HP_STATUS_UNSUPPORTED;
    hp_socket_t sock = HP_INVALID_SOCKET;
    return SAME(an_error.struct_size, sizeof(hp_error)) + SAME(sizeof(hp_error), 12 + HP_ERROR_MESSAGE_LEN) +
           SAME(a_peer.struct_size, sizeof(hp_peer)) + SAME(sizeof(hp_peer), 64) +
           SAME(some_counters.struct_size, sizeof(hp_counters)) + SAME(sizeof(hp_counters), 72) +
           SAME(some_options.struct_size, sizeof(hp_session_options)) +
           SAME(sizeof(hp_session_options), 24 + 2 * sizeof(void *) + sizeof(size_t)) +
           SAME(an_event.struct_size, sizeof(hp_session_event)) +
           SAME(sizeof(hp_session_event), 104 + 2 * sizeof(void *) + 2 * sizeof(size_t)) +
           SAME(a_member.struct_size, sizeof(hp_session_peer)) + SAME(sizeof(hp_session_peer), 96) +
           SAME(session_counters.struct_size, sizeof(hp_session_counters)) + SAME(sizeof(hp_session_counters), 40) +
           SAME(conn_options.struct_size, sizeof(hp_conn_options)) +
           SAME(sizeof(hp_conn_options), 80 + 2 * sizeof(void *) + sizeof(size_t)) +
           SAME(conn_event.struct_size, sizeof(hp_conn_event)) +
           SAME(sizeof(hp_conn_event), 48 + 2 * sizeof(void *) + sizeof(size_t)) +
           SAME(conn_info.struct_size, sizeof(hp_conn_info)) + SAME(sizeof(hp_conn_info), 72) +
           SAME(sizeof(hp_peer_id), 16) + SAME(sizeof(hp_addr), 24) + SAME(sizeof status, 4) + SAME(status, -50) + SAME(sock, -1) +
           SAME(hp_abi_version(), HP_ABI_VERSION);
}
