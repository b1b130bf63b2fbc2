package holepunch

/*
#include <stdlib.h>
#include "holepunch.h"

static inline hp_relay_options hpgo_relay_defaults(void)
{
	hp_relay_options options = HP_RELAY_OPTIONS_INIT;
	return options;
}

static inline hp_server_limits hpgo_limits_defaults(void)
{
	hp_server_limits limits = HP_SERVER_LIMITS_INIT;
	return limits;
}

static inline hp_tcp_options hpgo_tcp_defaults(void)
{
	hp_tcp_options options = HP_TCP_OPTIONS_INIT;
	return options;
}
*/
import "C"

import (
	"net/netip"
	"time"
	"unsafe"
)

// nativeServer owns an hp_server.
type nativeServer struct{ p *C.hp_server }

func newNativeServer(config ServerConfig) (nativeServer, error) {
	if err := checkLibrary(); err != nil {
		return nativeServer{}, err
	}
	const op = "make a server"
	var text *C.char
	if config.Addr != "" {
		var err error
		if text, err = address(op, config.Addr); err != nil {
			return nativeServer{}, err
		}
		defer C.free(unsafe.Pointer(text))
	}
	dialect, known := dialects[config.Dialect]
	if !known {
		return nativeServer{}, invalid(op, "there is no such dialect")
	}
	detail := newDetail()
	var n nativeServer
	if err := failure(op, C.hp_server_new(text, &n.p, detail), detail); err != nil {
		return n, err
	}
	err := failure(op, C.hp_server_set_dialect(n.p, dialect), nil)
	if err == nil && config.Workers != 0 {
		workers := C.uint32_t(0) // out of range
		if config.Workers > 0 && config.Workers <= 1<<16 {
			workers = C.uint32_t(config.Workers)
		}
		if C.hp_server_set_workers(n.p, workers) != C.HP_STATUS_OK {
			err = invalid(op, "the number of workers must be 1 to 64")
		}
	}
	if err == nil && config.MaxEndpoints != 0 {
		endpoints := C.uint64_t(0) // out of range
		if config.MaxEndpoints > 0 {
			endpoints = C.uint64_t(config.MaxEndpoints)
		}
		if C.hp_server_set_max_endpoints(n.p, endpoints) != C.HP_STATUS_OK {
			err = invalid(op, "the number of endpoints must be at least 256")
		}
	}
	if err == nil && config.Limits != nil {
		err = n.setLimits(op, *config.Limits)
	}
	if err == nil && config.PlainExpiry != 0 {
		err = n.setPlainExpiry(config.PlainExpiry)
	}
	if err == nil && config.MaxPlainIDLen != 0 {
		err = n.setMaxPlainIDLen(config.MaxPlainIDLen)
	}
	if err == nil {
		err = n.setAlternates(op, config)
	}
	if err == nil && config.Relay != nil {
		err = n.setRelay(op, *config.Relay)
	}
	if err == nil && config.TCP != nil {
		err = n.setTCP(op, *config.TCP)
	}
	if err == nil {
		err = failure("listen", C.hp_server_bind(n.p, detail), detail)
	}
	if err != nil {
		n.free()
		n.p = nil
	}
	return n, err
}

func (n nativeServer) setLimits(op string, limits ServerLimits) error {
	native := C.hpgo_limits_defaults()
	for _, each := range []struct {
		value    int
		negative C.uint32_t
		to       *C.uint32_t
	}{
		// 1 is out of the first two ranges; 0 is no limit.
		{limits.EndpointsPerSession, 1, &native.endpoints_per_session},
		{limits.EndpointsPerPrefix, 1, &native.endpoints_per_prefix},
		{limits.DatagramsPerSecond, 0, &native.datagrams_per_second},
		{limits.PlainAmplification, 0, &native.plain_amplification},
	} {
		switch {
		case each.value < 0:
			*each.to = each.negative
		case each.value > 0:
			*each.to = outOf32(int64(each.value))
		}
	}
	switch {
	case limits.Memory < 0:
		native.memory = 0 // out of range
	case limits.Memory > 0:
		native.memory = C.uint64_t(limits.Memory)
	}
	if C.hp_server_set_limits(n.p, &native) != C.HP_STATUS_OK {
		return invalid(op, "a server must allow 2 to 257 endpoints in a session, 2 from a prefix, 10 datagrams a second and 1 MiB of memory")
	}
	return nil
}

