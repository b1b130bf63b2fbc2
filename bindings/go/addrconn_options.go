package holepunch

import (
	"context"
	"net/netip"
	"time"
)

const (
	// MaxPeerAddrs is how many addresses [AddrConn.Attempt] tries at most.
	MaxPeerAddrs = 16
	// MaxDatagramLen is the longest datagram that [AddrConn.Write] sends.
	MaxDatagramLen = 65507
	// MaxAttemptTimeout is the longest time for [WithAttemptTimeout].
	MaxAttemptTimeout = time.Hour
	// MaxAttempts is the highest number for [WithAttempts].
	MaxAttempts = 1000
)

// A Transport is what carries an [AddrConn], or the hole to a [Peer].
type Transport int

const (
	// UDP carries datagrams, which may be lost, doubled or reordered.
	UDP Transport = iota + 1
	// TCP carries a stream of bytes.
	TCP
	// Either is for [WithTransport] only: [UDP], and [TCP] with those of whom, as
	// of ourselves, the server has heard over TCP only.
	Either
)

// String returns "udp", "tcp" or "either".
func (t Transport) String() string {
	switch t {
	case UDP:
		return "udp"
	case TCP:
		return "tcp"
	case Either:
		return "either"
	}
	return "unknown"
}

// An AddrConnOption says how [NewAddrConn] makes a connection.
type AddrConnOption func(*addrConnSettings)

// addrConnSettings are what options change; a pointer is nil where nothing was
// said.
type addrConnSettings struct {
	unauthenticated bool
	bare            bool
	local           netip.AddrPort
	source          addressSource
	server          string
	public          netip.Addr
	provider        func(context.Context) (netip.Addr, error)
	attemptTimeout  *time.Duration
	attempts        *int
}

// An addressSource tells our public address to the library.
type addressSource int

const (
	addressOfNobody addressSource = iota
	addressOfServer
	addressOfSTUN
	addressKnown
)

// WithBindAddr sets the local address to bind to. With port 0 the system chooses
// the port; the zero AddrPort leaves all to the system, which is the default.
func WithBindAddr(local netip.AddrPort) AddrConnOption {
	return func(s *addrConnSettings) { s.local = local }
}

// WithAddressServer has a server of libholepunch's, "host:port", tell the public
// address. For [TCP] it must take TCP connections. Of this option,
// [WithSTUN], [WithPublicIP] and [WithPublicIPProvider] the last one counts.
func WithAddressServer(server string) AddrConnOption {
	return fromSource(addrConnSettings{source: addressOfServer, server: server})
}

// WithSTUN has a STUN server (RFC 8489), "host:port", tell the public address.
func WithSTUN(server string) AddrConnOption {
	return fromSource(addrConnSettings{source: addressOfSTUN, server: server})
}

// WithPublicIP says what the public IP address is. The port is the local one.
func WithPublicIP(ip netip.Addr) AddrConnOption {
	return fromSource(addrConnSettings{source: addressKnown, public: ip})
}

// WithPublicIPProvider has each call of [AddrConn.PublicAddr] ask the program's
// own function what the public IP address is. The port is the local one. What
// the function returns as an error is what PublicAddr's error wraps.
func WithPublicIPProvider(provider func(context.Context) (netip.Addr, error)) AddrConnOption {
	return fromSource(addrConnSettings{provider: provider})
}

func fromSource(from addrConnSettings) AddrConnOption {
	return func(s *addrConnSettings) {
		s.source, s.server, s.public, s.provider = from.source, from.server, from.public, from.provider
	}
}

// WithAttemptTimeout sets how long an attempt at one address may take, 1 ms to
// [MaxAttemptTimeout], 3 s by default.
func WithAttemptTimeout(timeout time.Duration) AddrConnOption {
	return func(s *addrConnSettings) { s.attemptTimeout = &timeout }
}

// WithAttempts sets how many such times the peer is looked for, 1 to
// [MaxAttempts], 3 by default.
func WithAttempts(attempts int) AddrConnOption {
	return func(s *addrConnSettings) { s.attempts = &attempts }
}

// Unauthenticated has nobody prove anything: whoever is at the peer's addresses
// is the peer. Over [TCP] nothing of the library's is sent, so that programs that
// know nothing of it can be the other side. There must be no ID then.
func Unauthenticated() AddrConnOption {
	return func(s *addrConnSettings) { s.unauthenticated = true }
}

// WithBareSocket has nobody read from the connection, so that its socket can be
// taken with all that comes: see [AddrConn.TakeTCPConn] and [AddrConn.TakeConn].
func WithBareSocket() AddrConnOption {
	return func(s *addrConnSettings) { s.bare = true }
}
