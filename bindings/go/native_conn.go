package holepunch

/*
#include <stdlib.h>
#include "holepunch.h"

static inline hp_conn_options hpgo_conn_defaults(void)
{
	hp_conn_options options = HP_CONN_OPTIONS_INIT;
	return options;
}

// Go's memory must not be pointed to from within what is given to C: hence an argument of its own.
static inline hp_status hpgo_conn_new(hp_conn_options options, const uint8_t *id, hp_conn **out, hp_error *error)
{
	options.id = id;
	return hp_conn_new(&options, out, error);
}
*/
import "C"

import (
	"io"
	"net/netip"
	"syscall"
	"time"
	"unsafe"
)

// nativeConn owns an hp_conn.
type nativeConn struct {
	p *C.hp_conn
	// told is where C writes events.
	told *C.hp_conn_event
}

var addressSources = map[addressSource]C.int32_t{
	addressOfNobody: C.HP_ADDRESS_NOBODY,
	addressOfServer: C.HP_ADDRESS_SERVER,
	addressOfSTUN:   C.HP_ADDRESS_STUN,
	addressKnown:    C.HP_ADDRESS_KNOWN,
}

func newNativeConn(op string, transport Transport, id []byte, settings addrConnSettings) (nativeConn, error) {
	if err := checkLibrary(); err != nil {
		return nativeConn{}, err
	}
	options := C.hpgo_conn_defaults()
	options.transport = C.int32_t(transport)
	options.id_len = C.size_t(len(id))
	options.unauthenticated = number(settings.unauthenticated)
	// What comes becomes events, unless nothing may be read.
	options.data_events = number(!settings.bare)
	if settings.local.Addr().IsValid() {
		options.local = toNative(settings.local)
	}
	options.address_source = addressSources[settings.source]
	options.address_known = toNative(netip.AddrPortFrom(settings.public, 0))
	if settings.source == addressOfServer || settings.source == addressOfSTUN {
		text, err := address(op, settings.server)
		if err != nil {
			return nativeConn{}, err
		}
		defer C.free(unsafe.Pointer(text))
		options.address_server = text
	}
	if timeout := settings.attemptTimeout; timeout != nil {
		options.attempt_timeout_ms = attemptMS(*timeout)
	}
	if attempts := settings.attempts; attempts != nil {
		options.attempts = 0 // out of range
		if *attempts > 0 && *attempts <= MaxAttempts {
			options.attempts = C.uint32_t(*attempts)
		}
	}
	detail := newDetail()
	n := nativeConn{told: &C.hp_conn_event{struct_size: C.sizeof_hp_conn_event}}
	status := C.hpgo_conn_new(options, bytes(id), &n.p, detail)
	return n, failure(op, status, detail)
}

func number(flag bool) C.int32_t {
	if flag {
		return 1
	}
	return 0
}

// attemptMS is 0, which is out of range, for whatever is.
func attemptMS(timeout time.Duration) C.uint32_t {
	if timeout <= 0 || timeout > MaxAttemptTimeout {
		return 0
	}
	return C.uint32_t(milliseconds(timeout))
}

func (n nativeConn) free()  { C.hp_conn_free(n.p) }
func (n nativeConn) close() { C.hp_conn_close(n.p) }

func (n nativeConn) eventFD() uintptr {
	var fd C.hp_socket_t
	C.hp_conn_event_fd(n.p, &fd)
	return uintptr(fd)
}

func (n nativeConn) localAddrs(op string) ([]netip.AddrPort, error) {
	var native [8]C.hp_addr // the header promises that they suffice
	var count C.size_t
	status := C.hp_conn_local_addresses(n.p, &native[0], C.size_t(len(native)), &count)
	if err := failure(op, status, nil); err != nil {
		return nil, err
	}
	addrs := make([]netip.AddrPort, int(count))
	for i := range addrs {
		addrs[i] = fromNative(&native[i])
	}
	return addrs, nil
}

// publicAddr tells the address if there is one; there may be one later if there
// is no error.
func (n nativeConn) publicAddr(op string) (addr netip.AddrPort, known bool, err error) {
	var native C.hp_addr
	detail := newDetail()
	status := C.hp_conn_public_address(n.p, 0, &native, detail)
	if status == C.HP_STATUS_NOTHING || status == C.HP_STATUS_CANCELLED {
		return netip.AddrPort{}, false, nil
	}
	return fromNative(&native), status == C.HP_STATUS_OK, failure(op, status, detail)
}

