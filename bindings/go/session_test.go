package holepunch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"sort"
	"strings"
	"testing"
	"time"

	"holepunch.example/holepunch"
)

// sessionPatience is how long a test waits for what must happen in a session.
const sessionPatience = 30 * time.Second

// join joins a session for the time of the test.
func join(t testing.TB, server string, id []byte, options ...holepunch.JoinOption) *holepunch.Session {
	t.Helper()
	client := newClient(t, server)
	session, err := client.Join(bounded(t), id, options...)
	if err != nil {
		t.Fatal(err)
	}
	client.Close()
	t.Cleanup(func() { session.Close() })
	return session
}

// waitFor returns the first event of a kind that is wanted.
func waitFor[T holepunch.Event](t testing.TB, session *holepunch.Session, wanted func(T) bool) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), sessionPatience)
	defer cancel()
	var seen []string
	for {
		event, err := session.NextEvent(ctx)
		if err != nil {
			t.Fatalf("%v, and only %q", err, seen)
		}
		if found, is := event.(T); is && wanted(found) {
			return found
		}
		seen = append(seen, fmt.Sprintf("%T%.100v", event, event))
	}
}

func anyOf[T holepunch.Event](T) bool { return true }

// together joins a session with as many members, all connected to each other.
func together(t testing.TB, members int, options ...holepunch.JoinOption) []*holepunch.Session {
	t.Helper()
	server, id := startDefaultServer(t), newID()
	var sessions []*holepunch.Session
	for i := 0; i < members; i++ {
		sessions = append(sessions, join(t, server, id, options...))
	}
	for _, session := range sessions {
		for i := 1; i < members; i++ {
			waitFor(t, session, anyOf[holepunch.Connected])
		}
	}
	return sessions
}

func TestThreeMeetTalkAndLeave(t *testing.T) {
	sessions := together(t, 3)
	for i, session := range sessions {
		peers := session.Peers()
		if len(peers) != 2 {
			t.Fatalf("%+v", peers)
		}
		for _, peer := range peers {
			again, err := session.Peer(peer.Peer)
			if err != nil || again.Peer != peer.Peer || !peer.Connected || !peer.Encrypted || peer.Path == 0 || peer.Key == (holepunch.Key{}) || !peer.Addr.IsValid() {
				t.Errorf("%+v, %+v, %v", peer, again, err)
			}
		}
		if number, err := session.SendToAll(bytes.Repeat([]byte{byte(i)}, holepunch.MaxMessageLen)); number != 1 || err != nil {
			t.Errorf("%d, %v", number, err)
		}
	}
	for i, session := range sessions {
		from := map[holepunch.PeerID]byte{}
		for j := 0; j < 2; j++ {
			said := waitFor(t, session, anyOf[holepunch.Message])
			if len(said.Data) != holepunch.MaxMessageLen || !said.Encrypted {
				t.Fatalf("%d bytes, encrypted: %t", len(said.Data), said.Encrypted)
			}
			from[said.Peer] = said.Data[holepunch.MaxMessageLen-1]
		}
		for j, other := range sessions {
			if who, is := from[other.LocalID()]; is != (i != j) || is && who != byte(j) {
				t.Errorf("%d has heard %d say %d: %t", i, j, who, is)
			}
		}
	}
	a, b, c := sessions[0], sessions[1], sessions[2]
	number, err := a.Send(b.LocalID(), nil)
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, a, func(e holepunch.Delivered) bool { return e.Number == number && e.Peer == b.LocalID() })
	if said := waitFor(t, b, anyOf[holepunch.Message]); len(said.Data) != 0 || said.Peer != a.LocalID() {
		t.Errorf("%+v", said)
	}
	c.Leave()
	for _, session := range []*holepunch.Session{a, b} {
		left := waitFor(t, session, anyOf[holepunch.Left])
		if left.Peer != c.LocalID() || left.Reason != holepunch.LeftGoodbye || !left.Encrypted {
			t.Errorf("%+v", left)
		}
	}
	_, err = a.Send(c.LocalID(), []byte("too late"))
	wantError(t, err, holepunch.ErrNotFound)
	_, err = a.Peer(c.LocalID())
	wantError(t, err, holepunch.ErrNotFound)
	told := make(map[holepunch.PeerID]bool)
	c.All(bounded(t))(func(event holepunch.Event) bool {
		if left, is := event.(holepunch.Left); is {
			told[left.Peer] = left.Reason == holepunch.LeftWeLeft
		}
		return true
	})
	if !told[a.LocalID()] || !told[b.LocalID()] {
		t.Errorf("who leaves is told of %v", told)
	}
	_, err = c.NextEvent(bounded(t))
	wantError(t, err, holepunch.ErrClosed)
	_, err = c.SendToAll([]byte("too late"))
	wantError(t, err, holepunch.ErrClosed)
}