func (n nativeServer) setAlternates(op string, config ServerConfig) error {
	if config.AlternatePorts != 0 {
		count := C.uint32_t(0)
		if config.AlternatePorts > 0 {
			count = outOf32(int64(config.AlternatePorts))
		}
		if C.hp_server_set_alternate_ports(n.p, count) != C.HP_STATUS_OK {
			return invalid(op, "the number of alternate ports must be at most 4")
		}
	}
	if config.OtherAddr.IsValid() {
		text := C.CString(config.OtherAddr.Unmap().String())
		defer C.free(unsafe.Pointer(text))
		if C.hp_server_set_other_address(n.p, text) != C.HP_STATUS_OK {
			return invalid(op, "the other address must be another one of this host's, of a family that the server listens on, without a zone, and needs alternate ports")
		}
	}
	return nil
}

// outOf32 is 2^32-1, which is out of every range here, for what does not fit.
func outOf32(number int64) C.uint32_t {
	if number < 0 || number > 1<<32-1 {
		return 1<<32 - 1
	}
	return C.uint32_t(number)
}

func (n nativeServer) setRelay(op string, options RelayOptions) error {
	native := C.hpgo_relay_defaults()
	if options.Ports != 0 {
		native.ports = outOf32(int64(options.Ports))
	}
	if options.MaxPairs < 0 || int64(options.MaxPairs) > 1<<32-1 {
		return invalid(op, "the number of relayed pairs must be 1 to 2^32-1")
	}
	if options.MaxPairs > 0 {
		native.max_pairs = C.uint32_t(options.MaxPairs)
	}
	switch {
	case options.BytesPerSecond > 0:
		native.bytes_per_second = C.uint64_t(options.BytesPerSecond)
	case options.BytesPerSecond < 0:
		native.bytes_per_second = 0
	}
	if options.Idle < 0 || options.Lifetime < 0 {
		return invalid(op, "a relayed pair must be given some time")
	}
	if options.Idle > 0 {
		native.idle_ms = C.uint64_t(milliseconds(options.Idle))
	}
	if options.Lifetime > 0 {
		native.lifetime_ms = C.uint64_t(milliseconds(options.Lifetime))
	}
	if C.hp_server_set_relay(n.p, &native) != C.HP_STATUS_OK {
		return invalid(op, "a relay must have 1 to 64 ports and allow a pair at least 2048 bytes a second")
	}
	return nil
}

func (n nativeServer) setTCP(op string, options TCPOptions) error {
	native := C.hpgo_tcp_defaults()
	if options.MaxConnections != 0 {
		native.max_connections = outOf32(int64(options.MaxConnections))
	}
	if options.MaxConnectionsPerAddr != 0 {
		native.max_connections_per_address = outOf32(int64(options.MaxConnectionsPerAddr))
	}
	if C.hp_server_set_tcp(n.p, &native) != C.HP_STATUS_OK {
		return invalid(op, "the numbers of TCP connections must be 1 to 65536")
	}
	return nil
}

func (n nativeServer) free() { C.hp_server_free(n.p) }
func (n nativeServer) stop() { C.hp_server_stop(n.p) }

func (n nativeServer) run() error {
	detail := newDetail()
	status := C.hp_server_run(n.p, detail)
	return failure("serve", status, detail)
}

func (n nativeServer) setPlainExpiry(expiry time.Duration) error {
	return failure("set the expiry", C.hp_server_set_plain_expiry_ms(n.p, milliseconds(expiry)), nil)
}

