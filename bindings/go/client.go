//go:build cgo

package holepunch

import (
	"context"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// A Client opens holes to peers by way of a rendezvous server. Its methods may
// be called from any goroutine; calls wait for each other.
type Client struct {
	native nativeClient
	// turn holds a token while a method uses native.
	turn   chan struct{}
	closed chan struct{}
	once   sync.Once

	timeout   time.Duration
	lifetime  time.Duration
	transport Transport
	calls     uint64
	given     *net.UDPConn
	taken     map[uint32]net.Conn
}

// NewClient makes a client of the rendezvous server at "host:port". The host is
// looked up by each [Client.Connect]. The client is to be closed after use.
func NewClient(server string, options ...Option) (*Client, error) {
	native, err := newNativeClient(server)
	if err != nil {
		return nil, err
	}
	c := &Client{
		native:    native,
		turn:      make(chan struct{}, 1),
		closed:    make(chan struct{}),
		timeout:   DefaultTimeout,
		transport: UDP,
	}
	runtime.SetFinalizer(c, (*Client).Close)
	if err := c.Configure(options...); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Configure changes settings for the calls to come. If one is out of its range,
// those before it have been changed.
func (c *Client) Configure(options ...Option) error {
	var s settings
	for _, option := range options {
		option(&s)
	}
	return c.use("configure", func() error {
		if s.timeout != nil {
			c.timeout = *s.timeout
		}
		if s.serverRetry != nil {
			if err := c.native.setServerRetry(*s.serverRetry); err != nil {
				return err
			}
		}
		if s.peerRetry != nil {
			if err := c.native.setPeerRetry(*s.peerRetry); err != nil {
				return err
			}
		}
		if s.local != nil {
			if err := c.native.setLocalAddr(*s.local); err != nil {
				return err
			}
		}
		if s.dialect != nil {
			if err := c.native.setDialect(*s.dialect); err != nil {
				return err
			}
		}
		if s.paths != nil {
			if err := c.native.setPathPolicy(*s.paths); err != nil {
				return err
			}
		}
		if s.techniques != nil {
			if err := c.native.setTechniques(*s.techniques); err != nil {
				return err
			}
		}
		if s.transport != nil {
			if err := c.native.setTransport(*s.transport); err != nil {
				return err
			}
			c.transport = *s.transport
		}
		if s.lifetime != nil {
			if *s.lifetime < 0 {
				return invalid("set the lifetime", "the longest lifetime to look for must not be negative")
			}
			c.lifetime = *s.lifetime
		}
		if s.socket != nil {
			return c.give(s.socket)
		}
		return nil
	})
}

// give gives the library a duplicate: the descriptor itself belongs to package
// net, which will close it.
func (c *Client) give(socket *net.UDPConn) error {
	const op = "use the socket"
	raw, err := socket.SyscallConn()
	if err != nil {
		return invalid(op, "there is no socket")
	}
	var fd uintptr
	var failed error
	if err := raw.Control(func(own uintptr) { fd, failed = duplicate(op, own) }); err != nil {
		return &Error{Op: op, Err: ErrClosed}
	}
	if failed != nil {
		return failed
	}
	if err := c.native.giveSocket(int(fd)); err != nil {
		return err
	}
	c.given, c.taken = socket, nil
	return nil
}

func duplicate(op string, fd uintptr) (uintptr, error) {
	fd, _, errno := syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_DUPFD_CLOEXEC, 0)
	if errno != 0 {
		return 0, &Error{Op: op, Err: ErrSocket, Errno: errno, message: errno.Error()}
	}
	return fd, nil
}

// isOpen tells whether a socket was not closed: the library's duplicate of it
// does not show that.
func isOpen(socket *net.UDPConn) bool {
	raw, err := socket.SyscallConn()
	return err == nil && raw.Control(func(uintptr) {}) == nil
}

// Connect meets others that connect with the same id, 1 to [MaxSessionIDLen]
// bytes, and opens a hole to each. It returns when holes to at least that many
// peers, 1 to [MaxPeers], are open, the context is done or time is up.
//
// If it fails it returns, beside the error, the peers that were found so far;
// [Client.ConnectPeers] can go on with them. [Peer.Cause] says of each that was
// not reached what probably kept it from being so.
func (c *Client) Connect(ctx context.Context, id []byte, peers int) ([]Peer, error) {
	return c.call(ctx, "connect", func() error { return c.native.connect(id, peers) })
}

// ConnectPeers opens holes to peers at known addresses, 1 to [MaxPeers], without
// the server: it goes on after [Client.Connect] timed out, or serves programs
// with signalling of their own. Both sides must call it. It returns when holes
// to all of them are open, the context is done or time is up.
func (c *Client) ConnectPeers(ctx context.Context, id []byte, addrs []netip.AddrPort) ([]Peer, error) {
	return c.call(ctx, "connect to peers", func() error { return c.native.connectPeers(id, addrs) })
}

// deadlineGrace is how long a call may take to notice by itself that its
// context's deadline has come: its own error says more.
const deadlineGrace = 20 * time.Millisecond

// call runs a call that finds peers, and returns them.
func (c *Client) call(ctx context.Context, op string, run func() error) ([]Peer, error) {
	if err := c.begin(ctx, op); err != nil {
		return nil, err
	}
	defer c.end()
	if c.given != nil && !isOpen(c.given) {
		return nil, &Error{Op: op, Err: ErrClosed}
	}
	err := c.within(ctx, op, func() error {
		c.taken = nil
		c.calls++
		return run()
	})
	peers := c.native.peers()
	for i := range peers {
		peers[i].call = c.calls
	}
	if e, ok := err.(*Error); ok {
		e.Peers = peers
	}
	return peers, err
}

// within runs a call, whose turn it is, that a context can end.
func (c *Client) within(ctx context.Context, op string, run func() error) error {
	timeout := c.timeout
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		if left < 0 {
			left = 0
		}
		if timeout < 0 || left < timeout {
			timeout = left
		}
	}
	if err := c.native.setTimeout(timeout); err != nil {
		return err
	}
	done, canceled := make(chan struct{}), make(chan struct{})
	stop := afterDone(ctx, func() {
		defer close(canceled)
		c.cancel(ctx, done)
	})
	err := run()
	close(done)
	if !stop() {
		<-canceled
	}
	// The call may have ended just before it was canceled.
	c.native.clearCancel()

	if e, ok := err.(*Error); ok {
		switch {
		case e.Err != ErrCanceled:
		case ctx.Err() != nil:
			err = contextError(op, ctx.Err())
		default:
			err = &Error{Op: op, Err: ErrClosed}
		}
		deadline, ok := ctx.Deadline()
		e.late = ok && !time.Now().Before(deadline)
	}
	return err
}