func TestRegisteredTellsOurAddress(t *testing.T) {
	server := startDefaultServer(t)
	socket := listen(t)
	client := newClient(t, server, holepunch.WithUDPConn(socket))
	first, err := client.Join(bounded(t), newID())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if registered := waitFor(t, first, anyOf[holepunch.Registered]); registered.Addr != addrOf(socket) {
		t.Errorf("the server sees %v at %v", addrOf(socket), registered.Addr)
	}
	// The client goes on with a socket of its own.
	second, err := client.Join(bounded(t), newID())
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	client.Close()
	if registered := waitFor(t, second, anyOf[holepunch.Registered]); registered.Addr == addrOf(socket) {
		t.Errorf("both are at %v", registered.Addr)
	}
}

func TestIdentitiesAndPinnedKeys(t *testing.T) {
	var identities [3]holepunch.Identity
	var keys [3]holepunch.Key
	for i := range identities {
		var err error
		if identities[i], err = holepunch.NewIdentity(); err != nil {
			t.Fatal(err)
		}
		keys[i] = identities[i].PublicKey()
	}
	server, id := startDefaultServer(t), newID()
	a := join(t, server, id, holepunch.WithIdentity(identities[0]), holepunch.WithPinnedKeys(keys[0], keys[1]))
	b := join(t, server, id, holepunch.WithIdentity(identities[1]))
	if a.PublicKey() != keys[0] || b.PublicKey() != keys[1] {
		t.Errorf("%v, %v, not %v", a.PublicKey(), b.PublicKey(), keys)
	}
	if connected := waitFor(t, a, anyOf[holepunch.Connected]); connected.Key != keys[1] || connected.Peer != b.LocalID() || connected.RTT == 0 {
		t.Errorf("%+v, not %v", connected, keys[1])
	}
	c := join(t, server, id, holepunch.WithIdentity(identities[2]))
	left := waitFor(t, a, anyOf[holepunch.Left])
	if left.Reason != holepunch.LeftWrongKey || left.Key != keys[2] || left.Peer != c.LocalID() {
		t.Errorf("%+v, not %v", left, keys[2])
	}

	if !regexp.MustCompile(`^[0-9a-f]{4}( [0-9a-f]{4}){7}$`).MatchString(keys[0].Fingerprint()) || keys[0].Fingerprint() == keys[1].Fingerprint() {
		t.Errorf("%q, %q", keys[0].Fingerprint(), keys[1].Fingerprint())
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%x", "%d", "%s"} {
		if printed := fmt.Sprintf(format, identities[0]); printed != "identity of "+keys[0].String() {
			t.Errorf("%s prints %q", format, printed)
		}
	}
}

func TestExportedKeysAreTheSameOnBothSides(t *testing.T) {
	sessions := together(t, 2)
	a, b := sessions[0], sessions[1]
	seen := make(map[[32]byte]string)
	for _, label := range []string{"one", "other", ""} {
		ours, err := a.ExportKey(b.LocalID(), label)
		theirs, err2 := b.ExportKey(a.LocalID(), label)
		if err != nil || err2 != nil || ours != theirs || ours == [32]byte{} || seen[ours] != "" {
			t.Errorf("%q: %x, %x, %v, %v, and %q", label, ours, theirs, err, err2, seen[ours])
		}
		seen[ours] = "the one of " + label
	}
	_, err := a.ExportKey(a.LocalID(), "label")
	wantError(t, err, holepunch.ErrNotFound)
}

