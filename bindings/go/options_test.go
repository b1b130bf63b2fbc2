package holepunch_test

import (
	"context"
	"errors"
	"math"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"holepunch.example/holepunch"
)

func TestOptionsAreCheckedAtTheirEdges(t *testing.T) {
	client := newClient(t, "127.0.0.1:5000")
	pauses := map[string]func(time.Duration) holepunch.Option{
		"server": holepunch.WithServerRetry,
		"peer":   holepunch.WithPeerRetry,
	}
	for name, option := range pauses {
		for _, good := range []time.Duration{time.Millisecond, holepunch.DefaultRetry, 10 * time.Second} {
			if err := client.Configure(option(good)); err != nil {
				t.Errorf("%s, %v: %v", name, good, err)
			}
		}
		for _, bad := range []time.Duration{
			math.MinInt64, -time.Second, 0, 1, time.Millisecond - 1, 10*time.Second + time.Millisecond,
			// These would be in range in 32 bits.
			(1<<32 + 5) * time.Millisecond, (1<<31 + 5) * time.Millisecond, math.MaxInt64,
		} {
			wantError(t, client.Configure(option(bad)), holepunch.ErrInvalidArgument)
		}
	}
	for _, dialect := range []holepunch.Dialect{holepunch.Auto, holepunch.Native, holepunch.Plain} {
		if err := client.Configure(holepunch.WithDialect(dialect)); err != nil {
			t.Errorf("%v: %v", dialect, err)
		}
	}
	for _, dialect := range []holepunch.Dialect{-1, 3, 1 << 32} {
		wantError(t, client.Configure(holepunch.WithDialect(dialect)), holepunch.ErrInvalidArgument)
		if dialect.String() != "unknown" {
			t.Error(dialect.String())
		}
	}
	for transport, name := range map[holepunch.Transport]string{holepunch.UDP: "udp", holepunch.TCP: "tcp", holepunch.Either: "either"} {
		if err := client.Configure(holepunch.WithTransport(transport)); err != nil || transport.String() != name {
			t.Errorf("%v: %v", transport, err)
		}
	}
	for _, transport := range []holepunch.Transport{-1, 0, 4, 1<<32 + 1} {
		wantError(t, client.Configure(holepunch.WithTransport(transport)), holepunch.ErrInvalidArgument)
		if transport.String() != "unknown" {
			t.Error(transport.String())
		}
	}
	for _, timeout := range []time.Duration{math.MinInt64, -1, 0, 1, math.MaxInt64} {
		if err := client.Configure(holepunch.WithTimeout(timeout)); err != nil {
			t.Errorf("%v: %v", timeout, err)
		}
	}
	for _, local := range []string{"127.0.0.1:0", "[::1]:0", "[fe80::1%lo]:0", "[::ffff:127.0.0.1]:1"} {
		if err := client.Configure(holepunch.WithLocalAddr(netip.MustParseAddrPort(local))); err != nil {
			t.Errorf("%v: %v", local, err)
		}
	}
	if err := client.Configure(); err != nil {
		t.Error(err)
	}
	if broken, err := holepunch.NewClient("127.0.0.1:5000", holepunch.WithDialect(9)); broken != nil || !errors.Is(err, os.ErrInvalid) {
		t.Errorf("a wrong option gives %v, %v", broken, err)
	}
}

// asked counts the datagrams that a silent socket gets in a moment.
func asked(t *testing.T, moment time.Duration, call func(silent netip.AddrPort)) int {
	silent := listen(t)
	call(addrOf(silent))
	count := 0
	silent.SetReadDeadline(time.Now().Add(moment / 10))
	for buffer := make([]byte, 2000); ; count++ {
		if _, _, err := silent.ReadFromUDPAddrPort(buffer); err != nil {
			return count
		}
	}
}

// The first datagrams follow each other in 4 to 80 ms, whatever the setting.
func TestRetryPausesAreKept(t *testing.T) {
	const moment = 300 * time.Millisecond
	server := func(pause time.Duration) int {
		return asked(t, moment, func(silent netip.AddrPort) {
			client := newClient(t, silent.String(), holepunch.WithServerRetry(pause), holepunch.WithTimeout(moment))
			client.Connect(bounded(t), newID(), 1)
		})
	}
	peer := func(pause time.Duration) int {
		return asked(t, moment, func(silent netip.AddrPort) {
			client := newClient(t, "127.0.0.1:1", holepunch.WithDialect(holepunch.Native), holepunch.WithPeerRetry(pause), holepunch.WithTimeout(moment))
			client.ConnectPeers(bounded(t), newID(), []netip.AddrPort{silent})
		})
	}
	for name, count := range map[string]func(time.Duration) int{"server": server, "peer": peer} {
		if dense, sparse := count(2*time.Millisecond), count(10*time.Second); sparse < 2 || sparse > 15 || dense < 3*sparse {
			t.Errorf("%s: asked %d times with a pause of 2 ms, %d times with 10 s", name, dense, sparse)
		}
	}
}

