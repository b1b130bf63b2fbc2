// Package client is a drop-in for the package of the same name in the existing
// Go hole-punching library: programs that use it build and run with only the
// import path changed, and meet the programs that still use the other one.
//
// What is better: with peers and servers that are libholepunch's, too, holes
// open within milliseconds instead of polling periods, and are authenticated;
// with others the client speaks their dialect. More peers than expected are no
// obstacle. The socket's read deadline is left as it is. Peers of one local
// network meet there.
//
// New programs are better served by package holepunch itself.
package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"holepunch.example/holepunch"
)

var (
	// ErrTimeoutDuringServerConnect means that the server did not answer in
	// time, or did not name the expected number of peers.
	ErrTimeoutDuringServerConnect = fmt.Errorf("the server has not named all peers: %w", os.ErrDeadlineExceeded)
	// ErrTimeoutDuringPeerConnect means that not all peers were reached in
	// time.
	ErrTimeoutDuringPeerConnect = fmt.Errorf("not all peers were reached: %w", os.ErrDeadlineExceeded)
)

// Client connects to peers by way of a rendezvous server. It is made by [New];
// its fields may be changed before each call. Copies are the same client.
type Client struct {
	// Timeout is the time that a call has, 40 seconds at first; negative: no
	// limit.
	Timeout time.Duration
	// MediatorServerRetryPeriod is the longest pause between two requests to
	// the server, 100 ms at first. The library takes 1 ms to 10 s.
	MediatorServerRetryPeriod time.Duration
	// PeerRetryPeriod is the longest pause between two datagrams to a peer,
	// 100 ms at first. The library takes 1 ms to 10 s, and waits half as long
	// again, because programs of the existing library answer only after a pause.
	PeerRetryPeriod time.Duration
	// Socket carries all datagrams, during calls and afterwards. It is the
	// caller's to close. Another bound socket may be put in its place.
	Socket *net.UDPConn

	state *state
}

// state is shared by all copies of a client.
type state struct {
	server string

	mu sync.Mutex
	// id is that of the last Connect.
	id []byte
	// native lives on after a call that failed, as it knows the holes that
	// are open already, on socket.
	native *holepunch.Client
	socket *net.UDPConn
}

// New makes a client of the rendezvous server at "host:port", or ":port" for
// one on this host, and opens its Socket.
func New(wellKnownHost string) (Client, error) {
	c := Client{
		Timeout:                   holepunch.DefaultTimeout,
		MediatorServerRetryPeriod: holepunch.DefaultRetry,
		PeerRetryPeriod:           holepunch.DefaultRetry,
	}
	addr, err := net.ResolveUDPAddr("udp", wellKnownHost)
	if err != nil {
		return c, err
	}
	if addr.Port == 0 {
		return c, &net.AddrError{Err: "missing port in address", Addr: wellKnownHost}
	}
	if addr.IP == nil {
		addr.IP = net.IPv4(127, 0, 0, 1)
	}
	socket, err := net.ListenUDP("udp", &net.UDPAddr{})
	if err != nil {
		return c, err
	}
	c.Socket, c.state = socket, &state{server: addr.String()}
	return c, nil
}

// Connect meets others that connect with the same id and opens a hole to each.
// It returns their addresses, and Socket, as soon as holes to the expected
// number of peers are open.
//
// If the server names too few in time, the error is
// [ErrTimeoutDuringServerConnect] and the addresses are those of the peers that
// were found; [Client.ConnectPeers] can go on with them. If they are named but
// not all are reached, it is [ErrTimeoutDuringPeerConnect]. Both are
// [os.ErrDeadlineExceeded].
func (c Client) Connect(id []byte, expected int) ([]*net.UDPAddr, *net.UDPConn, error) {
	if c.state == nil {
		return nil, nil, errors.New("the client was not made by New")
	}
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	c.state.id = append([]byte(nil), id...)
	native, err := c.open(holepunch.Auto)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := c.context()
	defer cancel()
	peers, err := native.Connect(ctx, id, expected)
	for isDown(err) && ctx.Err() == nil {
		// The server may be about to start: only time ends the wait for it.
		select {
		case <-time.After(retryPause(c.MediatorServerRetryPeriod)):
			peers, err = native.Connect(ctx, id, expected)
		case <-ctx.Done():
		}
	}
	switch {
	case err == nil:
		c.state.close()
	case errors.Is(err, holepunch.ErrTimedOutPunching):
		err = &timeout{reason: ErrTimeoutDuringPeerConnect, cause: err}
	case isDown(err) || errors.Is(err, context.DeadlineExceeded):
		err = &timeout{reason: ErrTimeoutDuringServerConnect, cause: err}
	default:
		return nil, nil, err
	}
	return addrs(peers), c.Socket, err
}

