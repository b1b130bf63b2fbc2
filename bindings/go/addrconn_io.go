//go:build cgo

package holepunch

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"time"
)

// writeSlice is how long a write waits for room before it looks whether its
// deadline has changed: there is no descriptor that tells of room.
const writeSlice = 100 * time.Millisecond

// ready tells if there is no connection yet.
func (c *AddrConn) ready(op string) error {
	select {
	case <-c.life.closed:
		return &Error{Op: op, Err: ErrClosed}
	default:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.connected {
		return &Error{Op: op, Err: ErrNotConnected}
	}
	return nil
}

// Read reads what the peer has sent: over [UDP] one datagram, of which what does
// not fit into b is lost. The error is [io.EOF] once the peer has closed the
// connection, or its own direction of it, which ends both; nobody tells of that
// over UDP with [Unauthenticated].
//
// Over UDP, a peer that has proven who it is and is silent for 30 s is gone:
// ErrNotConnected. The library itself sends something every 10 s, so that an idle
// connection stays.
func (c *AddrConn) Read(b []byte) (n int, err error) {
	const op = "read"
	if err := c.ready(op); err != nil {
		return 0, err
	}
	if c.settings.bare {
		return 0, &Error{Op: op, Err: ErrUnsupported, message: "the connection was made WithBareSocket, to be read from once it is taken"}
	}
	if len(b) == 0 && c.transport == TCP {
		return 0, nil
	}
	c.reading.Lock()
	defer c.reading.Unlock()
	waited := c.came.wait.Read(func(uintptr) bool {
		var done bool
		n, done, err = c.poll(op, b)
		return done
	})
	if n == 0 && err == nil && waited != nil {
		return 0, c.waitError(op, waited)
	}
	return n, err
}

// poll reads what has come.
func (c *AddrConn) poll(op string, b []byte) (n int, done bool, err error) {
	if len(c.rest) > 0 {
		n = copy(b, c.rest)
		c.rest = c.rest[n:]
		return n, true, nil
	}
	if c.end != nil {
		return 0, true, c.end
	}
	if err := c.life.enter(op); err != nil {
		return 0, true, err
	}
	defer c.life.leave()
	for {
		switch e := c.native.next(op).(type) {
		case nil:
			return 0, false, nil
		case connData:
			n = copy(b, e.data)
			if c.transport == TCP {
				c.rest = append(c.rest[:0], e.data[n:]...)
			}
			return n, true, nil
		case connEnded:
			c.end = e.err
			return 0, true, c.end
		}
	}
}

// waitError makes an error of what Go's poller says.
func (c *AddrConn) waitError(op string, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &Error{Op: op, Err: ErrTimedOut, message: "the deadline has passed"}
	}
	return c.life.why(context.Background(), op, err)
}

// Write sends bytes to the peer. Over [TCP] it waits until the system has taken
// all of them. Over [UDP] they are one datagram of at most [MaxDatagramLen] bytes
// for which [IsControlPacket] does not hold, which is sent at once or lost;
// ErrFull says that the system has no room for it.
func (c *AddrConn) Write(b []byte) (n int, err error) {
	const op = "write"
	if err := c.ready(op); err != nil {
		return 0, err
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	for {
		wait := writeSlice
		if by := c.writeDeadline(); !by.IsZero() {
			left := time.Until(by)
			if left <= 0 {
				return n, c.waitError(op, os.ErrDeadlineExceeded)
			}
			if left < wait {
				wait = left
			}
		}
		more, err := c.push(op, b[n:], wait)
		n += more
		switch {
		case c.transport == TCP && errors.Is(err, ErrFull):
			// The peer reads slowly.
		case err != nil:
			return n, err
		case n == len(b):
			return n, nil
		}
	}
}

func (c *AddrConn) writeDeadline() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writeBy
}

func (c *AddrConn) push(op string, b []byte, wait time.Duration) (int, error) {
	if err := c.life.enter(op); err != nil {
		return 0, err
	}
	defer c.life.leave()
	n, err := c.native.write(op, b, wait)
	select {
	case <-c.life.closed:
		if err != nil {
			err = &Error{Op: op, Err: ErrClosed}
		}
	default:
	}
	return n, err
}

// LocalAddr returns our own end, a *net.TCPAddr or *net.UDPAddr; the first of
// LocalAddrs before there is a connection.
func (c *AddrConn) LocalAddr() net.Addr {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.connected {
		return c.netAddr(c.local[0])
	}
	return c.netAddr(c.bound)
}

// RemoteAddr returns the peer's end, a *net.TCPAddr or *net.UDPAddr; nil before
// there is a connection.
func (c *AddrConn) RemoteAddr() net.Addr {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.connected {
		return nil
	}
	return c.netAddr(c.peer.Addr)
}

func (c *AddrConn) netAddr(addr netip.AddrPort) net.Addr {
	if c.transport == TCP {
		return net.TCPAddrFromAddrPort(addr)
	}
	return net.UDPAddrFromAddrPort(addr)
}

// SetDeadline sets the time at which reads and writes fail with a timeout.
func (c *AddrConn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline sets the time at which reads fail with a timeout.
func (c *AddrConn) SetReadDeadline(t time.Time) error {
	if err := c.came.file.SetReadDeadline(t); err != nil {
		return c.waitError("set the deadline", err)
	}
	return nil
}

// SetWriteDeadline sets the time at which writes fail with a timeout.
func (c *AddrConn) SetWriteDeadline(t time.Time) error {
	const op = "set the deadline"
	if err := c.life.enter(op); err != nil {
		return err
	}
	defer c.life.leave()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writeBy = t
	return nil
}
