package server_test

import (
	"bytes"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"reflect"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"holepunch.example/holepunch/compat/server"
)

// run serves for the time of the test, and returns the address.
func run(t *testing.T, s server.Server) string {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.ListenAndServe()
	}()
	t.Cleanup(func() {
		s.Close()
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			t.Error("ListenAndServe goes on after Close")
		}
	})
	return s.ListeningAddr
}

// freeAddr is an address that was free a moment ago.
func freeAddr(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.LocalAddr().String()
}

func newServer(t *testing.T) server.Server {
	t.Helper()
	s, err := server.New(freeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// ask registers under an ID as the plain dialect does, until the answer is
// there or patience ends.
func ask(conn net.Conn, id string, patience time.Duration) (string, error) {
	buffer := make([]byte, 2048)
	for deadline := time.Now().Add(patience); ; {
		if _, err := conn.Write([]byte(id)); err != nil && time.Now().After(deadline) {
			return "", err
		}
		conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		n, err := conn.Read(buffer)
		if err == nil {
			return string(buffer[:n]), nil
		}
		if time.Now().After(deadline) {
			return "", err
		}
	}
}

func expect(t *testing.T, conn net.Conn, id, want string) {
	t.Helper()
	if got, err := ask(conn, id, 5*time.Second); err != nil || got != want {
		t.Errorf("under %q the server lists %q (%v) instead of %q", id, got, err, want)
	}
}

func TestDefaultsAreThoseOfTheExistingLibrary(t *testing.T) {
	s := newServer(t)
	defer s.Close()
	if s.DomainTimeout != 40*time.Second || s.MaxPacketSize != 1024 || s.AddrStore == nil {
		t.Errorf("the defaults are %v, %v, %v", s.DomainTimeout, s.MaxPacketSize, s.AddrStore)
	}
}

func TestAddressInUseIsAnErrorOfNew(t *testing.T) {
	s := newServer(t)
	defer s.Close()
	if _, err := server.New(s.ListeningAddr); err == nil {
		t.Error("two servers share an address")
	}
	for _, addr := range []string{"nonsense", "127.0.0.1:70000", "192.0.2.1:5000"} {
		if _, err := server.New(addr); err == nil {
			t.Errorf("%q can be listened on", addr)
		}
	}
}

func TestClientsOfOneDomainAreListed(t *testing.T) {
	s := newServer(t)
	addr := run(t, s)
	a, b, c := dial(t, addr), dial(t, addr), dial(t, addr)
	expect(t, a, "domain", "")
	expect(t, b, "domain", a.LocalAddr().String())
	expect(t, c, "another", "")
	expect(t, a, "domain", b.LocalAddr().String())
	got, err := s.AddrStore.FetchAllAddresses()
	want := []string{a.LocalAddr().String(), b.LocalAddr().String(), c.LocalAddr().String()}
	sort.Strings(got)
	sort.Strings(want)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("the store holds %v (%v) instead of %v", got, err, want)
	}
	if _, err := s.AddrStore.ProcessAddress("domain", "192.0.2.1:1", time.Second); err == nil {
		t.Error("an address that nobody has proven is taken")
	}
}

func TestDomainTimeoutAndMaxPacketSizeAreHeeded(t *testing.T) {
	s := newServer(t)
	s.DomainTimeout, s.MaxPacketSize = 300*time.Millisecond, 10
	addr := run(t, s)
	a, b := dial(t, addr), dial(t, addr)
	expect(t, a, "0123456789", "")
	if got, err := ask(b, "0123456789a", 300*time.Millisecond); err == nil {
		t.Errorf("a datagram of 11 bytes is answered with %q", got)
	}
	deadline := time.Now().Add(5 * time.Second)
	for listed := "?"; listed != ""; {
		listed, _ = ask(b, "0123456789", time.Second)
		if time.Now().After(deadline) {
			t.Fatalf("%s is listed for more than 5 s", listed)
		}
	}
}

func TestDatagramsUpTo1024BytesAreAnsweredByDefault(t *testing.T) {
	addr := run(t, newServer(t))
	a := dial(t, addr)
	expect(t, a, strings.Repeat("x", 1024), "")
	if got, err := ask(a, strings.Repeat("x", 1025), 300*time.Millisecond); err == nil {
		t.Errorf("a datagram of 1025 bytes is answered with %q", got)
	}
}

// mapStore is a program's own store.
type mapStore struct {
	mu      sync.Mutex
	domains map[string][]string
	fail    bool
}

func (m *mapStore) ProcessAddress(id, addr string, timeout time.Duration) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail {
		return nil, errors.New("the store is out of order")
	}
	var others []string
	for _, other := range m.domains[id] {
		if other != addr {
			others = append(others, other)
		}
	}
	m.domains[id] = append(others[:len(others):len(others)], addr)
	return others, nil
}

