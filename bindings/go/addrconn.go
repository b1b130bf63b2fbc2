//go:build cgo

package holepunch

import (
	"context"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"time"
)

// An AddrConn is a connection between two programs that tell each other their
// addresses by means of their own: a chat, a QR code, a server of theirs. It is
// made in four steps:
//
//   - [NewAddrConn] binds to a port;
//   - [AddrConn.LocalAddrs] and [AddrConn.PublicAddr] are for the program to tell
//     the peer;
//   - [AddrConn.Attempt], on both sides at about the same time, is given the
//     peer's, and returns when there is a connection;
//   - from then on it is a [net.Conn].
//
// Its methods may be called from any goroutine. It is to be closed after use.
//
// Nothing is encrypted: run TLS, QUIC or the like over it, for which
// [AddrConn.ExportKey] gives a key that both sides alone know.
type AddrConn struct {
	native    nativeConn
	life      life
	transport Transport
	settings  addrConnSettings
	local     []netip.AddrPort

	// turn holds a token while a goroutine asks for events, until there is a
	// connection; noted is readable while there are events.
	turn  chan struct{}
	noted signal

	// mu guards what is known.
	mu        sync.Mutex
	attempted bool
	connected bool
	bound     netip.AddrPort
	peer      Peer
	over      error
	// writeBy is the deadline of writes.
	writeBy time.Time

	// reading is held by who asks for events once there is a connection, and
	// guards what follows; came is readable while there are events. It is
	// another signal than noted, since it has the deadline of reads.
	reading sync.Mutex
	came    signal
	rest    []byte
	end     error

	// writing keeps what several goroutines write apart.
	writing sync.Mutex
}

// A connEvent is what happened: one of the following types.
type connEvent interface{}

// connNoted: something else than the rest, which can be asked for.
type connNoted struct{}

// connConnected: the connection is there.
type connConnected struct{ remote netip.AddrPort }

// connData: the peer has sent data, which are C's and there until the next event
// is asked for.
type connData struct{ data []byte }

// connEnded: it is over.
type connEnded struct{ err error }

// NewAddrConn binds to a port and, if somebody is to be asked for the public
// address, asks. Nobody is let in, and nothing is sent to a peer, before
// [AddrConn.Attempt].
//
// Both sides have the same id, 1 to [MaxSessionIDLen] bytes, and prove to each
// other that they know it; with [Unauthenticated] it must be empty.
func NewAddrConn(transport Transport, id []byte, options ...AddrConnOption) (*AddrConn, error) {
	const op = "make a connection"
	var settings addrConnSettings
	for _, option := range options {
		option(&settings)
	}
	native, err := newNativeConn(op, transport, id, settings)
	if err != nil {
		return nil, err
	}
	c := &AddrConn{
		native:    native,
		life:      life{closed: make(chan struct{})},
		transport: transport,
		settings:  settings,
		turn:      make(chan struct{}, 1),
	}
	if err := c.prepare(op); err != nil {
		native.free()
		return nil, err
	}
	runtime.SetFinalizer(c, (*AddrConn).Close)
	return c, nil
}

func (c *AddrConn) prepare(op string) (err error) {
	if c.local, err = c.native.localAddrs(op); err != nil {
		return err
	}
	if c.noted, err = newSignal(op, c.native.eventFD()); err != nil {
		return err
	}
	if c.came, err = newSignal(op, c.native.eventFD()); err != nil {
		c.noted.close()
	}
	return err
}

// LocalAddrs returns our own addresses, for peers in the same network: of each
// address family the one that leads elsewhere first.
func (c *AddrConn) LocalAddrs() []netip.AddrPort {
	return append([]netip.AddrPort(nil), c.local...)
}

