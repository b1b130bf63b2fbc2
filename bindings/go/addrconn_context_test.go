package holepunch_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"holepunch.example/holepunch"
)

// stunServer answers STUN questions (RFC 8489) over both transports, with
// XOR-MAPPED-ADDRESS alone.
func stunServer(t *testing.T) string {
	t.Helper()
	const cookie = 0x2112A442
	answer := func(request []byte, from netip.AddrPort) []byte {
		response := append([]byte{1, 1, 0, 12}, request[4:20]...)
		response = append(response, 0, 0x20, 0, 8, 0, 1)
		response = binary.BigEndian.AppendUint16(response, from.Port()^cookie>>16)
		ip := from.Addr().Unmap().As4()
		return binary.BigEndian.AppendUint32(response, binary.BigEndian.Uint32(ip[:])^cookie)
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	socket := listenOn(t, "udp4", listener.Addr().String())
	go func() {
		for request := make([]byte, 1000); ; {
			n, from, err := socket.ReadFromUDPAddrPort(request)
			if err != nil {
				return
			}
			if n >= 20 {
				socket.WriteToUDPAddrPort(answer(request, from), from)
			}
		}
	}()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for request := make([]byte, 20); ; {
					if _, err := io.ReadFull(conn, request); err != nil {
						return
					}
					conn.Write(answer(request, conn.RemoteAddr().(*net.TCPAddr).AddrPort()))
				}
			}()
		}
	}()
	return listener.Addr().String()
}

func TestPublicAddrIsWhatOthersSee(t *testing.T) {
	stun, server := stunServer(t), startDefaultServer(t)
	known := netip.MustParseAddr("203.0.113.5")
	type source struct {
		transport holepunch.Transport
		option    holepunch.AddrConnOption
		public    netip.Addr
	}
	for name, test := range map[string]source{
		"server":        {holepunch.UDP, holepunch.WithAddressServer(server), loopback.Addr()},
		"STUN over UDP": {holepunch.UDP, holepunch.WithSTUN(stun), loopback.Addr()},
		"STUN over TCP": {holepunch.TCP, holepunch.WithSTUN(stun), loopback.Addr()},
		"by name":       {holepunch.TCP, holepunch.WithSTUN("localhost" + stun[strings.LastIndex(stun, ":"):]), loopback.Addr()},
		"known":         {holepunch.TCP, holepunch.WithPublicIP(known), known},
		"as IPv6":       {holepunch.UDP, holepunch.WithPublicIP(netip.MustParseAddr("::ffff:203.0.113.5")), known},
		"provided": {holepunch.TCP, holepunch.WithPublicIPProvider(func(ctx context.Context) (netip.Addr, error) {
			return netip.MustParseAddr("::ffff:203.0.113.5"), ctx.Err()
		}), known},
	} {
		t.Run(name, func(t *testing.T) {
			id := newID()
			conn := newAddrConn(t, test.transport, id, test.option)
			want := netip.AddrPortFrom(test.public, localAddr(conn).Port())
			for i := 0; i < 2; i++ {
				if addr, err := conn.PublicAddr(bounded(t)); addr != want || err != nil {
					t.Errorf("%v, %v instead of %v", addr, err, want)
				}
			}
			// The port that was asked from is the one that peers reach.
			peer := newAddrConn(t, test.transport, id)
			connect(t, conn, peer)
			if addr, err := conn.PublicAddr(bounded(t)); addr != want || err != nil {
				t.Errorf("%v, %v instead of %v afterwards", addr, err, want)
			}
			write(t, peer, "hello")
			wantRead(t, conn, "hello")
		})
	}
}

func TestPublicAddrThatNobodyTellsIsAnErrorAndStopsNothing(t *testing.T) {
	silent := addrOf(listen(t)).String()
	failed := errors.New("the provider's own")
	for name, test := range map[string]struct {
		transport holepunch.Transport
		options   []holepunch.AddrConnOption
		want      error
	}{
		"nobody is asked":  {holepunch.UDP, nil, holepunch.ErrNotFound},
		"silent":           {holepunch.UDP, []holepunch.AddrConnOption{holepunch.WithSTUN(silent)}, holepunch.ErrServerSilent},
		"none over TCP":    {holepunch.TCP, []holepunch.AddrConnOption{holepunch.WithSTUN(silent)}, holepunch.ErrServerUnreachable},
		"no such name":     {holepunch.UDP, []holepunch.AddrConnOption{holepunch.WithSTUN("no-such-host.invalid:1")}, holepunch.ErrServerNotFound},
		"something else":   {holepunch.TCP, []holepunch.AddrConnOption{holepunch.WithAddressServer(stunServer(t))}, holepunch.ErrServerRefused},
		"of another sort":  {holepunch.UDP, []holepunch.AddrConnOption{providing(netip.IPv6LinkLocalAllNodes(), nil)}, holepunch.ErrInvalidArgument},
		"none is provided": {holepunch.UDP, []holepunch.AddrConnOption{providing(netip.Addr{}, nil)}, holepunch.ErrInvalidArgument},
		"provider fails":   {holepunch.UDP, []holepunch.AddrConnOption{providing(netip.Addr{}, failed)}, failed},
	} {
		t.Run(name, func(t *testing.T) {
			id := newID()
			conn := newAddrConn(t, test.transport, id, test.options...)
			for i := 0; i < 2; i++ {
				addr, err := conn.PublicAddr(bounded(t))
				if wantError(t, err, test.want); addr.IsValid() {
					t.Errorf("%v beside an error", addr)
				}
			}
			connect(t, conn, newAddrConn(t, test.transport, id))
		})
	}
}

