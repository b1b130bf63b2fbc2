package holepunch_test

import (
	"context"
	"errors"
	"math/rand"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holepunch.example/holepunch"
)

// promptly is how soon a context's end ends a call.
const promptly = 50 * time.Millisecond

// wantCanceled checks an error after its context was canceled.
func wantCanceled(t *testing.T, err error) {
	t.Helper()
	wantError(t, err, holepunch.ErrCanceled)
	var own *holepunch.Error
	if !errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &own) && own.Timeout() {
		t.Errorf("%v is not what a canceled context gives", err)
	}
}

// wantExceeded checks an error after its context's deadline.
func wantExceeded(t *testing.T, err, reason error) {
	t.Helper()
	wantError(t, err, reason)
	var own *holepunch.Error
	if !errors.As(err, &own) || !own.Timeout() {
		t.Errorf("%v is no timeout", err)
	}
	for name, target := range standard {
		if want := strings.Contains(name, "DeadlineExceeded"); errors.Is(err, target) != want {
			t.Errorf("%v is %s: %t", err, name, !want)
		}
	}
}

// firstDatagram waits until a call has asked a silent server.
func firstDatagram(t *testing.T, client func(server string)) {
	t.Helper()
	silent := listen(t)
	client(addrOf(silent).String())
	silent.SetReadDeadline(time.Now().Add(patience))
	if _, _, err := silent.ReadFrom(make([]byte, 2000)); err != nil {
		t.Fatal(err)
	}
}

func TestCancelEndsConnectAtOnce(t *testing.T) {
	took := bestOf(promptly, func() time.Duration {
		ctx, cancel := context.WithCancel(context.Background())
		var call <-chan result
		firstDatagram(t, func(server string) {
			call = connecting(ctx, newClient(t, server, holepunch.WithTimeout(-1)), newID(), 1)
		})
		start := time.Now()
		cancel()
		r := receive(t, call)
		took := time.Since(start)
		wantCanceled(t, r.err)
		return took
	})
	if took > promptly {
		t.Errorf("it took %v", took)
	}
}

func TestCancelEndsConnectPeersAndDialAtOnce(t *testing.T) {
	took := bestOf(promptly, func() time.Duration {
		ctx, cancel := context.WithCancel(context.Background())
		var dial <-chan dialed
		peers := make(chan result, 1)
		firstDatagram(t, func(server string) { dial = dialing(ctx, server, newID()) })
		firstDatagram(t, func(peer string) {
			client := newClient(t, "127.0.0.1:1")
			go func() {
				found, err := client.ConnectPeers(ctx, newID(), []netip.AddrPort{netip.MustParseAddrPort(peer)})
				peers <- result{found, err}
			}()
		})
		start := time.Now()
		cancel()
		r, d := receive(t, peers), receive(t, dial)
		took := time.Since(start)
		wantCanceled(t, r.err)
		wantCanceled(t, d.err)
		if d.conn != nil {
			t.Error("a Conn beside an error")
		}
		if len(r.peers) != 1 || r.peers[0].Connected {
			t.Errorf("%+v", r.peers)
		}
		return took
	})
	if took > promptly {
		t.Errorf("it took %v", took)
	}
}

func TestDeadlineEndsConnectAndSaysWhatWasMissing(t *testing.T) {
	server := startDefaultServer(t)
	for _, test := range []struct {
		name, server string
		reason       error
	}{
		{"silence", addrOf(listen(t)).String(), holepunch.ErrServerSilent},
		{"no peer", server, holepunch.ErrTimedOutWaiting},
	} {
		late := bestOf(promptly, func() time.Duration {
			client := newClient(t, test.server)
			deadline := time.Now().Add(60 * time.Millisecond)
			ctx, cancel := context.WithDeadline(context.Background(), deadline)
			defer cancel()
			_, err := client.Connect(ctx, newID(), 1)
			late := time.Since(deadline)
			wantExceeded(t, err, test.reason)
			if late < 0 {
				t.Errorf("%s: ended %v early", test.name, -late)
			}
			return late
		})
		if late > promptly {
			t.Errorf("%s: it ended %v after the deadline", test.name, late)
		}
	}
}

// Contexts that are done before the call has its turn.
func TestContextsThatAreDone(t *testing.T) {
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	expired, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	defer cancel()
	silent := listen(t)
	client := newClient(t, addrOf(silent).String())
	calls := map[string]func(ctx context.Context) error{
		"Connect": func(ctx context.Context) error {
			_, err := client.Connect(ctx, newID(), 1)
			return err
		},
		"ConnectPeers": func(ctx context.Context) error {
			_, err := client.ConnectPeers(ctx, newID(), []netip.AddrPort{addrOf(silent)})
			return err
		},
		"Dial": func(ctx context.Context) error {
			_, err := holepunch.Dial(ctx, addrOf(silent).String(), newID())
			return err
		},
	}
	for name, call := range calls {
		t.Run(name+" canceled", func(t *testing.T) { wantCanceled(t, call(canceled)) })
		t.Run(name+" expired", func(t *testing.T) { wantExceeded(t, call(expired), holepunch.ErrTimedOut) })
	}
	silent.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
	if n, _, err := silent.ReadFrom(make([]byte, 2000)); err == nil {
		t.Errorf("%d bytes were sent", n)
	}
}

