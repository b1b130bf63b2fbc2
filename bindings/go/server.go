//go:build cgo

package holepunch

import (
	"context"
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"
)

// DefaultPort is where servers listen unless told otherwise.
const DefaultPort = 5000

// A ServerConfig says how a server is to serve. Its zero value is fine.
type ServerConfig struct {
	// Addr is where to listen: "host:port", or ":port" for all addresses of
	// IPv6 and IPv4. Empty is ":5000"; with port 0 the system chooses one.
	Addr string
	// Dialect says which clients are served, [Auto] being all.
	Dialect Dialect
	// Workers is how many threads serve, 1 to 64; 0 is one per core, at most 4.
	Workers int
	// MaxEndpoints is the most registrations at a time, at least 256; 0 is
	// 1048576.
	MaxEndpoints int
	// Limits is what clients may take; nil is the defaults, as is
	// &ServerLimits{}.
	Limits *ServerLimits
	// PlainExpiry is after how much silence a plain client is forgotten; 0 is
	// 40 seconds, negative is never.
	PlainExpiry time.Duration
	// MaxPlainIDLen is the longest session ID that a plain client may use, 1
	// to 1024 bytes; 0 is 1024.
	MaxPlainIDLen int
	// AlternatePorts is on how many of the ports after its own, at most 4, the
	// server tells native clients which source it sees, so that they learn
	// what their NATs do; one more answers from. 0 is 3, negative is none.
	// Ports that are taken are done without.
	AlternatePorts int
	// OtherAddr is another IP address of this host for the same purpose, of a
	// family that the server listens on. The server is not made if it cannot
	// be used. The zero Addr, as by default, is none.
	OtherAddr netip.Addr
	// Relay has the server forward between native clients that find no direct
	// way; nil, as by default: it does not. &RelayOptions{} is fine.
	Relay *RelayOptions
	// TCP has the server take connections over TCP, too, at the same address
	// and on the same port numbers, and forward between connections if it
	// forwards at all; nil, as by default: it does not. &TCPOptions{} is fine.
	TCP *TCPOptions
}

// ServerLimits say what clients may take of a server. The zero value is fine. A
// prefix is one IPv4 address, or the first 56 bits of an IPv6 address, which is
// what one customer is given.
type ServerLimits struct {
	// EndpointsPerSession is the most registrations of one session, 2 to 257;
	// 0 is 257.
	EndpointsPerSession int
	// EndpointsPerPrefix is the most registrations, and so sessions, from one
	// prefix, at least 2; 0 is 8192.
	EndpointsPerPrefix int
	// DatagramsPerSecond is how many datagrams a second are heard from one
	// prefix, two seconds' worth at once, at least 10; 0 is 2000, negative is no
	// limit.
	DatagramsPerSecond int
	// PlainAmplification is how many times what came from a plain client, which
	// proves no address, it is sent at most, IP and UDP headers included; 0 is
	// 3, negative is no limit.
	PlainAmplification int
	// Memory is the most bytes that registrations may take, at least 1 MiB; 0
	// is 256 MiB.
	Memory int64
}

// TCPOptions say what a server that takes connections over TCP allows. The
// zero value is fine.
type TCPOptions struct {
	// MaxConnections is how many connections there are at a time at most, 1 to
	// 65536; a forwarded pair takes two. 0 is 4096.
	MaxConnections int
	// MaxConnectionsPerAddr is the same of one IPv4 address, or one IPv6
	// network of 64 bits. 0 is 256.
	MaxConnectionsPerAddr int
}

// RelayOptions say what a server that forwards allows. The zero value is fine.
type RelayOptions struct {
	// Ports is on how many ports, 1 to 64, the server forwards: those from the
	// tenth after its own. One client can have so many pairs. 0 is 8.
	Ports int
	// MaxPairs is how many pairs there are at a time at most, of datagrams and
	// of TCP connections each; 0 is 1000.
	MaxPairs int
	// BytesPerSecond is the payload of one pair, both ways together, at least
	// 2048; 0 is 1048576, negative is no limit.
	BytesPerSecond int64
	// Idle is after how much silence a pair ends; 0 is a minute.
	Idle time.Duration
	// Lifetime is after how long every pair ends; 0 is 12 hours.
	Lifetime time.Duration
}

