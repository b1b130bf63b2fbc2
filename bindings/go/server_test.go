package holepunch_test

import (
	"context"
	"errors"
	"math"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"holepunch.example/holepunch"
)

// ask sends a plain client's registration and returns the answer.
func ask(t *testing.T, server *holepunch.Server, from *net.UDPConn, id string) string {
	t.Helper()
	send(t, from, server.Addr(), id)
	buffer := make([]byte, 2000)
	from.SetReadDeadline(time.Now().Add(patience))
	n, source, err := from.ReadFromUDPAddrPort(buffer)
	if err != nil {
		t.Fatal(err)
	}
	if source != server.Addr() {
		t.Fatalf("%v answered", source)
	}
	return string(buffer[:n])
}

func newServer(t *testing.T, config holepunch.ServerConfig) *holepunch.Server {
	t.Helper()
	if config.Addr == "" {
		config.Addr = "127.0.0.1:0"
	}
	server, err := holepunch.NewServer(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server
}

func serving(ctx context.Context, server *holepunch.Server) <-chan error {
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx) }()
	return served
}

func TestServerListsPlainClients(t *testing.T) {
	server := startServer(t, holepunch.ServerConfig{})
	if endpoints := server.Endpoints(); len(endpoints) != 0 {
		t.Errorf("%v before anyone came", endpoints)
	}
	a, b, c := listen(t), listen(t), listen(t)
	id := string(newID())
	if list := ask(t, server, a, id); list != "" {
		t.Errorf("the first is told of %q", list)
	}
	if list := ask(t, server, b, id); list != addrOf(a).String() {
		t.Errorf("the second is told of %q", list)
	}
	want := map[string]bool{addrOf(a).String(): true, addrOf(b).String(): true}
	list := strings.Split(ask(t, server, c, id), ",")
	if len(list) != 2 || !want[list[0]] || !want[list[1]] || list[0] == list[1] {
		t.Errorf("the third is told of %v", list)
	}
	endpoints := server.Endpoints()
	want[addrOf(c).String()] = true
	if len(endpoints) != 3 {
		t.Errorf("endpoints: %v", endpoints)
	}
	for _, endpoint := range endpoints {
		if !want[endpoint.String()] {
			t.Errorf("nobody is at %v", endpoint)
		}
	}
	ask(t, server, listen(t), id+" of others")
	counters := server.Counters()
	if counters.PlainJoined != 4 || counters.Endpoints != 4 || counters.Sessions != 2 || counters.Received < 4 || counters.Sent < 4 || counters.NativeJoined != 0 || counters.Dropped != 0 {
		t.Errorf("%+v", counters)
	}
}

// There are more than the first guess of how many there may be.
func TestServerListsManyEndpoints(t *testing.T) {
	server := startServer(t, holepunch.ServerConfig{})
	const many = 150
	want := make(map[netip.AddrPort]bool)
	for i := 0; i < many; i++ {
		socket := listen(t)
		ask(t, server, socket, string(newID()))
		want[addrOf(socket)] = true
	}
	endpoints := server.Endpoints()
	for _, endpoint := range endpoints {
		delete(want, endpoint)
	}
	if len(endpoints) != many || len(want) != 0 {
		t.Errorf("%d endpoints, %d are missing", len(endpoints), len(want))
	}
}

func TestServerCountsNativeClients(t *testing.T) {
	server := startServer(t, holepunch.ServerConfig{})
	meet(t, newClient(t, server.Addr().String()), newClient(t, server.Addr().String()))
	eventually(t, "both have left", func() bool { return server.Counters().Left == 2 })
	counters := server.Counters()
	if counters.NativeJoined != 2 || counters.Challenged < 2 || counters.Endpoints != 0 || counters.PlainJoined != 0 || counters.Expired != 0 || counters.SendFailed != 0 {
		t.Errorf("%+v", counters)
	}
}

func TestServerServesTheDialectsItIsToldTo(t *testing.T) {
	for _, test := range []struct {
		server, a, b  holepunch.Dialect
		authenticated bool
	}{
		{holepunch.Plain, holepunch.Plain, holepunch.Plain, false},
		{holepunch.Native, holepunch.Auto, holepunch.Native, true},
	} {
		server := startServer(t, holepunch.ServerConfig{Dialect: test.server}).Addr().String()
		a, b := newClient(t, server, holepunch.WithDialect(test.a)), newClient(t, server, holepunch.WithDialect(test.b))
		if peers := meet(t, a, b); peers[0][0].Authenticated != test.authenticated {
			t.Errorf("%+v: %+v", test, peers)
		}
	}
	native := startServer(t, holepunch.ServerConfig{Dialect: holepunch.Native})
	send(t, listen(t), native.Addr(), "a plain ID")
	eventually(t, "it is dropped", func() bool { return native.Counters().Dropped == 1 })
	if len(native.Endpoints()) != 0 {
		t.Error("it is registered")
	}
}

