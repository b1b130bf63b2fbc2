// Package hopconn stands in for the Go module of the same name where that cannot be had: it has as much of its surface
// as the driver uses, and behaves like it on the wire. It was written from how the module behaves and shares no code
// with it.
package hopconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// readSize is all that is read at a time.
	readSize = 32
	// ioTimeout bounds one read, after which there is another, and one write, of which the rest is lost then.
	ioTimeout = 5 * time.Second
	// queuedWrites is how many writes wait before one more blocks.
	queuedWrites = 100
	// mostErrors is how many errors a connection can end with: reading's and writing's.
	mostErrors = 2
)

var (
	// ErrStopped means that the connection has ended, whoever ended it.
	ErrStopped = errors.New("connection stopped")
	// ErrNoConnectionEstablished means that nobody was reached and nobody called.
	ErrNoConnectionEstablished = errors.New("no conn established")
	// ErrAddressesDismissed means that there are more addresses than there is room for.
	ErrAddressesDismissed = errors.New("too many addresses")
)

// IPProvider says which IP address others are to be told.
type IPProvider func() (string, error)

type settings struct {
	attemptTimeout time.Duration
	attemptRetries int
	addressRoom    int
	publicIP       IPProvider
	localIP        IPProvider
}

// WithAttemptTimeout bounds each single dial; default 3 s.
func WithAttemptTimeout(timeout time.Duration) func(*settings) {
	return func(s *settings) { s.attemptTimeout = timeout }
}

// WithAttemptRetries sets how often each address is dialed in all; default 3.
func WithAttemptRetries(retries int) func(*settings) {
	return func(s *settings) { s.attemptRetries = retries }
}

// WithNoOfAddressesToAttempt sets how many addresses there is room for; default 3.
func WithNoOfAddressesToAttempt(room int) func(*settings) {
	return func(s *settings) { s.addressRoom = room }
}

// WithPublicIPProvider sets whose answer is shown with the port that is dialed from. The module asks a web service by
// default; here it must be given.
func WithPublicIPProvider(provider IPProvider) func(*settings) {
	return func(s *settings) { s.publicIP = provider }
}

// WithLocalIPProvider sets whose answer is shown with the port that is listened on; here it must be given.
func WithLocalIPProvider(provider IPProvider) func(*settings) {
	return func(s *settings) { s.localIP = provider }
}

// Connection is at most one TCP connection, from before it is there until it has ended.
type Connection struct {
	settings     settings
	listener     net.Listener
	localIP      string
	reserved     net.Listener // holds the port that is dialed from until it is
	reservedPort int
	publicIP     string

	alive     context.Context
	end       context.CancelFunc
	addresses chan string
	writes    chan []byte

	handlersLock sync.Mutex
	handlers     []func([]byte)

	established chan struct{}
	errors      chan error
}

// New takes two ports, one to be called on and one to dial from, on all local addresses. The first caller is accepted
// from now on.
func New(ctx context.Context, options ...func(*settings)) (*Connection, error) {
	chosen := settings{attemptTimeout: 3 * time.Second, attemptRetries: 3, addressRoom: 3}
	for _, option := range options {
		option(&chosen)
	}
	if chosen.publicIP == nil || chosen.localIP == nil {
		return nil, errors.New("the stand-in needs a provider of either IP address")
	}
	publicIP, err := chosen.publicIP()
	if err != nil {
		return nil, err
	}
	localIP, err := chosen.localIP()
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "")
	if err != nil {
		return nil, err
	}
	reserved, err := net.Listen("tcp", "")
	if err != nil {
		listener.Close()
		return nil, err
	}
	c := &Connection{
		settings:     chosen,
		listener:     listener,
		localIP:      localIP,
		reserved:     reserved,
		reservedPort: portOf(reserved),
		publicIP:     publicIP,
		addresses:    make(chan string, chosen.addressRoom),
		writes:       make(chan []byte, queuedWrites),
		established:  make(chan struct{}),
		errors:       make(chan error, mostErrors),
	}
	c.alive, c.end = context.WithCancel(ctx)
	go c.run()
	return c, nil
}