func TestWhatCannotBeInASessionIsAnError(t *testing.T) {
	server := startDefaultServer(t)
	client := newClient(t, server)
	for name, option := range map[string]holepunch.JoinOption{
		"no pinned key":           holepunch.WithPinnedKeys(),
		"nothing may wait":        holepunch.WithMaxUnacknowledged(0),
		"less may wait":           holepunch.WithMaxUnacknowledged(-1),
		"little may be unfetched": holepunch.WithMaxUnfetched(2047),
		"less may be unfetched":   holepunch.WithMaxUnfetched(-1),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := client.Join(bounded(t), newID(), option)
			wantError(t, err, holepunch.ErrInvalidArgument)
		})
	}
	_, err := client.Join(bounded(t), nil)
	wantError(t, err, holepunch.ErrInvalidSessionID)
	_, err = newClient(t, "no-such-host.invalid:5000").Join(bounded(t), newID())
	wantError(t, err, holepunch.ErrServerNotFound)
	socket := listen(t)
	given := newClient(t, server, holepunch.WithUDPConn(socket))
	socket.Close()
	_, err = given.Join(bounded(t), newID())
	wantError(t, err, holepunch.ErrClosed)

	session := join(t, server, newID())
	_, err = session.SendToAll(make([]byte, holepunch.MaxMessageLen+1))
	wantError(t, err, holepunch.ErrInvalidArgument)
	if !strings.Contains(err.Error(), "65536") {
		t.Errorf("%v does not say what is allowed", err)
	}
	if number, err := session.SendToAll([]byte("nobody hears")); number != 1 || err != nil {
		t.Errorf("%d, %v", number, err)
	}
	_, err = session.Send(holepunch.PeerID{}, []byte("nobody hears"))
	wantError(t, err, holepunch.ErrNotFound)
}

func TestClosedSessions(t *testing.T) {
	client := newClient(t, startDefaultServer(t))
	session, err := client.Join(bounded(t), newID())
	if err != nil {
		t.Fatal(err)
	}
	id, key := session.LocalID(), session.PublicKey()
	for i := 0; i < 2; i++ {
		if err := session.Close(); err != nil {
			t.Error(err)
		}
	}
	_, err = session.NextEvent(bounded(t))
	wantError(t, err, holepunch.ErrClosed)
	_, err = session.Send(id, nil)
	wantError(t, err, holepunch.ErrClosed)
	_, err = session.SendToAll(nil)
	wantError(t, err, holepunch.ErrClosed)
	_, err = session.Peer(id)
	wantError(t, err, holepunch.ErrClosed)
	_, err = session.ExportKey(id, "label")
	wantError(t, err, holepunch.ErrClosed)
	session.Leave()
	if peers, counters := session.Peers(), session.Counters(); peers != nil || counters != (holepunch.SessionCounters{}) {
		t.Errorf("%v, %v", peers, counters)
	}
	if _, more := <-session.Events(); more {
		t.Error("an event after the end")
	}
	if session.LocalID() != id || session.PublicKey() != key || id == (holepunch.PeerID{}) || key == (holepunch.Key{}) {
		t.Errorf("%v became %v, %v became %v", id, session.LocalID(), key, session.PublicKey())
	}
	if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(id.String()) {
		t.Errorf("%q", id)
	}
	client.Close()
	_, err = client.Join(bounded(t), newID())
	wantError(t, err, holepunch.ErrClosed)
}

// fill sends messages that begin with their numbers until no more is taken for
// a while, and returns how many were.
func fill(t *testing.T, session *holepunch.Session, to holepunch.PeerID, size int) (sent int) {
	t.Helper()
	text := make([]byte, size)
	for full := 0; full < 20; {
		text[0] = byte(sent + 1)
		_, err := session.Send(to, text)
		switch {
		case err == nil:
			sent++
		case errors.Is(err, holepunch.ErrFull):
			full++
			time.Sleep(20 * time.Millisecond)
		default:
			t.Fatal(err)
		}
	}
	return sent
}