func TestPlainExpiryForgets(t *testing.T) {
	server := startServer(t, holepunch.ServerConfig{PlainExpiry: time.Hour})
	a, b := listen(t), listen(t)
	ask(t, server, a, "id")
	ask(t, server, b, "id")
	for _, longer := range []time.Duration{-1, math.MinInt64, math.MaxInt64, time.Hour} {
		if err := server.SetPlainExpiry(longer); err != nil {
			t.Fatal(err)
		}
	}
	if counters := server.Counters(); counters.Endpoints != 2 || counters.Expired != 0 {
		t.Fatalf("%+v", counters)
	}
	if err := server.SetPlainExpiry(0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both are forgotten", func() bool { return len(server.Endpoints()) == 0 })
	if counters := server.Counters(); counters.Expired != 2 || counters.Sessions != 0 {
		t.Errorf("%+v", counters)
	}
	if err := server.SetPlainExpiry(time.Hour); err != nil {
		t.Fatal(err)
	}
	if list := ask(t, server, b, "id"); list != "" {
		t.Errorf("told of %q", list)
	}

	// From the start.
	server = startServer(t, holepunch.ServerConfig{PlainExpiry: time.Nanosecond})
	ask(t, server, a, "id")
	eventually(t, "it is forgotten", func() bool { return server.Counters().Expired == 1 })
	server = startServer(t, holepunch.ServerConfig{PlainExpiry: -1})
	ask(t, server, a, "id")
	if len(server.Endpoints()) != 1 {
		t.Error("it is forgotten")
	}
}

func TestMaxPlainIDLenIsKept(t *testing.T) {
	server := startServer(t, holepunch.ServerConfig{MaxPlainIDLen: 4})
	socket := listen(t)
	for dropped, length := range []int{4, 10, 1024, 1} {
		if dropped > 0 {
			if err := server.SetMaxPlainIDLen(length); err != nil {
				t.Fatal(err)
			}
		}
		send(t, socket, server.Addr(), strings.Repeat("x", length+1))
		eventually(t, "the longer one is dropped", func() bool { return server.Counters().Dropped == uint64(dropped)+1 })
		ask(t, server, socket, strings.Repeat("x", length))
	}
	for _, bad := range []int{math.MinInt64, -1, 0, 1025, 1<<32 + 5, math.MaxInt64} {
		wantError(t, server.SetMaxPlainIDLen(bad), holepunch.ErrInvalidArgument)
	}
}

// What the documentation says of ServerLimits' zero value is the header's.
func TestLimitsDefaultsAreDocumented(t *testing.T) {
	const initializer = "#define HP_SERVER_LIMITS_INIT { sizeof(hp_server_limits), 257, 8192, 2000, 3, 0, 268435456 }\n"
	if !strings.Contains(string(readFile(t, "holepunch.h")), initializer) {
		t.Error("the defaults have changed: say so at ServerLimits")
	}
}

func TestServerLimitsAreKeptAndChangedAsItServes(t *testing.T) {
	server := startServer(t, holepunch.ServerConfig{Limits: &holepunch.ServerLimits{EndpointsPerSession: 2}})
	sockets := []*net.UDPConn{listen(t), listen(t), listen(t)}
	ask(t, server, sockets[0], "id")
	ask(t, server, sockets[1], "id")
	send(t, sockets[2], server.Addr(), "id")
	eventually(t, "the third is refused", func() bool { return server.Counters().Refused == 1 })
	if err := server.SetLimits(holepunch.ServerLimits{EndpointsPerSession: 3, DatagramsPerSecond: 10}); err != nil {
		t.Fatal(err)
	}
	ask(t, server, sockets[2], "id")
	for i := 0; i < 100; i++ {
		send(t, sockets[2], server.Addr(), "id")
	}
	eventually(t, "too many are dropped", func() bool { return server.Counters().RateLimited > 0 })
	wantError(t, server.SetLimits(holepunch.ServerLimits{Memory: 1}), holepunch.ErrInvalidArgument)
	if counters := server.Counters(); counters.Endpoints != 3 || counters.Memory == 0 || counters.Overloaded {
		t.Errorf("%+v", counters)
	}
}

func TestServerConfigsAreChecked(t *testing.T) {
	taken := startServer(t, holepunch.ServerConfig{}).Addr().String()
	for _, test := range []struct {
		config holepunch.ServerConfig
		reason error
		text   string
	}{
		{holepunch.ServerConfig{Addr: "nonsense"}, holepunch.ErrInvalidServer, "nonsense"},
		{holepunch.ServerConfig{Addr: "127.0.0.1:99999"}, holepunch.ErrInvalidServer, "99999"},
		{holepunch.ServerConfig{Addr: "127.0.0.1:0\x00:1"}, holepunch.ErrInvalidServer, ""},
		{holepunch.ServerConfig{Dialect: 3}, holepunch.ErrInvalidArgument, "dialect"},
		{holepunch.ServerConfig{Dialect: -1}, holepunch.ErrInvalidArgument, "dialect"},
		{holepunch.ServerConfig{Workers: -1}, holepunch.ErrInvalidArgument, "1 to 64"},
		{holepunch.ServerConfig{Workers: 65}, holepunch.ErrInvalidArgument, "1 to 64"},
		{holepunch.ServerConfig{Workers: 1<<32 + 1}, holepunch.ErrInvalidArgument, "1 to 64"},
		{holepunch.ServerConfig{MaxEndpoints: -1}, holepunch.ErrInvalidArgument, "256"},
		{holepunch.ServerConfig{MaxEndpoints: 255}, holepunch.ErrInvalidArgument, "256"},
		{holepunch.ServerConfig{Limits: &holepunch.ServerLimits{EndpointsPerSession: -1}}, holepunch.ErrInvalidArgument, "257"},
		{holepunch.ServerConfig{Limits: &holepunch.ServerLimits{EndpointsPerSession: 1}}, holepunch.ErrInvalidArgument, "257"},
		{holepunch.ServerConfig{Limits: &holepunch.ServerLimits{EndpointsPerSession: 258}}, holepunch.ErrInvalidArgument, "257"},
		{holepunch.ServerConfig{Limits: &holepunch.ServerLimits{EndpointsPerSession: 1<<32 + 2}}, holepunch.ErrInvalidArgument, "257"},
		{holepunch.ServerConfig{Limits: &holepunch.ServerLimits{EndpointsPerPrefix: -1}}, holepunch.ErrInvalidArgument, "prefix"},
		{holepunch.ServerConfig{Limits: &holepunch.ServerLimits{EndpointsPerPrefix: 1}}, holepunch.ErrInvalidArgument, "prefix"},
		{holepunch.ServerConfig{Limits: &holepunch.ServerLimits{DatagramsPerSecond: 9}}, holepunch.ErrInvalidArgument, "10 datagrams"},
		{holepunch.ServerConfig{Limits: &holepunch.ServerLimits{Memory: -1}}, holepunch.ErrInvalidArgument, "1 MiB"},
		{holepunch.ServerConfig{Limits: &holepunch.ServerLimits{Memory: 1<<20 - 1}}, holepunch.ErrInvalidArgument, "1 MiB"},
		{holepunch.ServerConfig{MaxPlainIDLen: -1}, holepunch.ErrInvalidArgument, "1024"},
		{holepunch.ServerConfig{MaxPlainIDLen: 1025}, holepunch.ErrInvalidArgument, "1024"},
		{holepunch.ServerConfig{Addr: taken}, holepunch.ErrSocket, taken},
	} {
		if test.config.Addr == "" {
			test.config.Addr = "127.0.0.1:0"
		}
		server, err := holepunch.NewServer(test.config)
		if server != nil {
			t.Errorf("%+v is taken", test.config)
			server.Close()
			continue
		}
		wantError(t, err, test.reason)
		if !strings.Contains(err.Error(), test.text) {
			t.Errorf("%q says nothing of %q", err, test.text)
		}
		if test.config.Addr == taken && !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("%v is not EADDRINUSE", err)
		}
	}
	for _, limits := range []holepunch.ServerLimits{
		{},
		{EndpointsPerSession: 2, EndpointsPerPrefix: 2, DatagramsPerSecond: 10, PlainAmplification: 1, Memory: 1 << 20},
		{EndpointsPerSession: 257, EndpointsPerPrefix: math.MaxInt64, DatagramsPerSecond: math.MaxInt64, PlainAmplification: math.MaxInt64, Memory: math.MaxInt64},
		{DatagramsPerSecond: -1, PlainAmplification: math.MinInt64},
	} {
		limits := limits
		newServer(t, holepunch.ServerConfig{Limits: &limits})
	}
	newServer(t, holepunch.ServerConfig{Workers: 64, MaxEndpoints: math.MaxInt64, MaxPlainIDLen: 1024, PlainExpiry: math.MaxInt64})
}

