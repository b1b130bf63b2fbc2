//go:build cgo

package holepunch

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Dial meets the one other program that dials with the same server and id, 1 to
// [MaxSessionIDLen] bytes, and returns a connection to it. The server is given
// as "host:port". It returns when the hole is open, the context is done or time
// is up. For holes over TCP there is [Client.TakeTCPConn].
func Dial(ctx context.Context, server string, id []byte, options ...Option) (*Conn, error) {
	client, err := NewClient(server, options...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	if client.transport != UDP {
		return nil, invalid("dial", "a Conn carries datagrams: for holes over TCP use a Client and its TakeTCPConn")
	}
	peers, err := client.Connect(ctx, id, 1)
	if err != nil {
		return nil, err
	}
	socket, err := client.TakeUDPConn(peers[0])
	if err != nil {
		return nil, err
	}
	conn := &Conn{peer: peers[0], socket: socket}
	for _, early := range client.EarlyDatagrams() {
		if early.Addr == conn.peer.Addr {
			conn.early = append(conn.early, early.Data)
		}
	}
	return conn, nil
}

// A Conn is a connection to one peer that carries datagrams. It is a [net.Conn]
// and a [net.PacketConn], so that protocols over UDP can run over it.
//
// It does what the users of a bare socket have to do themselves: what the peer
// sent before Dial had returned comes first, and datagrams of others and the
// library's own are dropped. It does not keep NAT mappings alive: send
// something at least every 25 seconds.
type Conn struct {
	peer   Peer
	socket *net.UDPConn

	mu    sync.Mutex
	early [][]byte
}

// Peer returns what is known of the other side.
func (c *Conn) Peer() Peer { return c.peer }

// UDPConn returns the bare, unconnected socket. What the other methods do can
// be done with it, too; closing it closes the Conn.
func (c *Conn) UDPConn() *net.UDPConn { return c.socket }

// Read reads one datagram of the peer's. What does not fit into b is lost.
func (c *Conn) Read(b []byte) (int, error) {
	if n, ok := c.readEarly(b); ok {
		return n, nil
	}
	// What the library's own datagrams are known by must not be cut off.
	var scratch [minRead]byte
	buffer := b
	if len(b) < len(scratch) {
		buffer = scratch[:]
	}
	for {
		n, from, err := c.socket.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return 0, err
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if from == c.peer.Addr && !IsControlPacket(buffer[:n]) {
			if len(b) < len(scratch) {
				return copy(b, buffer[:n]), nil
			}
			return n, nil
		}
	}
}

// minRead is enough of a datagram to see whether it is a control packet.
const minRead = 16

func (c *Conn) readEarly(b []byte) (int, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.early) == 0 {
		return 0, false
	}
	n := copy(b, c.early[0])
	c.early = c.early[1:]
	return n, true
}

// ReadFrom is Read, with the peer's address as the other result.
func (c *Conn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := c.Read(b)
	return n, c.RemoteAddr(), err
}

// Write sends one datagram to the peer.
func (c *Conn) Write(b []byte) (int, error) {
	return c.socket.WriteToUDPAddrPort(b, c.peer.Addr)
}

// WriteTo is Write for the peer's address, and an error for others.
func (c *Conn) WriteTo(b []byte, addr net.Addr) (int, error) {
	if addr.String() != c.peer.Addr.String() {
		return 0, &Error{Op: "write", Err: ErrInvalidArgument, message: addr.String() + " is not the peer's address"}
	}
	return c.Write(b)
}

// Close closes the socket. Reads and writes that wait end with [net.ErrClosed].
func (c *Conn) Close() error {
	c.mu.Lock()
	c.early = nil
	c.mu.Unlock()
	return c.socket.Close()
}

// LocalAddr returns the socket's own address, a *net.UDPAddr.
func (c *Conn) LocalAddr() net.Addr { return c.socket.LocalAddr() }

// RemoteAddr returns the peer's address, a *net.UDPAddr.
func (c *Conn) RemoteAddr() net.Addr { return net.UDPAddrFromAddrPort(c.peer.Addr) }

// SetDeadline sets the time at which reads and writes fail with a timeout.
func (c *Conn) SetDeadline(t time.Time) error { return c.socket.SetDeadline(t) }

// SetReadDeadline sets the time at which reads fail with a timeout.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.socket.SetReadDeadline(t) }

// SetWriteDeadline sets the time at which writes fail with a timeout.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.socket.SetWriteDeadline(t) }
