package holepunch_test

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"holepunch.example/holepunch"
)

// outcome is what NextEvent gave.
type outcome struct {
	event holepunch.Event
	err   error
}

// waiting waits in the background for an event other than that the server keeps
// us, which it may say again.
func waiting(ctx context.Context, session *holepunch.Session) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		for {
			event, err := session.NextEvent(ctx)
			if _, again := event.(holepunch.Registered); !again {
				done <- outcome{event, err}
				return
			}
		}
	}()
	return done
}

// lonely joins a session in which nothing more happens.
func lonely(t *testing.T) *holepunch.Session {
	t.Helper()
	session := join(t, startDefaultServer(t), newID())
	waitFor(t, session, anyOf[holepunch.Registered])
	return session
}

func TestContextsEndTheWaitForEventsAtOnce(t *testing.T) {
	session := lonely(t)
	for name, measure := range map[string]func() time.Duration{
		"canceled": func() time.Duration {
			ctx, cancel := context.WithCancel(context.Background())
			call := waiting(ctx, session)
			time.Sleep(5 * time.Millisecond) // It may wait by now.
			start := time.Now()
			cancel()
			wantCanceled(t, receive(t, call).err)
			return time.Since(start)
		},
		"expired": func() time.Duration {
			deadline := time.Now().Add(10 * time.Millisecond)
			ctx, cancel := context.WithDeadline(context.Background(), deadline)
			defer cancel()
			wantExceeded(t, receive(t, waiting(ctx, session)).err, holepunch.ErrTimedOut)
			return time.Since(deadline)
		},
		"canceled before": func() time.Duration {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			start := time.Now()
			wantCanceled(t, receive(t, waiting(ctx, session)).err)
			return time.Since(start)
		},
	} {
		if took := bestOf(promptly, measure); took > promptly {
			t.Errorf("%s: it took %v", name, took)
		}
	}
	_, err := newClient(t, "127.0.0.1:1").Join(canceledContext(), newID())
	wantCanceled(t, err)
}

func canceledContext() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// Whoever waits beside another is ended by his own context, and by the
// session's end.
func TestWaitsForEventsEndOneByOne(t *testing.T) {
	session := lonely(t)
	ctx, cancel := context.WithCancel(bounded(t))
	long, other, short := waiting(bounded(t), session), waiting(bounded(t), session), waiting(ctx, session)
	time.Sleep(5 * time.Millisecond)
	cancel()
	wantCanceled(t, receive(t, short).err)
	select {
	case o := <-long:
		t.Fatalf("the other wait ended, too: %+v", o)
	case <-time.After(5 * time.Millisecond):
	}
	session.Leave()
	wantError(t, receive(t, long).err, holepunch.ErrClosed)
	wantError(t, receive(t, other).err, holepunch.ErrClosed)
	if event, more := receive2(t, session.Events()); more {
		t.Errorf("%+v after the end", event)
	}

	session = lonely(t)
	long, other = waiting(context.Background(), session), waiting(context.Background(), session)
	events := session.Events()
	time.Sleep(5 * time.Millisecond)
	session.Close()
	wantError(t, receive(t, long).err, holepunch.ErrClosed)
	wantError(t, receive(t, other).err, holepunch.ErrClosed)
	for range events {
		// There may have been one; then it ends.
	}
}

// receive2 is receive for a channel that may be closed.
func receive2[T any](t testing.TB, from <-chan T) (T, bool) {
	t.Helper()
	select {
	case value, more := <-from:
		return value, more
	case <-time.After(patience):
		t.Fatal("waited in vain")
		panic("unreachable")
	}
}

// Contexts that end at any moment cost no event and make none come twice.
func TestContextsThatEndCostNoEvent(t *testing.T) {
	sessions := together(t, 2)
	a, b := sessions[0], sessions[1]
	const messages = 2000
	go func() {
		for i := uint32(0); i < messages; i++ {
			if _, err := a.Send(b.LocalID(), binary.BigEndian.AppendUint32(nil, i)); err != nil {
				t.Error(err)
				return
			}
			if i%16 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
	}()
	random := rand.New(rand.NewSource(1))
	var canceled int
	for next, end := uint32(0), time.Now().Add(sessionPatience); next < messages; {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(random.Int63n(int64(time.Millisecond))))
		event, err := b.NextEvent(ctx)
		cancel()
		switch said, is := event.(holepunch.Message); {
		case err != nil && (!errors.Is(err, context.DeadlineExceeded) || time.Now().After(end)):
			t.Fatal(err)
		case err != nil:
			canceled++
		case is:
			if got := binary.BigEndian.Uint32(said.Data); got != next {
				t.Fatalf("message %d instead of %d", got, next)
			}
			next++
		}
	}
	t.Logf("%d waits were canceled", canceled)
	if canceled == 0 {
		t.Error("no wait was canceled")
	}
}

// Everything at once, while one session after the other is closed.
func TestSessionsCanBeUsedAndClosedAtTheSameTime(t *testing.T) {
	sessions := together(t, 3)
	var all sync.WaitGroup
	for _, session := range sessions {
		session := session
		others := session.Peers()
		for _, use := range []func() error{
			func() error { _, err := session.SendToAll([]byte("to all")); return err },
			func() error { _, err := session.Send(others[0].Peer, []byte("to one")); return err },
			func() error { _, err := session.NextEvent(context.Background()); return err },
			func() error { _, err := session.NextEvent(bounded(t)); return err },
			func() error { _, err := session.ExportKey(others[0].Peer, "label"); return err },
			func() error { _, err := session.Peer(others[1].Peer); return err },
			func() error {
				session.Peers()
				session.Counters()
				_, err := session.SendToAll(nil)
				return err
			},
		} {
			use := use
			all.Add(1)
			go func() {
				defer all.Done()
				for {
					switch err := use(); {
					case errors.Is(err, net.ErrClosed):
						return
					case err == nil, errors.Is(err, holepunch.ErrFull), errors.Is(err, holepunch.ErrNotFound):
						runtime.Gosched()
					default:
						t.Error(err)
						return
					}
				}
			}()
		}
	}
	for _, session := range sessions {
		time.Sleep(30 * time.Millisecond)
		session.Leave()
		session.Close()
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	receive2(t, done)
}
