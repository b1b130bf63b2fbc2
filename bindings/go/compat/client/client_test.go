package client_test

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"holepunch.example/holepunch"
	"holepunch.example/holepunch/compat/client"
)

// startServer runs a server at addr for the time of the test.
func startServer(t *testing.T, config holepunch.ServerConfig) string {
	t.Helper()
	if config.Addr == "" {
		config.Addr = "127.0.0.1:0"
	}
	server, err := holepunch.NewServer(config)
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(context.Background())
	t.Cleanup(func() { server.Close() })
	return server.Addr().String()
}

func newClient(t *testing.T, server string) client.Client {
	t.Helper()
	c, err := client.New(server)
	if err != nil {
		t.Fatal(err)
	}
	c.Timeout = 10 * time.Second
	t.Cleanup(func() { c.Socket.Close() })
	return c
}

type result struct {
	client client.Client
	addrs  []*net.UDPAddr
	socket *net.UDPConn
	err    error
}

// connectAll has all clients connect at the same time.
func connectAll(id string, clients ...client.Client) []result {
	results := make(chan result)
	for _, c := range clients {
		go func(c client.Client) {
			addrs, socket, err := c.Connect([]byte(id), len(clients)-1)
			results <- result{c, addrs, socket, err}
		}(c)
	}
	var all []result
	for range clients {
		all = append(all, <-results)
	}
	return all
}

func TestDefaultsAreThoseOfTheExistingLibrary(t *testing.T) {
	c, err := client.New("127.0.0.1:5000")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Socket.Close()
	if c.Timeout != 40*time.Second || c.MediatorServerRetryPeriod != 100*time.Millisecond || c.PeerRetryPeriod != 100*time.Millisecond {
		t.Errorf("the defaults are %v, %v, %v", c.Timeout, c.MediatorServerRetryPeriod, c.PeerRetryPeriod)
	}
	if c.Socket.LocalAddr().(*net.UDPAddr).Port == 0 {
		t.Error("the socket is not bound")
	}
}

func TestConnectReturnsAddressesAndTheSocketOfBefore(t *testing.T) {
	for _, server := range []holepunch.ServerConfig{{}, {Dialect: holepunch.Native}, {Dialect: holepunch.Plain}} {
		addr := startServer(t, server)
		all := connectAll("connect", newClient(t, addr), newClient(t, addr), newClient(t, addr))
		byAddr := map[string]result{}
		for _, r := range all {
			if r.err != nil {
				t.Fatalf("with a server for %v: %v", server.Dialect, r.err)
			}
			if r.socket != r.client.Socket {
				t.Error("Connect returned another socket than the client's")
			}
			if len(r.addrs) != 2 {
				t.Errorf("%d addresses instead of 2: %v", len(r.addrs), r.addrs)
			}
			port := r.socket.LocalAddr().(*net.UDPAddr).Port
			byAddr[(&net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}).String()] = r
		}
		for own, r := range byAddr {
			for _, to := range r.addrs {
				if _, err := r.socket.WriteToUDP([]byte("I am "+own), to); err != nil {
					t.Error(err)
				}
			}
		}
		for _, r := range byAddr {
			for range r.addrs {
				expectMessage(t, r)
			}
		}
	}
}

// expectMessage reads one message of a peer's as the existing programs do.
func expectMessage(t *testing.T, r result) {
	t.Helper()
	buffer := make([]byte, 0xffff)
	r.socket.SetReadDeadline(time.Now().Add(5 * time.Second))
	for {
		n, from, err := r.socket.ReadFromUDP(buffer)
		if err != nil {
			t.Error(err)
			return
		}
		if holepunch.IsControlPacket(buffer[:n]) {
			continue
		}
		if string(buffer[:n]) != "I am "+from.String() {
			t.Errorf("%q came from %v", buffer[:n], from)
		}
		return
	}
}

func TestSocketStaysWithoutDeadline(t *testing.T) {
	addr := startServer(t, holepunch.ServerConfig{})
	a, b := newClient(t, addr), newClient(t, addr)
	a.Timeout, b.Timeout = 600*time.Millisecond, 600*time.Millisecond
	all := connectAll("deadline", a, b)
	time.Sleep(650 * time.Millisecond)
	go all[0].socket.WriteToUDP([]byte("late"), all[0].addrs[0])
	buffer := make([]byte, 100)
	for {
		n, _, err := all[1].socket.ReadFromUDP(buffer)
		if err != nil {
			t.Fatalf("the time that Connect had ends a read after it: %v", err)
		}
		if string(buffer[:n]) == "late" {
			return
		}
	}
}

