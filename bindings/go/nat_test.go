package holepunch_test

import (
	"context"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"holepunch.example/holepunch"
)

// checked is what CheckNAT gave.
type checked struct {
	report *holepunch.NATReport
	err    error
}

// checking checks the NAT in the background.
func checking(ctx context.Context, client *holepunch.Client) <-chan checked {
	done := make(chan checked, 1)
	go func() {
		report, err := client.CheckNAT(ctx)
		done <- checked{report, err}
	}()
	return done
}

func TestCheckNATFindsNoneOnLoopback(t *testing.T) {
	server := startServer(t, holepunch.ServerConfig{OtherAddr: netip.MustParseAddr("127.0.0.2")}).Addr().String()
	report, err := holepunch.CheckNAT(bounded(t), server)
	if err != nil {
		t.Fatal(err)
	}
	if report.Mapping != holepunch.MappingNone || report.Allocation != holepunch.AllocationUnknown ||
		report.Step != 0 || report.FirstPort != 0 || report.LastPort != 0 {
		t.Errorf("%+v", report)
	}
	if report.Filtering != holepunch.FilteringEndpointIndependent {
		t.Errorf("filtering %v", report.Filtering)
	}
	loopback := netip.MustParseAddr("127.0.0.1")
	if report.Local.Addr() != loopback || report.Local.Port() == 0 || report.Observed != report.Local || report.ObservedIPv6.IsValid() {
		t.Errorf("%v, seen as %v and %v", report.Local, report.Observed, report.ObservedIPv6)
	}
	if report.LifetimeMin != 0 || report.LifetimeMax != 0 {
		t.Errorf("%v to %v", report.LifetimeMin, report.LifetimeMax)
	}
	if report.InnerRouters < -1 {
		t.Errorf("%d routers", report.InnerRouters)
	}
	if text := report.String(); !strings.HasPrefix(text, "no NAT, endpoint-independent filtering") {
		t.Errorf("%q", text)
	}
}

// Without alternate ports nobody knows.
func TestCheckNATWithAServerOfOnePort(t *testing.T) {
	server := startServer(t, holepunch.ServerConfig{AlternatePorts: -1}).Addr().String()
	report, err := holepunch.CheckNAT(bounded(t), server)
	if err != nil {
		t.Fatal(err)
	}
	if report.Filtering != holepunch.FilteringUnknown || report.Observed != report.Local {
		t.Errorf("%+v", report)
	}
}

func TestCheckNATLeavesEarlierPeersAlone(t *testing.T) {
	server := startDefaultServer(t)
	a, b := newClient(t, server), newClient(t, server)
	peers := meet(t, a, b)
	if _, err := a.CheckNAT(bounded(t)); err != nil {
		t.Fatal(err)
	}
	own, other := take(t, a, peers[0][0]), take(t, b, peers[1][0])
	if addrOf(own).Port() != peers[1][0].Addr.Port() {
		t.Error("another socket")
	}
	send(t, own, peers[0][0].Addr, "hello")
	if got, _ := next(t, other); got != "hello" {
		t.Errorf("got %q", got)
	}
	// What was taken stays taken, and is found again.
	if _, err := a.CheckNAT(bounded(t)); err != nil {
		t.Fatal(err)
	}
	if again, err := a.TakeUDPConn(peers[0][0]); err != nil || again != own {
		t.Errorf("%v, %v", again, err)
	}
}

// startPlainServer returns the address of a server that knows no other dialect
// and takes everything for a session's ID.
func startPlainServer(t *testing.T) string {
	socket := listen(t)
	go func() {
		buffer := make([]byte, 2000)
		for {
			_, from, err := socket.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			socket.WriteToUDPAddrPort([]byte(from.String()), from)
		}
	}()
	return addrOf(socket).String()
}

