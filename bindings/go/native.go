package holepunch

/*
#include <stdlib.h>
#include "holepunch.h"

typedef const char hpgo_text;

void hpgo_log(int32_t level, hpgo_text *target, hpgo_text *message, void *user_data);
void hpgo_log_free(void *user_data);

static inline hp_status hpgo_set_log(int32_t level, uintptr_t handle)
{
	return handle ? hp_set_log_callback(hpgo_log, level, (void *)handle, hpgo_log_free)
	              : hp_set_log_callback(NULL, HP_LOG_ERROR, NULL, NULL);
}
*/
import "C"

import (
	"fmt"
	"net"
	"net/netip"
	"runtime/cgo"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// This file, native_server.go, native_session.go and native_conn.go are the only
// ones that know C. What they give to the others are the package's own types.

var reasons = map[C.hp_status]error{
	C.HP_STATUS_INVALID_ARGUMENT:   ErrInvalidArgument,
	C.HP_STATUS_PANIC:              ErrLibrary,
	C.HP_STATUS_POISONED:           ErrLibrary,
	C.HP_STATUS_INVALID_SESSION_ID: ErrInvalidSessionID,
	C.HP_STATUS_INVALID_SERVER:     ErrInvalidServer,
	C.HP_STATUS_SERVER_NOT_FOUND:   ErrServerNotFound,
	C.HP_STATUS_SOCKET:             ErrSocket,
	C.HP_STATUS_SERVER_SILENT:      ErrServerSilent,
	C.HP_STATUS_SERVER_UNREACHABLE: ErrServerUnreachable,
	C.HP_STATUS_SERVER_PORT_CLOSED: ErrServerPortClosed,
	C.HP_STATUS_SERVER_REFUSED:     ErrServerRefused,
	C.HP_STATUS_DIALECT_MISMATCH:   ErrDialectMismatch,
	C.HP_STATUS_UDP_BLOCKED:        ErrUDPBlocked,
	C.HP_STATUS_TIMED_OUT_WAITING:  ErrTimedOutWaiting,
	C.HP_STATUS_TIMED_OUT_PUNCHING: ErrTimedOutPunching,
	C.HP_STATUS_CANCELLED:          ErrCanceled,
	C.HP_STATUS_NOT_FOUND:          ErrNotFound,
	C.HP_STATUS_FULL:               ErrFull,
	C.HP_STATUS_STRANGER:           ErrStranger,
	C.HP_STATUS_NOT_CONNECTED:      ErrNotConnected,
	C.HP_STATUS_ALREADY_ATTEMPTED:  ErrAlreadyAttempted,
	C.HP_STATUS_UNSUPPORTED:        ErrUnsupported,
	C.HP_STATUS_BUSY:               ErrUnsupported,
	C.HP_STATUS_BUFFER_TOO_SMALL:   ErrLibrary,
	C.HP_STATUS_NOTHING:            ErrNotFound,
}

var dialects = map[Dialect]C.int32_t{
	Auto:   C.HP_DIALECT_AUTO,
	Native: C.HP_DIALECT_NATIVE,
	Plain:  C.HP_DIALECT_PLAIN,
}

var pathPolicies = map[PathPolicy]C.int32_t{
	DirectPreferred: C.HP_PATHS_DIRECT_PREFERRED,
	DirectOnly:      C.HP_PATHS_DIRECT_ONLY,
	RelayOnly:       C.HP_PATHS_RELAY_ONLY,
}

var transportPolicies = map[Transport]C.int32_t{
	UDP:    C.HP_TRANSPORT_UDP,
	TCP:    C.HP_TRANSPORT_TCP,
	Either: C.HP_TRANSPORT_EITHER,
}

// failure makes an error of a status; nil for success.
func failure(op string, status C.hp_status, detail *C.hp_error) error {
	if status == C.HP_STATUS_OK {
		return nil
	}
	err := &Error{Op: op, Err: reasons[status]}
	if err.Err == nil {
		err.Err = ErrLibrary
		err.message = C.GoString(C.hp_status_message(C.int32_t(status)))
	}
	if detail != nil && detail.status == C.int32_t(status) {
		err.Errno = syscall.Errno(detail.os_error)
		err.message = C.GoString(&detail.message[0])
	}
	return err
}

func newDetail() *C.hp_error {
	return &C.hp_error{struct_size: C.sizeof_hp_error}
}

func invalid(op, message string) error {
	return &Error{Op: op, Err: ErrInvalidArgument, message: message}
}

var library struct {
	once sync.Once
	err  error
}

// checkLibrary tells if the library that was loaded is not the one that this
// package was written for.
func checkLibrary() error {
	library.once.Do(func() {
		if is, want := uint32(C.hp_abi_version()), uint32(C.HP_ABI_VERSION); is != want {
			library.err = &Error{Op: "load libholepunch", Err: ErrLibrary, message: fmt.Sprintf(
				"the library that was loaded (version %s) has ABI version %d, this package needs %d; install a matching libholepunch",
				Version(), is, want)}
		}
	})
	return library.err
}

// Version returns the version of libholepunch, such as "0.1.0".
func Version() string {
	return C.GoString(C.hp_version())
}

// IsControlPacket tells whether a datagram that was read from a bare socket is
// the library's own and to be dropped: a peer may go on sending some for a
// moment. An application's protocol must not use an empty datagram, "SYN" or
// "ACK" as whole datagrams, which are control packets of the plain dialect.
func IsControlPacket(datagram []byte) bool {
	return C.hp_is_control_packet(bytes(datagram), C.size_t(len(datagram))) != 0
}

// NewSessionID returns a fresh session ID of 128 random bits as 32 hexadecimal
// digits: a secret that no server can guess.
func NewSessionID() (string, error) {
	var text [C.HP_SESSION_ID_TEXT_LEN]C.char
	status := C.hp_session_id_generate(&text[0], C.size_t(len(text)), nil)
	return C.GoString(&text[0]), failure("make a session ID", status, nil)
}

// address is C's copy of an address, to be freed.
func address(op, text string) (*C.char, error) {
	if strings.IndexByte(text, 0) >= 0 {
		return nil, &Error{Op: op, Err: ErrInvalidServer, message: "the address contains a NUL byte"}
	}
	return C.CString(text), nil
}

// milliseconds rounds up; -1 for what is negative.
func milliseconds(d time.Duration) C.int64_t {
	if d < 0 {
		return -1
	}
	ms := d / time.Millisecond
	if d%time.Millisecond > 0 {
		ms++
	}
	return C.int64_t(ms)
}

// bytes is nil for an empty slice.
func bytes(data []byte) *C.uint8_t {
	if len(data) == 0 {
		return nil
	}
	return (*C.uint8_t)(unsafe.Pointer(&data[0]))
}

func toNative(addr netip.AddrPort) C.hp_addr {
	native := C.hp_addr{port: C.uint16_t(addr.Port())}
	ip := addr.Addr().Unmap()
	switch {
	case ip.Is4():
		native.family = C.HP_FAMILY_IPV4
		for i, b := range ip.As4() {
			native.ip[i] = C.uint8_t(b)
		}
	case ip.Is6():
		native.family = C.HP_FAMILY_IPV6
		for i, b := range ip.As16() {
			native.ip[i] = C.uint8_t(b)
		}
		native.scope = C.uint32_t(zoneIndex(ip.Zone()))
	}
	return native
}

func fromNative(native *C.hp_addr) netip.AddrPort {
	var ip netip.Addr
	switch native.family {
	case C.HP_FAMILY_IPV4:
		ip = netip.AddrFrom4(*(*[4]byte)(unsafe.Pointer(&native.ip[0])))
	case C.HP_FAMILY_IPV6:
		ip = netip.AddrFrom16(*(*[16]byte)(unsafe.Pointer(&native.ip[0])))
		if native.scope != 0 {
			ip = ip.WithZone(zoneName(uint32(native.scope)))
		}
	}
	return netip.AddrPortFrom(ip, uint16(native.port))
}

// Zones are named after interfaces, as in package net.
func zoneName(index uint32) string {
	if i, err := net.InterfaceByIndex(int(index)); err == nil {
		return i.Name
	}
	return strconv.FormatUint(uint64(index), 10)
}

func zoneIndex(zone string) uint32 {
	if i, err := net.InterfaceByName(zone); err == nil {
		return uint32(i.Index)
	}
	index, _ := strconv.ParseUint(zone, 10, 32)
	return uint32(index)
}

// nativeClient owns an hp_client.
type nativeClient struct{ p *C.hp_client }

func newNativeClient(server string) (nativeClient, error) {
	if err := checkLibrary(); err != nil {
		return nativeClient{}, err
	}
	const op = "make a client"
	text, err := address(op, server)
	if err != nil {
		return nativeClient{}, err
	}
	defer C.free(unsafe.Pointer(text))
	detail := newDetail()
	var n nativeClient
	status := C.hp_client_new(text, &n.p, detail)
	return n, failure(op, status, detail)
}

func (n nativeClient) free()        { C.hp_client_free(n.p) }
func (n nativeClient) cancel()      { C.hp_cancel(n.p) }
func (n nativeClient) clearCancel() { C.hp_cancel_clear(n.p) }

func (n nativeClient) setTimeout(timeout time.Duration) error {
	return failure("set the timeout", C.hp_client_set_timeout_ms(n.p, milliseconds(timeout)), nil)
}

// retryMS is 0, which is out of range, for whatever does not fit.
func retryMS(pause time.Duration) C.uint32_t {
	if ms := pause / time.Millisecond; ms > 0 && ms <= 1<<31 {
		return C.uint32_t(ms)
	}
	return 0
}

func (n nativeClient) setServerRetry(pause time.Duration) error {
	if C.hp_client_set_server_retry_ms(n.p, retryMS(pause)) != C.HP_STATUS_OK {
		return invalid("set the pause", "the pause between requests to the server must be 1 ms to 10 s")
	}
	return nil
}

func (n nativeClient) setPeerRetry(pause time.Duration) error {
	if C.hp_client_set_peer_retry_ms(n.p, retryMS(pause)) != C.HP_STATUS_OK {
		return invalid("set the pause", "the pause between probes of a peer must be 1 ms to 10 s")
	}
	return nil
}

func (n nativeClient) setLocalAddr(local netip.AddrPort) error {
	if !local.Addr().IsValid() {
		return failure("set the local address", C.hp_client_set_local_addr(n.p, nil), nil)
	}
	native := toNative(local)
	return failure("set the local address", C.hp_client_set_local_addr(n.p, &native), nil)
}

func (n nativeClient) setDialect(dialect Dialect) error {
	number, known := dialects[dialect]
	if !known {
		return invalid("set the dialect", "there is no such dialect")
	}
	return failure("set the dialect", C.hp_client_set_dialect(n.p, number), nil)
}

func (n nativeClient) setPathPolicy(policy PathPolicy) error {
	number, known := pathPolicies[policy]
	if !known {
		return invalid("set the path policy", "there is no such policy")
	}
	return failure("set the path policy", C.hp_client_set_path_policy(n.p, number), nil)
}

func (n nativeClient) setTechniques(techniques Techniques) error {
	const op = "set the techniques"
	if techniques&^AllTechniques != 0 {
		return invalid(op, "there are no such techniques")
	}
	return failure(op, C.hp_client_set_techniques(n.p, C.uint32_t(techniques)), nil)
}

func (n nativeClient) setTransport(transport Transport) error {
	const op = "set the transport"
	number, known := transportPolicies[transport]
	if !known {
		return invalid(op, "there is no such transport")
	}
	return failure(op, C.hp_client_set_transport(n.p, number), nil)
}

// giveSocket gives away the descriptor, or closes it.
func (n nativeClient) giveSocket(fd int) error {
	if C.hp_client_give_socket(n.p, C.hp_socket_t(fd)) != C.HP_STATUS_OK {
		syscall.Close(fd)
		return invalid("use the socket", "the socket must be bound and unconnected")
	}
	return nil
}

func (n nativeClient) connect(id []byte, peers int) error {
	detail := newDetail()
	count := C.uint32_t(0) // out of range
	if peers > 0 && peers <= MaxPeers {
		count = C.uint32_t(peers)
	}
	status := C.hp_connect(n.p, bytes(id), C.size_t(len(id)), count, detail)
	return failure("connect", status, detail)
}

func (n nativeClient) connectPeers(id []byte, addrs []netip.AddrPort) error {
	native := make([]C.hp_addr, len(addrs), len(addrs)+1)
	for i, addr := range addrs {
		native[i] = toNative(addr)
	}
	detail := newDetail()
	status := C.hp_connect_peers(n.p, bytes(id), C.size_t(len(id)), &native[:1][0], C.size_t(len(native)), detail)
	return failure("connect to peers", status, detail)
}

func (n nativeClient) peers() []Peer {
	peers := make([]Peer, 0, int(C.hp_peer_count(n.p)))
	for i := 0; i < cap(peers); i++ {
		native := C.hp_peer{struct_size: C.sizeof_hp_peer}
		if C.hp_peer_get(n.p, C.uint32_t(i), &native) != C.HP_STATUS_OK {
			break
		}
		peers = append(peers, Peer{
			Addr:          fromNative(&native.endpoint),
			Path:          Path(native.path),
			Transport:     Transport(native.transport),
			RTT:           roundTrip(native.rtt_us),
			Connected:     native.connected != 0,
			Authenticated: native.authenticated != 0,
			Cause:         Cause(C.hp_peer_cause(n.p, C.uint32_t(i))),
			Attempts:      n.attempts(C.uint32_t(i)),
			Guesses:       int(native.guesses),
			RelayRefused:  Refusal(native.relay_refused),
			index:         uint32(i),
			socket:        uint32(native.socket),
		})
	}
	return peers
}

// roundTrip is 0 for what is not known.
func roundTrip(us C.uint32_t) time.Duration {
	switch us {
	case C.HP_RTT_UNKNOWN:
		return 0
	case 0: // measured, and not to be taken for unknown
		return time.Microsecond
	}
	return time.Duration(us) * time.Microsecond
}

func (n nativeClient) attempts(peer C.uint32_t) []Attempt {
	count := C.hp_peer_attempt_count(n.p, peer)
	attempts := make([]Attempt, 0, int(count))
	for i := C.uint32_t(0); i < count; i++ {
		native := C.hp_attempt{struct_size: C.sizeof_hp_attempt}
		if C.hp_peer_attempt_get(n.p, peer, i, &native) != C.HP_STATUS_OK {
			break
		}
		attempts = append(attempts, Attempt{
			Endpoint: fromNative(&native.endpoint),
			Path:     Path(native.path),
			Sent:     int(native.probes_sent),
			Received: int(native.probes_received),
		})
	}
	return attempts
}

// Help says in a sentence or two what the cause is and what helps.
func (c Cause) Help() string {
	return C.GoString(C.hp_cause_text(C.int32_t(c)))
}

func (n nativeClient) checkNAT(longestLifetime time.Duration) (*NATReport, error) {
	longest := milliseconds(longestLifetime)
	if longest > 1<<32-1 {
		longest = 1<<32 - 1
	}
	native := C.hp_nat_report{struct_size: C.sizeof_hp_nat_report}
	detail := newDetail()
	status := C.hp_client_check_nat(n.p, C.uint32_t(longest), &native, detail)
	if err := failure("check the NAT", status, detail); err != nil {
		return nil, err
	}
	return &NATReport{
		Mapping:      Mapping(native.mapping),
		Filtering:    Filtering(native.filtering),
		Allocation:   Allocation(native.allocation),
		Step:         int(native.step),
		FirstPort:    uint16(native.first_port),
		LastPort:     uint16(native.last_port),
		Hairpin:      Hairpin(native.hairpin),
		PortMapping:  PortMapping(native.port_mapping),
		InnerRouters: int(native.inner_routers),
		LifetimeMin:  time.Duration(native.lifetime_min_ms) * time.Millisecond,
		LifetimeMax:  time.Duration(native.lifetime_max_ms) * time.Millisecond,
		Local:        fromNative(&native.local),
		Observed:     fromNative(&native.observed),
		ObservedIPv6: fromNative(&native.observed_ipv6),
	}, nil
}

// String returns the path's name, such as "peer-reflexive".
func (p Path) String() string {
	return C.GoString(C.hp_path_name(C.int32_t(p)))
}

// String returns the refusal's name, such as "not-offered", or "none".
func (r Refusal) String() string {
	return C.GoString(C.hp_refusal_name(C.int32_t(r)))
}

func (n nativeClient) counters() Counters {
	native := C.hp_counters{struct_size: C.sizeof_hp_counters}
	C.hp_client_counters(n.p, &native)
	return Counters{
		ProbesSent:    uint64(native.probes_sent),
		Forged:        uint64(native.forged),
		Replayed:      uint64(native.replayed),
		Misdirected:   uint64(native.misdirected),
		Malformed:     uint64(native.malformed),
		Strangers:     uint64(native.strangers),
		ServerDropped: uint64(native.server_dropped),
		OverLimit:     uint64(native.over_limit),
	}
}

func (n nativeClient) lendSocket(index uint32) (uintptr, error) {
	var fd C.hp_socket_t
	status := C.hp_socket_fd(n.p, C.uint32_t(index), &fd)
	return uintptr(fd), failure("use a socket", status, nil)
}

func (n nativeClient) takeSocket(index uint32) (uintptr, error) {
	var fd C.hp_socket_t
	status := C.hp_socket_take(n.p, C.uint32_t(index), &fd)
	return uintptr(fd), failure("take a socket", status, nil)
}

func (n nativeClient) exportKey(op string, peer uint32, label string) (key [32]byte, err error) {
	text := []byte(label)
	status := C.hp_peer_export_key(n.p, C.uint32_t(peer), bytes(text), C.size_t(len(text)), bytes(key[:]))
	return key, failure(op, status, nil)
}

func (n nativeClient) early() (Datagram, bool) {
	var size C.size_t
	if C.hp_early_receive(n.p, nil, 0, &size, nil, nil) == C.HP_STATUS_NOTHING {
		return Datagram{}, false
	}
	data := make([]byte, int(size))
	var source C.hp_addr
	if C.hp_early_receive(n.p, bytes(data), size, &size, &source, nil) != C.HP_STATUS_OK {
		return Datagram{}, false
	}
	return Datagram{Addr: fromNative(&source), Data: data}, true
}

// setLog installs a callback; nil ends logging.
func setLog(level LogLevel, log func(LogLevel, string, string)) error {
	var handle cgo.Handle
	if log != nil {
		handle = cgo.NewHandle(log)
	}
	status := C.hpgo_set_log(C.int32_t(level), C.uintptr_t(handle))
	return failure("set the log function", status, nil)
}

//export hpgo_log
func hpgo_log(level C.int32_t, target, message *C.hpgo_text, userData unsafe.Pointer) {
	log := cgo.Handle(uintptr(userData)).Value().(func(LogLevel, string, string))
	// A panic cannot cross the library; the program's own log function is to
	// blame for it, and losing a line is the lesser evil.
	defer func() { _ = recover() }()
	log(LogLevel(level), C.GoString(target), C.GoString(message))
}

//export hpgo_log_free
func hpgo_log_free(userData unsafe.Pointer) {
	cgo.Handle(uintptr(userData)).Delete()
}
