package holepunch_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"holepunch.example/holepunch"
)

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

var lastID atomic.Int64

// newID returns a session ID that no other test uses.
func newID() []byte {
	return []byte(fmt.Sprintf("session %d of process %d", lastID.Add(1), os.Getpid()))
}

// bounded returns a context that ends with the test, or when patience does.
func bounded(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// receive waits for a value.
func receive[T any](t testing.TB, from <-chan T) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(patience):
		t.Fatal("waited in vain")
		panic("unreachable")
	}
}

// eventually waits for what nothing announces.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// startServer serves on loopback until the test ends.
func startServer(t testing.TB, config holepunch.ServerConfig) *holepunch.Server {
	t.Helper()
	if config.Addr == "" {
		config.Addr = "127.0.0.1:0"
	}
	if config.Workers == 0 {
		config.Workers = 1
	}
	server, err := holepunch.NewServer(config)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(context.Background()) }()
	t.Cleanup(func() {
		server.Close()
		if err := receive(t, served); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve returned %v", err)
		}
	})
	return server
}

// startDefaultServer returns the address of a server for all clients.
func startDefaultServer(t testing.TB) string {
	t.Helper()
	return startServer(t, holepunch.ServerConfig{}).Addr().String()
}

func newClient(t testing.TB, server string, options ...holepunch.Option) *holepunch.Client {
	t.Helper()
	client, err := holepunch.NewClient(server, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// listen returns a socket on loopback.
func listen(t testing.TB) *net.UDPConn {
	t.Helper()
	return listenOn(t, "udp4", "127.0.0.1:0")
}

func listenOn(t testing.TB, network, address string) *net.UDPConn {
	t.Helper()
	socket, err := net.ListenPacket(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	return socket.(*net.UDPConn)
}

func addrOf(socket net.PacketConn) netip.AddrPort {
	addr := socket.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
}

// result is what a call gave.
type result struct {
	peers []holepunch.Peer
	err   error
}

// connecting connects in the background.
func connecting(ctx context.Context, client *holepunch.Client, id []byte, peers int) <-chan result {
	done := make(chan result, 1)
	go func() {
		found, err := client.Connect(ctx, id, peers)
		done <- result{found, err}
	}()
	return done
}

// meet connects clients with each other.
func meet(t testing.TB, clients ...*holepunch.Client) [][]holepunch.Peer {
	t.Helper()
	ctx, id := bounded(t), newID()
	var calls []<-chan result
	for _, client := range clients {
		calls = append(calls, connecting(ctx, client, id, len(clients)-1))
	}
	var all [][]holepunch.Peer
	for _, call := range calls {
		r := receive(t, call)
		if r.err != nil {
			t.Fatal(r.err)
		}
		all = append(all, r.peers)
	}
	return all
}

// take takes a peer's socket, for the time of the test.
func take(t testing.TB, client *holepunch.Client, peer holepunch.Peer) *net.UDPConn {
	t.Helper()
	socket, err := client.TakeUDPConn(peer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	return socket
}

// send sends one datagram.
func send(t testing.TB, from *net.UDPConn, to netip.AddrPort, data string) {
	t.Helper()
	if _, err := from.WriteToUDPAddrPort([]byte(data), to); err != nil {
		t.Fatal(err)
	}
}

// next reads the next datagram that is not the library's own.
func next(t testing.TB, socket *net.UDPConn) (string, netip.AddrPort) {
	t.Helper()
	buffer := make([]byte, 2000)
	socket.SetReadDeadline(time.Now().Add(patience))
	defer socket.SetReadDeadline(time.Time{})
	for {
		n, from, err := socket.ReadFromUDPAddrPort(buffer)
		if err != nil {
			t.Fatal(err)
		}
		if !holepunch.IsControlPacket(buffer[:n]) {
			return string(buffer[:n]), netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		}
	}
}

// wantError checks that an error is a reason and, but for nil, nothing else
// among this package's, and that it is this package's type.
func wantError(t testing.TB, err, reason error) {
	t.Helper()
	if !errors.Is(err, reason) {
		t.Errorf("got %v, want %v", err, reason)
		return
	}
	for name, other := range reasons {
		if other != reason && errors.Is(err, other) {
			t.Errorf("%v is %s, too", err, name)
		}
	}
	var own *holepunch.Error
	if !errors.As(err, &own) {
		t.Errorf("%v is a %T", err, err)
	} else if own.Op == "" || !strings.HasPrefix(err.Error(), "holepunch: "+own.Op+": ") || strings.HasSuffix(err.Error(), ": ") {
		t.Errorf("a message without its operation or without a reason: %q", err)
	}
}

// bestOf measures up to three times and returns the shortest time, as a noisy
// machine can only make a call seem slow: one quick run shows that it can be.
func bestOf(limit time.Duration, measure func() time.Duration) time.Duration {
	best := measure()
	for i := 1; i < 3 && best > limit; i++ {
		if again := measure(); again < best {
			best = again
		}
	}
	return best
}

// portOf returns the port that a descriptor is bound to.
func portOf(t testing.TB, fd int) uint16 {
	t.Helper()
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	switch name := name.(type) {
	case *syscall.SockaddrInet4:
		return uint16(name.Port)
	case *syscall.SockaddrInet6:
		return uint16(name.Port)
	}
	t.Fatalf("the socket's name is a %T", name)
	return 0
}
