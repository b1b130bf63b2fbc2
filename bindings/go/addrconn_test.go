package holepunch_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"holepunch.example/holepunch"
)

var _ net.Conn = (*holepunch.AddrConn)(nil)

var (
	transports = []holepunch.Transport{holepunch.UDP, holepunch.TCP}
	loopback   = netip.MustParseAddrPort("127.0.0.1:0")
	// onceShortly has an attempt that must fail end soon.
	onceShortly = []holepunch.AddrConnOption{holepunch.WithAttemptTimeout(300 * time.Millisecond), holepunch.WithAttempts(2)}
)

// newAddrConn makes a connection on loopback for the time of the test.
func newAddrConn(t testing.TB, transport holepunch.Transport, id []byte, options ...holepunch.AddrConnOption) *holepunch.AddrConn {
	t.Helper()
	conn, err := holepunch.NewAddrConn(transport, id, append([]holepunch.AddrConnOption{holepunch.WithBindAddr(loopback)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func localAddr(conn *holepunch.AddrConn) netip.AddrPort { return conn.LocalAddrs()[0] }

// attempting attempts in the background.
func attempting(ctx context.Context, conn *holepunch.AddrConn, addrs ...netip.AddrPort) <-chan error {
	done := make(chan error, 1)
	go func() { done <- conn.Attempt(ctx, addrs...) }()
	return done
}

// connect connects two with each other.
func connect(t testing.TB, a, b *holepunch.AddrConn) {
	t.Helper()
	first, second := attempting(bounded(t), a, localAddr(b)), attempting(bounded(t), b, localAddr(a))
	for _, call := range []<-chan error{first, second} {
		if err := receive(t, call); err != nil {
			t.Fatal(err)
		}
	}
}

// addrPair returns two that are connected.
func addrPair(t testing.TB, transport holepunch.Transport, options ...holepunch.AddrConnOption) (a, b *holepunch.AddrConn) {
	t.Helper()
	id := newID()
	a, b = newAddrConn(t, transport, id, options...), newAddrConn(t, transport, id, options...)
	connect(t, a, b)
	return a, b
}

// wantRead reads so many bytes, or one datagram.
func wantRead(t testing.TB, conn net.Conn, want string) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(patience))
	defer conn.SetReadDeadline(time.Time{})
	buffer := make([]byte, len(want))
	if _, err := io.ReadFull(conn, buffer); err != nil || string(buffer) != want {
		t.Errorf("%q, %v instead of %q", buffer, err, want)
	}
}

func write(t testing.TB, conn net.Conn, data string) {
	t.Helper()
	if n, err := io.WriteString(conn, data); n != len(data) || err != nil {
		t.Fatalf("%d of %d bytes, %v", n, len(data), err)
	}
}

// wantEnd reads until the peer has gone.
func wantEnd(t testing.TB, conn net.Conn) {
	t.Helper()
	for i := 0; i < 2; i++ { // It stays so.
		conn.SetReadDeadline(time.Now().Add(patience))
		if n, err := conn.Read(make([]byte, 100)); n != 0 || err != io.EOF {
			t.Errorf("%d bytes, %v", n, err)
		}
	}
}

func TestAddrConnsConnectTalkAndPart(t *testing.T) {
	for _, transport := range transports {
		for _, authenticated := range []bool{true, false} {
			name := transport.String() + map[bool]string{false: ", unauthenticated"}[authenticated]
			t.Run(name, func(t *testing.T) {
				id, options := newID(), []holepunch.AddrConnOption{}
				if !authenticated {
					id, options = nil, append(options, holepunch.Unauthenticated())
				}
				a, b := newAddrConn(t, transport, id, options...), newAddrConn(t, transport, id, options...)
				if a.RemoteAddr() != nil || a.Peer().Connected || a.LocalAddr().String() != localAddr(a).String() {
					t.Errorf("%v, %v, %+v before there is a connection", a.LocalAddr(), a.RemoteAddr(), a.Peer())
				}
				_, err := a.Read(make([]byte, 10))
				wantError(t, err, holepunch.ErrNotConnected)
				_, err = a.Write([]byte("too early"))
				wantError(t, err, holepunch.ErrNotConnected)
				_, err = a.ExportKey("label")
				wantError(t, err, holepunch.ErrNotFound)
				connect(t, a, b)
				for _, way := range []struct{ from, to *holepunch.AddrConn }{{a, b}, {b, a}} {
					local, remote := way.from.LocalAddr(), way.to.RemoteAddr()
					if local.Network() != transport.String() || local.Network() != remote.Network() || local.String() != remote.String() {
						t.Errorf("%v is %v for the other side", local, remote)
					}
					if peer := way.from.Peer(); !peer.Connected || peer.Authenticated != authenticated || peer.Transport != transport || peer.Path == 0 || peer.Addr.String() != way.to.LocalAddr().String() {
						t.Errorf("%+v", peer)
					}
					for _, data := range []string{"hello", "\x00binary\x00", strings.Repeat("long", 250)} {
						write(t, way.from, data)
						wantRead(t, way.to, data)
					}
				}
				ours, err := a.ExportKey("label")
				theirs, err2 := b.ExportKey("label")
				other, _ := a.ExportKey("another")
				if authenticated && (err != nil || err2 != nil || ours != theirs || ours == other || ours == [32]byte{}) {
					t.Errorf("%x, %x, %x, %v, %v", ours, theirs, other, err, err2)
				} else if !authenticated {
					wantError(t, err, holepunch.ErrNotFound)
				}
				write(t, a, "the last word")
				a.Close()
				a.Close()
				wantRead(t, b, "the last word")
				if authenticated || transport == holepunch.TCP {
					wantEnd(t, b)
					_, err = b.Write([]byte("too late"))
					wantError(t, err, holepunch.ErrNotConnected)
				}
			})
		}
	}
}

func TestClosedAddrConns(t *testing.T) {
	for _, transport := range transports {
		conn, _ := addrPair(t, transport, holepunch.WithPublicIP(netip.MustParseAddr("203.0.113.5")))
		local, peer := conn.LocalAddr().String(), conn.Peer()
		conn.Close()
		_, err := conn.Read(make([]byte, 10))
		wantError(t, err, holepunch.ErrClosed)
		_, err = conn.Write([]byte("x"))
		wantError(t, err, holepunch.ErrClosed)
		_, err = conn.ExportKey("label")
		wantError(t, err, holepunch.ErrClosed)
		_, err = conn.PublicAddr(bounded(t))
		wantError(t, err, holepunch.ErrClosed)
		wantError(t, conn.Attempt(bounded(t)), holepunch.ErrClosed)
		wantError(t, conn.SetDeadline(time.Now()), holepunch.ErrClosed)
		wantError(t, conn.SetWriteDeadline(time.Now()), holepunch.ErrClosed)
		if conn.LocalAddr().String() != local || conn.Peer().Addr != peer.Addr || len(conn.LocalAddrs()) != 1 {
			t.Errorf("%v, %+v, %v", conn.LocalAddr(), conn.Peer(), conn.LocalAddrs())
		}
	}
}

func TestOneSideMayKnowNothingOfTheOther(t *testing.T) {
	for _, transport := range transports {
		id := newID()
		waits, dials := newAddrConn(t, transport, id), newAddrConn(t, transport, id)
		nowhere := netip.MustParseAddrPort("127.0.0.1:1")
		first, second := attempting(bounded(t), waits), attempting(bounded(t), dials, nowhere, localAddr(waits))
		if err, err2 := receive(t, first), receive(t, second); err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		if waits.Peer().Path != holepunch.PeerReflexive || dials.Peer().Path != holepunch.Reflexive {
			t.Errorf("%+v, %+v", waits.Peer(), dials.Peer())
		}
		wantError(t, waits.Attempt(bounded(t)), holepunch.ErrAlreadyAttempted)
	}
}

// Several write, one reads slowly and in small pieces: what is written comes
// whole, and what is written at once stays together.
func TestStreamsComeWholeAndInOrder(t *testing.T) {
	a, b := addrPair(t, holepunch.TCP)
	const writers, each, size = 4, 8, 300_001
	for i := 0; i < writers; i++ {
		go func(who byte) {
			for j := 0; j < each; j++ {
				if n, err := a.Write(bytes.Repeat([]byte{who}, size)); n != size || err != nil {
					t.Errorf("%d, %v", n, err)
				}
			}
		}(byte(i))
	}
	time.Sleep(50 * time.Millisecond) // They may wait for each other, and for the reader, by now.
	b.SetReadDeadline(time.Now().Add(sessionPatience))
	piece := make([]byte, size)
	var counts [writers]int
	for i := 0; i < writers*each; i++ {
		for got := 0; got < size; {
			n, err := b.Read(piece[got:min(size, got+9_999)])
			if err != nil {
				t.Fatal(err)
			}
			got += n
		}
		if bytes.Count(piece, piece[:1]) != size {
			t.Fatal("pieces are mixed up")
		}
		counts[piece[0]]++
	}
	if counts != [writers]int{each, each, each, each} {
		t.Errorf("%v", counts)
	}
}

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}

func TestDatagramsKeepTheirBounds(t *testing.T) {
	a, b := addrPair(t, holepunch.UDP)
	write(t, a, "what does not fit is lost")
	write(t, a, "next")
	wantRead(t, b, "what")
	wantRead(t, b, "next")
	longest := strings.Repeat("x", holepunch.MaxDatagramLen)
	write(t, a, longest)
	wantRead(t, b, longest)
	n, err := a.Write(make([]byte, holepunch.MaxDatagramLen+1))
	if wantError(t, err, holepunch.ErrInvalidArgument); n != 0 {
		t.Errorf("%d bytes were written", n)
	}
	// Those of strangers, and the library's own, are no data.
	send(t, listen(t), localAddr(b), "from a stranger")
	for _, text := range []string{"", "SYN", aProbe, "hello"} {
		write(t, a, text)
	}
	wantRead(t, b, "hello")
}

func TestStrangersAndEmptyPlacesAreToldApart(t *testing.T) {
	a, b := newAddrConn(t, holepunch.TCP, newID(), onceShortly...), newAddrConn(t, holepunch.TCP, newID(), onceShortly...)
	first, second := attempting(bounded(t), a, localAddr(b)), attempting(bounded(t), b, localAddr(a))
	for _, call := range []<-chan error{first, second} {
		wantError(t, receive(t, call), holepunch.ErrStranger)
	}
	_, err := a.Read(make([]byte, 10))
	wantError(t, err, holepunch.ErrNotConnected)

	free := addrOf(listen(t))
	for _, transport := range transports {
		for _, conn := range []*holepunch.AddrConn{
			newAddrConn(t, transport, newID(), onceShortly...),
			newAddrConn(t, transport, nil, append(onceShortly, holepunch.Unauthenticated())...),
		} {
			start := time.Now()
			err := conn.Attempt(bounded(t), free)
			wantExceeded(t, err, holepunch.ErrTimedOutPunching)
			if took := time.Since(start); took < 500*time.Millisecond || took > patience/2 {
				t.Errorf("%v took %v", err, took)
			}
			wantError(t, conn.Attempt(bounded(t), free), holepunch.ErrAlreadyAttempted)
		}
	}
}

func TestProgramsThatKnowNothingOfUsCanBeTheOtherSide(t *testing.T) {
	talk := func(t *testing.T, conn *holepunch.AddrConn, other net.Conn, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		if peer := conn.Peer(); peer.Authenticated || peer.Addr.String() != other.LocalAddr().String() {
			t.Errorf("%+v", peer)
		}
		write(t, other, "from it")
		wantRead(t, conn, "from it")
		write(t, conn, "to it")
		wantRead(t, other, "to it") // and nothing before
		other.Close()
		wantEnd(t, conn)
	}
	t.Run("it dials", func(t *testing.T) {
		conn := newAddrConn(t, holepunch.TCP, nil, holepunch.Unauthenticated())
		attempt := attempting(bounded(t), conn)
		other, err := net.Dial("tcp4", localAddr(conn).String())
		if err := receive(t, attempt); err != nil {
			t.Fatal(err)
		}
		talk(t, conn, other, err)
	})
	t.Run("it listens", func(t *testing.T) {
		listener, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		conn := newAddrConn(t, holepunch.TCP, nil, holepunch.Unauthenticated())
		attempt := attempting(bounded(t), conn, listener.Addr().(*net.TCPAddr).AddrPort())
		other, err := listener.Accept()
		if err := receive(t, attempt); err != nil {
			t.Fatal(err)
		}
		talk(t, conn, other, err)
	})
	t.Run("it says no more, and would listen", func(t *testing.T) {
		conn := newAddrConn(t, holepunch.TCP, nil, holepunch.Unauthenticated())
		attempt := attempting(bounded(t), conn)
		other, err := net.Dial("tcp4", localAddr(conn).String())
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		if err := receive(t, attempt); err != nil {
			t.Fatal(err)
		}
		write(t, other, "the last word")
		other.(*net.TCPConn).CloseWrite()
		wantRead(t, conn, "the last word")
		wantEnd(t, conn)
		_, err = conn.Write([]byte("not heard"))
		wantError(t, err, holepunch.ErrNotConnected)
	})
	t.Run("it resets", func(t *testing.T) {
		conn := newAddrConn(t, holepunch.TCP, nil, holepunch.Unauthenticated())
		attempt := attempting(bounded(t), conn)
		other, err := net.Dial("tcp4", localAddr(conn).String())
		if err != nil {
			t.Fatal(err)
		}
		if err := receive(t, attempt); err != nil {
			t.Fatal(err)
		}
		other.(*net.TCPConn).SetLinger(0)
		other.Close()
		conn.SetReadDeadline(time.Now().Add(patience))
		_, err = conn.Read(make([]byte, 10))
		if wantError(t, err, holepunch.ErrSocket); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%v", err)
		}
	})
}

