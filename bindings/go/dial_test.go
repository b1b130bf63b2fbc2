package holepunch_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"holepunch.example/holepunch"
)

type dialed struct {
	conn *holepunch.Conn
	err  error
}

func dialing(ctx context.Context, server string, id []byte, options ...holepunch.Option) <-chan dialed {
	done := make(chan dialed, 1)
	go func() {
		conn, err := holepunch.Dial(ctx, server, id, options...)
		done <- dialed{conn, err}
	}()
	return done
}

func receiveConn(t testing.TB, from <-chan dialed) *holepunch.Conn {
	t.Helper()
	d := receive(t, from)
	if d.err != nil {
		t.Fatal(d.err)
	}
	t.Cleanup(func() { d.conn.Close() })
	return d.conn
}

func dialPair(t testing.TB, options ...holepunch.Option) (a, b *holepunch.Conn) {
	t.Helper()
	server, ctx, id := startDefaultServer(t), bounded(t), newID()
	first, second := dialing(ctx, server, id, options...), dialing(ctx, server, id, options...)
	return receiveConn(t, first), receiveConn(t, second)
}

// read reads one datagram and gives up when patience ends.
func read(t testing.TB, conn *holepunch.Conn) string {
	t.Helper()
	buffer := make([]byte, 2000)
	conn.SetReadDeadline(time.Now().Add(patience))
	n, err := conn.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	return string(buffer[:n])
}

func TestDialGivesConnsThatReachEachOther(t *testing.T) {
	for _, dialect := range []holepunch.Dialect{holepunch.Auto, holepunch.Native, holepunch.Plain} {
		t.Run(dialect.String(), func(t *testing.T) {
			a, b := dialPair(t, holepunch.WithDialect(dialect))
			for i := 0; i < 100; i++ {
				for _, way := range []struct{ from, to *holepunch.Conn }{{a, b}, {b, a}} {
					text := fmt.Sprintf("datagram %d to %v", i, way.to.LocalAddr())
					if n, err := way.from.Write([]byte(text)); n != len(text) || err != nil {
						t.Fatal(n, err)
					}
					if got := read(t, way.to); got != text {
						t.Fatalf("got %q, want %q", got, text)
					}
				}
			}
		})
	}
}

func TestDialTellsWhatIsKnownOfThePeer(t *testing.T) {
	a, b := dialPair(t)
	for _, side := range []struct{ own, other *holepunch.Conn }{{a, b}, {b, a}} {
		peer := side.own.Peer()
		if !peer.Connected || !peer.Authenticated || peer.RTT <= 0 || peer.RTT > time.Second {
			t.Errorf("%+v", peer)
		}
		if peer.Addr.Port() != addrOf(side.other.UDPConn()).Port() {
			t.Errorf("the peer at %v is seen at %v", side.other.LocalAddr(), peer.Addr)
		}
		if side.own.RemoteAddr().String() != peer.Addr.String() {
			t.Errorf("the remote address is %v, the peer's is %v", side.own.RemoteAddr(), peer.Addr)
		}
	}
	c, d := dialPair(t, holepunch.WithDialect(holepunch.Plain))
	for _, peer := range []holepunch.Peer{c.Peer(), d.Peer()} {
		if !peer.Connected || peer.Authenticated || peer.RTT != 0 || peer.Path != holepunch.Reflexive {
			t.Errorf("%+v", peer)
		}
	}
}

func TestDialPassesOptionsAndErrorsOn(t *testing.T) {
	ctx := bounded(t)
	server := startDefaultServer(t)
	_, err := holepunch.Dial(ctx, "no port", newID())
	wantError(t, err, holepunch.ErrInvalidServer)
	_, err = holepunch.Dial(ctx, server, nil)
	wantError(t, err, holepunch.ErrInvalidSessionID)
	_, err = holepunch.Dial(ctx, server, newID(), holepunch.WithPeerRetry(0))
	wantError(t, err, holepunch.ErrInvalidArgument)
	conn, err := holepunch.Dial(ctx, server, newID(), holepunch.WithTimeout(30*time.Millisecond))
	wantError(t, err, holepunch.ErrTimedOutWaiting)
	if conn != nil {
		t.Error("a Conn beside an error")
	}
}

// Two bare plain clients are in the session before the one that dials. One of
// them speaks as soon as it is heard of, and for the silent one's sake the call
// lasts a moment longer.
func TestWhatCameBeforeDialReturnedIsReadFirst(t *testing.T) {
	server := startServer(t, holepunch.ServerConfig{})
	ctx, id := bounded(t), newID()
	speaker, silent := listen(t), listen(t)
	send(t, speaker, server.Addr(), string(id))
	send(t, silent, server.Addr(), string(id))
	eventually(t, "two clients are registered", func() bool { return len(server.Endpoints()) == 2 })

	given := listen(t)
	dial := dialing(ctx, server.Addr().String(), id, holepunch.WithUDPConn(given))
	buffer := make([]byte, 2000)
	for heard := false; !heard; {
		speaker.SetReadDeadline(time.Now().Add(patience))
		n, from, err := speaker.ReadFromUDPAddrPort(buffer)
		if err != nil {
			t.Fatal(err)
		}
		heard = from == addrOf(given) && string(buffer[:n]) == "SYN"
	}
	for i := 0; i < 3; i++ {
		send(t, speaker, addrOf(given), fmt.Sprint("early ", i))
	}
	conn := receiveConn(t, dial)
	if conn.Peer().Addr != addrOf(speaker) {
		t.Fatalf("the peer is %v, not %v", conn.Peer().Addr, addrOf(speaker))
	}
	send(t, speaker, addrOf(given), "late")
	// They are not in the socket any more: what is there comes after them.
	if text, _ := next(t, conn.UDPConn()); text != "late" {
		t.Fatalf("%q was left in the socket", text)
	}
	send(t, speaker, addrOf(given), "later")
	for _, want := range []string{"early 0", "early 1", "early 2", "later"} {
		if got := read(t, conn); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}
