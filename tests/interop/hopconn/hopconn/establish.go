package hopconn

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
)

// establish accepts one connection and dials, both at once, until one of them has a connection or there is nobody left
// to dial. It returns the connection that came first, or nil.
func (c *Connection) establish() net.Conn {
	trying, enough := context.WithCancel(c.alive)
	defer enough()
	go func() {
		<-trying.Done()
		// What still waits in the backlog is reset by this.
		c.listener.Close()
	}()

	// There is room for both, so that dialing goes on as soon as it has a connection, whether that one is kept or not.
	found := make(chan net.Conn, 2)
	var sources sync.WaitGroup
	sources.Add(2)
	go func() {
		defer sources.Done()
		if conn, err := c.listener.Accept(); err == nil {
			found <- conn
		}
	}()
	go func() {
		defer sources.Done()
		// Who has nobody left to dial does not wait to be called, either.
		defer enough()
		c.dialAll(trying, found)
	}()
	go func() {
		sources.Wait()
		close(found)
	}()

	var first net.Conn
	for conn := range found {
		if first == nil {
			first = conn
			enough()
		} else {
			conn.Close()
		}
	}
	return first
}

// dialAll dials one address after the other, all from the reserved port.
func (c *Connection) dialAll(trying context.Context, found chan<- net.Conn) {
	c.reserved.Close()
	dialer := net.Dialer{Timeout: c.settings.attemptTimeout, LocalAddr: &net.TCPAddr{Port: c.reservedPort}}
	for {
		select {
		case <-trying.Done():
			return
		case address, more := <-c.addresses:
			if !more {
				return
			}
			if conn := c.dial(trying, dialer, address); conn != nil {
				found <- conn
			}
		}
	}
}

// dial tries an address again at once after a failure. Where another connection holds the local port, it does not.
func (c *Connection) dial(trying context.Context, dialer net.Dialer, address string) net.Conn {
	for i := 0; i < c.settings.attemptRetries; i++ {
		conn, err := dialer.DialContext(trying, "tcp", address)
		if err == nil {
			return conn
		}
		if errors.Is(err, context.Canceled) || errors.Is(err, syscall.EADDRINUSE) {
			return nil
		}
	}
	return nil
}