func TestTheEarlierOfTimeoutAndDeadlineCounts(t *testing.T) {
	server := startDefaultServer(t)
	for _, test := range []struct {
		name              string
		timeout, deadline time.Duration
	}{
		{"timeout", 40 * time.Millisecond, patience},
		{"deadline", patience, 40 * time.Millisecond},
		{"deadline without a timeout", -1, 40 * time.Millisecond},
		{"timeout without a deadline", 40 * time.Millisecond, 0},
	} {
		start, ctx := time.Now(), context.Background()
		if test.deadline > 0 {
			bounded, cancel := context.WithTimeout(ctx, test.deadline)
			defer cancel()
			ctx = bounded
		}
		_, err := newClient(t, server, holepunch.WithTimeout(test.timeout)).Connect(ctx, newID(), 1)
		if took := time.Since(start); took < 40*time.Millisecond || took > patience/2 {
			t.Errorf("%s: took %v", test.name, took)
		}
		wantError(t, err, holepunch.ErrTimedOutWaiting)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	start := time.Now()
	_, err := newClient(t, server, holepunch.WithTimeout(0)).Connect(context.Background(), newID(), 1)
	wantError(t, err, holepunch.ErrServerSilent)
	if took := time.Since(start); took > patience/2 {
		t.Errorf("no time at all: took %v", took)
	}
}

func TestLocalAddrIsUsed(t *testing.T) {
	server := startDefaultServer(t)
	a, b := newClient(t, server), newClient(t, server)
	if err := a.Configure(holepunch.WithLocalAddr(netip.MustParseAddrPort("127.0.0.2:0"))); err != nil {
		t.Fatal(err)
	}
	peers := meet(t, a, b)
	socket := take(t, a, peers[0][0])
	if own := addrOf(socket); own.Addr() != netip.MustParseAddr("127.0.0.2") || own != peers[1][0].Addr {
		t.Errorf("bound to %v, seen at %v", own, peers[1][0].Addr)
	}
	own := addrOf(socket)
	socket.Close()
	// The very same address again, and then any.
	if err := a.Configure(holepunch.WithLocalAddr(own)); err != nil {
		t.Fatal(err)
	}
	if peers := meet(t, a, b); peers[1][0].Addr != own {
		t.Errorf("seen at %v, not %v", peers[1][0].Addr, own)
	}
	c := newClient(t, server, holepunch.WithLocalAddr(own), holepunch.WithLocalAddr(netip.AddrPort{}))
	if socket := take(t, c, meet(t, b, c)[1][0]); !addrOf(socket).Addr().IsUnspecified() {
		t.Errorf("bound to %v", socket.LocalAddr())
	}
}

func TestDialectsAreKept(t *testing.T) {
	server := startServer(t, holepunch.ServerConfig{})
	native, plain := server.Counters().NativeJoined, server.Counters().PlainJoined
	a, b := newClient(t, server.Addr().String(), holepunch.WithDialect(holepunch.Plain)), newClient(t, server.Addr().String())
	if peers := meet(t, a, b); peers[0][0].Authenticated || peers[1][0].Authenticated {
		t.Error("a plain peer is authenticated")
	}
	if counters := server.Counters(); counters.NativeJoined != native+1 || counters.PlainJoined != plain+1 {
		t.Errorf("%+v", counters)
	}
	if err := a.Configure(holepunch.WithDialect(holepunch.Native)); err != nil {
		t.Fatal(err)
	}
	if peers := meet(t, a, b); !peers[0][0].Authenticated || !peers[1][0].Authenticated {
		t.Error("a native peer is not authenticated")
	}
}

func TestIPv6Connects(t *testing.T) {
	if probe, err := net.ListenPacket("udp6", "[::1]:0"); err != nil {
		t.Skip("this host has no IPv6 loopback: ", err)
	} else {
		probe.Close()
	}
	server := startServer(t, holepunch.ServerConfig{Addr: "[::1]:0"}).Addr()
	if !server.Addr().Is6() {
		t.Fatal(server)
	}
	ctx, id := bounded(t), newID()
	first, second := dialing(ctx, server.String(), id), dialing(ctx, server.String(), id)
	a, b := receiveConn(t, first), receiveConn(t, second)
	if a.Peer().Addr.Addr() != netip.MustParseAddr("::1") {
		t.Error(a.Peer().Addr)
	}
	if _, err := a.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if got := read(t, b); got != "hello" {
		t.Errorf("got %q", got)
	}
}

func TestPathsHaveNames(t *testing.T) {
	for path, name := range map[holepunch.Path]string{
		holepunch.Host: "host", holepunch.Reflexive: "reflexive", holepunch.Mapped: "mapped",
		holepunch.PeerReflexive: "peer-reflexive", holepunch.Predicted: "predicted", holepunch.Relayed: "relayed",
		0: "unknown", 7: "unknown", -1: "unknown",
	} {
		if path.String() != name {
			t.Errorf("%d is %q", path, path)
		}
	}
}

func TestSessionIDsAreFresh(t *testing.T) {
	seen := make(map[string]bool)
	for i := 0; i < 100; i++ {
		id, err := holepunch.NewSessionID()
		if err != nil || len(id) != 32 || seen[id] {
			t.Fatalf("%q, %v", id, err)
		}
		for _, digit := range id {
			if (digit < '0' || digit > '9') && (digit < 'a' || digit > 'f') {
				t.Fatalf("%q", id)
			}
		}
		seen[id] = true
	}
}