// ServerCounters tell what a server has counted since it was made.
type ServerCounters struct {
	// Received counts datagrams received.
	Received uint64
	// Sent counts datagrams sent.
	Sent uint64
	// Dropped counts datagrams that were nothing the server answers.
	Dropped uint64
	// Challenged counts registrations that had to prove their address first.
	Challenged uint64
	// SendFailed counts datagrams that the system did not take.
	SendFailed uint64
	// Endpoints is how many registrations there are now.
	Endpoints uint64
	// Sessions is how many sessions there are now.
	Sessions uint64
	// NativeJoined counts native clients that registered.
	NativeJoined uint64
	// PlainJoined counts plain clients that registered.
	PlainJoined uint64
	// Left counts clients that said goodbye or were replaced.
	Left uint64
	// Expired counts clients that fell silent.
	Expired uint64
	// Refused counts registrations refused for a limit.
	Refused uint64
	// RelayPairs is how many pairs of clients the server forwards between now.
	RelayPairs uint64
	// RelayGranted counts pairs that were granted, those that have ended
	// included.
	RelayGranted uint64
	// RelayRefused counts requests to be forwarded that were refused: for a
	// limit, an unknown peer, or because the server does not forward.
	RelayRefused uint64
	// RelayForwarded counts datagrams that were forwarded. They are among
	// Received and Sent, too.
	RelayForwarded uint64
	// RelayForwardedBytes is their payload.
	RelayForwardedBytes uint64
	// RelayOverLimit counts datagrams that were not forwarded because their
	// pair had used up what it is allowed.
	RelayOverLimit uint64
	// RelayDropped counts other datagrams at the relay's ports that were not
	// forwarded: nobody's, or for one who has not come yet.
	RelayDropped uint64
	// TCPConnections is how many connections there are over TCP now.
	TCPConnections uint64
	// TCPAccepted counts connections that were taken, those that have ended
	// included.
	TCPAccepted uint64
	// TCPOverLimit counts connections that were closed at once, because there
	// were as many as there may be, in all or from that address.
	TCPOverLimit uint64
	// TCPAcceptFailed counts how often the system had no room for another
	// connection; it waits until there is some.
	TCPAcceptFailed uint64
	// TCPMalformed counts connections that were closed because what came was
	// no message in a frame, or none that the server understands.
	TCPMalformed uint64
	// TCPSilent counts connections that were closed because nothing came for
	// too long.
	TCPSilent uint64
	// TCPSlow counts connections that were closed because more than 64 KiB
	// waited for them to be read.
	TCPSlow uint64
	// TCPReceived counts messages received over connections.
	TCPReceived uint64
	// TCPSent counts messages sent over connections.
	TCPSent uint64
	// TCPUnsent counts messages that were not sent: their receiver's
	// connection was gone, or too many waited.
	TCPUnsent uint64
	// TCPRelayPairs is how many pairs of clients there are whose connections
	// the server forwards now.
	TCPRelayPairs uint64
	// TCPRelayGranted counts such pairs that were granted, those that have
	// ended included.
	TCPRelayGranted uint64
	// TCPRelayRefused counts requests for that that were refused for a limit;
	// others are in RelayRefused.
	TCPRelayRefused uint64
	// TCPRelayJoined counts how often both connections of a pair had come.
	TCPRelayJoined uint64
	// TCPRelayBytes counts bytes that were taken from them to be forwarded.
	TCPRelayBytes uint64
	// TCPRelayUnknown counts connections that showed a ticket of nobody's, or
	// of a pair whose both connections are there.
	TCPRelayUnknown uint64
	// TCPRelayAlone counts connections that waited in vain for the other one.
	TCPRelayAlone uint64
	// KernelDropped counts datagrams that the system dropped because the
	// server's receive buffers were full.
	KernelDropped uint64
	// RateLimited counts datagrams that were dropped because too many came from
	// their prefix.
	RateLimited uint64
	// Shed counts requests of clients that were not registered yet, dropped
	// because the server could not keep up.
	Shed uint64
	// PlainWithheld counts answers that plain clients did not get, since too
	// little had come from there.
	PlainWithheld uint64
	// Memory is how many bytes registrations take now.
	Memory uint64
	// Overloaded is whether the server cannot keep up now.
	Overloaded bool
}