// isDown tells whether the network says that there is no server.
func isDown(err error) bool {
	return errors.Is(err, holepunch.ErrServerPortClosed) || errors.Is(err, holepunch.ErrServerUnreachable) ||
		errors.Is(err, holepunch.ErrUDPBlocked)
}

// ConnectPeers goes on with the addresses that a [Client.Connect] has returned
// beside an error; holes that are open already stay open. It has the whole
// Timeout again. Without a Connect before it, it speaks the plain dialect,
// which needs no id. If not all peers are reached in time, the error is
// [ErrTimeoutDuringPeerConnect].
func (c Client) ConnectPeers(remConns []*net.UDPAddr) error {
	if c.state == nil {
		return errors.New("the client was not made by New")
	}
	if len(remConns) == 0 {
		return nil
	}
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	id, dialect := c.state.id, holepunch.Auto
	if id == nil {
		id, dialect = []byte("no id"), holepunch.Plain
	}
	native, err := c.open(dialect)
	if err != nil {
		return err
	}
	peers := make([]netip.AddrPort, len(remConns))
	for i, addr := range remConns {
		peers[i] = addr.AddrPort()
	}
	ctx, cancel := c.context()
	defer cancel()
	_, err = native.ConnectPeers(ctx, id, peers)
	switch {
	case err == nil:
		c.state.close()
	case errors.Is(err, context.DeadlineExceeded):
		err = &timeout{reason: ErrTimeoutDuringPeerConnect, cause: err}
	}
	return err
}

// open returns the library's client with the present settings.
func (c Client) open(dialect holepunch.Dialect) (*holepunch.Client, error) {
	s := c.state
	if s.native != nil && s.socket != c.Socket {
		s.close()
	}
	if s.native == nil {
		native, err := holepunch.NewClient(s.server, holepunch.WithUDPConn(c.Socket))
		if err != nil {
			return nil, err
		}
		s.native, s.socket = native, c.Socket
	}
	return s.native, s.native.Configure(
		holepunch.WithTimeout(c.Timeout),
		holepunch.WithServerRetry(retryPause(c.MediatorServerRetryPeriod)),
		holepunch.WithPeerRetry(retryPause(c.PeerRetryPeriod)),
		holepunch.WithDialect(dialect),
	)
}

func (s *state) close() {
	if s.native != nil {
		s.native.Close()
		s.native = nil
	}
}

func (c Client) context() (context.Context, context.CancelFunc) {
	if c.Timeout < 0 {
		return context.Background(), func() {}
	}
	return context.WithTimeout(context.Background(), c.Timeout)
}

// retryPause brings a pause into the library's range.
func retryPause(pause time.Duration) time.Duration {
	const least, most = time.Millisecond, 10 * time.Second
	switch {
	case pause < least:
		return least
	case pause > most:
		return most
	}
	return pause
}

func addrs(peers []holepunch.Peer) []*net.UDPAddr {
	addrs := make([]*net.UDPAddr, len(peers))
	for i, peer := range peers {
		addrs[i] = net.UDPAddrFromAddrPort(peer.Addr)
	}
	return addrs
}

// timeout is one of this package's errors, with what the library says of it.
type timeout struct{ reason, cause error }

func (t *timeout) Error() string        { return t.reason.Error() + ": " + t.cause.Error() }
func (t *timeout) Unwrap() error        { return t.reason }
func (t *timeout) Is(target error) bool { return errors.Is(t.cause, target) }
func (t *timeout) Timeout() bool        { return true }
func (t *timeout) Temporary() bool      { return true }
