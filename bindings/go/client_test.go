package holepunch_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"holepunch.example/holepunch"
)

func TestGroupsConnect(t *testing.T) {
	server := startDefaultServer(t)
	for _, size := range []int{2, 3, 4} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			clients := make([]*holepunch.Client, size)
			for i := range clients {
				clients[i] = newClient(t, server)
			}
			all := meet(t, clients...)
			sockets := make([]*net.UDPConn, size)
			for i, peers := range all {
				if len(peers) != size-1 {
					t.Fatalf("%d peers", len(peers))
				}
				sockets[i] = take(t, clients[i], peers[0])
				for _, peer := range peers {
					if !peer.Connected || !peer.Authenticated {
						t.Errorf("%+v", peer)
					}
					// They share a family, and so a socket.
					if again := take(t, clients[i], peer); again != sockets[i] {
						t.Error("peers that share a socket have two")
					}
				}
			}
			for i, peers := range all {
				for _, peer := range peers {
					send(t, sockets[i], peer.Addr, fmt.Sprint(i))
				}
			}
			for i := range all {
				heard := map[string]bool{fmt.Sprint(i): true}
				for len(heard) < size {
					text, from := next(t, sockets[i])
					heard[text] = true
					if !isAmong(all[i], from) {
						t.Errorf("%q came from %v, who is no peer", text, from)
					}
				}
			}
		})
	}
}

func isAmong(peers []holepunch.Peer, addr netip.AddrPort) bool {
	for _, peer := range peers {
		if peer.Addr == addr {
			return true
		}
	}
	return false
}