func (m *mapStore) FetchAllAddresses() ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []string
	for _, addrs := range m.domains {
		all = append(all, addrs...)
	}
	return all, nil
}

func TestStoreOfTheProgramIsAsked(t *testing.T) {
	store := &mapStore{domains: map[string][]string{"domain": {"192.0.2.1:1"}}}
	s := newServer(t)
	s.AddrStore, s.MaxPacketSize = store, 10
	s.SetLogger(nil)
	addr := run(t, s)
	a, b := dial(t, addr), dial(t, addr)
	expect(t, a, "domain", "192.0.2.1:1")
	expect(t, b, "domain", "192.0.2.1:1,"+a.LocalAddr().String())
	if got, err := ask(b, "0123456789a", 300*time.Millisecond); err == nil {
		t.Errorf("a datagram of 11 bytes is answered with %q", got)
	}
	store.mu.Lock()
	store.fail = true
	store.mu.Unlock()
	if got, err := ask(b, "domain", 300*time.Millisecond); err == nil {
		t.Errorf("with a store out of order the server answers %q", got)
	}
	store.mu.Lock()
	store.fail = false
	store.mu.Unlock()
	expect(t, b, "domain", "192.0.2.1:1,"+a.LocalAddr().String())
}

// oldLogger has the methods of logr's Logger while that was an interface.
type oldLogger struct {
	lines *[]string
	level int
}

func (l oldLogger) Info(message string, kv ...interface{}) {
	*l.lines = append(*l.lines, fmt.Sprintf("%d %s %v", l.level, message, kv))
}
func (l oldLogger) Error(err error, message string, kv ...interface{}) {
	*l.lines = append(*l.lines, fmt.Sprintf("%v: %s %v", err, message, kv))
}
func (l oldLogger) Enabled() bool         { return l.level < 3 }
func (l oldLogger) V(level int) oldLogger { l.level += level; return l }

func TestLoggerOfTheProgramIsUsed(t *testing.T) {
	var lines []string
	s := newServer(t)
	defer s.Close()
	s.SetLogger(oldLogger{lines: &lines})
	l := s.GetLogger()
	l.Info("one", "k", 1)
	l.V(2).WithName("a").WithName("b").WithValues("x", "y").Info("two", "k", 2)
	l.Error(os.ErrInvalid, "three")
	want := []string{"0 one [k 1]", "2 a.b: two [x y k 2]", "invalid argument: three []"}
	if !reflect.DeepEqual(lines, want) {
		t.Errorf("logged %q instead of %q", lines, want)
	}
	if !l.V(2).Enabled() || l.V(3).Enabled() {
		t.Error("the program's logger is not asked whether it is enabled")
	}
	s.SetLogger("no logger")
	if l := s.GetLogger(); l.Enabled() || l.V(1).Enabled() {
		t.Error("what is no logger logs")
	}
	s.GetLogger().Error(os.ErrInvalid, "into the void")
}

func TestErrorsGoToTheStandardLoggerByDefault(t *testing.T) {
	var out bytes.Buffer
	log.SetOutput(&out)
	defer log.SetOutput(os.Stderr)
	s := newServer(t)
	defer s.Close()
	s.GetLogger().V(1).Info("not this")
	s.AddrStore = nil
	s.ListenAndServe()
	if text := out.String(); !strings.Contains(text, "AddrStore is nil") || !strings.Contains(text, s.ListeningAddr) || strings.Contains(text, "not this") {
		t.Errorf("logged %q", text)
	}
}
