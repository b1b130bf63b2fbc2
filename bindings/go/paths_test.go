package holepunch_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"holepunch.example/holepunch"
)

func TestPathPoliciesAreChecked(t *testing.T) {
	client := newClient(t, "127.0.0.1:5000")
	for policy, name := range map[holepunch.PathPolicy]string{
		holepunch.DirectPreferred: "direct-preferred", holepunch.DirectOnly: "direct-only", holepunch.RelayOnly: "relay-only",
	} {
		if err := client.Configure(holepunch.WithPathPolicy(policy)); err != nil || policy.String() != name {
			t.Errorf("%v: %v", policy, err)
		}
	}
	for _, policy := range []holepunch.PathPolicy{-1, 3, 1 << 32} {
		wantError(t, client.Configure(holepunch.WithPathPolicy(policy)), holepunch.ErrInvalidArgument)
		if policy.String() != "unknown" {
			t.Error(policy.String())
		}
	}
}

func TestTechniquesAreChecked(t *testing.T) {
	client := newClient(t, "127.0.0.1:5000")
	for techniques, name := range map[holepunch.Techniques]string{
		0:                            "none",
		holepunch.TechniqueDiagnosis: "diagnosis",
		holepunch.TechniqueLowTTL | holepunch.TechniquePortMapping:     "low-ttl|port-mapping",
		holepunch.TechniquePrediction | holepunch.TechniqueManySockets: "prediction|many-sockets",
		holepunch.AllTechniques: "diagnosis|low-ttl|prediction|many-sockets|port-mapping|fresh-socket",
	} {
		if err := client.Configure(holepunch.WithTechniques(techniques)); err != nil || techniques.String() != name {
			t.Errorf("%v: %v", techniques, err)
		}
	}
	for techniques, name := range map[holepunch.Techniques]string{
		holepunch.AllTechniques + 1: "unknown",
		1 | 1<<31:                   "diagnosis|unknown",
	} {
		wantError(t, client.Configure(holepunch.WithTechniques(techniques)), holepunch.ErrInvalidArgument)
		if techniques.String() != name {
			t.Error(techniques.String())
		}
	}
}

// Without any technique there are still the known addresses.
func TestNoTechniquesConnect(t *testing.T) {
	server := startDefaultServer(t)
	a, b := newClient(t, server, holepunch.WithTechniques(0)), newClient(t, server, holepunch.WithTechniques(0))
	for _, peers := range meet(t, a, b) {
		if !peers[0].Connected || peers[0].Path == holepunch.Relayed || peers[0].Cause != holepunch.CauseUnknown {
			t.Errorf("%+v", peers)
		}
	}
}

func TestRelayedPairCarriesData(t *testing.T) {
	server := startServer(t, holepunch.ServerConfig{Relay: &holepunch.RelayOptions{}})
	option, ctx, id := holepunch.WithPathPolicy(holepunch.RelayOnly), bounded(t), newID()
	first, second := dialing(ctx, server.Addr().String(), id, option), dialing(ctx, server.Addr().String(), id, option)
	a, b := receiveConn(t, first), receiveConn(t, second)
	for _, conn := range []*holepunch.Conn{a, b} {
		if peer := conn.Peer(); peer.Path != holepunch.Relayed || !peer.Authenticated || peer.Addr.Addr() != server.Addr().Addr() {
			t.Errorf("%+v", peer)
		}
	}
	for _, way := range [][2]*holepunch.Conn{{a, b}, {b, a}} {
		if _, err := way[0].Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if got := read(t, way[1]); got != "hello" {
			t.Errorf("got %q", got)
		}
	}
	counters := server.Counters()
	if counters.RelayPairs != 1 || counters.RelayGranted != 1 || counters.RelayRefused != 0 || counters.RelayOverLimit != 0 {
		t.Errorf("%+v", counters)
	}
	if counters.RelayForwarded < 2 || counters.RelayForwardedBytes < 10 {
		t.Errorf("%+v", counters)
	}
	stranger := listen(t)
	if _, err := stranger.WriteToUDPAddrPort([]byte("let me in"), a.Peer().Addr); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a stranger's datagram is dropped", func() bool { return server.Counters().RelayDropped > counters.RelayDropped })
}

// A client that may be forwarded for is not, where there is a direct path.
func TestDirectPathIsPreferred(t *testing.T) {
	server := startServer(t, holepunch.ServerConfig{Relay: &holepunch.RelayOptions{}}).Addr().String()
	for _, peers := range meet(t, newClient(t, server), newClient(t, server)) {
		if peers[0].Path == holepunch.Relayed {
			t.Errorf("%+v", peers)
		}
	}
}