func TestTakenSocketIsAnOrdinaryOne(t *testing.T) {
	server := startDefaultServer(t)
	a, b := newClient(t, server), newClient(t, server)
	peers := meet(t, a, b)
	socket := take(t, a, peers[0][0])
	a.Close()
	if socket.RemoteAddr() != nil {
		t.Errorf("it is connected to %v", socket.RemoteAddr())
	}
	if port := addrOf(socket).Port(); port != peers[1][0].Addr.Port() {
		t.Errorf("it has port %d, the peer sees %d", port, peers[1][0].Addr.Port())
	}
	socket.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	buffer := make([]byte, 2000)
	for {
		n, _, err := socket.ReadFrom(buffer)
		if err != nil {
			wantTimeout(t, err)
			break
		}
		if !holepunch.IsControlPacket(buffer[:n]) {
			t.Errorf("%q arrived", buffer[:n])
		}
	}
	socket.SetReadDeadline(time.Time{})
	send(t, take(t, b, peers[1][0]), peers[1][0].Addr, "hello")
	if text, _ := next(t, socket); text != "hello" {
		t.Errorf("got %q", text)
	}
	ended := make(chan error, 1)
	go func() {
		for {
			if _, _, err := socket.ReadFrom(buffer); err != nil {
				ended <- err
				return
			}
		}
	}()
	socket.Close()
	if err := receive(t, ended); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestThereIsNoSocketBeforeACall(t *testing.T) {
	client := newClient(t, startDefaultServer(t))
	socket, err := client.TakeUDPConn(holepunch.Peer{})
	if socket != nil {
		t.Error("a socket beside an error")
	}
	wantError(t, err, holepunch.ErrNotFound)
	wantError(t, client.Control(holepunch.Peer{}, func(uintptr) { t.Error("called") }), holepunch.ErrNotFound)
}

func TestControlLends(t *testing.T) {
	server := startDefaultServer(t)
	a, b := newClient(t, server), newClient(t, server)
	peers := meet(t, a, b)
	sees := func() (port uint16) {
		if err := a.Control(peers[0][0], func(fd uintptr) {
			port = portOf(t, int(fd))
		}); err != nil {
			t.Fatal(err)
		}
		return port
	}
	if first, second := sees(), sees(); first != second || first != peers[1][0].Addr.Port() {
		t.Errorf("it has port %d, then %d; the peer sees %d", first, second, peers[1][0].Addr.Port())
	}
	take(t, a, peers[0][0])
	wantError(t, a.Control(peers[0][0], func(uintptr) { t.Error("called") }), holepunch.ErrNotFound)
}

func TestFailedCallReturnsThePeersItFound(t *testing.T) {
	server := startDefaultServer(t)
	id := newID()
	a, b := newClient(t, server), newClient(t, server)
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	first, second := connecting(ctx, a, id, 2), connecting(ctx, b, id, 2)
	results := []result{receive(t, first), receive(t, second)}
	var addrs [2]netip.AddrPort
	for i, r := range results {
		wantError(t, r.err, holepunch.ErrTimedOutWaiting)
		if len(r.peers) != 1 || !r.peers[0].Connected {
			t.Fatalf("%+v", r.peers)
		}
		addrs[i] = r.peers[0].Addr
	}
	// With those that are there, without the one that did not come.
	calls := [2]chan result{make(chan result, 1), make(chan result, 1)}
	for i, client := range []*holepunch.Client{a, b} {
		go func(client *holepunch.Client, addr netip.AddrPort, call chan<- result) {
			peers, err := client.ConnectPeers(bounded(t), id, []netip.AddrPort{addr})
			call <- result{peers, err}
		}(client, addrs[i], calls[i])
	}
	var peers [2]holepunch.Peer
	for i, call := range calls {
		r := receive(t, call)
		if r.err != nil || len(r.peers) != 1 || !r.peers[0].Connected || !r.peers[0].Authenticated || r.peers[0].Addr != addrs[i] {
			t.Fatal(r)
		}
		peers[i] = r.peers[0]
	}
	_, err := a.TakeUDPConn(results[0].peers[0])
	wantError(t, err, holepunch.ErrNotFound)
	send(t, take(t, a, peers[0]), addrs[0], "hello")
	if text, from := next(t, take(t, b, peers[1])); text != "hello" || from != addrs[1] {
		t.Errorf("%q from %v", text, from)
	}
}

func TestConnectPeersNeedsNoServer(t *testing.T) {
	a, b := listen(t), listen(t)
	id := newID()
	calls := make(chan result, 2)
	for _, way := range []struct{ own, other *net.UDPConn }{{a, b}, {b, a}} {
		client := newClient(t, "127.0.0.1:1", holepunch.WithUDPConn(way.own))
		other := addrOf(way.other)
		go func() {
			peers, err := client.ConnectPeers(bounded(t), id, []netip.AddrPort{other})
			if err == nil && (len(peers) != 1 || peers[0].Addr != other || !peers[0].Authenticated) {
				err = fmt.Errorf("%+v", peers)
			}
			calls <- result{peers, err}
		}()
	}
	for i := 0; i < 2; i++ {
		if r := receive(t, calls); r.err != nil {
			t.Fatal(r.err)
		}
	}
}

// One side waits for a second peer while the first is through and speaks.
func TestEarlyDatagrams(t *testing.T) {
	server := startServer(t, holepunch.ServerConfig{})
	ctx, id := bounded(t), newID()
	a, b, c := newClient(t, server.Addr().String()), newClient(t, server.Addr().String()), newClient(t, server.Addr().String())
	waiting := connecting(ctx, a, id, 2)
	first := receive(t, connecting(ctx, b, id, 1))
	if first.err != nil {
		t.Fatal(first.err)
	}
	socket := take(t, b, first.peers[0])
	send(t, socket, first.peers[0].Addr, "early 0")
	send(t, socket, first.peers[0].Addr, "early 1")
	if r := receive(t, connecting(ctx, c, id, 1)); r.err != nil {
		t.Fatal(r.err)
	}
	r := receive(t, waiting)
	if r.err != nil || len(r.peers) != 2 {
		t.Fatal(r)
	}
	early := a.EarlyDatagrams()
	if len(early) != 2 {
		t.Fatalf("%d early datagrams", len(early))
	}
	for i, datagram := range early {
		if string(datagram.Data) != fmt.Sprint("early ", i) || datagram.Addr.Port() != addrOf(socket).Port() || !isAmong(r.peers, datagram.Addr) {
			t.Errorf("%q from %v", datagram.Data, datagram.Addr)
		}
	}
	if again := a.EarlyDatagrams(); again != nil {
		t.Errorf("%d are given again", len(again))
	}
}

func TestCountersTellOfTheLastCall(t *testing.T) {
	server := startServer(t, holepunch.ServerConfig{})
	own, stranger := listen(t), listen(t)
	client := newClient(t, server.Addr().String(), holepunch.WithUDPConn(own))
	if counters := client.Counters(); counters != (holepunch.Counters{}) {
		t.Errorf("before any call: %+v", counters)
	}
	ctx, cancel := context.WithCancel(bounded(t))
	call := connecting(ctx, client, newID(), 1)
	eventually(t, "it is registered", func() bool { return len(server.Endpoints()) == 1 })
	send(t, stranger, addrOf(own), "who is there?")
	send(t, stranger, addrOf(own), "SYN")
	send(t, stranger, addrOf(own), aProbe)
	// Authentic for another session, and so a forgery in this one.
	forger := newClient(t, "127.0.0.1:1", holepunch.WithTimeout(30*time.Millisecond))
	forger.ConnectPeers(bounded(t), []byte("another ID"), []netip.AddrPort{addrOf(own)})
	if forger.Counters().ProbesSent == 0 {
		t.Error("no probes were sent")
	}
	cancel()
	wantError(t, receive(t, call).err, holepunch.ErrCanceled)
	counters := client.Counters()
	// The forger's plain signals are a stranger's, too.
	if counters.Strangers < 2 || counters.Malformed != 1 || counters.Forged < 1 || counters.ProbesSent != 0 || counters.Replayed != 0 {
		t.Errorf("%+v", counters)
	}

	fake := listen(t)
	other := newClient(t, addrOf(fake).String(), holepunch.WithDialect(holepunch.Plain), holepunch.WithTimeout(100*time.Millisecond))
	call = connecting(bounded(t), other, newID(), 1)
	_, from, err := fake.ReadFromUDPAddrPort(make([]byte, 2000))
	if err != nil {
		t.Fatal(err)
	}
	send(t, fake, from, "no list of addresses")
	receive(t, call)
	if dropped := other.Counters().ServerDropped; dropped != 1 {
		t.Errorf("%d of the server's were dropped", dropped)
	}
}

func TestManyGoroutinesUseOneClient(t *testing.T) {
	client := newClient(t, startDefaultServer(t), holepunch.WithTimeout(5*time.Millisecond))
	ctx := bounded(t)
	var users sync.WaitGroup
	for i := 0; i < 4; i++ {
		for _, use := range []func(){
			func() {
				_, err := client.Connect(ctx, newID(), 1)
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("got %v", err)
				}
			},
			func() {
				short, cancel := context.WithTimeout(ctx, 2*time.Millisecond)
				defer cancel()
				if _, err := client.Connect(short, newID(), 1); err == nil {
					t.Error("it connected")
				}
			},
			func() {
				if err := client.Configure(holepunch.WithPeerRetry(time.Second), holepunch.WithTimeout(4*time.Millisecond)); err != nil {
					t.Error(err)
				}
			},
			func() { client.Counters() },
			func() { client.EarlyDatagrams() },
			func() { _ = client.Control(holepunch.Peer{}, func(uintptr) {}) },
			func() {
				if socket, err := client.TakeUDPConn(holepunch.Peer{}); err == nil {
					socket.Close()
				}
			},
		} {
			users.Add(1)
			go func(use func()) {
				defer users.Done()
				for i := 0; i < 10; i++ {
					use()
				}
			}(use)
		}
	}
	users.Wait()
}

