package plain

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"
)

// socket is a hand-driven counterpart on loopback.
type socket struct {
	t    *testing.T
	conn *net.UDPConn
}

func newSocket(t *testing.T) *socket {
	t.Helper()
	return listenOn(t, "127.0.0.1:0")
}

func listenOn(t *testing.T, local string) *socket {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(local)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &socket{t, conn}
}

func (s *socket) endpoint() netip.AddrPort {
	return s.conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

func (s *socket) send(to netip.AddrPort, text string) {
	s.t.Helper()
	if _, err := s.conn.WriteToUDPAddrPort([]byte(text), to); err != nil {
		s.t.Fatal(err)
	}
}

// receive fails the test if nothing comes for long.
func (s *socket) receive() (string, netip.AddrPort) {
	s.t.Helper()
	text, from, ok := s.receiveWithin(3 * time.Second)
	if !ok {
		s.t.Fatal("nothing arrived")
	}
	return text, from
}

func (s *socket) receiveWithin(patience time.Duration) (string, netip.AddrPort, bool) {
	s.t.Helper()
	if err := s.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		s.t.Fatal(err)
	}
	buffer := make([]byte, maxDatagramBytes)
	length, from, err := s.conn.ReadFromUDPAddrPort(buffer)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "", netip.AddrPort{}, false
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return string(buffer[:length]), unmap(from), true
}

// receiveUntil skips what differs from want, such as repetitions that were on their way.
func (s *socket) receiveUntil(want string) netip.AddrPort {
	s.t.Helper()
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
		if text, from := s.receive(); text == want {
			return from
		}
	}
	s.t.Fatalf("%q never arrived", want)
	return netip.AddrPort{}
}

func startServer(t *testing.T, local string, options ServerOptions) netip.AddrPort {
	t.Helper()
	s := listenOn(t, local)
	served := make(chan error, 1)
	go func() { served <- NewServer(s.conn, options).Serve() }()
	t.Cleanup(func() {
		s.conn.Close()
		if err := <-served; err != nil {
			t.Errorf("server: %v", err)
		}
	})
	return s.endpoint()
}

type outcome struct {
	result *Result
	err    error
}

func startConnect(t *testing.T, server netip.AddrPort, id string, count int, options Options) <-chan outcome {
	t.Helper()
	if options.Timeout == 0 {
		options.Timeout = 10 * time.Second
	}
	outcomes := make(chan outcome, 1)
	go func() {
		result, err := Connect(server.String(), []byte(id), count, options)
		outcomes <- outcome{result, err}
	}()
	return outcomes
}

func finish(t *testing.T, outcomes <-chan outcome) (*Result, error) {
	t.Helper()
	select {
	case o := <-outcomes:
		if o.result != nil {
			t.Cleanup(func() { o.result.Conn.Close() })
		}
		return o.result, o.err
	case <-time.After(15 * time.Second):
		t.Fatal("connect does not return")
		return nil, nil
	}
}
