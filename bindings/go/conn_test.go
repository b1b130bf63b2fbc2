package holepunch_test

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"holepunch.example/holepunch"
)

var (
	_ net.Conn       = (*holepunch.Conn)(nil)
	_ net.PacketConn = (*holepunch.Conn)(nil)
	_ net.Error      = (*holepunch.Error)(nil)
)

// aProbe begins like every datagram of the native dialect.
const aProbe = "\x0eholep\x01\x20 and more"

func TestConnDropsWhatIsNotThePeers(t *testing.T) {
	a, b := dialPair(t)
	for _, control := range []string{"", "SYN", "ACK", aProbe, aProbe[:8]} {
		if !holepunch.IsControlPacket([]byte(control)) {
			t.Errorf("%q is no control packet", control)
		}
		send(t, b.UDPConn(), b.Peer().Addr, control)
	}
	stranger := listen(t)
	send(t, stranger, b.Peer().Addr, "from a stranger")
	for _, text := range []string{"SYNC", "syn", "AC", aProbe[:7], "hello"} {
		if _, err := b.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if got := read(t, a); got != text {
			t.Fatalf("got %q, want %q", got, text)
		}
	}
}

// A buffer may be shorter than what tells control packets from others.
func TestConnReadsIntoShortBuffers(t *testing.T) {
	a, b := dialPair(t)
	a.SetReadDeadline(time.Now().Add(patience / 10))
	for _, test := range []struct {
		before, data string
		size         int
		want         string
	}{
		{"", "hello", 3, "hel"},
		{"", "SYNC", 3, "SYN"},
		{"", "ACKNOWLEDGED", 3, "ACK"},
		{aProbe, "hello", 4, "hell"},
		{aProbe, "hello", 7, "hello"},
		{"SYN", "S", 1, "S"},
		{"SYN", "hello", 2, "he"},
		{"", "hello", 0, ""},
	} {
		if test.before != "" {
			send(t, b.UDPConn(), b.Peer().Addr, test.before)
		}
		if _, err := b.Write([]byte(test.data)); err != nil {
			t.Fatal(err)
		}
		buffer := make([]byte, test.size)
		n, err := a.Read(buffer)
		if err != nil || string(buffer[:n]) != test.want {
			t.Errorf("%q, then %q into %d bytes: got %q, %v", test.before, test.data, test.size, buffer[:n], err)
		}
		drain(a)
	}
}

// drain reads what is there.
func drain(conn *holepunch.Conn) {
	defer conn.SetReadDeadline(time.Now().Add(patience / 10))
	for buffer := make([]byte, 2000); ; {
		conn.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
		if _, err := conn.Read(buffer); err != nil {
			return
		}
	}
}

func TestConnIsAPacketConn(t *testing.T) {
	a, b := dialPair(t)
	if n, err := a.WriteTo([]byte("hello"), a.RemoteAddr()); n != 5 || err != nil {
		t.Fatal(n, err)
	}
	buffer := make([]byte, 2000)
	b.SetDeadline(time.Now().Add(patience))
	n, from, err := b.ReadFrom(buffer)
	if err != nil || string(buffer[:n]) != "hello" || from.String() != b.RemoteAddr().String() {
		t.Fatal(n, from, err)
	}
	// The same address in another form is the peer's, too.
	peer := a.Peer().Addr
	if _, err := a.WriteTo([]byte("again"), &net.UDPAddr{IP: net.ParseIP(peer.Addr().String()), Port: int(peer.Port())}); err != nil {
		t.Error(err)
	}
	if got := read(t, b); got != "again" {
		t.Errorf("got %q", got)
	}
}

func TestConnWritesToNobodyElse(t *testing.T) {
	a, _ := dialPair(t)
	other := listen(t)
	n, err := a.WriteTo([]byte("hello"), other.LocalAddr())
	if n != 0 {
		t.Error("something was written")
	}
	wantError(t, err, holepunch.ErrInvalidArgument)
	if !errors.Is(err, os.ErrInvalid) {
		t.Error("it is not os.ErrInvalid")
	}
	send(t, a.UDPConn(), addrOf(other), "from the bare socket")
	if text, _ := next(t, other); text != "from the bare socket" {
		t.Errorf("%q arrived", text)
	}
}

func wantTimeout(t *testing.T, err error) {
	t.Helper()
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want a timeout", err)
	}
}

func TestConnHasDeadlines(t *testing.T) {
	a, b := dialPair(t)
	buffer := make([]byte, 10)
	for _, set := range []func(time.Time) error{a.SetDeadline, a.SetReadDeadline} {
		if err := set(time.Now().Add(20 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, err := a.Read(buffer)
		wantTimeout(t, err)
		if took := time.Since(start); took < 15*time.Millisecond || took > patience {
			t.Errorf("timed out after %v", took)
		}
		// What is dropped does not postpone it.
		set(time.Now().Add(20 * time.Millisecond))
		send(t, b.UDPConn(), b.Peer().Addr, "SYN")
		_, err = a.Read(buffer)
		wantTimeout(t, err)
		if err := set(time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	a.SetWriteDeadline(time.Now().Add(-time.Second))
	_, err := a.Write([]byte("hello"))
	wantTimeout(t, err)
	a.SetWriteDeadline(time.Time{})
	if _, err := a.Write([]byte("hello")); err != nil {
		t.Error(err)
	}
	if got := read(t, b); got != "hello" {
		t.Errorf("got %q", got)
	}
}

func TestConnCloseEndsARead(t *testing.T) {
	a, _ := dialPair(t)
	ended := make(chan error, 2)
	for i := 0; i < 2; i++ {
		go func() {
			_, err := a.Read(make([]byte, 10))
			ended <- err
		}()
	}
	// Nothing tells that they wait. Should they not yet, the test is easier, not wrong.
	time.Sleep(20 * time.Millisecond)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < 2; i++ {
		if err := receive(t, ended); !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
	_, err := a.Write([]byte("hello"))
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if _, _, err := a.ReadFrom(make([]byte, 10)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestConnServesManyGoroutines(t *testing.T) {
	a, b := dialPair(t)
	const writers, each = 4, 25
	for i := 0; i < writers; i++ {
		go func() {
			for j := 0; j < each; j++ {
				a.Write([]byte("hello"))
			}
		}()
	}
	b.SetReadDeadline(time.Now().Add(patience))
	done := make(chan error, writers)
	for i := 0; i < writers; i++ {
		go func() {
			for j := 0; j < each; j++ {
				if _, err := io.ReadAtLeast(b, make([]byte, 5), 5); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for i := 0; i < writers; i++ {
		if err := receive(t, done); err != nil {
			t.Error(err)
		}
	}
}
