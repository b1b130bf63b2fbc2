package holepunch_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"holepunch.example/holepunch"
)

func TestGivenSocketIsUsedAndStaysTheCallers(t *testing.T) {
	server := startDefaultServer(t)
	for _, test := range []struct{ network, address string }{
		{"udp4", "127.0.0.1:0"},
		{"udp4", "0.0.0.0:0"},
		// Takes both families, where there are two.
		{"udp", ":0"},
	} {
		t.Run(test.network+" "+test.address, func(t *testing.T) {
			given := listenOn(t, test.network, test.address)
			a, b := newClient(t, server, holepunch.WithUDPConn(given)), newClient(t, server)
			for round := 0; round < 2; round++ {
				peers := meet(t, a, b)
				if port := addrOf(given).Port(); peers[1][0].Addr.Port() != port {
					t.Fatalf("the peer sees port %d, not %d", peers[1][0].Addr.Port(), port)
				}
				for i := 0; i < 2; i++ {
					if taken, err := a.TakeUDPConn(peers[0][0]); err != nil || taken != given {
						t.Fatal("another socket than the given one: ", err)
					}
				}
				other := take(t, b, peers[1][0])
				send(t, other, peers[1][0].Addr, "to the given one")
				if text, from := next(t, given); text != "to the given one" || from != peers[0][0].Addr {
					t.Errorf("%q from %v", text, from)
				}
				send(t, given, peers[0][0].Addr, "from the given one")
				if text, _ := next(t, other); text != "from the given one" {
					t.Errorf("%q", text)
				}
			}
			a.Close()
			given.SetReadDeadline(time.Now().Add(time.Millisecond))
			_, _, err := given.ReadFromUDPAddrPort(make([]byte, 2000))
			if errors.Is(err, net.ErrClosed) {
				t.Error("it was closed")
			}
			friend := listen(t)
			send(t, given, addrOf(friend), "still here")
			if text, from := next(t, friend); text != "still here" || from.Port() != addrOf(given).Port() {
				t.Errorf("%q from %v", text, from)
			}
		})
	}
}

func TestSocketsThatCannotBeUsedAreRefused(t *testing.T) {
	server := startDefaultServer(t)
	own := listen(t)
	client := newClient(t, server, holepunch.WithUDPConn(own))

	closed := listen(t)
	closed.Close()
	err := client.Configure(holepunch.WithUDPConn(closed))
	wantError(t, err, holepunch.ErrClosed)
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v is not net.ErrClosed", err)
	}
	connected, err := net.Dial("udp4", server)
	if err != nil {
		t.Fatal(err)
	}
	defer connected.Close()
	wantError(t, client.Configure(holepunch.WithUDPConn(connected.(*net.UDPConn))), holepunch.ErrInvalidArgument)
	if _, err := connected.Write([]byte("hello")); err != nil {
		t.Errorf("the refused socket does not work any more: %v", err)
	}
	wantError(t, client.Configure(holepunch.WithUDPConn(new(net.UDPConn))), holepunch.ErrInvalidArgument)
	if refused, err := holepunch.NewClient(server, holepunch.WithUDPConn(closed)); refused != nil || err == nil {
		t.Errorf("a client with a closed socket: %v, %v", refused, err)
	}

	// The one that was given before is still in use.
	if peers := meet(t, client, newClient(t, server)); peers[1][0].Addr != addrOf(own) {
		t.Errorf("seen at %v, not %v", peers[1][0].Addr, addrOf(own))
	}
}

func TestAnotherSocketTakesTheFirstOnesPlace(t *testing.T) {
	server := startDefaultServer(t)
	first, second := listen(t), listen(t)
	client := newClient(t, server, holepunch.WithUDPConn(first))
	other := newClient(t, server)
	peers := meet(t, client, other)
	if taken, _ := client.TakeUDPConn(peers[0][0]); taken != first {
		t.Fatal("not the first")
	}
	if err := client.Configure(holepunch.WithUDPConn(second)); err != nil {
		t.Fatal(err)
	}
	peers = meet(t, client, other)
	if taken, _ := client.TakeUDPConn(peers[0][0]); taken != second || peers[1][0].Addr != addrOf(second) {
		t.Fatal("not the second")
	}
	send(t, first, addrOf(second), "the first one lives")
	if text, _ := next(t, second); text != "the first one lives" {
		t.Errorf("%q", text)
	}
}

// Deadlines are package net's own, and no matter of the descriptor's.
func TestDeadlinesOfAGivenSocketDoNotDisturbACall(t *testing.T) {
	server := startDefaultServer(t)
	given := listen(t)
	given.SetDeadline(time.Now().Add(-time.Second))
	a, b := newClient(t, server, holepunch.WithUDPConn(given)), newClient(t, server)
	peers := meet(t, a, b)
	_, _, err := given.ReadFromUDPAddrPort(make([]byte, 2000))
	wantTimeout(t, err)
	given.SetDeadline(time.Time{})
	send(t, take(t, b, peers[1][0]), peers[1][0].Addr, "hello")
	if text, _ := next(t, given); text != "hello" {
		t.Errorf("%q", text)
	}
}

func TestCallerMayCloseAGivenSocket(t *testing.T) {
	server := startServer(t, holepunch.ServerConfig{})
	given := listen(t)
	client := newClient(t, server.Addr().String(), holepunch.WithUDPConn(given))
	ctx, cancel := context.WithCancel(bounded(t))
	call := connecting(ctx, client, newID(), 1)
	eventually(t, "it is registered", func() bool { return len(server.Endpoints()) == 1 })
	given.Close()
	cancel()
	wantError(t, receive(t, call).err, holepunch.ErrCanceled)
	client.Close()
	// Nobody holds the port any more.
	again, err := net.ListenUDP("udp4", given.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestDialOverAGivenSocket(t *testing.T) {
	server, ctx, id := startDefaultServer(t), bounded(t), newID()
	given := listen(t)
	first, second := dialing(ctx, server, id, holepunch.WithUDPConn(given)), dialing(ctx, server, id)
	a, b := receiveConn(t, first), receiveConn(t, second)
	if a.UDPConn() != given || b.Peer().Addr != addrOf(given) {
		t.Errorf("seen at %v, not %v", b.Peer().Addr, addrOf(given))
	}
	if _, err := b.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if got := read(t, a); got != "hello" {
		t.Errorf("got %q", got)
	}
}