// inVain has two clients look for each other for a second, without success, and
// returns what the one whose time is up has found. The other one, whose path
// policy may be another, ends later: who ends first does not see it leave.
func inVain(t *testing.T, server string, own, other holepunch.PathPolicy) result {
	t.Helper()
	ctx, cancel := context.WithCancel(bounded(t))
	id := newID()
	later := connecting(ctx, newClient(t, server, holepunch.WithPathPolicy(other)), id, 1)
	r := receive(t, connecting(ctx, newClient(t, server, holepunch.WithPathPolicy(own), holepunch.WithTimeout(time.Second)), id, 1))
	cancel()
	wantCanceled(t, receive(t, later).err)
	wantError(t, r.err, holepunch.ErrTimedOutPunching)
	if len(r.peers) != 1 || r.peers[0].Connected {
		t.Fatalf("%v: %+v", own, r.peers)
	}
	return r
}

func TestPoliciesThatDoNotFit(t *testing.T) {
	server := startServer(t, holepunch.ServerConfig{Relay: &holepunch.RelayOptions{}}).Addr().String()
	meets := func(own, other holepunch.PathPolicy) holepunch.Peer {
		r := inVain(t, server, own, other)
		peer := r.peers[0]
		var failed *holepunch.Error
		if !errors.As(r.err, &failed) || len(failed.Peers) != 1 || failed.Peers[0].Addr != peer.Addr || failed.Peers[0].Cause != peer.Cause {
			t.Errorf("%v: the error has other peers: %+v", own, failed)
		}
		if !strings.Contains(r.err.Error(), peer.Cause.Help()) {
			t.Errorf("%v: %v, but %q", own, peer.Cause, r.err)
		}
		for _, attempt := range peer.Attempts {
			if !attempt.Endpoint.IsValid() || attempt.Path.String() == "unknown" || attempt.Received != 0 {
				t.Errorf("%v: %+v", own, attempt)
			}
			if attempt.Sent > 0 && (attempt.Path == holepunch.Relayed) != (own == holepunch.RelayOnly) {
				t.Errorf("%v: sent to %+v", own, attempt)
			}
		}
		return peer
	}
	if peer := meets(holepunch.RelayOnly, holepunch.DirectOnly); peer.Cause != holepunch.CausePolicy {
		t.Errorf("%+v", peer)
	}
	// The peer does not tell that it wants no direct path.
	if peer := meets(holepunch.DirectOnly, holepunch.RelayOnly); peer.Cause == holepunch.CauseUnknown || len(peer.Attempts) == 0 || peer.Attempts[0].Sent == 0 {
		t.Errorf("%+v", peer)
	}
}

func TestRelayOnlyNeedsARelay(t *testing.T) {
	server := startServer(t, holepunch.ServerConfig{})
	r := inVain(t, server.Addr().String(), holepunch.RelayOnly, holepunch.RelayOnly)
	if peer := r.peers[0]; peer.Cause != holepunch.CausePolicy || peer.RelayRefused != holepunch.RefusalNotOffered || peer.Guesses != 0 {
		t.Errorf("%+v", r.peers)
	}
	if counters := server.Counters(); counters.RelayRefused == 0 || counters.RelayGranted != 0 {
		t.Errorf("%+v", counters)
	}
	for refusal, name := range map[holepunch.Refusal]string{
		holepunch.RefusalNone: "none", holepunch.RefusalNotOffered: "not-offered",
		holepunch.RefusalUnknownPeer: "unknown-peer", holepunch.RefusalFull: "full", -1: "unknown", 4: "unknown",
	} {
		if refusal.String() != name {
			t.Errorf("%d is %q", int(refusal), refusal)
		}
	}
}

func TestAttemptsAreCounted(t *testing.T) {
	silent := addrOf(listen(t))
	client := newClient(t, "127.0.0.1:1", holepunch.WithDialect(holepunch.Native), holepunch.WithTimeout(700*time.Millisecond))
	peers, err := client.ConnectPeers(bounded(t), newID(), []netip.AddrPort{silent})
	wantError(t, err, holepunch.ErrTimedOutPunching)
	if len(peers) != 1 || len(peers[0].Attempts) != 1 {
		t.Fatalf("%+v", peers)
	}
	if attempt := peers[0].Attempts[0]; attempt.Endpoint != silent || attempt.Sent < 5 || attempt.Received != 0 {
		t.Errorf("%+v", attempt)
	}
	if counters := client.Counters(); counters.ProbesSent != uint64(peers[0].Attempts[0].Sent) {
		t.Errorf("%+v, but %+v", counters, peers[0].Attempts)
	}
	if peers[0].Cause == holepunch.CauseUnknown {
		t.Error("no cause")
	}
	server := startDefaultServer(t)
	for _, peers := range meet(t, newClient(t, server), newClient(t, server)) {
		received := 0
		for _, attempt := range peers[0].Attempts {
			received += attempt.Received
		}
		if received == 0 || peers[0].Cause != holepunch.CauseUnknown {
			t.Errorf("%+v", peers)
		}
	}
}

