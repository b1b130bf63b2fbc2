package plain

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"sync"
	"testing"
	"time"
)

func TestClientsMeetThroughTheServer(t *testing.T) {
	cases := []struct {
		name    string
		server  string
		clients int
		id      string
	}{
		{"two over IPv4", "127.0.0.1:0", 2, "room"},
		{"two over IPv6", "[::1]:0", 2, "room"},
		{"four", "127.0.0.1:0", 4, "room"},
		{"binary ID", "127.0.0.1:0", 2, "\x00\x01,\xff"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if probe, err := net.ListenPacket("udp", c.server); err != nil {
				t.Skip(err)
			} else {
				probe.Close()
			}
			server := startServer(t, c.server, ServerOptions{})
			var pending []<-chan outcome
			for i := 0; i < c.clients; i++ {
				pending = append(pending, startConnect(t, server, c.id, c.clients-1, Options{}))
			}
			var results []*Result
			for _, p := range pending {
				result, err := finish(t, p)
				if err != nil {
					t.Fatal(err)
				}
				results = append(results, result)
			}
			for i, from := range results {
				if len(from.Peers) != c.clients-1 {
					t.Fatalf("client %d has peers %v", i, from.Peers)
				}
				for k, peer := range from.Peers {
					if !from.Confirmed[k] {
						t.Errorf("client %d: peer %v is not confirmed", i, peer)
					}
					message := fmt.Sprintf("from %d to %v", i, peer)
					if _, err := from.Conn.WriteToUDPAddrPort([]byte(message), peer); err != nil {
						t.Fatal(err)
					}
					expectMessage(t, results, peer, message)
				}
			}
		})
	}
}

// expectMessage reads on the one socket that has the peer's port.
func expectMessage(t *testing.T, results []*Result, peer netip.AddrPort, want string) {
	t.Helper()
	for _, result := range results {
		if result.Conn.LocalAddr().(*net.UDPAddr).AddrPort().Port() != peer.Port() {
			continue
		}
		s := &socket{t, result.Conn}
		s.receiveUntil(want)
		return
	}
	t.Fatalf("nobody has endpoint %v", peer)
}

func TestTheTwoTimeoutsDifferAndHandBackWhatThereIs(t *testing.T) {
	silent, other := newSocket(t), newSocket(t)
	silentOther := FormatList([]netip.AddrPort{silent.endpoint(), other.endpoint()})
	cases := []struct {
		name  string
		list  string
		count int
		want  error
		peers []netip.AddrPort
	}{
		{"no list", "", 1, ErrWaitTimeout, nil},
		{"too few", silent.endpoint().String(), 2, ErrWaitTimeout, []netip.AddrPort{silent.endpoint()}},
		{"too many", silentOther, 1, ErrWaitTimeout, []netip.AddrPort{silent.endpoint(), other.endpoint()}},
		{"malformed", "SYN", 1, ErrWaitTimeout, nil},
		{"silent peer", silent.endpoint().String(), 1, ErrPunchTimeout, []netip.AddrPort{silent.endpoint()}},
	}
	for _, c := range cases {
		c := c
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := newSocket(t)
			const timeout = 800 * time.Millisecond
			start := time.Now()
			pending := startConnect(t, server.endpoint(), "id", c.count, Options{Timeout: timeout})
			_, client := server.receive()
			server.send(client, c.list)
			result, err := finish(t, pending)
			if took := time.Since(start); took < timeout || took > timeout+2*time.Second {
				t.Errorf("timed out after %v", took)
			}
			if !errors.Is(err, c.want) {
				t.Fatalf("got error %v, want %v", err, c.want)
			}
			if !reflect.DeepEqual(result.Peers, c.peers) {
				t.Errorf("got peers %v, want %v", result.Peers, c.peers)
			}
			for i, confirmed := range result.Confirmed {
				if confirmed {
					t.Errorf("peer %d is confirmed", i)
				}
			}
		})
	}
}