func TestTakenTCPSocketIsTheCallersAlone(t *testing.T) {
	id := newID()
	a, b := newAddrConn(t, holepunch.TCP, id, holepunch.WithBareSocket()), newAddrConn(t, holepunch.TCP, id)
	_, err := a.TakeTCPConn()
	wantError(t, err, holepunch.ErrNotConnected)
	connect(t, a, b)
	write(t, b, "before")
	_, err = a.Read(make([]byte, 10))
	wantError(t, err, holepunch.ErrUnsupported)
	_, err = b.TakeTCPConn()
	wantError(t, err, holepunch.ErrInvalidArgument)
	_, err = a.TakeConn()
	wantError(t, err, holepunch.ErrInvalidArgument)
	write(t, a, "hello")
	wantRead(t, b, "hello")
	if _, err := a.ExportKey("label"); err != nil {
		t.Error(err)
	}
	socket, err := a.TakeTCPConn()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if socket.LocalAddr().String() != a.LocalAddr().String() || socket.RemoteAddr().String() != a.RemoteAddr().String() {
		t.Errorf("%v, %v", socket.LocalAddr(), socket.RemoteAddr())
	}
	_, err = a.TakeTCPConn()
	wantError(t, err, holepunch.ErrNotConnected)
	_, err = a.Write([]byte("too late"))
	wantError(t, err, holepunch.ErrNotConnected)
	a.Close()
	wantRead(t, socket, "before")
	write(t, socket, "afterwards")
	wantRead(t, b, "afterwards")
	// Its deadlines are Go's.
	socket.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := socket.Read(make([]byte, 10)); !errors.Is(err, syscall.EAGAIN) && !isTimeout(err) {
		t.Errorf("%v", err)
	}
	socket.Close()
	wantEnd(t, b)
}