// PublicAddr returns our address as others see it, and waits for it until the
// context is done. A server is asked again and again, until the attempt begins,
// so that later calls may return another address. ErrNotFound says that nobody
// is to be asked: see [WithAddressServer], [WithSTUN], [WithPublicIP] and
// [WithPublicIPProvider]. ErrServerSilent says that there was no answer in time, or
// none before the attempt began.
func (c *AddrConn) PublicAddr(ctx context.Context) (netip.AddrPort, error) {
	const op = "find the public address"
	if c.settings.provider != nil {
		return c.provided(ctx, op)
	}
	var addr netip.AddrPort
	var found error
	err := c.until(ctx, op, func() bool {
		var known bool
		addr, known, found = c.native.publicAddr(op)
		switch {
		case known || found != nil:
		case c.settings.source == addressOfNobody:
			found = &Error{Op: op, Err: ErrNotFound, message: "nobody is to be asked for the public address"}
		case c.hasBegun():
			// The library is about to say the same.
			found = &Error{Op: op, Err: ErrServerSilent, message: "there was no answer before the attempt"}
		default:
			return false
		}
		return true
	})
	if err == nil {
		err = found
	}
	if err != nil {
		return netip.AddrPort{}, err
	}
	return addr, nil
}

// provided asks the program's own function.
func (c *AddrConn) provided(ctx context.Context, op string) (netip.AddrPort, error) {
	select {
	case <-c.life.closed:
		return netip.AddrPort{}, &Error{Op: op, Err: ErrClosed}
	default:
	}
	if err := ctx.Err(); err != nil {
		return netip.AddrPort{}, contextError(op, err)
	}
	ip, err := c.settings.provider(ctx)
	if err != nil {
		return netip.AddrPort{}, &Error{Op: op, Err: err, message: err.Error()}
	}
	ip = ip.Unmap()
	for _, local := range c.local {
		if local.Addr().Is4() == ip.Is4() && ip.IsValid() {
			return netip.AddrPortFrom(ip, local.Port()), nil
		}
	}
	return netip.AddrPort{}, invalid(op, "there is no local address of the family of "+ip.String())
}

// hasBegun tells whether an answer about the public address can come no more.
func (c *AddrConn) hasBegun() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.attempted || c.connected || c.over != nil
}

// Attempt looks for the peer at these addresses, at most [MaxPeerAddrs], all at
// the same time, and lets it in if it comes to ours; with none, the latter only.
// It returns nil when there is a connection. The other side must do the same at
// about the same time: within [WithAttemptTimeout] times [WithAttempts].
//
// An AddrConn is attempted once: ErrAlreadyAttempted is what a second call
// returns. If the context ends before there is a connection, so does the
// attempt. ErrStranger says that somebody else is at the peer's addresses, which
// shows over [TCP] only, and ErrTimedOutPunching that nobody is, or that nothing
// comes through.
func (c *AddrConn) Attempt(ctx context.Context, addrs ...netip.AddrPort) error {
	const op = "attempt"
	if err := ctx.Err(); err != nil {
		return contextError(op, err)
	}
	if err := c.begin(op, addrs); err != nil {
		return err
	}
	var over error
	err := c.until(ctx, op, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		over = c.over
		return c.connected || over != nil
	})
	if err == nil {
		return over
	}
	if ctx.Err() != nil && c.life.enter(op) == nil {
		defer c.life.leave()
		c.native.close()
	}
	return err
}

func (c *AddrConn) begin(op string, addrs []netip.AddrPort) error {
	if err := c.life.enter(op); err != nil {
		return err
	}
	defer c.life.leave()
	if err := c.native.attempt(op, addrs); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attempted = true
	return nil
}

// until lets events come, one by one and in turn with others who wait for
// something else, until what is wanted holds. It does not go on once there is a
// connection, whose events are the reader's: what is wanted must hold then.
func (c *AddrConn) until(ctx context.Context, op string, holds func() bool) error {
	for {
		held, err := c.step(ctx, op, holds)
		if held || err != nil {
			return err
		}
	}
}

func (c *AddrConn) step(ctx context.Context, op string, holds func() bool) (held bool, err error) {
	if err := await(ctx, op, c.turn, c.life.closed); err != nil {
		return false, err
	}
	defer func() { <-c.turn }()
	noted := false
	waited := c.noted.until(ctx, func() bool {
		if err = c.life.enter(op); err != nil {
			return true
		}
		defer c.life.leave()
		if held = holds(); held {
			return true
		}
		noted = c.note(c.native.next("attempt"))
		return noted
	})
	if held || noted || err != nil {
		return held, err
	}
	return false, c.life.why(ctx, op, waited)
}

