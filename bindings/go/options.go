package holepunch

import (
	"net"
	"net/netip"
	"time"
)

const (
	// DefaultTimeout is the time that a call has without [WithTimeout] and
	// without a context's deadline.
	DefaultTimeout = 40 * time.Second
	// DefaultRetry is the longest pause between two unanswered datagrams
	// without [WithServerRetry] and [WithPeerRetry].
	DefaultRetry = 100 * time.Millisecond
	// MaxPeers is how many peers one call connects to at most.
	MaxPeers = 64
	// MaxSessionIDLen is the longest session ID in bytes.
	MaxSessionIDLen = 1000
)

// An Option changes a setting of a client.
type Option func(*settings)

// settings are what options change; a pointer is nil where nothing was said.
type settings struct {
	timeout     *time.Duration
	serverRetry *time.Duration
	peerRetry   *time.Duration
	local       *netip.AddrPort
	dialect     *Dialect
	paths       *PathPolicy
	techniques  *Techniques
	transport   *Transport
	lifetime    *time.Duration
	socket      *net.UDPConn
}

// WithTimeout sets the time that a call has if its context's deadline is not
// earlier; negative: no limit.
func WithTimeout(timeout time.Duration) Option {
	return func(s *settings) { s.timeout = &timeout }
}

// WithServerRetry sets the longest pause between two unanswered requests to the
// server, 1 ms to 10 s.
func WithServerRetry(pause time.Duration) Option {
	return func(s *settings) { s.serverRetry = &pause }
}

// WithPeerRetry sets the longest pause between two probes of a peer's address,
// 1 ms to 10 s. The first probes follow each other faster.
func WithPeerRetry(pause time.Duration) Option {
	return func(s *settings) { s.peerRetry = &pause }
}

// WithLocalAddr sets the local address to bind to, which also fixes the
// address family. With port 0 the system chooses the port; the zero AddrPort
// leaves all to the system, which is the default.
func WithLocalAddr(local netip.AddrPort) Option {
	return func(s *settings) { s.local = &local }
}

// WithDialect sets which dialects may be spoken, [Auto] by default.
func WithDialect(dialect Dialect) Option {
	return func(s *settings) { s.dialect = &dialect }
}

// WithPathPolicy sets which paths to a peer are good enough, [DirectPreferred]
// by default.
func WithPathPolicy(policy PathPolicy) Option {
	return func(s *settings) { s.paths = &policy }
}

// WithTechniques sets what may be done to get through beside probing known
// addresses, [AllTechniques] by default.
func WithTechniques(techniques Techniques) Option {
	return func(s *settings) { s.techniques = &techniques }
}

// WithTransport sets what may carry the holes that [Client.Connect] opens, [UDP]
// by default; [TCP] and [Either] are for networks that let no UDP through. The
// server must take connections over TCP, see [ServerConfig.TCP], and speak
// [Native]: the [Plain] dialect knows no TCP. With Either the server is asked over
// UDP, and over TCP as well once that has been silent for a second. [Peer.Transport]
// tells what it has come to, and [Client.TakeTCPConn] gives the connection.
//
// [Client.ConnectPeers], [Client.Join] and [CheckNAT] use UDP whatever is set.
// [Dial], whose [Conn] carries datagrams, refuses all but UDP.
func WithTransport(transport Transport) Option {
	return func(s *settings) { s.transport = &transport }
}

// WithMappingLifetime has [CheckNAT] find out how long an unused mapping of the
// NAT lives. It looks at times from 10 seconds to 5 minutes, as far as they are
// not above longest, and takes as much longer, beyond [WithTimeout]. 0, the
// default, does not look.
func WithMappingLifetime(longest time.Duration) Option {
	return func(s *settings) { s.lifetime = &longest }
}

// WithUDPConn has the client use a socket of the caller's, bound and
// unconnected, instead of making its own. It stays the caller's to close. As
// long as a call runs, nobody else may read from it. Nil changes nothing.
func WithUDPConn(socket *net.UDPConn) Option {
	return func(s *settings) { s.socket = socket }
}
