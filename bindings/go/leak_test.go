package holepunch_test

import (
	"context"
	"errors"
	"math/rand"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"holepunch.example/holepunch"
)

func countFDs(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("descriptors cannot be counted here: ", err)
	}
	return len(entries)
}

func countThreads(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("threads cannot be counted here: ", err)
	}
	for _, line := range strings.Split(string(status), "\n") {
		if strings.HasPrefix(line, "Threads:") {
			if count, err := strconv.Atoi(strings.TrimSpace(line[len("Threads:"):])); err == nil {
				return count
			}
		}
	}
	t.Fatal("no line about threads")
	return 0
}

// leaky runs something often, and checks what is left of it.
func leaky(t *testing.T, work func()) {
	t.Helper()
	work() // Whatever is made once is made now.
	runtime.GC()
	fds, goroutines, threads := countFDs(t), runtime.NumGoroutine(), countThreads(t)
	work()
	eventually(t, "descriptors return to "+strconv.Itoa(fds), func() bool { return countFDs(t) <= fds })
	eventually(t, "goroutines return to "+strconv.Itoa(goroutines), func() bool { return runtime.NumGoroutine() <= goroutines })
	// The runtime never ends its own threads, and now and then needs one more
	// than before while calls into C block others.
	if now := countThreads(t); now > threads+8 {
		t.Errorf("%d threads became %d", threads, now)
	}
}

func TestCanceledConnectsLeaveNothingBehind(t *testing.T) {
	server := startDefaultServer(t)
	silent := addrOf(listen(t)).String()
	const users, each = 8, 63 // About a thousand in the two runs.
	leaky(t, func() {
		var all sync.WaitGroup
		for i := 0; i < users; i++ {
			all.Add(1)
			go func(random *rand.Rand) {
				defer all.Done()
				for j := 0; j < each; j++ {
					client, err := holepunch.NewClient([]string{server, silent}[j%2])
					if err != nil {
						t.Error(err)
						return
					}
					ctx, cancel := context.WithCancel(context.Background())
					time.AfterFunc(time.Duration(random.Int63n(int64(3*time.Millisecond))), cancel)
					if _, err := client.Connect(ctx, newID(), 1); !errors.Is(err, context.Canceled) {
						t.Errorf("got %v", err)
					}
					client.Close()
				}
			}(rand.New(rand.NewSource(int64(i))))
		}
		all.Wait()
	})
}

func TestConnsAndServersLeaveNothingBehind(t *testing.T) {
	leaky(t, func() {
		for i := 0; i < 10; i++ {
			server, err := holepunch.NewServer(holepunch.ServerConfig{Addr: "127.0.0.1:0", Workers: 2})
			if err != nil {
				t.Fatal(err)
			}
			served := make(chan error, 1)
			go func() { served <- server.Serve(context.Background()) }()
			id, ctx := newID(), bounded(t)
			given := listen(t)
			first := dialing(ctx, server.Addr().String(), id)
			second := dialing(ctx, server.Addr().String(), id, holepunch.WithUDPConn(given))
			for _, call := range []<-chan dialed{first, second} {
				d := receive(t, call)
				if d.err != nil {
					t.Fatal(d.err)
				}
				d.conn.Close()
			}
			server.Close()
			receive(t, served)
		}
	})
}

func TestRefusedSocketsAndServersLeaveNothingBehind(t *testing.T) {
	client := newClient(t, "127.0.0.1:5000")
	taken := startServer(t, holepunch.ServerConfig{}).Addr().String()
	connected, err := net.Dial("udp4", taken)
	if err != nil {
		t.Fatal(err)
	}
	defer connected.Close()
	leaky(t, func() {
		for i := 0; i < 50; i++ {
			closed := listen(t)
			closed.Close()
			if client.Configure(holepunch.WithUDPConn(closed)) == nil {
				t.Fatal("a closed socket is taken")
			}
			if client.Configure(holepunch.WithUDPConn(connected.(*net.UDPConn))) == nil {
				t.Fatal("a connected socket is taken")
			}
			if _, err := holepunch.NewClient("127.0.0.1:5000", holepunch.WithDialect(9)); err == nil {
				t.Fatal("a wrong dialect is taken")
			}
			if _, err := holepunch.NewServer(holepunch.ServerConfig{Addr: taken}); err == nil {
				t.Fatal("a taken address is taken")
			}
			if _, err := holepunch.NewServer(holepunch.ServerConfig{Addr: "127.0.0.1:0", Workers: 65}); err == nil {
				t.Fatal("65 workers are taken")
			}
		}
	})
}