func providing(ip netip.Addr, err error) holepunch.AddrConnOption {
	return holepunch.WithPublicIPProvider(func(context.Context) (netip.Addr, error) { return ip, err })
}

// silentServer takes what it is asked over both transports, and never answers.
func silentServer(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return addrOf(listenOn(t, "udp4", listener.Addr().String())).String()
}

// Nothing answers any more once the attempt has begun.
func TestPublicAddrIsNotWaitedForBeyondTheAttempt(t *testing.T) {
	silent := holepunch.WithSTUN(silentServer(t))
	for _, end := range []func(t *testing.T, conn, peer *holepunch.AddrConn){
		func(t *testing.T, conn, peer *holepunch.AddrConn) { connect(t, conn, peer) },
		func(t *testing.T, conn, peer *holepunch.AddrConn) {
			wantExceeded(t, conn.Attempt(bounded(t), netip.MustParseAddrPort("127.0.0.1:1")), holepunch.ErrTimedOutPunching)
		},
	} {
		id := newID()
		conn, peer := newAddrConn(t, holepunch.UDP, id, append(onceShortly, silent)...), newAddrConn(t, holepunch.UDP, id)
		var calls []<-chan error
		for i := 0; i < 3; i++ {
			calls = append(calls, asking(bounded(t), conn))
		}
		time.Sleep(5 * time.Millisecond) // They may wait by now.
		end(t, conn, peer)
		for _, call := range append(calls, asking(bounded(t), conn)) {
			wantError(t, receive(t, call), holepunch.ErrServerSilent)
		}
	}
}

// asking asks for the public address in the background.
func asking(ctx context.Context, conn *holepunch.AddrConn) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := conn.PublicAddr(ctx)
		done <- err
	}()
	return done
}

// stages are those that contexts and Close can end.
func stages(t *testing.T) map[string]func(context.Context, *holepunch.AddrConn) <-chan error {
	nowhere := addrOf(listen(t))
	return map[string]func(context.Context, *holepunch.AddrConn) <-chan error{
		"asking": asking,
		"attempting": func(ctx context.Context, conn *holepunch.AddrConn) <-chan error {
			return attempting(ctx, conn, nowhere)
		},
		"waiting to be found": func(ctx context.Context, conn *holepunch.AddrConn) <-chan error {
			return attempting(ctx, conn)
		},
	}
}

func TestContextsEndEveryStageOfAnAddrConn(t *testing.T) {
	silent := silentServer(t)
	for _, transport := range transports {
		for name, start := range stages(t) {
			t.Run(transport.String()+", "+name, func(t *testing.T) {
				fresh := func() *holepunch.AddrConn { return newAddrConn(t, transport, newID(), holepunch.WithSTUN(silent)) }
				if took := bestOf(promptly, func() time.Duration {
					ctx, cancel := context.WithCancel(context.Background())
					call := start(ctx, fresh())
					time.Sleep(5 * time.Millisecond) // It may wait by now.
					began := time.Now()
					cancel()
					wantCanceled(t, receive(t, call))
					return time.Since(began)
				}); took > promptly {
					t.Errorf("canceling took %v", took)
				}
				if took := bestOf(promptly, func() time.Duration {
					deadline := time.Now().Add(10 * time.Millisecond)
					ctx, cancel := context.WithDeadline(context.Background(), deadline)
					defer cancel()
					wantExceeded(t, receive(t, start(ctx, fresh())), holepunch.ErrTimedOut)
					return time.Since(deadline)
				}); took > promptly {
					t.Errorf("the deadline took %v", took)
				}
				conn := fresh()
				wantCanceled(t, receive(t, start(canceledContext(), conn)))
				call := start(bounded(t), conn)
				time.Sleep(5 * time.Millisecond)
				conn.Close()
				wantError(t, receive(t, call), holepunch.ErrClosed)
			})
		}
	}
}