// Dial has no other way to say what was tried.
func TestDialsErrorHasThePeers(t *testing.T) {
	server := startDefaultServer(t)
	ctx, cancel := context.WithCancel(bounded(t))
	option, id := holepunch.WithPathPolicy(holepunch.RelayOnly), newID()
	later := dialing(ctx, server, id, option)
	d := receive(t, dialing(ctx, server, id, option, holepunch.WithTimeout(time.Second)))
	var failed *holepunch.Error
	if !errors.As(d.err, &failed) || len(failed.Peers) != 1 || failed.Peers[0].Cause != holepunch.CausePolicy {
		t.Errorf("%+v", d.err)
	}
	cancel()
	wantCanceled(t, receive(t, later).err)
	_, err := holepunch.Dial(bounded(t), server, nil)
	if !errors.As(err, &failed) || len(failed.Peers) != 0 {
		t.Errorf("%+v", err)
	}
}

func TestCausesHaveNamesAndHelp(t *testing.T) {
	seen := make(map[string]bool)
	for cause := holepunch.CauseUnknown; cause <= holepunch.CauseTCPStranger; cause++ {
		name, help := cause.String(), cause.Help()
		if seen[name] || seen[help] || len(help) < 10 || (name == "unknown") != (cause == holepunch.CauseUnknown) {
			t.Errorf("%d is %q: %q", cause, name, help)
		}
		seen[name], seen[help] = true, true
	}
	for _, cause := range []holepunch.Cause{-1, holepunch.CauseTCPStranger + 1} {
		if cause.String() != "unknown" || cause.Help() != holepunch.CauseUnknown.Help() {
			t.Errorf("%d is %v", cause, cause)
		}
	}
}