// Who forgets to close loses nothing for good.
func TestForgottenClientsAndServersAreCollected(t *testing.T) {
	server := startDefaultServer(t)
	runtime.GC()
	before := countFDs(t)
	func() {
		var forgotten []interface{}
		for i := 0; i < 20; i++ {
			client, err := holepunch.NewClient(server, holepunch.WithTimeout(5*time.Millisecond))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := client.Connect(context.Background(), newID(), 1); err == nil {
				t.Fatal("it connected")
			}
			server, err := holepunch.NewServer(holepunch.ServerConfig{Addr: "127.0.0.1:0"})
			if err != nil {
				t.Fatal(err)
			}
			forgotten = append(forgotten, client, server)
		}
		if now := countFDs(t); now < before+60 {
			t.Fatalf("%d descriptors became %d only: little is there to be collected", before, now)
		}
		runtime.KeepAlive(forgotten)
	}()
	eventually(t, "descriptors return to "+strconv.Itoa(before), func() bool {
		runtime.GC()
		return countFDs(t) <= before
	})
}

// A client that a call is running on is not collected, even if nobody else
// knows it.
func TestRunningCallKeepsItsClient(t *testing.T) {
	server := startDefaultServer(t)
	ctx, cancel := context.WithCancel(bounded(t))
	calls := make(chan error, 4)
	for i := 0; i < cap(calls); i++ {
		go func() {
			client, err := holepunch.NewClient(server)
			if err == nil {
				_, err = client.Connect(ctx, newID(), 1)
			}
			calls <- err
		}()
	}
	for i := 0; i < 20; i++ {
		runtime.GC()
		select {
		case err := <-calls:
			t.Fatalf("a call ended by itself: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	cancel()
	for i := 0; i < cap(calls); i++ {
		wantError(t, receive(t, calls), holepunch.ErrCanceled)
	}
}

func TestSessionsLeaveNothingBehind(t *testing.T) {
	server := startDefaultServer(t)
	leaky(t, func() {
		for i := 0; i < 10; i++ {
			id := newID()
			a, b := join(t, server, id), join(t, server, id)
			events := b.Events()
			waitFor(t, a, anyOf[holepunch.Connected])
			ctx, cancel := context.WithCancel(bounded(t))
			call := waiting(ctx, a)
			cancel()
			receive(t, call)
			a.Close()
			b.Close()
			for range events {
				// Its goroutine ends with it.
			}
			client := newClient(t, server)
			if _, err := client.Join(bounded(t), nil); err == nil {
				t.Fatal("joined without an ID")
			}
			client.Close()
		}
	})
}

// Each session has one thread, the library's own: who waits for events needs
// none.
func TestWaitingForEventsNeedsNoThread(t *testing.T) {
	server := startDefaultServer(t)
	const many = 50
	before := countThreads(t)
	var calls []<-chan outcome
	for i := 0; i < many; i++ {
		session := join(t, server, newID())
		waitFor(t, session, anyOf[holepunch.Registered])
		calls = append(calls, waiting(context.Background(), session))
		defer func(call <-chan outcome) { receive(t, call) }(calls[i])
		defer session.Close()
	}
	time.Sleep(20 * time.Millisecond)
	if now := countThreads(t); now > before+many+many/2 {
		t.Errorf("%d threads became %d with %d sessions", before, now, many)
	}
}

func TestForgottenSessionsAreCollected(t *testing.T) {
	server := startDefaultServer(t)
	runtime.GC()
	before := countFDs(t)
	func() {
		var forgotten []*holepunch.Session
		for i := 0; i < 10; i++ {
			client, err := holepunch.NewClient(server)
			if err != nil {
				t.Fatal(err)
			}
			session, err := client.Join(bounded(t), newID())
			if err != nil {
				t.Fatal(err)
			}
			waitFor(t, session, anyOf[holepunch.Registered])
			forgotten = append(forgotten, session)
		}
		if now := countFDs(t); now < before+30 {
			t.Fatalf("%d descriptors became %d only: little is there to be collected", before, now)
		}
		runtime.KeepAlive(forgotten)
	}()
	eventually(t, "descriptors return to "+strconv.Itoa(before), func() bool {
		runtime.GC()
		return countFDs(t) <= before
	})
}

// Of two connections one is taken, the other one is closed with its client. Calls
// are ended at any moment.
func TestConnectsOverTCPLeaveNothingBehind(t *testing.T) {
	server := startTCPServer(t)
	leaky(t, func() {
		random := rand.New(rand.NewSource(1))
		for i := 0; i < 10; i++ {
			a, b := newTCPClient(t, server), newTCPClient(t, server)
			peers := meet(t, a, b)
			socket, err := a.TakeTCPConn(peers[0][0])
			if err != nil {
				t.Fatal(err)
			}
			if _, err := a.TakeUDPConn(peers[0][0]); err == nil {
				t.Fatal("taken as what it is not")
			}
			socket.Close()
			for j := 0; j < 10; j++ {
				ctx, cancel := context.WithCancel(context.Background())
				time.AfterFunc(time.Duration(random.Int63n(int64(3*time.Millisecond))), cancel)
				if _, err := b.Connect(ctx, newID(), 1); !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
			}
			a.Close()
			b.Close()
		}
	})
}

// Attempts are ended at any moment, or succeed; some are never made.
func TestAddrConnsLeaveNothingBehind(t *testing.T) {
	silent := holepunch.WithSTUN(silentServer(t))
	leaky(t, func() {
		random := rand.New(rand.NewSource(1))
		for i := 0; i < 20; i++ {
			transport, id := transports[i%2], newID()
			a, b := newAddrConn(t, transport, id), newAddrConn(t, transport, id, holepunch.WithBareSocket())
			connect(t, a, b)
			call := reading(a)
			if transport == holepunch.TCP {
				socket, err := b.TakeTCPConn()
				if err != nil {
					t.Fatal(err)
				}
				socket.Close()
			} else {
				conn, err := b.TakeConn()
				if err != nil {
					t.Fatal(err)
				}
				conn.Close()
			}
			a.Close()
			b.Close()
			receive(t, call)
			for j := 0; j < 10; j++ {
				ctx, cancel := context.WithCancel(context.Background())
				conn := newAddrConn(t, transport, id, silent)
				asked, attempt := asking(ctx, conn), attempting(ctx, conn, localAddr(a))
				time.AfterFunc(time.Duration(random.Int63n(int64(3*time.Millisecond))), cancel)
				for _, call := range []<-chan error{asked, attempt} {
					if err := receive(t, call); !errors.Is(err, context.Canceled) && !errors.Is(err, holepunch.ErrServerSilent) {
						t.Errorf("got %v", err)
					}
				}
				conn.Close()
				newAddrConn(t, transport, id).Close()
			}
			if _, err := holepunch.NewAddrConn(transport, nil); err == nil {
				t.Fatal("made without an ID")
			}
		}
	})
}

// Each connection has one thread, the library's own: who waits for what the peer
// says needs none.
func TestReadingFromAddrConnsNeedsNoThread(t *testing.T) {
	const many = 20
	before := countThreads(t)
	var calls []<-chan error
	for i := 0; i < many; i++ {
		a, b := addrPair(t, transports[i%2])
		calls = append(calls, reading(a), reading(b))
		defer func(a, b *holepunch.AddrConn, calls []<-chan error) {
			a.Close()
			b.Close()
			for _, call := range calls {
				receive(t, call)
			}
		}(a, b, calls[2*i:])
	}
	time.Sleep(20 * time.Millisecond)
	if now := countThreads(t); now > before+2*many+many {
		t.Errorf("%d threads became %d with %d connections", before, now, 2*many)
	}
}

func TestForgottenAddrConnsAreCollected(t *testing.T) {
	runtime.GC()
	before := countFDs(t)
	func() {
		var forgotten []*holepunch.AddrConn
		for i := 0; i < 10; i++ {
			id := newID()
			var pair [2]*holepunch.AddrConn
			for j := range pair {
				var err error
				if pair[j], err = holepunch.NewAddrConn(transports[i%2], id, holepunch.WithBindAddr(loopback)); err != nil {
					t.Fatal(err)
				}
			}
			connect(t, pair[0], pair[1])
			forgotten = append(forgotten, pair[:]...)
		}
		if now := countFDs(t); now < before+60 {
			t.Fatalf("%d descriptors became %d only: little is there to be collected", before, now)
		}
		runtime.KeepAlive(forgotten)
	}()
	eventually(t, "descriptors return to "+strconv.Itoa(before), func() bool {
		runtime.GC()
		return countFDs(t) <= before
	})
}