func (n nativeServer) setMaxPlainIDLen(length int) error {
	if length < 1 || length > 1<<16 || C.hp_server_set_max_plain_id_len(n.p, C.uint32_t(length)) != C.HP_STATUS_OK {
		return invalid("set a limit", "the longest plain session ID must have 1 to 1024 bytes")
	}
	return nil
}

func (n nativeServer) addr() netip.AddrPort {
	var native C.hp_addr
	C.hp_server_local_addr(n.p, &native)
	return fromNative(&native)
}

func (n nativeServer) counters() ServerCounters {
	native := C.hp_server_counters{struct_size: C.sizeof_hp_server_counters}
	C.hp_server_get_counters(n.p, &native)
	return ServerCounters{
		Received:     uint64(native.received),
		Sent:         uint64(native.sent),
		Dropped:      uint64(native.dropped),
		Challenged:   uint64(native.challenged),
		SendFailed:   uint64(native.send_failed),
		Endpoints:    uint64(native.endpoints),
		Sessions:     uint64(native.sessions),
		NativeJoined: uint64(native.native_joined),
		PlainJoined:  uint64(native.plain_joined),
		Left:         uint64(native.left),
		Expired:      uint64(native.expired),
		Refused:      uint64(native.refused),

		RelayPairs:          uint64(native.relay_pairs),
		RelayGranted:        uint64(native.relay_granted),
		RelayRefused:        uint64(native.relay_refused),
		RelayForwarded:      uint64(native.relay_forwarded),
		RelayForwardedBytes: uint64(native.relay_forwarded_bytes),
		RelayOverLimit:      uint64(native.relay_over_limit),
		RelayDropped:        uint64(native.relay_dropped),

		TCPConnections:  uint64(native.tcp_connections),
		TCPAccepted:     uint64(native.tcp_accepted),
		TCPOverLimit:    uint64(native.tcp_over_limit),
		TCPAcceptFailed: uint64(native.tcp_accept_failed),
		TCPMalformed:    uint64(native.tcp_malformed),
		TCPSilent:       uint64(native.tcp_silent),
		TCPSlow:         uint64(native.tcp_slow),
		TCPReceived:     uint64(native.tcp_received),
		TCPSent:         uint64(native.tcp_sent),
		TCPUnsent:       uint64(native.tcp_unsent),
		TCPRelayPairs:   uint64(native.tcp_relay_pairs),
		TCPRelayGranted: uint64(native.tcp_relay_granted),
		TCPRelayRefused: uint64(native.tcp_relay_refused),
		TCPRelayJoined:  uint64(native.tcp_relay_joined),
		TCPRelayBytes:   uint64(native.tcp_relay_bytes),
		TCPRelayUnknown: uint64(native.tcp_relay_unknown),
		TCPRelayAlone:   uint64(native.tcp_relay_alone),

		KernelDropped: uint64(native.kernel_dropped),
		RateLimited:   uint64(native.rate_limited),
		Shed:          uint64(native.shed),
		PlainWithheld: uint64(native.plain_withheld),
		Memory:        uint64(native.memory),
		Overloaded:    native.overloaded != 0,
	}
}

func (n nativeServer) endpoints() []netip.AddrPort {
	native := make([]C.hp_addr, 64)
	for {
		var count C.size_t
		status := C.hp_server_endpoints(n.p, &native[0], C.size_t(len(native)), &count)
		if status == C.HP_STATUS_BUFFER_TOO_SMALL {
			// With room for those that join meanwhile.
			native = make([]C.hp_addr, int(count)+int(count)/8+64)
			continue
		}
		addrs := make([]netip.AddrPort, 0, int(count))
		for i := 0; i < int(count) && status == C.HP_STATUS_OK; i++ {
			addrs = append(addrs, fromNative(&native[i]))
		}
		return addrs
	}
}