func TestServersPathsAreCheckedAtTheirEdges(t *testing.T) {
	relay := func(options holepunch.RelayOptions) holepunch.ServerConfig {
		return holepunch.ServerConfig{Relay: &options}
	}
	tcp := func(options holepunch.TCPOptions) holepunch.ServerConfig {
		return holepunch.ServerConfig{TCP: &options}
	}
	for name, config := range map[string]holepunch.ServerConfig{
		"no alternate ports":   {AlternatePorts: -1},
		"most alternate ports": {AlternatePorts: 4},
		"another address":      {OtherAddr: netip.MustParseAddr("127.0.0.2")},
		"a mapped address":     {OtherAddr: netip.MustParseAddr("::ffff:127.0.0.2")},
		"least of a relay":     relay(holepunch.RelayOptions{Ports: 1, MaxPairs: 1, BytesPerSecond: 2048, Idle: 1, Lifetime: 1}),
		"most of a relay":      relay(holepunch.RelayOptions{Ports: 64, MaxPairs: 1 << 30, BytesPerSecond: 1<<63 - 1, Idle: 1<<63 - 1, Lifetime: 1<<63 - 1}),
		"no limit of a relay":  relay(holepunch.RelayOptions{BytesPerSecond: -1}),
		"usual connections":    tcp(holepunch.TCPOptions{}),
		"least connections":    tcp(holepunch.TCPOptions{MaxConnections: 1, MaxConnectionsPerAddr: 1}),
		"most connections":     tcp(holepunch.TCPOptions{MaxConnections: 65536, MaxConnectionsPerAddr: 65536}),
	} {
		config.Addr = "127.0.0.1:0"
		server, err := holepunch.NewServer(config)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		server.Close()
	}
	for name, config := range map[string]holepunch.ServerConfig{
		"five alternate ports":   {AlternatePorts: 5},
		"65537 alternate ports":  {AlternatePorts: 1<<16 + 1},
		"2^32 alternate ports":   {AlternatePorts: 1 << 32},
		"any address":            {OtherAddr: netip.IPv4Unspecified()},
		"a multicast address":    {OtherAddr: netip.MustParseAddr("224.0.0.1")},
		"its own address":        {OtherAddr: netip.MustParseAddr("127.0.0.1")},
		"another family":         {OtherAddr: netip.MustParseAddr("::1")},
		"no ports for it":        {OtherAddr: netip.MustParseAddr("127.0.0.2"), AlternatePorts: -1},
		"an address with a zone": {OtherAddr: netip.MustParseAddr("fe80::1%lo")},
		"negative ports":         relay(holepunch.RelayOptions{Ports: -1}),
		"65 ports":               relay(holepunch.RelayOptions{Ports: 65}),
		"65537 ports":            relay(holepunch.RelayOptions{Ports: 1<<16 + 1}),
		"2^32+1 ports":           relay(holepunch.RelayOptions{Ports: 1<<32 + 1}),
		"negative pairs":         relay(holepunch.RelayOptions{MaxPairs: -1}),
		"2^32+1 pairs":           relay(holepunch.RelayOptions{MaxPairs: 1<<32 + 1}),
		"2047 bytes a second":    relay(holepunch.RelayOptions{BytesPerSecond: 2047}),
		"negative idle":          relay(holepunch.RelayOptions{Idle: -1}),
		"negative lifetime":      relay(holepunch.RelayOptions{Lifetime: -1}),
		"negative connections":   tcp(holepunch.TCPOptions{MaxConnections: -1}),
		"65537 connections":      tcp(holepunch.TCPOptions{MaxConnections: 65537}),
		"2^32+1 connections":     tcp(holepunch.TCPOptions{MaxConnections: 1<<32 + 1}),
		"negative of an address": tcp(holepunch.TCPOptions{MaxConnectionsPerAddr: -1}),
		"65537 of an address":    tcp(holepunch.TCPOptions{MaxConnectionsPerAddr: 65537}),
	} {
		config.Addr = "127.0.0.1:0"
		server, err := holepunch.NewServer(config)
		if server != nil {
			t.Errorf("%s: there is a server", name)
			server.Close()
			continue
		}
		wantError(t, err, holepunch.ErrInvalidArgument)
		if !errors.Is(err, os.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An address that this host does not have is no invalid one; it cannot be bound.
func TestForeignAddressEndsTheStart(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", ":0"} {
		server, err := holepunch.NewServer(holepunch.ServerConfig{Addr: addr, OtherAddr: netip.MustParseAddr("192.0.2.1")})
		if server != nil {
			server.Close()
			t.Fatalf("%s: there is a server", addr)
		}
		wantError(t, err, holepunch.ErrSocket)
		if !errors.Is(err, syscall.EADDRNOTAVAIL) || !strings.Contains(err.Error(), "192.0.2.1") {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

// What the documentation says of RelayOptions' zero value is the header's.
func TestRelayDefaultsAreDocumented(t *testing.T) {
	const initializer = "#define HP_RELAY_OPTIONS_INIT { sizeof(hp_relay_options), 8, 1000, 0, 1048576, 60000, 43200000 }\n"
	if !strings.Contains(string(readFile(t, "holepunch.h")), initializer) {
		t.Error("the defaults have changed: say so at RelayOptions")
	}
}

// The same of TCPOptions' zero value.
func TestTCPDefaultsAreDocumented(t *testing.T) {
	const initializer = "#define HP_TCP_OPTIONS_INIT { sizeof(hp_tcp_options), 4096, 256, 0 }\n"
	if !strings.Contains(string(readFile(t, "holepunch.h")), initializer) {
		t.Error("the defaults have changed: say so at TCPOptions")
	}
}

// A server that takes one connection at a time takes one, and counts the others.
func TestTCPOptionsAreKept(t *testing.T) {
	server := startServer(t, holepunch.ServerConfig{TCP: &holepunch.TCPOptions{MaxConnections: 1}})
	first, err := net.Dial("tcp", server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	deadline := time.Now().Add(10 * time.Second)
	for server.Counters().TCPConnections != 1 {
		if time.Now().After(deadline) {
			t.Fatalf("not taken: %+v", server.Counters())
		}
		time.Sleep(time.Millisecond)
	}
	second, err := net.Dial("tcp", server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	second.SetReadDeadline(deadline)
	if _, err := second.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the second one was not closed: %v", err)
	}
	if counters := server.Counters(); counters.TCPAccepted != 1 || counters.TCPOverLimit != 1 {
		t.Errorf("%+v", counters)
	}
}

// A relay that allows little forwards little, and one pair is one pair.
func TestRelayOptionsAreKept(t *testing.T) {
	server := startServer(t, holepunch.ServerConfig{Relay: &holepunch.RelayOptions{MaxPairs: 1, BytesPerSecond: 2048}})
	option, ctx, id := holepunch.WithPathPolicy(holepunch.RelayOnly), bounded(t), newID()
	first, second := dialing(ctx, server.Addr().String(), id, option), dialing(ctx, server.Addr().String(), id, option)
	a, b := receiveConn(t, first), receiveConn(t, second)
	const count = 100
	sent := make(chan error, 1)
	go func() {
		for i := 0; i < count; i++ {
			if _, err := a.Write(make([]byte, 500)); err != nil {
				sent <- err
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		sent <- nil
	}()
	got := 0
	for ; ; got++ {
		b.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := b.Read(make([]byte, 2000)); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
			break
		}
	}
	if err := receive(t, sent); err != nil {
		t.Fatal(err)
	}
	if got == 0 || got > count/2 {
		t.Errorf("%d of %d datagrams came through", got, count)
	}
	// Another pair finds no room.
	inVain(t, server.Addr().String(), holepunch.RelayOnly, holepunch.RelayOnly)
}
