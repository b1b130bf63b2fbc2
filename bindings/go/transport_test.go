package holepunch_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"holepunch.example/holepunch"
)

// startTCPServer returns the address of a server that takes TCP connections, too.
func startTCPServer(t testing.TB) string {
	t.Helper()
	return startServer(t, holepunch.ServerConfig{TCP: &holepunch.TCPOptions{}}).Addr().String()
}

// newTCPClient makes a client that uses TCP, unless the options say otherwise.
func newTCPClient(t testing.TB, server string, options ...holepunch.Option) *holepunch.Client {
	t.Helper()
	return newClient(t, server, append([]holepunch.Option{holepunch.WithTransport(holepunch.TCP)}, options...)...)
}

// takeTCP takes the connection to a peer, for the time of the test.
func takeTCP(t testing.TB, client *holepunch.Client, peer holepunch.Peer) *net.TCPConn {
	t.Helper()
	conn, err := client.TakeTCPConn(peer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// talkOverTCP has two say something to each other, close one direction and hear
// the end of it.
func talkOverTCP(t *testing.T, a, b *net.TCPConn) {
	t.Helper()
	for _, conn := range []*net.TCPConn{a, b} {
		conn.SetDeadline(time.Now().Add(patience))
		if _, err := fmt.Fprintf(conn, "hello from %v", conn.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		if err := conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	for _, way := range []struct{ from, to *net.TCPConn }{{a, b}, {b, a}} {
		text, err := io.ReadAll(way.to)
		if want := fmt.Sprintf("hello from %v", way.from.LocalAddr()); err != nil || string(text) != want {
			t.Errorf("got %q, want %q: %v", text, want, err)
		}
	}
}

func TestClientsMeetOverTCP(t *testing.T) {
	server := startTCPServer(t)
	a, b := newTCPClient(t, server), newTCPClient(t, server)
	for round := 0; round < 2; round++ {
		peers := meet(t, a, b)
		for _, found := range peers {
			peer := found[0]
			if peer.Transport != holepunch.TCP || !peer.Connected || !peer.Authenticated || peer.RTT <= 0 || peer.Cause != holepunch.CauseUnknown {
				t.Errorf("%+v", peer)
			}
		}
		keys := [2][32]byte{}
		for i, client := range []*holepunch.Client{a, b} {
			key, err := client.ExportKey(peers[i][0], "test")
			if err != nil {
				t.Fatal(err)
			}
			keys[i] = key
		}
		if keys[0] != keys[1] {
			t.Error("the two sides' keys differ")
		}
		if err := a.Control(peers[0][0], func(fd uintptr) {
			if kind, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_TYPE); err != nil || kind != syscall.SOCK_STREAM {
				t.Errorf("a socket of type %d: %v", kind, err)
			}
		}); err != nil {
			t.Error(err)
		}
		first, second := takeTCP(t, a, peers[0][0]), takeTCP(t, b, peers[1][0])
		if first.RemoteAddr().String() != peers[0][0].Addr.String() || first.RemoteAddr().String() != second.LocalAddr().String() {
			t.Errorf("the peer at %v is seen at %v, the connection is to %v", second.LocalAddr(), peers[0][0].Addr, first.RemoteAddr())
		}
		if again, err := a.TakeTCPConn(peers[0][0]); err != nil || again != first {
			t.Errorf("another connection than the one that was taken: %v", err)
		}
		talkOverTCP(t, first, second)
	}
}

// What was taken is the caller's, whatever becomes of the client.
func TestTakenTCPConnOutlivesTheClient(t *testing.T) {
	server := startTCPServer(t)
	a, b := newTCPClient(t, server), newTCPClient(t, server)
	peers := meet(t, a, b)
	first, second := takeTCP(t, a, peers[0][0]), takeTCP(t, b, peers[1][0])
	a.Close()
	b.Close()
	first.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	_, err := first.Read(make([]byte, 1))
	wantTimeout(t, err)
	talkOverTCP(t, first, second)
	_, err = a.TakeTCPConn(peers[0][0])
	wantError(t, err, holepunch.ErrClosed)
}

func TestSeveralMeetOverTCPWithAConnectionEach(t *testing.T) {
	server := startTCPServer(t)
	clients := []*holepunch.Client{newTCPClient(t, server), newTCPClient(t, server), newTCPClient(t, server)}
	conns := make(map[string]*net.TCPConn) // by both ends
	for i, peers := range meet(t, clients...) {
		for _, peer := range peers {
			conn := takeTCP(t, clients[i], peer)
			conns[conn.LocalAddr().String()+" "+conn.RemoteAddr().String()] = conn
		}
	}
	if len(conns) != 6 {
		t.Fatalf("%d ends of 3 connections", len(conns))
	}
	for _, conn := range conns {
		other := conns[conn.RemoteAddr().String()+" "+conn.LocalAddr().String()]
		if other == nil {
			t.Fatalf("nobody is at the other end of %v", conn.LocalAddr())
		}
		if conn.LocalAddr().String() < other.LocalAddr().String() {
			talkOverTCP(t, conn, other)
		}
	}
}

func TestEitherUsesUDPIfBothCan(t *testing.T) {
	server, either := startTCPServer(t), holepunch.WithTransport(holepunch.Either)
	a, b := newClient(t, server, either), newClient(t, server, either)
	peers := meet(t, a, b)
	for _, found := range peers {
		if found[0].Transport != holepunch.UDP {
			t.Errorf("%+v", found[0])
		}
	}
	_, err := a.TakeTCPConn(peers[0][0])
	wantError(t, err, holepunch.ErrInvalidArgument)
	send(t, take(t, a, peers[0][0]), peers[0][0].Addr, "hello")
	if text, from := next(t, take(t, b, peers[1][0])); text != "hello" || from != peers[1][0].Addr {
		t.Errorf("%q from %v", text, from)
	}
}

func TestEitherMeetsWhoHasTCPOnly(t *testing.T) {
	server := startTCPServer(t)
	given := listen(t)
	a := newTCPClient(t, server)
	b := newClient(t, server, holepunch.WithTransport(holepunch.Either), holepunch.WithUDPConn(given))
	peers := meet(t, a, b)
	// A socket that was given is not what a hole over TCP belongs to.
	talkOverTCP(t, takeTCP(t, a, peers[0][0]), takeTCP(t, b, peers[1][0]))
}

func TestSocketOfTheOtherTransportIsNotTaken(t *testing.T) {
	server := startTCPServer(t)
	a, b := newTCPClient(t, server), newTCPClient(t, server)
	peers := meet(t, a, b)
	socket, err := a.TakeUDPConn(peers[0][0])
	wantError(t, err, holepunch.ErrInvalidArgument)
	if socket != nil || !strings.Contains(err.Error(), "over tcp, not udp") {
		t.Errorf("%v, %v", socket, err)
	}
	talkOverTCP(t, takeTCP(t, a, peers[0][0]), takeTCP(t, b, peers[1][0]))

	// And from a later call on the peers are no one's any more.
	a.Configure(holepunch.WithTransport(holepunch.UDP))
	b.Configure(holepunch.WithTransport(holepunch.UDP))
	later := meet(t, a, b)
	_, err = a.TakeTCPConn(peers[0][0])
	wantError(t, err, holepunch.ErrNotFound)
	conn, err := a.TakeTCPConn(later[0][0])
	wantError(t, err, holepunch.ErrInvalidArgument)
	if conn != nil || !strings.Contains(err.Error(), "over udp, not tcp") {
		t.Errorf("%v, %v", conn, err)
	}
	take(t, a, later[0][0])
}

func TestDatagramsAreNotPromisedOverTCP(t *testing.T) {
	server := startTCPServer(t)
	for _, transport := range []holepunch.Transport{holepunch.TCP, holepunch.Either} {
		conn, err := holepunch.Dial(bounded(t), server, newID(), holepunch.WithTransport(transport))
		wantError(t, err, holepunch.ErrInvalidArgument)
		if conn != nil || !strings.Contains(err.Error(), "TakeTCPConn") {
			t.Errorf("%v, %v", conn, err)
		}
	}
	conn, err := holepunch.NewAddrConn(holepunch.Either, newID())
	wantError(t, err, holepunch.ErrInvalidArgument)
	if conn != nil {
		t.Error("a connection over either")
	}
	_, err = newTCPClient(t, server, holepunch.WithDialect(holepunch.Plain)).Connect(bounded(t), newID(), 1)
	wantError(t, err, holepunch.ErrInvalidArgument)
	// What has UDP only uses it.
	a, b := dialing(bounded(t), server, []byte("udp"), holepunch.WithTransport(holepunch.UDP)), dialing(bounded(t), server, []byte("udp"))
	if peer := receiveConn(t, a).Peer(); peer.Transport != holepunch.UDP {
		t.Errorf("%+v", peer)
	}
	receiveConn(t, b)
}

func TestConnectPeersUsesUDPWhateverIsSet(t *testing.T) {
	ctx, id, sockets := bounded(t), newID(), []*net.UDPConn{listen(t), listen(t)}
	calls := make([]chan result, 2)
	for i := range calls {
		client := newTCPClient(t, "127.0.0.1:1", holepunch.WithUDPConn(sockets[i]))
		call, other := make(chan result, 1), addrOf(sockets[1-i])
		go func() {
			peers, err := client.ConnectPeers(ctx, id, []netip.AddrPort{other})
			call <- result{peers, err}
		}()
		calls[i] = call
	}
	for _, call := range calls {
		if r := receive(t, call); r.err != nil || r.peers[0].Transport != holepunch.UDP {
			t.Errorf("%+v", r)
		}
	}
}

func TestWhyTCPCameToNothingIsTold(t *testing.T) {
	server, id := startTCPServer(t), newID()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	calls := []<-chan result{
		connecting(ctx, newClient(t, server), id, 1), connecting(ctx, newTCPClient(t, server), id, 1),
	}
	for _, call := range calls {
		r := receive(t, call)
		wantError(t, r.err, holepunch.ErrTimedOutPunching)
		if len(r.peers) != 1 || r.peers[0].Cause != holepunch.CauseNoTCP || r.peers[0].Connected {
			t.Errorf("%+v", r.peers)
		}
	}
	// Without TCP at the server nobody listens there.
	_, err := newTCPClient(t, startDefaultServer(t)).Connect(bounded(t), newID(), 1)
	wantError(t, err, holepunch.ErrServerPortClosed)
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v is not ECONNREFUSED", err)
	}
}

func TestContextEndsACallOverTCP(t *testing.T) {
	client := newTCPClient(t, startTCPServer(t))
	ctx, cancel := context.WithCancel(bounded(t))
	call := connecting(ctx, client, newID(), 1)
	time.AfterFunc(50*time.Millisecond, cancel)
	wantError(t, receive(t, call).err, holepunch.ErrCanceled)
	call = connecting(bounded(t), client, newID(), 1)
	time.AfterFunc(50*time.Millisecond, func() { client.Close() })
	wantError(t, receive(t, call).err, holepunch.ErrClosed)
}