func TestTooFewPeersAreHandedBackAndConnectPeersGoesOn(t *testing.T) {
	for _, dialect := range []holepunch.Dialect{holepunch.Auto, holepunch.Plain} {
		addr := startServer(t, holepunch.ServerConfig{Dialect: dialect})
		a, b := newClient(t, addr), newClient(t, addr)
		a.Timeout, b.Timeout = 700*time.Millisecond, 700*time.Millisecond
		results := make(chan result, 2)
		for _, c := range []client.Client{a, b} {
			go func(c client.Client) {
				addrs, socket, err := c.Connect([]byte("too few"), 2)
				results <- result{c, addrs, socket, err}
			}(c)
		}
		errs := make(chan error, 2)
		for range []int{0, 1} {
			r := <-results
			if !errors.Is(r.err, client.ErrTimeoutDuringServerConnect) || errors.Is(r.err, client.ErrTimeoutDuringPeerConnect) {
				t.Fatalf("the error is %v, with %v", r.err, r.addrs)
			}
			if !errors.Is(r.err, os.ErrDeadlineExceeded) || !errors.Is(r.err, holepunch.ErrTimedOutWaiting) {
				t.Errorf("%v is not what it wraps", r.err)
			}
			if len(r.addrs) != 1 || r.socket != r.client.Socket {
				t.Fatalf("found %v, socket %p of %p", r.addrs, r.socket, r.client.Socket)
			}
			go func() { errs <- r.client.ConnectPeers(r.addrs) }()
		}
		for range []int{0, 1} {
			if err := <-errs; err != nil {
				t.Errorf("ConnectPeers after Connect, %v: %v", dialect, err)
			}
		}
	}
}

func TestConnectPeersNeedsNoServer(t *testing.T) {
	a, b := newClient(t, "127.0.0.1:9"), newClient(t, "127.0.0.1:9")
	at := func(c client.Client) []*net.UDPAddr {
		return []*net.UDPAddr{{IP: net.IPv4(127, 0, 0, 1), Port: c.Socket.LocalAddr().(*net.UDPAddr).Port}}
	}
	errs := make(chan error)
	go func() { errs <- a.ConnectPeers(at(b)) }()
	go func() { errs <- b.ConnectPeers(at(a)) }()
	for range []int{0, 1} {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	a.Timeout = 50 * time.Millisecond
	if err := a.ConnectPeers(at(b)); !errors.Is(err, client.ErrTimeoutDuringPeerConnect) {
		t.Errorf("nobody answers any more, and the error is %v", err)
	}
	if err := a.ConnectPeers(nil); err != nil {
		t.Errorf("no peers at all are connected at once, not: %v", err)
	}
}

func TestServerThatNeverAnswersTimesOut(t *testing.T) {
	silent, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	closed, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, server := range []string{silent.LocalAddr().String(), closed.LocalAddr().String()} {
		c := newClient(t, server)
		c.Timeout = 200 * time.Millisecond
		start := time.Now()
		_, _, err := c.Connect([]byte("silence"), 1)
		if !errors.Is(err, client.ErrTimeoutDuringServerConnect) {
			t.Errorf("the error is %v", err)
		}
		if took := time.Since(start); took < 200*time.Millisecond || took > 2*time.Second {
			t.Errorf("it took %v", took)
		}
		if timeout, ok := err.(net.Error); !ok || !timeout.Timeout() {
			t.Errorf("%v is no timeout", err)
		}
	}
}

func TestServerMayStartLater(t *testing.T) {
	reserved, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	addr := reserved.LocalAddr().String()
	a, b := newClient(t, addr), newClient(t, addr)
	reserved.Close()
	time.AfterFunc(300*time.Millisecond, func() { startServer(t, holepunch.ServerConfig{Addr: addr}) })
	for _, r := range connectAll("later", a, b) {
		if r.err != nil {
			t.Error(r.err)
		}
	}
}

func TestOwnSocketInItsPlace(t *testing.T) {
	addr := startServer(t, holepunch.ServerConfig{})
	a, b := newClient(t, addr), newClient(t, addr)
	own, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	a.Socket = own
	for _, r := range connectAll("own socket", a, b) {
		if r.err != nil {
			t.Fatal(r.err)
		}
		if r.socket != own && r.addrs[0].String() != own.LocalAddr().String() {
			t.Errorf("the peer is at %v, not at %v", r.addrs[0], own.LocalAddr())
		}
	}
}

func TestWrongArgumentsAreErrors(t *testing.T) {
	for _, server := range []string{"", "nonsense", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000"} {
		if _, err := client.New(server); err == nil {
			t.Errorf("%q is taken for a server", server)
		}
	}
	c := newClient(t, ":5000")
	for _, id := range []string{"", strings.Repeat("x", 1001)} {
		if _, _, err := c.Connect([]byte(id), 1); !errors.Is(err, holepunch.ErrInvalidSessionID) {
			t.Errorf("an ID of %d bytes: %v", len(id), err)
		}
	}
	for _, expected := range []int{-1, 0, 65} {
		if _, _, err := c.Connect([]byte("id"), expected); !errors.Is(err, holepunch.ErrInvalidArgument) {
			t.Errorf("%d peers: %v", expected, err)
		}
	}
	if _, _, err := (client.Client{}).Connect([]byte("id"), 1); err == nil {
		t.Error("a client that New has not made connects")
	}
	if err := (client.Client{}).ConnectPeers(nil); err == nil {
		t.Error("a client that New has not made connects to peers")
	}
	c.Socket.Close()
	if _, _, err := c.Connect([]byte("id"), 1); !errors.Is(err, net.ErrClosed) {
		t.Errorf("with a closed socket: %v", err)
	}
}