func TestClosedClientAnswersEveryCall(t *testing.T) {
	client := newClient(t, startDefaultServer(t))
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	ctx := bounded(t)
	_, connect := client.Connect(ctx, newID(), 1)
	_, connectPeers := client.ConnectPeers(ctx, newID(), []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")})
	_, take := client.TakeUDPConn(holepunch.Peer{})
	for _, err := range []error{
		connect, connectPeers, take,
		client.Configure(holepunch.WithTimeout(time.Second)),
		client.Configure(holepunch.WithUDPConn(listen(t))),
		client.Control(holepunch.Peer{}, func(uintptr) { t.Error("called") }),
	} {
		wantError(t, err, holepunch.ErrClosed)
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v is not net.ErrClosed", err)
		}
	}
	if early := client.EarlyDatagrams(); early != nil {
		t.Error(early)
	}
	if counters := client.Counters(); counters != (holepunch.Counters{}) {
		t.Error(counters)
	}
}

func TestCloseEndsACall(t *testing.T) {
	server := startServer(t, holepunch.ServerConfig{})
	const limit = 50 * time.Millisecond
	took := bestOf(limit, func() time.Duration {
		client := newClient(t, server.Addr().String(), holepunch.WithTimeout(-1))
		running := connecting(context.Background(), client, newID(), 1)
		eventually(t, "it is registered", func() bool { return len(server.Endpoints()) == 1 })
		queued := connecting(context.Background(), client, newID(), 1)
		start := time.Now()
		client.Close()
		took := time.Since(start)
		for _, call := range []<-chan result{running, queued} {
			err := receive(t, call).err
			wantError(t, err, holepunch.ErrClosed)
			if !errors.Is(err, net.ErrClosed) || errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		}
		eventually(t, "the server was told", func() bool { return len(server.Endpoints()) == 0 })
		return took
	})
	if took > limit {
		t.Errorf("Close took %v", took)
	}
}

func TestPeersExportKeysThatTheyAloneKnow(t *testing.T) {
	server := startDefaultServer(t)
	clients := []*holepunch.Client{newClient(t, server), newClient(t, server), newClient(t, server)}
	seen := make(map[[32]byte]int)
	for _, label := range []string{"one", "other", ""} {
		peers := meet(t, clients...)
		for i, client := range clients {
			for _, peer := range peers[i] {
				key, err := client.ExportKey(peer, label)
				if err != nil {
					t.Fatal(err)
				}
				seen[key]++
			}
		}
		for i, client := range clients {
			_, err := client.ExportKey(holepunch.Peer{}, label)
			wantError(t, err, holepunch.ErrNotFound)
			defer func(client *holepunch.Client, old holepunch.Peer) {
				_, err := client.ExportKey(old, "label")
				wantError(t, err, holepunch.ErrNotFound)
			}(client, peers[i][0])
		}
	}
	if len(seen) != 9 || seen[[32]byte{}] != 0 {
		t.Errorf("%d keys for three calls of three pairs", len(seen))
	}
	for key, sides := range seen {
		if sides != 2 {
			t.Errorf("%d sides have %x", sides, key)
		}
	}
	meet(t, clients...) // The peers above are not of the last call.
}

func TestPlainPeersHaveNoKey(t *testing.T) {
	server := startDefaultServer(t)
	a, b := newClient(t, server, holepunch.WithDialect(holepunch.Plain)), newClient(t, server)
	for i, peers := range meet(t, a, b) {
		_, err := []*holepunch.Client{a, b}[i].ExportKey(peers[0], "label")
		wantError(t, err, holepunch.ErrNotFound)
	}
}