// A context that had ended before is no attempt; one that ends it is.
func TestAttemptsThatContextsEnd(t *testing.T) {
	for _, transport := range transports {
		id := newID()
		conn, peer := newAddrConn(t, transport, id), newAddrConn(t, transport, id)
		wantCanceled(t, conn.Attempt(canceledContext(), localAddr(peer)))
		connect(t, conn, peer)

		conn = newAddrConn(t, transport, id)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		wantExceeded(t, conn.Attempt(ctx), holepunch.ErrTimedOut)
		cancel()
		wantError(t, conn.Attempt(bounded(t), localAddr(peer)), holepunch.ErrAlreadyAttempted)
		_, err := conn.Read(make([]byte, 10))
		wantError(t, err, holepunch.ErrNotConnected)
		_, err = conn.PublicAddr(bounded(t))
		wantError(t, err, holepunch.ErrNotFound)
	}
}

// reading reads in the background.
func reading(conn net.Conn) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 10))
		done <- err
	}()
	return done
}

func TestDeadlinesEndReadsAndNothingElse(t *testing.T) {
	for _, transport := range transports {
		id := newID()
		a, b := newAddrConn(t, transport, id), newAddrConn(t, transport, id)
		// One that was set before holds for what follows.
		early := time.Now().Add(10 * time.Millisecond)
		a.SetReadDeadline(early)
		connect(t, a, b)
		wantExceeded(t, receive(t, reading(a)), holepunch.ErrTimedOut)
		write(t, b, "hello")
		wantExceeded(t, receive(t, reading(a)), holepunch.ErrTimedOut)
		a.SetReadDeadline(time.Time{})
		wantRead(t, a, "hello")

		for name, set := range map[string]func(time.Time) error{"read": a.SetReadDeadline, "both": a.SetDeadline} {
			if took := bestOf(promptly, func() time.Duration {
				first, second := reading(a), reading(a)
				time.Sleep(5 * time.Millisecond) // They may wait by now.
				began := time.Now()
				if err := set(time.Unix(1, 0)); err != nil {
					t.Error(err)
				}
				wantExceeded(t, receive(t, first), holepunch.ErrTimedOut)
				wantExceeded(t, receive(t, second), holepunch.ErrTimedOut)
				return time.Since(began)
			}); took > promptly {
				t.Errorf("%s: it took %v", name, took)
			}
			set(time.Time{})
		}
		call := reading(a)
		time.Sleep(5 * time.Millisecond)
		write(t, b, "again")
		if err := receive(t, call); err != nil {
			t.Error(err)
		}
		call = reading(a)
		time.Sleep(5 * time.Millisecond)
		a.Close()
		wantError(t, receive(t, call), holepunch.ErrClosed)
	}
}

// The peer does not read: what it and the systems keep fills up.
func TestDeadlinesEndWritesAndNothingElse(t *testing.T) {
	a, b := addrPair(t, holepunch.TCP)
	much := make([]byte, 64<<20)
	for i := range much {
		much[i] = byte(i >> 8)
	}
	a.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	written, err := a.Write(much)
	if wantExceeded(t, err, holepunch.ErrTimedOut); written == 0 || written == len(much) {
		t.Fatalf("%d bytes were written", written)
	}
	n, err := a.Write(much)
	if wantExceeded(t, err, holepunch.ErrTimedOut); n != 0 {
		t.Errorf("%d bytes were written after the deadline", n)
	}
	// A deadline may be set while somebody waits.
	a.SetWriteDeadline(time.Time{})
	type outcome struct {
		n   int
		err error
	}
	writing := func(data []byte) <-chan outcome {
		done := make(chan outcome, 1)
		go func() {
			n, err := a.Write(data)
			done <- outcome{n, err}
		}()
		return done
	}
	call := writing(much[written:])
	time.Sleep(20 * time.Millisecond)
	a.SetDeadline(time.Now().Add(-time.Second))
	o := receive(t, call)
	wantExceeded(t, o.err, holepunch.ErrTimedOut)
	written += o.n
	// The other direction is open, and nothing is lost.
	write(t, b, "hello")
	a.SetDeadline(time.Time{})
	wantRead(t, a, "hello")
	call = writing(much[written:])
	wantRead(t, b, string(much))
	if o := receive(t, call); o.err != nil {
		t.Error(o.err)
	}
	call = writing(much)
	time.Sleep(20 * time.Millisecond)
	a.Close()
	wantError(t, receive(t, call).err, holepunch.ErrClosed)
}