func TestAfterATimeoutTheCallerCanGoOnWithThePeersFound(t *testing.T) {
	server, peer, silent := newSocket(t), newSocket(t), newSocket(t)
	pending := startConnect(t, server.endpoint(), "id", 2, Options{Timeout: time.Second})
	_, client := server.receive()
	server.send(client, FormatList([]netip.AddrPort{silent.endpoint(), peer.endpoint()}))
	peer.send(peer.receiveUntil("SYN"), "ACK")
	result, err := finish(t, pending)
	if !errors.Is(err, ErrPunchTimeout) || !reflect.DeepEqual(result.Confirmed, []bool{false, true}) {
		t.Fatalf("got %v, confirmed %v", err, result.Confirmed)
	}

	silent.send(client, "ACK") // waits in the socket's buffer
	confirmed, err := ConnectPeers(result.Conn, result.Peers[:1], Options{Timeout: 3 * time.Second})
	if err != nil || !confirmed[0] {
		t.Errorf("got %v, confirmed %v", err, confirmed)
	}
}

func TestNegativeTimeoutNeverExpires(t *testing.T) {
	if deadline := (Options{Timeout: -1}).withDefaults().deadline(); !deadline.IsZero() {
		t.Errorf("deadline is %v", deadline)
	}
	server, peer := newSocket(t), newSocket(t)
	pending := startConnect(t, server.endpoint(), "id", 1, Options{Timeout: -1})
	_, client := server.receive()
	server.send(client, peer.endpoint().String())
	peer.receiveUntil("SYN")
	peer.send(client, "ACK")
	if _, err := finish(t, pending); err != nil {
		t.Error(err)
	}
}

func TestDefaultsAreThoseOfTheDialect(t *testing.T) {
	o := Options{}.withDefaults()
	if o.Timeout != 40*time.Second || o.ServerRetry != 100*time.Millisecond || o.PeerRetry != 100*time.Millisecond {
		t.Errorf("client: %+v", o)
	}
	s := NewServer(nil, ServerOptions{}).options
	if s.KeepAlive != 10*time.Second || s.Expiry != 40*time.Second {
		t.Errorf("server: %+v", s)
	}
}

func TestBadArgumentsAreRefusedAtOnce(t *testing.T) {
	cases := []struct {
		name, rendezvous, id string
		count                int
	}{
		{"no ID", "127.0.0.1:5000", "", 1},
		{"no peers", "127.0.0.1:5000", "id", 0},
		{"no port", "127.0.0.1", "id", 1},
		{"no host", ":5000", "id", 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if result, err := Connect(c.rendezvous, []byte(c.id), c.count, Options{}); err == nil || result != nil {
				t.Errorf("got %v, %v", result, err)
			}
		})
	}
}

func TestWaitingRepeatsTheBareIDAndHearsOnlyTheServer(t *testing.T) {
	server, peer, stranger := newSocket(t), newSocket(t), newSocket(t)
	var lock sync.Mutex
	var ignored []string
	start := time.Now()
	pending := startConnect(t, server.endpoint(), "the id", 1, Options{
		Ignored: func(from netip.AddrPort, datagram []byte, why string) {
			lock.Lock()
			defer lock.Unlock()
			ignored = append(ignored, string(datagram))
		},
	})
	first, client := server.receive()
	stranger.send(client, stranger.endpoint().String())
	peer.send(client, "ACK")
	server.send(client, "")
	server.send(client, "not a list")
	second, _ := server.receive()
	if first != "the id" || second != "the id" {
		t.Errorf("got %q and %q", first, second)
	}
	if elapsed := time.Since(start); elapsed < 100*time.Millisecond {
		t.Errorf("repeated after only %v", elapsed)
	}
	server.send(client, peer.endpoint().String())
	peer.receiveUntil("SYN")
	peer.send(client, "ACK")
	result, err := finish(t, pending)
	if err != nil || !reflect.DeepEqual(result.Peers, []netip.AddrPort{peer.endpoint()}) {
		t.Errorf("got %v, %v", result, err)
	}
	if _, _, more := stranger.receiveWithin(10 * time.Millisecond); more {
		t.Error("the stranger was answered")
	}
	lock.Lock()
	defer lock.Unlock()
	if !reflect.DeepEqual(ignored, []string{"not a list"}) {
		t.Errorf("ignored: %q", ignored)
	}
}