func isTimeout(err error) bool {
	var of net.Error
	return errors.As(err, &of) && of.Timeout()
}

func TestTakenUDPSocketIsTheCallersAlone(t *testing.T) {
	id := newID()
	a, b := newAddrConn(t, holepunch.UDP, id, holepunch.WithBareSocket()), newAddrConn(t, holepunch.UDP, id)
	// It is connected first, and what it says may come before the other is.
	go func() {
		if b.Attempt(bounded(t), localAddr(a)) == nil {
			b.Write([]byte("before"))
		}
	}()
	if err := a.Attempt(bounded(t), localAddr(b)); err != nil {
		t.Fatal(err)
	}
	_, err := a.TakeTCPConn()
	wantError(t, err, holepunch.ErrInvalidArgument)
	conn, err := a.TakeConn()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = a.TakeConn()
	wantError(t, err, holepunch.ErrNotConnected)
	a.Close()
	wantRead(t, conn, "before")
	if peer := conn.Peer(); peer.Addr != localAddr(b) || !peer.Authenticated || addrOf(conn.UDPConn()) != localAddr(a) {
		t.Errorf("%+v", peer)
	}
	write(t, conn, "afterwards")
	wantRead(t, b, "afterwards")
}

func TestWhatCannotBeAnAddrConnIsAnError(t *testing.T) {
	id := newID()
	withID := func(options ...holepunch.AddrConnOption) func() error {
		return func() error {
			conn, err := holepunch.NewAddrConn(holepunch.TCP, id, append([]holepunch.AddrConnOption{holepunch.WithBindAddr(loopback)}, options...)...)
			if err == nil {
				conn.Close()
			}
			return err
		}
	}
	longest := make([]byte, holepunch.MaxSessionIDLen+1)
	made := func(transport holepunch.Transport, id []byte) func() error {
		return func() error {
			conn, err := holepunch.NewAddrConn(transport, id)
			if err == nil {
				conn.Close()
			}
			return err
		}
	}
	for name, test := range map[string]struct {
		do   func() error
		want error
	}{
		"no transport":            {made(0, id), holepunch.ErrInvalidArgument},
		"another transport":       {made(3, id), holepunch.ErrInvalidArgument},
		"no ID":                   {made(holepunch.TCP, nil), holepunch.ErrInvalidSessionID},
		"a long ID":               {made(holepunch.TCP, longest), holepunch.ErrInvalidSessionID},
		"the longest ID":          {made(holepunch.TCP, longest[1:]), nil},
		"ID without use":          {withID(holepunch.Unauthenticated()), holepunch.ErrInvalidArgument},
		"no time":                 {withID(holepunch.WithAttemptTimeout(0)), holepunch.ErrInvalidArgument},
		"less than no time":       {withID(holepunch.WithAttemptTimeout(-1)), holepunch.ErrInvalidArgument},
		"the shortest time":       {withID(holepunch.WithAttemptTimeout(time.Millisecond)), nil},
		"the longest time":        {withID(holepunch.WithAttemptTimeout(holepunch.MaxAttemptTimeout)), nil},
		"too much time":           {withID(holepunch.WithAttemptTimeout(holepunch.MaxAttemptTimeout + 1)), holepunch.ErrInvalidArgument},
		"no attempts":             {withID(holepunch.WithAttempts(0)), holepunch.ErrInvalidArgument},
		"fewer than none":         {withID(holepunch.WithAttempts(-1)), holepunch.ErrInvalidArgument},
		"most attempts":           {withID(holepunch.WithAttempts(holepunch.MaxAttempts)), nil},
		"too many attempts":       {withID(holepunch.WithAttempts(holepunch.MaxAttempts + 1)), holepunch.ErrInvalidArgument},
		"a server without a port": {withID(holepunch.WithAddressServer("nonsense")), holepunch.ErrInvalidServer},
		"NUL in a server":         {withID(holepunch.WithSTUN("a\x00b:1")), holepunch.ErrInvalidServer},
		"no server":               {withID(holepunch.WithSTUN("")), holepunch.ErrInvalidServer},
		"no public address":       {withID(holepunch.WithPublicIP(netip.Addr{})), holepunch.ErrInvalidArgument},
		"of another family":       {withID(holepunch.WithPublicIP(netip.MustParseAddr("2001:db8::1"))), holepunch.ErrInvalidArgument},
		"no address of ours":      {withID(holepunch.WithBindAddr(netip.MustParseAddrPort("192.0.2.1:0"))), holepunch.ErrSocket},
		"the last source counts":  {withID(holepunch.WithSTUN("nonsense"), holepunch.WithPublicIPProvider(nil)), nil},
	} {
		t.Run(name, func(t *testing.T) {
			if err := test.do(); test.want != nil || err != nil {
				wantError(t, err, test.want)
			}
		})
	}
	for _, transport := range transports {
		conn := newAddrConn(t, transport, newID())
		somewhere := netip.MustParseAddrPort("127.0.0.1:9")
		all := make([]netip.AddrPort, holepunch.MaxPeerAddrs+1)
		for i := range all {
			all[i] = somewhere
		}
		for _, addrs := range [][]netip.AddrPort{all, {loopback}, {netip.MustParseAddrPort("0.0.0.0:1")}, {{}}} {
			wantError(t, conn.Attempt(bounded(t), addrs...), holepunch.ErrInvalidArgument)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		wantExceeded(t, conn.Attempt(ctx, all[1:]...), holepunch.ErrTimedOut)
		cancel()
	}
}

// Everything at once, while one is closed after the other.
func TestAddrConnsCanBeUsedAndClosedAtTheSameTime(t *testing.T) {
	for _, transport := range transports {
		a, b := addrPair(t, transport)
		var all sync.WaitGroup
		for _, conn := range []*holepunch.AddrConn{a, b} {
			conn := conn
			for _, use := range []func() error{
				func() error { _, err := conn.Read(make([]byte, 1000)); return err },
				func() error { _, err := conn.Read(make([]byte, 10)); return err },
				func() error { _, err := conn.Write([]byte("hello")); return err },
				func() error { _, err := conn.Write(make([]byte, 5000)); return err },
				func() error { _, err := conn.ExportKey("label"); return err },
				func() error { return conn.SetDeadline(time.Now().Add(time.Millisecond)) },
				func() error {
					conn.Peer()
					conn.LocalAddr()
					conn.RemoteAddr()
					conn.LocalAddrs()
					_, err := conn.PublicAddr(context.Background())
					return err
				},
			} {
				use := use
				all.Add(1)
				go func() {
					defer all.Done()
					for {
						// Whoever hears of the other's end goes on until his own.
						switch err := use(); {
						case errors.Is(err, holepunch.ErrClosed):
							return
						case err == nil, err == io.EOF, isTimeout(err), errors.Is(err, holepunch.ErrNotConnected),
							errors.Is(err, holepunch.ErrNotFound), errors.Is(err, holepunch.ErrFull), errors.Is(err, holepunch.ErrSocket):
							time.Sleep(50 * time.Microsecond)
						default:
							t.Error(err)
							return
						}
					}
				}()
			}
		}
		for _, conn := range []*holepunch.AddrConn{a, b} {
			time.Sleep(30 * time.Millisecond)
			conn.Close()
		}
		done := make(chan struct{})
		go func() { all.Wait(); close(done) }()
		receive2(t, done)
	}
}