func portOf(listener net.Listener) int {
	return listener.Addr().(*net.TCPAddr).Port
}

// LocalAddress is where this one can be called.
func (c *Connection) LocalAddress() string {
	return net.JoinHostPort(c.localIP, strconv.Itoa(portOf(c.listener)))
}

// PublicAddress is where this one dials from.
func (c *Connection) PublicAddress() string {
	return net.JoinHostPort(c.publicIP, strconv.Itoa(c.reservedPort))
}

// AttemptConnection has the addresses dialed, one after the other; it may be called once. Those there is no room for are
// left out, and after that error dialing is never done: only a connection or Close ends the wait for a caller.
func (c *Connection) AttemptConnection(addresses ...string) error {
	if c.alive.Err() != nil {
		return ErrStopped
	}
	var dismissed []string
	for _, address := range addresses {
		select {
		case c.addresses <- address:
		default:
			dismissed = append(dismissed, address)
		}
	}
	if len(dismissed) > 0 {
		return fmt.Errorf("%w: %s", ErrAddressesDismissed, strings.Join(dismissed, ","))
	}
	close(c.addresses)
	return nil
}

// RegisterDataHandler has what arrives passed on, in the pieces in which it was read.
func (c *Connection) RegisterDataHandler(handler func([]byte)) {
	c.handlersLock.Lock()
	defer c.handlersLock.Unlock()
	c.handlers = append(c.handlers, handler)
}

// EstablishedEvents is closed once there is a connection.
func (c *Connection) EstablishedEvents() <-chan struct{} { return c.established }

// Errors tells what the connection has ended with, and is closed then.
func (c *Connection) Errors() <-chan error { return c.errors }

// Write queues data for when there is a connection. What is still queued at the end is lost.
func (c *Connection) Write(data []byte) error {
	if c.alive.Err() != nil {
		return ErrStopped
	}
	select {
	case c.writes <- data:
		return nil
	case <-c.alive.Done():
		return ErrStopped
	}
}

// Close ends the connection, or the search for one.
func (c *Connection) Close() { c.end() }

func (c *Connection) run() {
	defer close(c.errors)
	defer c.end()
	conn := c.establish()
	if conn == nil {
		c.errors <- ErrNoConnectionEstablished
		return
	}
	close(c.established)
	var closed sync.WaitGroup
	closed.Add(1)
	go func() {
		defer closed.Done()
		<-c.alive.Done()
		conn.Close()
	}()
	var loops sync.WaitGroup
	for _, loop := range []func(net.Conn) error{c.read, c.write} {
		loop := loop
		loops.Add(1)
		go func() {
			defer loops.Done()
			if err := loop(conn); err != nil {
				c.errors <- err
			}
			c.end()
		}()
	}
	loops.Wait()
	closed.Wait()
}

// read ends without error only if the connection was closed between two reads.
func (c *Connection) read(conn net.Conn) error {
	for c.alive.Err() == nil {
		data := make([]byte, readSize)
		_ = conn.SetReadDeadline(time.Now().Add(ioTimeout))
		n, err := conn.Read(data)
		if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil {
			// Either the time is up, or it is a reset, after which the next read meets the end.
			continue
		}
		c.handlersLock.Lock()
		handlers := c.handlers
		c.handlersLock.Unlock()
		for _, handle := range handlers {
			handle(data[:n])
		}
	}
	return nil
}

// write goes on after a write that failed, as it is for reading to meet the end.
func (c *Connection) write(conn net.Conn) error {
	for {
		select {
		case <-c.alive.Done():
			return nil
		case data := <-c.writes:
			_ = conn.SetWriteDeadline(time.Now().Add(ioTimeout))
			if _, err := conn.Write(data); errors.Is(err, net.ErrClosed) {
				return err
			}
		}
	}
}