func (n nativeConn) attempt(op string, addrs []netip.AddrPort) error {
	native := make([]C.hp_addr, len(addrs), len(addrs)+1)
	for i, addr := range addrs {
		native[i] = toNative(addr)
	}
	detail := newDetail()
	status := C.hp_conn_attempt(n.p, &native[:1][0], C.size_t(len(native)), detail)
	return failure(op, status, detail)
}

// next returns the next event; nil if there is none yet.
func (n nativeConn) next(op string) connEvent {
	for {
		switch status := C.hp_conn_next_event(n.p, 0, n.told); status {
		case C.HP_STATUS_OK:
		case C.HP_STATUS_NOTHING:
			return nil
		case C.HP_STATUS_CANCELLED:
			return connEnded{failure(op, C.HP_STATUS_NOT_CONNECTED, nil)}
		default:
			return connEnded{failure(op, status, nil)}
		}
		event := n.event(op)
		// Go's collector does not like pointers to what C has freed.
		n.told.data, n.told.message = nil, nil
		if event != nil {
			return event
		}
	}
}

// event is what C has told; nil for what this package does not know.
func (n nativeConn) event(op string) connEvent {
	t := n.told
	switch t.kind {
	case C.HP_CONN_PUBLIC_ADDRESS:
		return connNoted{}
	case C.HP_CONN_CONNECTED:
		return connConnected{fromNative(&t.endpoint)}
	case C.HP_CONN_DATA:
		return connData{unsafe.Slice((*byte)(t.data), int(t.data_len))}
	case C.HP_CONN_ENDED:
		return connEnded{n.end(op)}
	}
	return nil
}

// end makes an error of the reason why it is over.
func (n nativeConn) end(op string) error {
	t := n.told
	errno := syscall.Errno(t.os_error)
	switch t.reason {
	case C.HP_END_CLOSED:
		return &Error{Op: op, Err: ErrClosed}
	case C.HP_END_CLOSED_BY_PEER:
		return io.EOF
	case C.HP_END_SILENT:
		return &Error{Op: op, Err: ErrNotConnected, message: "nothing has come from the peer for 30 s"}
	case C.HP_END_NOT_REACHED:
		return &Error{Op: op, Err: reasons[C.hp_status(t.status)], Errno: errno, message: C.GoString(t.message)}
	case C.HP_END_FAILED:
		return &Error{Op: op, Err: ErrSocket, Errno: errno, message: errno.Error()}
	}
	return &Error{Op: op, Err: ErrNotConnected}
}

// info tells what there is of a connection, as long as it is there.
func (n nativeConn) info() (local netip.AddrPort, peer Peer, ok bool) {
	native := C.hp_conn_info{struct_size: C.sizeof_hp_conn_info}
	if C.hp_conn_get_info(n.p, &native) != C.HP_STATUS_OK {
		return netip.AddrPort{}, Peer{}, false
	}
	return fromNative(&native.local), Peer{
		Addr:          fromNative(&native.remote),
		Path:          Path(native.path),
		Transport:     Transport(native.transport),
		RTT:           roundTrip(native.rtt_us),
		Connected:     true,
		Authenticated: native.authenticated != 0,
	}, true
}

// write writes as much as it can in that time.
func (n nativeConn) write(op string, data []byte, wait time.Duration) (int, error) {
	var written C.size_t
	detail := newDetail()
	status := C.hp_conn_write(n.p, bytes(data), C.size_t(len(data)), milliseconds(wait), &written, detail)
	return int(written), failure(op, status, detail)
}

// early gives the next datagram that came before the socket was taken.
func (n nativeConn) early(buffer []byte) ([]byte, bool) {
	var size C.size_t
	if C.hp_conn_read(n.p, bytes(buffer), C.size_t(len(buffer)), 0, &size, nil) != C.HP_STATUS_OK {
		return nil, false
	}
	return append([]byte(nil), buffer[:size]...), true
}

func (n nativeConn) exportKey(op, label string) (key [32]byte, err error) {
	text := []byte(label)
	status := C.hp_conn_export_key(n.p, bytes(text), C.size_t(len(text)), bytes(key[:]))
	return key, failure(op, status, nil)
}

func (n nativeConn) take(op string) (uintptr, error) {
	var fd C.hp_socket_t
	detail := newDetail()
	status := C.hp_conn_take(n.p, &fd, detail)
	return uintptr(fd), failure(op, status, detail)
}
