package holepunch

/*
#include "holepunch.h"

static inline hp_session_options hpgo_session_defaults(void)
{
	hp_session_options options = HP_SESSION_OPTIONS_INIT;
	return options;
}

// Go's memory must not be pointed to from within what is given to C: hence two arguments of their own.
static inline hp_status hpgo_session_join(hp_client *client, const uint8_t *id, size_t id_len, hp_session_options options,
                                          const uint8_t *identity, const uint8_t *pinned, hp_session **out, hp_error *error)
{
	options.identity = identity;
	options.pinned = pinned;
	return hp_session_join(client, id, id_len, &options, out, error);
}
*/
import "C"

import (
	"fmt"
	"syscall"
	"unsafe"
)

// nativeSession owns an hp_session.
type nativeSession struct {
	p *C.hp_session
	// told is where C writes events.
	told *C.hp_session_event
}

func (n nativeClient) join(op string, id []byte, settings joinSettings) (nativeSession, error) {
	options := C.hpgo_session_defaults()
	var identity, pinned *C.uint8_t
	if settings.identity != nil {
		identity = bytes(settings.identity[:])
	}
	if settings.isPinned {
		if len(settings.pinned) == 0 {
			return nativeSession{}, invalid(op, "there must be a pinned key, or everybody would be shut out")
		}
		pinned = bytes(settings.pinned[0][:])
		options.pinned_count = C.size_t(len(settings.pinned))
	}
	if settings.plainPeers {
		options.plain_peers = 1
	}
	if bytes := settings.unacknowledged; bytes != nil {
		if *bytes < 1 {
			return nativeSession{}, invalid(op, "some bytes must be allowed to wait for a peer")
		}
		options.max_unacknowledged = C.uint64_t(*bytes)
	}
	if bytes := settings.unfetched; bytes != nil {
		if *bytes < 2048 {
			return nativeSession{}, invalid(op, "at least 2048 bytes must be allowed to wait to be fetched")
		}
		options.max_unfetched = C.uint64_t(*bytes)
	}
	detail := newDetail()
	s := nativeSession{told: &C.hp_session_event{struct_size: C.sizeof_hp_session_event}}
	status := C.hpgo_session_join(n.p, bytes(id), C.size_t(len(id)), options, identity, pinned, &s.p, detail)
	return s, failure(op, status, detail)
}

func (n nativeSession) free()  { C.hp_session_free(n.p) }
func (n nativeSession) leave() { C.hp_session_leave(n.p) }

// sessionFailure makes an error of a status: what is canceled is the session.
func sessionFailure(op string, status C.hp_status, detail *C.hp_error) error {
	if status == C.HP_STATUS_CANCELLED {
		return &Error{Op: op, Err: ErrClosed, message: "the session was left"}
	}
	return failure(op, status, detail)
}

func (n nativeSession) localID() PeerID {
	var id C.hp_peer_id
	C.hp_session_local_id(n.p, &id)
	return peerID(&id)
}

func (n nativeSession) publicKey() (key Key) {
	C.hp_session_public_key(n.p, bytes(key[:]))
	return key
}

func (n nativeSession) eventFD() uintptr {
	var fd C.hp_socket_t
	C.hp_session_event_fd(n.p, &fd)
	return uintptr(fd)
}

func peerID(id *C.hp_peer_id) PeerID { return *(*PeerID)(unsafe.Pointer(id)) }

func nativeID(id *PeerID) *C.hp_peer_id { return (*C.hp_peer_id)(unsafe.Pointer(id)) }

// send sends to everybody if to is nil.
func (n nativeSession) send(op string, to *PeerID, data []byte) (uint64, error) {
	var number C.uint64_t
	detail := newDetail()
	status := C.hp_session_send(n.p, nativeID(to), bytes(data), C.size_t(len(data)), &number, detail)
	return uint64(number), sessionFailure(op, status, detail)
}

// next returns the next event, or nil if there is none yet.
func (n nativeSession) next(op string) (Event, error) {
	for {
		status := C.hp_session_next_event(n.p, 0, n.told)
		if status == C.HP_STATUS_NOTHING {
			return nil, nil
		}
		if err := sessionFailure(op, status, nil); err != nil {
			return nil, err
		}
		event := n.event()
		// Go's collector does not like pointers to what C has freed.
		n.told.data, n.told.undelivered = nil, nil
		if event != nil {
			return event, nil
		}
	}
}