// cancel ends the running call, whose end shows by done.
func (c *Client) cancel(ctx context.Context, done <-chan struct{}) {
	if ctx.Err() == context.DeadlineExceeded {
		grace := time.NewTimer(deadlineGrace)
		defer grace.Stop()
		select {
		case <-done:
			return
		case <-grace.C:
		}
	}
	c.native.cancel()
}

// begin waits for this call's turn.
func (c *Client) begin(ctx context.Context, op string) error {
	if err := await(ctx, op, c.turn, c.closed); err != nil {
		return err
	}
	select {
	case <-c.closed:
		c.end()
		return &Error{Op: op, Err: ErrClosed}
	default:
		return nil
	}
}

func (c *Client) end() {
	<-c.turn
	runtime.KeepAlive(c)
}

func contextError(op string, err error) error {
	if err == context.DeadlineExceeded {
		return &Error{Op: op, Err: ErrTimedOut}
	}
	return &Error{Op: op, Err: ErrCanceled}
}

// use runs a short piece of work in turn.
func (c *Client) use(op string, work func() error) error {
	if err := c.begin(context.Background(), op); err != nil {
		return err
	}
	defer c.end()
	return work()
}

// TakeUDPConn moves the socket that a peer's hole belongs to from the client to
// the caller, for good: nothing of the library touches it any more. Peers may
// share a socket; for each of them the same one is returned, to be closed once.
// One that was given by [WithUDPConn] is returned as it was given.
//
// It is unconnected. Drop what [IsControlPacket] holds for, and read
// [Client.EarlyDatagrams] first. The peer must be one of the last call's, and its
// [Peer.Transport] UDP.
func (c *Client) TakeUDPConn(peer Peer) (*net.UDPConn, error) {
	conn, err := c.takeOnce(peer, UDP, func() (net.Conn, error) {
		if c.given != nil {
			// The library keeps its duplicate for calls to come.
			_, err := c.native.lendSocket(peer.socket)
			return c.given, err
		}
		file, err := c.take(peer.socket)
		if err != nil {
			return nil, err
		}
		defer file.Close() // FilePacketConn makes a duplicate.
		socket, err := net.FilePacketConn(file)
		if err != nil {
			return nil, err
		}
		return socket.(*net.UDPConn), nil
	})
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}