// A Server is a rendezvous server within this process, the same that the
// program hp-server runs.
type Server struct {
	native nativeServer
	addr   netip.AddrPort
	life   life
	served atomic.Bool
}

// NewServer makes a server and binds its address. Clients wait until
// [Server.Serve]. It is to be closed after use.
func NewServer(config ServerConfig) (*Server, error) {
	native, err := newNativeServer(config)
	if err != nil {
		return nil, err
	}
	s := &Server{native: native, addr: native.addr(), life: life{closed: make(chan struct{})}}
	runtime.SetFinalizer(s, (*Server).Close)
	return s, nil
}

// Addr returns the address that the server listens on.
func (s *Server) Addr() netip.AddrPort { return s.addr }

// Serve serves until the context is done or the server is closed, and returns
// an error in any case: after [Server.Close] one that is [net.ErrClosed], after
// the context's end one that is the context's. A server serves once.
func (s *Server) Serve(ctx context.Context) error {
	const op = "serve"
	if err := s.life.enter(op); err != nil {
		return err
	}
	defer s.life.leave()
	if s.served.Swap(true) {
		return &Error{Op: op, Err: ErrUnsupported, message: "the server serves or has served already"}
	}
	stopped := make(chan struct{})
	stop := afterDone(ctx, func() {
		defer close(stopped)
		s.native.stop()
	})
	err := s.native.run()
	if !stop() {
		<-stopped
	}
	switch {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return contextError(op, ctx.Err())
	}
	return &Error{Op: op, Err: ErrClosed}
}

// SetPlainExpiry changes [ServerConfig.PlainExpiry], for present clients, too.
// Here 0 forgets them at once.
func (s *Server) SetPlainExpiry(expiry time.Duration) error {
	if err := s.life.enter("set the expiry"); err != nil {
		return err
	}
	defer s.life.leave()
	return s.native.setPlainExpiry(expiry)
}

// SetLimits changes [ServerConfig.Limits]. Who is registered stays, even where
// there is no longer room for as many.
func (s *Server) SetLimits(limits ServerLimits) error {
	const op = "set limits"
	if err := s.life.enter(op); err != nil {
		return err
	}
	defer s.life.leave()
	return s.native.setLimits(op, limits)
}

// SetMaxPlainIDLen changes [ServerConfig.MaxPlainIDLen], 1 to 1024 bytes.
func (s *Server) SetMaxPlainIDLen(length int) error {
	if err := s.life.enter("set a limit"); err != nil {
		return err
	}
	defer s.life.leave()
	return s.native.setMaxPlainIDLen(length)
}

// Endpoints returns the addresses of all clients that are registered now, in no
// order.
func (s *Server) Endpoints() []netip.AddrPort {
	if s.life.enter("list endpoints") != nil {
		return nil
	}
	defer s.life.leave()
	return s.native.endpoints()
}

// Counters returns what the server has counted; all 0 after Close.
func (s *Server) Counters() ServerCounters {
	if s.life.enter("read the counters") != nil {
		return ServerCounters{}
	}
	defer s.life.leave()
	return s.native.counters()
}

// Close ends Serve, waits for it and frees the address. It always returns nil.
func (s *Server) Close() error {
	s.life.end(s.native.stop, func() {
		s.native.free()
		runtime.SetFinalizer(s, nil)
	})
	return nil
}