// event copies what C has told; nil for what this package does not know.
func (n nativeSession) event() Event {
	t := n.told
	member := Member{Peer: peerID(&t.peer), Encrypted: t.encrypted != 0}
	switch t.kind {
	case C.HP_EVENT_REGISTERED:
		return Registered{Addr: fromNative(&t.endpoint)}
	case C.HP_EVENT_SERVER_LOST:
		return ServerLost{}
	case C.HP_EVENT_SERVER_REGAINED:
		return ServerRegained{}
	case C.HP_EVENT_REFUSED:
		return Refused{Reason: RefusedReason(t.reason)}
	case C.HP_EVENT_FAILED:
		errno := syscall.Errno(t.reason)
		return Failed{Err: &Error{Op: "stay in the session", Err: ErrSocket, Errno: errno, message: errno.Error()}}
	case C.HP_EVENT_JOINED:
		return Joined{member}
	case C.HP_EVENT_CONNECTED:
		return Connected{member, fromNative(&t.endpoint), Path(t.path), roundTrip(t.rtt_us), key(&t.key)}
	case C.HP_EVENT_PATH_CHANGED:
		return PathChanged{member, fromNative(&t.endpoint), Path(t.path), roundTrip(t.rtt_us)}
	case C.HP_EVENT_MESSAGE:
		message := Message{Member: member}
		// Go stops if it meets the pointer of what is empty, which leads nowhere.
		if t.data_len > 0 {
			message.Data = C.GoBytes(unsafe.Pointer(t.data), C.int(t.data_len))
		}
		return message
	case C.HP_EVENT_DELIVERED:
		return Delivered{member, uint64(t.number)}
	case C.HP_EVENT_UNTAKEN:
		return Untaken{member, uint64(t.number)}
	case C.HP_EVENT_LEFT:
		left := Left{Member: member, Reason: LeftReason(t.reason), Key: key(&t.key)}
		if t.undelivered_count > 0 {
			numbers := unsafe.Slice((*uint64)(t.undelivered), int(t.undelivered_count))
			left.Undelivered = append(left.Undelivered, numbers...)
		}
		return left
	case C.HP_EVENT_UNTOLD:
		return Untold{Count: uint64(t.number)}
	}
	return nil
}

func key(native *[C.HP_KEY_LEN]C.uint8_t) Key { return *(*Key)(unsafe.Pointer(native)) }

func (n nativeSession) peers() []SessionPeer {
	ids := make([]C.hp_peer_id, C.HP_SESSION_MAX_PEERS)
	var count C.size_t
	if C.hp_session_peers(n.p, &ids[0], C.size_t(len(ids)), &count) != C.HP_STATUS_OK {
		return nil
	}
	peers := make([]SessionPeer, 0, int(count))
	for i := range ids[:count] {
		// Whoever has left meanwhile is not there any more.
		if peer, err := n.peer("list peers", peerID(&ids[i])); err == nil {
			peers = append(peers, peer)
		}
	}
	return peers
}

func (n nativeSession) peer(op string, id PeerID) (SessionPeer, error) {
	native := C.hp_session_peer{struct_size: C.sizeof_hp_session_peer}
	if err := failure(op, C.hp_session_peer_get(n.p, nativeID(&id), &native), nil); err != nil {
		return SessionPeer{}, err
	}
	return SessionPeer{
		Member:      Member{Peer: id, Encrypted: native.encrypted != 0},
		Undelivered: int(native.undelivered),
		Connected:   native.connected != 0,
		Addr:        fromNative(&native.endpoint),
		Path:        Path(native.path),
		RTT:         roundTrip(native.rtt_us),
		Key:         key(&native.key),
	}, nil
}

func (n nativeSession) exportKey(op string, id PeerID, label string) (key [32]byte, err error) {
	text := []byte(label)
	status := C.hp_session_export_key(n.p, nativeID(&id), bytes(text), C.size_t(len(text)), bytes(key[:]))
	return key, failure(op, status, nil)
}

func (n nativeSession) counters() SessionCounters {
	native := C.hp_session_counters{struct_size: C.sizeof_hp_session_counters}
	C.hp_session_get_counters(n.p, &native)
	return SessionCounters{
		Strangers: uint64(native.strangers),
		Forged:    uint64(native.forged),
		Replayed:  uint64(native.replayed),
		Malformed: uint64(native.malformed),
	}
}

// Fingerprint returns what people compare: 32 hexadecimal digits in groups of
// four.
func (k Key) Fingerprint() string {
	var text [C.HP_FINGERPRINT_TEXT_LEN]C.char
	C.hp_key_fingerprint(bytes(k[:]), &text[0], C.size_t(len(text)), nil)
	return C.GoString(&text[0])
}

// String returns the fingerprint, or "none" for the zero Key.
func (k Key) String() string {
	if k == (Key{}) {
		return "none"
	}
	return k.Fingerprint()
}

// PublicKey returns the public key that belongs to the identity.
func (i Identity) PublicKey() (key Key) {
	C.hp_identity_public_key(bytes(i[:]), bytes(key[:]))
	return key
}

// Format writes the public key's fingerprint, whatever the verb: secrets do not
// belong into logs.
func (i Identity) Format(out fmt.State, _ rune) {
	fmt.Fprint(out, "identity of ", i.PublicKey())
}