// Who does not ask for events makes senders wait, and misses nothing.
func TestSlowConsumersHoldSendersUpAndLoseNothing(t *testing.T) {
	for name, next := range map[string]func(t *testing.T, session *holepunch.Session) holepunch.Message{
		"NextEvent": func(t *testing.T, session *holepunch.Session) holepunch.Message {
			return waitFor(t, session, anyOf[holepunch.Message])
		},
		"Events": func(t *testing.T, session *holepunch.Session) holepunch.Message {
			for {
				if message, is := receive(t, session.Events()).(holepunch.Message); is {
					return message
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			sessions := together(t, 2, holepunch.WithMaxUnfetched(100_000), holepunch.WithMaxUnacknowledged(100_000))
			a, b := sessions[0], sessions[1]
			if name == "Events" {
				b.Events()
			}
			sent := fill(t, a, b.LocalID(), 10_000)
			if sent < 10 || sent > 40 {
				t.Errorf("%d were taken", sent)
			}
			for i := 1; i <= sent; i++ {
				if said := next(t, b).Data; len(said) != 10_000 || said[0] != byte(i) {
					t.Fatalf("%d bytes that begin with %d, not message %d", len(said), said[0], i)
				}
			}
			if _, err := a.Send(b.LocalID(), []byte("there is room again")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestMessagesToAllThatAreNotTakenForSome(t *testing.T) {
	sessions := together(t, 3, holepunch.WithMaxUnfetched(100_000), holepunch.WithMaxUnacknowledged(200_000))
	a, b, c := sessions[0], sessions[1], sessions[2]
	last := uint64(fill(t, a, c.LocalID(), 50_000))
	number, err := a.SendToAll(make([]byte, holepunch.MaxMessageLen))
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, a, func(e holepunch.Untaken) bool { return e.Number == number && e.Peer == c.LocalID() })
	waitFor(t, a, func(e holepunch.Delivered) bool { return e.Number == number && e.Peer == b.LocalID() })
	// What has not come when one leaves is told by its number.
	c.Close()
	left := waitFor(t, a, anyOf[holepunch.Left])
	if !sort.SliceIsSorted(left.Undelivered, func(i, j int) bool { return left.Undelivered[i] < left.Undelivered[j] }) ||
		len(left.Undelivered) == 0 || left.Undelivered[len(left.Undelivered)-1] != last {
		t.Errorf("%v, and the last was %d", left.Undelivered, last)
	}
}

func TestServersThatAreLostOrRefuse(t *testing.T) {
	server := startServer(t, holepunch.ServerConfig{})
	id := newID()
	a, b := join(t, server.Addr().String(), id), join(t, server.Addr().String(), id)
	waitFor(t, b, anyOf[holepunch.Connected])
	refused := join(t, startServer(t, holepunch.ServerConfig{Dialect: holepunch.Plain}).Addr().String(), newID())
	if reason := waitFor(t, refused, anyOf[holepunch.Refused]).Reason; reason != holepunch.RefusedDialect {
		t.Errorf("refused: %v", reason)
	}
	server.Close()
	waitFor(t, a, anyOf[holepunch.ServerLost])
	if _, err := a.SendToAll([]byte("all the same")); err != nil {
		t.Error(err)
	}
	if said := waitFor(t, b, anyOf[holepunch.Message]); string(said.Data) != "all the same" {
		t.Errorf("%q", said.Data)
	}
	startServer(t, holepunch.ServerConfig{Addr: server.Addr().String()})
	waitFor(t, a, anyOf[holepunch.ServerRegained])
}

func TestPlainPeersAreMarked(t *testing.T) {
	server, id := startDefaultServer(t), newID()
	open := join(t, server, id, holepunch.WithPlainPeers())
	waitFor(t, open, anyOf[holepunch.Registered])
	client := newClient(t, server, holepunch.WithDialect(holepunch.Plain))
	peers, err := client.Connect(bounded(t), id, 1)
	if err != nil {
		t.Fatal(err)
	}
	socket := take(t, client, peers[0])
	connected := waitFor(t, open, anyOf[holepunch.Connected])
	if connected.Encrypted || connected.Key != (holepunch.Key{}) || connected.Addr.Port() != addrOf(socket).Port() || connected.RTT != 0 {
		t.Errorf("%+v", connected)
	}
	send(t, socket, peers[0].Addr, "in the open")
	if said := waitFor(t, open, anyOf[holepunch.Message]); said.Encrypted || string(said.Data) != "in the open" || said.Peer != connected.Peer {
		t.Errorf("%+v", said)
	}
	if _, err := open.Send(connected.Peer, []byte("hello")); err != nil {
		t.Error(err)
	}
	said, from := next(t, socket)
	for from.String() == server {
		said, from = next(t, socket)
	}
	if said != "hello" || from != peers[0].Addr {
		t.Errorf("%q from %v", said, from)
	}
	for _, unsuitable := range []string{"", "SYN", strings.Repeat("x", holepunch.MaxPlainMessageLen+1)} {
		_, err := open.Send(connected.Peer, []byte(unsuitable))
		wantError(t, err, holepunch.ErrInvalidArgument)
	}
	_, err = open.ExportKey(connected.Peer, "label")
	wantError(t, err, holepunch.ErrNotFound)
}

func TestReasonsHaveNames(t *testing.T) {
	names := make(map[string]bool)
	for reason := holepunch.LeftGoodbye; reason <= holepunch.LeftWeLeft; reason++ {
		names[reason.String()] = true
	}
	for reason := holepunch.RefusedSessionFull; reason <= holepunch.RefusedOther; reason++ {
		names[reason.String()] = true
	}
	unknown := holepunch.LeftReason(0).String()
	if len(names) != 9 || names[unknown] || unknown != holepunch.RefusedReason(9).String() {
		t.Errorf("%v, and %q", names, unknown)
	}
}