// TakeTCPConn moves the connection to a peer from the client to the caller, for
// good: nothing of the library touches it any more, and nothing of the library's
// comes in it. A second call for a peer returns the same one, to be closed once.
//
// The peer must be one of the last call's, and its [Peer.Transport] TCP: see
// [WithTransport].
func (c *Client) TakeTCPConn(peer Peer) (*net.TCPConn, error) {
	conn, err := c.takeOnce(peer, TCP, func() (net.Conn, error) {
		file, err := c.take(peer.socket)
		if err != nil {
			return nil, err
		}
		defer file.Close() // FileConn makes a duplicate.
		return net.FileConn(file)
	})
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// takeOnce takes a socket of that transport unless it was taken before, and then
// returns what it was taken as.
func (c *Client) takeOnce(peer Peer, transport Transport, take func() (net.Conn, error)) (conn net.Conn, err error) {
	const op = "take a socket"
	err = c.use(op, func() error {
		if err := c.check(op, peer); err != nil {
			return err
		}
		if peer.Transport != transport {
			return invalid(op, "the hole to the peer is over "+peer.Transport.String()+", not "+transport.String())
		}
		if conn = c.taken[peer.socket]; conn != nil {
			return nil
		}
		if conn, err = take(); err != nil {
			return err
		}
		if c.taken == nil {
			c.taken = make(map[uint32]net.Conn)
		}
		c.taken[peer.socket] = conn
		return nil
	})
	return conn, err
}

// check tells if a peer is not of the last call, whose sockets and keys are
// others.
func (c *Client) check(op string, peer Peer) error {
	if peer.call != c.calls || peer.call == 0 {
		return &Error{Op: op, Err: ErrNotFound, message: "the peer is not of the last call"}
	}
	return nil
}

func (c *Client) take(index uint32) (*os.File, error) {
	fd, err := c.native.takeSocket(index)
	if err != nil {
		return nil, err
	}
	return os.NewFile(fd, "holepunch"), nil
}

// Control lends the descriptor of the socket that a peer's hole belongs to, for
// the time of the call of f, as [syscall.RawConn] does. The socket stays the
// client's. f must not use the client.
func (c *Client) Control(peer Peer, f func(fd uintptr)) error {
	return c.use("use a socket", func() error {
		if err := c.check("use a socket", peer); err != nil {
			return err
		}
		fd, err := c.native.lendSocket(peer.socket)
		if err == nil {
			f(fd)
		}
		return err
	})
}

// ExportKey returns a key for a protocol that is run over the hole to a peer, such
// as TLS: the same on both sides, another one for each label and after each
// call, known to nobody else, and forward secret. The peer must be one of the
// last call's. ErrNotFound says that it is not, or not connected and
// authenticated: see [Peer.Authenticated].
func (c *Client) ExportKey(peer Peer, label string) (key [32]byte, err error) {
	const op = "export a key"
	err = c.use(op, func() (err error) {
		if err = c.check(op, peer); err == nil {
			key, err = c.native.exportKey(op, peer.index, label)
		}
		return err
	})
	return key, err
}

// EarlyDatagrams returns what peers' programs sent before the last call had
// returned: while it was still connecting to others, or waiting for a peer's
// last word. They came before those that are in the socket. Each is returned
// once.
func (c *Client) EarlyDatagrams() []Datagram {
	var early []Datagram
	_ = c.use("read early datagrams", func() error {
		for datagram, ok := c.native.early(); ok; datagram, ok = c.native.early() {
			early = append(early, datagram)
		}
		return nil
	})
	return early
}

// Counters returns what the last call has counted.
func (c *Client) Counters() Counters {
	var counters Counters
	_ = c.use("read the counters", func() error {
		counters = c.native.counters()
		return nil
	})
	return counters
}

// Close ends a running call and closes the sockets that were not taken. It
// always returns nil.
func (c *Client) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.native.cancel()
		c.turn <- struct{}{}
		c.native.free()
		<-c.turn
		runtime.SetFinalizer(c, nil)
	})
	return nil
}