func TestCheckNATFails(t *testing.T) {
	closed := listen(t)
	closed.Close()
	moment := holepunch.WithTimeout(200 * time.Millisecond)
	for _, test := range []struct {
		name, server string
		option       holepunch.Option
		reason       error
	}{
		{"silence", addrOf(listen(t)).String(), moment, holepunch.ErrServerSilent},
		{"no time", addrOf(listen(t)).String(), holepunch.WithTimeout(0), holepunch.ErrServerSilent},
		{"closed port", addressText(closed), moment, holepunch.ErrServerPortClosed},
		{"no such name", strings.Repeat("x", 64) + ".invalid:5000", holepunch.WithTimeout(patience), holepunch.ErrServerNotFound},
		{"plain server", startServer(t, holepunch.ServerConfig{Dialect: holepunch.Plain}).Addr().String(), moment, holepunch.ErrDialectMismatch},
		{"plain server of others", startPlainServer(t), moment, holepunch.ErrDialectMismatch},
		{"no server", "nonsense", moment, holepunch.ErrInvalidServer},
		{"wrong option", "127.0.0.1:5000", holepunch.WithMappingLifetime(-1), holepunch.ErrInvalidArgument},
	} {
		t.Run(test.name, func(t *testing.T) {
			start := time.Now()
			report, err := holepunch.CheckNAT(bounded(t), test.server, test.option)
			wantError(t, err, test.reason)
			if report != nil {
				t.Errorf("%+v beside an error", report)
			}
			if took := time.Since(start); took > patience/2 {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestCancelEndsCheckNATAtOnce(t *testing.T) {
	for name, option := range map[string]holepunch.Option{
		"plainly":         holepunch.WithTimeout(-1),
		"with a lifetime": holepunch.WithMappingLifetime(math.MaxInt64),
	} {
		took := bestOf(promptly, func() time.Duration {
			ctx, cancel := context.WithCancel(context.Background())
			var call <-chan checked
			firstDatagram(t, func(server string) { call = checking(ctx, newClient(t, server, option)) })
			start := time.Now()
			cancel()
			c := receive(t, call)
			took := time.Since(start)
			wantCanceled(t, c.err)
			if c.report != nil {
				t.Errorf("%+v beside an error", c.report)
			}
			return took
		})
		if took > promptly {
			t.Errorf("%s: it took %v", name, took)
		}
	}
}

func TestDeadlineEndsCheckNAT(t *testing.T) {
	for name, test := range map[string]struct {
		longest time.Duration
		reason  error
	}{
		"plainly": {0, holepunch.ErrServerSilent},
		// The library would wait for so much longer.
		"with a lifetime": {time.Hour, holepunch.ErrTimedOut},
	} {
		late := bestOf(promptly, func() time.Duration {
			deadline := time.Now().Add(60 * time.Millisecond)
			ctx, cancel := context.WithDeadline(context.Background(), deadline)
			defer cancel()
			_, err := newClient(t, addrOf(listen(t)).String(), holepunch.WithMappingLifetime(test.longest)).CheckNAT(ctx)
			late := time.Since(deadline)
			wantExceeded(t, err, test.reason)
			return late
		})
		if late > promptly {
			t.Errorf("%s: it ended %v after the deadline", name, late)
		}
	}
}

func TestCheckNATWithAContextThatIsDone(t *testing.T) {
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := holepunch.CheckNAT(canceled, "127.0.0.1:1")
	wantCanceled(t, err)
	expired, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	defer cancel()
	_, err = holepunch.CheckNAT(expired, "127.0.0.1:1")
	wantExceeded(t, err, holepunch.ErrTimedOut)
}

func TestCloseEndsCheckNAT(t *testing.T) {
	var client *holepunch.Client
	var call <-chan checked
	firstDatagram(t, func(server string) {
		client = newClient(t, server, holepunch.WithTimeout(-1))
		call = checking(bounded(t), client)
	})
	client.Close()
	wantError(t, receive(t, call).err, holepunch.ErrClosed)
	_, err := client.CheckNAT(bounded(t))
	wantError(t, err, holepunch.ErrClosed)
}

func TestCheckNATAsksFromTheLocalAddress(t *testing.T) {
	local := netip.MustParseAddrPort("127.0.0.3:0")
	report, err := holepunch.CheckNAT(bounded(t), startDefaultServer(t), holepunch.WithLocalAddr(local))
	if err != nil {
		t.Fatal(err)
	}
	if report.Local.Addr() != local.Addr() || report.Observed != report.Local {
		t.Errorf("%v, seen as %v", report.Local, report.Observed)
	}
}

// A canceled check does not spoil what comes next, and the other way round.
func TestCancelOfCheckNATEndsOneCallOnly(t *testing.T) {
	client := newClient(t, startDefaultServer(t), holepunch.WithTimeout(time.Millisecond))
	for i := 0; i < 20; i++ {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i)*100*time.Microsecond)
		client.CheckNAT(ctx)
		cancel()
		_, err := client.Connect(context.Background(), newID(), 1)
		if err == nil || !err.(*holepunch.Error).Timeout() {
			t.Fatalf("the next call ended with %v", err)
		}
	}
}

func TestNATWords(t *testing.T) {
	type word interface{ String() string }
	for word, name := range map[word]string{
		holepunch.MappingUnknown:                                  "unknown",
		holepunch.MappingNone:                                     "none",
		holepunch.MappingEndpointIndependent:                      "endpoint-independent",
		holepunch.MappingAddressDependent:                         "address-dependent",
		holepunch.MappingAddressAndPortDependent:                  "address and port-dependent",
		holepunch.Mapping(5):                                      "unknown",
		holepunch.FilteringUnknown:                                "unknown",
		holepunch.FilteringEndpointIndependent:                    "endpoint-independent",
		holepunch.FilteringAddressDependent:                       "address-dependent",
		holepunch.FilteringAddressAndPortDependent:                "address and port-dependent",
		holepunch.FilteringNotPortDependent:                       "endpoint-independent or address-dependent",
		holepunch.Filtering(-1):                                   "unknown",
		holepunch.AllocationUnknown:                               "unknown",
		holepunch.AllocationSequential:                            "sequential",
		holepunch.AllocationRandom:                                "random",
		holepunch.Allocation(3):                                   "unknown",
		holepunch.HairpinUnknown:                                  "unknown",
		holepunch.HairpinNo:                                       "no",
		holepunch.HairpinYes:                                      "yes",
		holepunch.Hairpin(3):                                      "unknown",
		holepunch.PortMapping(0):                                  "none",
		holepunch.PortMappingPCP | holepunch.PortMappingUPnP:      "PCP|UPnP-IGD",
		holepunch.PortMappingNATPMP | holepunch.PortMapping(1<<3): "NAT-PMP|unknown",
		holepunch.NATReport{Mapping: holepunch.MappingAddressAndPortDependent,
			Filtering: holepunch.FilteringAddressDependent, Allocation: holepunch.AllocationRandom,
			Hairpin: holepunch.HairpinYes, PortMapping: holepunch.PortMappingPCP}: "address and port-dependent mapping, " +
			"address-dependent filtering, random ports, hairpinning, port mapping by PCP",
		holepunch.NATReport{Mapping: holepunch.MappingNone, LifetimeMin: 5 * time.Minute}: "no NAT, unknown filtering, mappings live at least 5m0s",
		holepunch.NATReport{LifetimeMin: 30 * time.Second, LifetimeMax: 45 * time.Second}: "unknown mapping, unknown filtering, mappings live 30s to 45s",
		holepunch.NATReport{Hairpin: holepunch.HairpinNo}:                                 "unknown mapping, unknown filtering, no hairpinning",
	} {
		if word.String() != name {
			t.Errorf("%#v is %q", word, word)
		}
	}
}

// What asks the routers ends by itself, a moment after the call.
func TestCanceledChecksLeaveNothingBehind(t *testing.T) {
	silent := addrOf(listen(t)).String()
	before := countFDs(t)
	for i := 0; i < 50; i++ {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i%5)*time.Millisecond)
		if _, err := holepunch.CheckNAT(ctx, silent); err == nil {
			t.Fatal("a silent server answered")
		}
		cancel()
	}
	eventually(t, "descriptors return", func() bool { return countFDs(t) <= before })
}