// note takes note of what happened before the peer sends anything, if something
// did.
func (c *AddrConn) note(event connEvent) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch e := event.(type) {
	case nil:
		return false
	case connConnected:
		c.connected = true
		var there bool
		if c.bound, c.peer, there = c.native.info(); !there {
			// It has gone already; what it said is still to be read.
			c.bound = c.local[0]
			c.peer = Peer{
				Addr: e.remote, Path: PeerReflexive, Transport: c.transport, Connected: true, Authenticated: !c.settings.unauthenticated,
			}
		}
	case connEnded:
		c.over = e.err
	}
	return true
}

// Peer returns what is known of the other side; the zero Peer before there is a
// connection. [Peer.Authenticated] is false with [Unauthenticated] only, and
// [Peer.Path] is [Reflexive] for an address that [AddrConn.Attempt] was given, and
// [PeerReflexive] for one that the peer came from.
func (c *AddrConn) Peer() Peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peer
}

// ExportKey returns a key for a protocol that is run over the connection, such as
// TLS: the same on both sides, another one for each label, known to nobody else,
// and forward secret. ErrNotFound says that there is no connection, or not any
// more, or that it is not authenticated.
func (c *AddrConn) ExportKey(label string) ([32]byte, error) {
	const op = "export a key"
	if err := c.life.enter(op); err != nil {
		return [32]byte{}, err
	}
	defer c.life.leave()
	return c.native.exportKey(op, label)
}

// TakeTCPConn moves the socket of a connection over [TCP] to the caller, for
// good: nothing of the library touches it any more, and the AddrConn is to be
// closed. It must have been made [WithBareSocket]. Keys are to be exported
// before.
func (c *AddrConn) TakeTCPConn() (*net.TCPConn, error) {
	const op = "take the TCP socket"
	file, err := c.take(op, TCP)
	if err != nil {
		return nil, err
	}
	defer file.Close() // FileConn makes a duplicate.
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// TakeConn does what [AddrConn.TakeTCPConn] does for a connection over [UDP]:
// [Conn.UDPConn] is the bare, unconnected socket. Datagrams that came before the
// connection was there are what [Conn.Read] returns first. From now on it is the
// caller who has to keep NAT mappings alive.
func (c *AddrConn) TakeConn() (*Conn, error) {
	const op = "take the UDP socket"
	file, err := c.take(op, UDP)
	if err != nil {
		return nil, err
	}
	defer file.Close() // FilePacketConn makes a duplicate.
	socket, err := net.FilePacketConn(file)
	if err != nil {
		return nil, err
	}
	return &Conn{peer: c.Peer(), socket: socket.(*net.UDPConn), early: c.early(op)}, nil
}

func (c *AddrConn) take(op string, transport Transport) (*os.File, error) {
	if c.transport != transport {
		return nil, invalid(op, "it is a connection over "+c.transport.String())
	}
	if !c.settings.bare {
		return nil, invalid(op, "it was not made WithBareSocket, so that what the peer has sent may have been read")
	}
	if err := c.life.enter(op); err != nil {
		return nil, err
	}
	defer c.life.leave()
	fd, err := c.native.take(op)
	if err != nil {
		return nil, err
	}
	return os.NewFile(fd, "holepunch"), nil
}

func (c *AddrConn) early(op string) (early [][]byte) {
	if c.life.enter(op) != nil {
		return nil
	}
	defer c.life.leave()
	buffer := make([]byte, MaxDatagramLen)
	for datagram, more := c.native.early(buffer); more; datagram, more = c.native.early(buffer) {
		early = append(early, datagram)
	}
	return early
}

// Close ends an attempt or closes the connection, and frees all. Calls that run
// in other goroutines end with [net.ErrClosed]. It always returns nil.
func (c *AddrConn) Close() error {
	c.life.end(func() {
		c.noted.close()
		c.came.close()
		c.native.close()
	}, func() {
		c.native.free()
		runtime.SetFinalizer(c, nil)
	})
	return nil
}