// startPunching gives a client that punches towards the returned peer, after its first SYN.
func startPunching(t *testing.T, timeout time.Duration) (peer *socket, client netip.AddrPort, pending <-chan outcome) {
	t.Helper()
	server, peer := newSocket(t), newSocket(t)
	pending = startConnect(t, server.endpoint(), "id", 1, Options{Timeout: timeout})
	_, client = server.receive()
	server.send(client, peer.endpoint().String())
	if text, _ := peer.receive(); text != "SYN" {
		t.Fatalf("punching starts with %q", text)
	}
	return peer, client, pending
}

func TestSynIsRepeatedUntilThePeerIsHeard(t *testing.T) {
	start := time.Now()
	peer, client, pending := startPunching(t, 10*time.Second)
	for i := 1; i <= 3; i++ {
		text, _ := peer.receive()
		if elapsed := time.Since(start); text != "SYN" || elapsed < time.Duration(i)*100*time.Millisecond {
			t.Errorf("got %q after %v", text, elapsed)
		}
	}
	peer.send(client, "ACK")
	if _, err := finish(t, pending); err != nil {
		t.Error(err)
	}
}

func TestSynIsAnsweredAndAckIsSentFromThenOn(t *testing.T) {
	peer, client, pending := startPunching(t, 1500*time.Millisecond)
	peer.send(client, "SYN")
	peer.receiveUntil("ACK")
	for i := 0; i < 3; i++ {
		if text, _ := peer.receive(); text != "ACK" {
			t.Errorf("datagram %d is %q", i, text)
		}
	}
	// A SYN alone opens nothing: it does not show that the peer hears us.
	if _, err := finish(t, pending); !errors.Is(err, ErrPunchTimeout) {
		t.Error(err)
	}
}

func TestAckIsAnsweredNowAndOnceMoreLater(t *testing.T) {
	peer, client, pending := startPunching(t, 5*time.Second)
	sent := time.Now()
	peer.send(client, "ACK")
	peer.receiveUntil("ACK")
	peer.send(client, "SYN") // late ones are not answered
	peer.send(client, "ACK")
	if text, _ := peer.receive(); text != "ACK" {
		t.Errorf("the last datagram is %q", text)
	}
	if after := time.Since(sent); after < 90*time.Millisecond {
		t.Errorf("the last ACK came after %v", after)
	}
	if _, err := finish(t, pending); err != nil {
		t.Error(err)
	}
	if text, _, more := peer.receiveWithin(250 * time.Millisecond); more {
		t.Errorf("%q after the end", text)
	}
}

func TestPunchingHearsOnlyListedPeersAndOnlyTheHandshake(t *testing.T) {
	cases := []struct {
		name         string
		fromStranger bool
		text         string
		reported     bool
	}{
		{"stranger's SYN", true, "SYN", false},
		{"stranger's ACK", true, "ACK", false},
		{"peer's keep-alive", false, "", false},
		{"peer's message", false, "hello", true},
		{"peer's near miss", false, "ACK\n", true},
	}
	for _, c := range cases {
		c := c
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server, peer, stranger := newSocket(t), newSocket(t), newSocket(t)
			reported := make(chan string, 10)
			pending := startConnect(t, server.endpoint(), "id", 1, Options{
				Timeout: time.Second,
				Ignored: func(from netip.AddrPort, datagram []byte, why string) { reported <- string(datagram) },
			})
			_, client := server.receive()
			server.send(client, peer.endpoint().String())
			peer.receiveUntil("SYN")
			sender := peer
			if c.fromStranger {
				sender = stranger
			}
			sender.send(client, c.text)
			for i := 0; i < 2; i++ {
				if text, _ := peer.receive(); text != "SYN" {
					t.Errorf("the peer gets %q", text)
				}
			}
			if _, err := finish(t, pending); !errors.Is(err, ErrPunchTimeout) {
				t.Error(err)
			}
			if _, _, answered := stranger.receiveWithin(10 * time.Millisecond); answered {
				t.Error("the stranger was answered")
			}
			if (len(reported) == 1) != c.reported {
				t.Errorf("reported %d times", len(reported))
			}
		})
	}
}