func TestContextEndsTheWaitForATurn(t *testing.T) {
	var client *holepunch.Client
	ctx, cancel := context.WithCancel(bounded(t))
	var running <-chan result
	firstDatagram(t, func(server string) {
		client = newClient(t, server)
		running = connecting(ctx, client, newID(), 1)
	})
	waiting, stop := context.WithCancel(bounded(t))
	call := connecting(waiting, client, newID(), 1)
	stop()
	wantCanceled(t, receive(t, call).err)
	short, stop := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer stop()
	wantExceeded(t, receive(t, connecting(short, client, newID(), 1)).err, holepunch.ErrTimedOut)
	select {
	case r := <-running:
		t.Fatalf("the other call ended, too: %v", r.err)
	default:
	}
	cancel()
	wantCanceled(t, receive(t, running).err)
}

func TestCancelAfterSuccessDoesNotSpoilTheNextCall(t *testing.T) {
	server := startDefaultServer(t)
	a, b := newClient(t, server), newClient(t, server)
	for round := 0; round < 10; round++ {
		ctx, cancel := context.WithCancel(bounded(t))
		id := newID()
		first, second := connecting(ctx, a, id, 1), connecting(ctx, b, id, 1)
		for _, call := range []<-chan result{first, second} {
			if r := receive(t, call); r.err != nil {
				t.Fatalf("round %d: %v", round, r.err)
			}
		}
		cancel()
	}
}

// Each iteration cancels at some moment before, within or after two clients'
// meeting, and then wants to see calls end for their own reasons.
func TestCancelAtAnyMomentEndsOneCallOnly(t *testing.T) {
	server := startDefaultServer(t)
	a, b := newClient(t, server), newClient(t, server)
	seed := time.Now().UnixNano()
	random := rand.New(rand.NewSource(seed))
	var met, canceled int
	for i := 0; i < 200; i++ {
		ctx, cancel := context.WithCancel(bounded(t))
		id := newID()
		first, second := connecting(ctx, a, id, 1), connecting(ctx, b, id, 1)
		if i%4 == 0 {
			// Timers may be late by all the time that a meeting takes.
			cancel()
		} else {
			time.AfterFunc(time.Duration(random.Int63n(int64(8*time.Millisecond))), cancel)
		}
		for _, call := range []<-chan result{first, second} {
			switch r := receive(t, call); {
			case r.err == nil:
				met++
			case errors.Is(r.err, context.Canceled):
				canceled++
			default:
				t.Fatalf("iteration %d of seed %d: %v", i, seed, r.err)
			}
		}
		cancel()
		for _, client := range []*holepunch.Client{a, b} {
			client.Configure(holepunch.WithTimeout(time.Millisecond))
			_, err := client.Connect(context.Background(), newID(), 1)
			client.Configure(holepunch.WithTimeout(patience))
			if !errors.Is(err, holepunch.ErrTimedOutWaiting) && !errors.Is(err, holepunch.ErrServerSilent) {
				t.Fatalf("iteration %d of seed %d: the next call ended with %v", i, seed, err)
			}
		}
	}
	t.Logf("%d calls met, %d were canceled", met, canceled)
	if met == 0 || canceled == 0 {
		t.Errorf("all ended the same way: %d met, %d were canceled", met, canceled)
	}
}

// A lateContext is canceled in the moment in which it is asked for Done the
// second time: when a call is about to run.
type lateContext struct {
	context.Context
	cancel context.CancelFunc
	asked  int32
}

func newLateContext() *lateContext {
	ctx, cancel := context.WithCancel(context.Background())
	return &lateContext{Context: ctx, cancel: cancel}
}

func (c *lateContext) Done() <-chan struct{} {
	if atomic.AddInt32(&c.asked, 1) == 2 {
		c.cancel()
	}
	return c.Context.Done()
}

// Calls that end at once, for their arguments, and are canceled as they end.
func TestCancelThatComesTooLateIsForgotten(t *testing.T) {
	client := newClient(t, startDefaultServer(t), holepunch.WithTimeout(time.Millisecond))
	for i := 0; i < 50; i++ {
		ctx := newLateContext()
		if _, err := client.Connect(ctx, nil, 1); !errors.Is(err, holepunch.ErrInvalidSessionID) {
			t.Fatalf("got %v", err)
		}
		if ctx.Err() == nil {
			t.Fatal("it was not canceled")
		}
		_, err := client.Connect(context.Background(), newID(), 1)
		if !errors.Is(err, holepunch.ErrTimedOutWaiting) && !errors.Is(err, holepunch.ErrServerSilent) {
			t.Fatalf("call %d: the next one ended with %v", i, err)
		}
	}
}