func TestServerKnowsItsAddress(t *testing.T) {
	loopback := newServer(t, holepunch.ServerConfig{}).Addr()
	if loopback.Addr() != netip.MustParseAddr("127.0.0.1") || loopback.Port() == 0 {
		t.Error(loopback)
	}
	all := newServer(t, holepunch.ServerConfig{Addr: ":0"}).Addr()
	if !all.Addr().IsUnspecified() || all.Port() == 0 {
		t.Error(all)
	}
}

func TestClientsWaitForServe(t *testing.T) {
	server := newServer(t, holepunch.ServerConfig{})
	call := connecting(bounded(t), newClient(t, server.Addr().String()), []byte("id"), 1)
	other := connecting(bounded(t), newClient(t, server.Addr().String()), []byte("id"), 1)
	serving(context.Background(), server)
	for _, call := range []<-chan result{call, other} {
		if r := receive(t, call); r.err != nil {
			t.Error(r.err)
		}
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	for name, end := range map[string]struct {
		make func() (context.Context, context.CancelFunc)
		want func(*testing.T, error)
	}{
		"canceled": {func() (context.Context, context.CancelFunc) { return context.WithCancel(context.Background()) }, wantCanceled},
		"exceeded": {func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(context.Background(), 30*time.Millisecond)
		}, func(t *testing.T, err error) { wantExceeded(t, err, holepunch.ErrTimedOut) }},
	} {
		t.Run(name, func(t *testing.T) {
			server := newServer(t, holepunch.ServerConfig{})
			addr := server.Addr()
			ctx, cancel := end.make()
			defer cancel()
			served := serving(ctx, server)
			if name == "canceled" {
				ask(t, server, listen(t), "id")
				cancel()
			}
			end.want(t, receive(t, served))
			// It is not closed yet, and keeps what it knows, but not the port.
			if server.Addr() != addr {
				t.Error(server.Addr())
			}
			if name == "canceled" && server.Counters().PlainJoined != 1 {
				t.Errorf("%+v", server.Counters())
			}
			newServer(t, holepunch.ServerConfig{Addr: addr.String()})
			if err := receive(t, serving(context.Background(), server)); !errors.Is(err, holepunch.ErrClosed) && !errors.Is(err, holepunch.ErrUnsupported) {
				t.Errorf("a second Serve: %v", err)
			}
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	wantCanceled(t, receive(t, serving(ctx, newServer(t, holepunch.ServerConfig{}))))
}

func TestServerServesOnce(t *testing.T) {
	server := newServer(t, holepunch.ServerConfig{})
	served := serving(context.Background(), server)
	ask(t, server, listen(t), "id")
	wantError(t, receive(t, serving(context.Background(), server)), holepunch.ErrUnsupported)
	// One that is refused must not end the one that serves.
	done, cancel := context.WithCancel(context.Background())
	cancel()
	for i := 0; i < 20; i++ {
		if err := receive(t, serving(done, server)); err == nil {
			t.Fatal("it served again")
		}
	}
	select {
	case err := <-served:
		t.Errorf("a refused Serve ended the running one: %v", err)
	// Twice the time that a server takes to notice its end.
	case <-time.After(100 * time.Millisecond):
	}
}

func TestClosedServerAnswersEveryCall(t *testing.T) {
	server := newServer(t, holepunch.ServerConfig{})
	addr := server.Addr()
	served := serving(context.Background(), server)
	ask(t, server, listen(t), "id")
	closed := make(chan error, 2)
	for i := 0; i < 2; i++ {
		go func() { closed <- server.Close() }()
	}
	for i := 0; i < 2; i++ {
		if err := receive(t, closed); err != nil {
			t.Error(err)
		}
	}
	wantError(t, receive(t, served), holepunch.ErrClosed)
	for _, err := range []error{server.Serve(context.Background()), server.SetPlainExpiry(0), server.SetMaxPlainIDLen(5)} {
		wantError(t, err, holepunch.ErrClosed)
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v is not net.ErrClosed", err)
		}
	}
	if server.Endpoints() != nil || server.Counters() != (holepunch.ServerCounters{}) || server.Addr() != addr {
		t.Error("a closed server still knows something, or no address")
	}
	newServer(t, holepunch.ServerConfig{Addr: addr.String()})
}

func TestServerIsUsedWhileItIsClosed(t *testing.T) {
	for i := 0; i < 10; i++ {
		server := newServer(t, holepunch.ServerConfig{Workers: 1})
		served := serving(context.Background(), server)
		users := make(chan bool, 4)
		for j := 0; j < cap(users); j++ {
			go func() {
				for server.SetPlainExpiry(time.Second) == nil {
					server.Counters()
					server.Endpoints()
				}
				users <- true
			}()
		}
		server.Close()
		wantError(t, receive(t, served), holepunch.ErrClosed)
		for j := 0; j < cap(users); j++ {
			receive(t, users)
		}
	}
}
