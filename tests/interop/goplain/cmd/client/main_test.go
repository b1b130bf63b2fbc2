package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"goplain/plain"
)

// program is a client under test, run in this process.
type program struct {
	t      *testing.T
	stdin  *io.PipeWriter
	lines  chan string
	stderr bytes.Buffer // to be read after the end only
	status chan int
}

func start(t *testing.T, arguments ...string) *program {
	t.Helper()
	inputEnd, input := io.Pipe()
	output, outputEnd := io.Pipe()
	p := &program{t: t, stdin: input, lines: make(chan string, 100), status: make(chan int, 1)}
	go func() {
		status := run(arguments, inputEnd, outputEnd, &p.stderr)
		outputEnd.Close()
		inputEnd.Close()
		p.status <- status
	}()
	go func() {
		scanner := bufio.NewScanner(output)
		for scanner.Scan() {
			p.lines <- scanner.Text()
		}
		close(p.lines)
	}()
	t.Cleanup(func() { input.Close() })
	return p
}

func (p *program) expect(pattern string) string {
	p.t.Helper()
	select {
	case line, open := <-p.lines:
		if !open {
			p.t.Fatalf("output ended, but expected %q", pattern)
		}
		if !regexp.MustCompile("^" + pattern + "$").MatchString(line) {
			p.t.Fatalf("got line %q, expected %q", line, pattern)
		}
		return line
	case <-time.After(10 * time.Second):
		p.t.Fatalf("no output, but expected %q", pattern)
	}
	return ""
}

func (p *program) say(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p.stdin, text); err != nil {
		p.t.Fatal(err)
	}
}

// end waits for the program, which must have nothing more to print.
func (p *program) end(status int) {
	p.t.Helper()
	p.stdin.Close()
	for line := range p.lines {
		p.t.Errorf("unexpected line %q", line)
	}
	select {
	case got := <-p.status:
		if got != status {
			p.t.Errorf("exit status is %d, expected %d; stderr: %s", got, status, p.stderr.String())
		}
	case <-time.After(10 * time.Second):
		p.t.Fatal("the program does not end")
	}
}

func listen(t *testing.T) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func startServer(t *testing.T) string {
	t.Helper()
	conn := listen(t)
	go plain.NewServer(conn, plain.ServerOptions{KeepAlive: 50 * time.Millisecond}).Serve()
	return conn.LocalAddr().String()
}

const endpointPattern = `127\.0\.0\.1:[0-9]+`

func TestTwoClientsChat(t *testing.T) {
	server := startServer(t)
	a, b := start(t, server, "room", "1"), start(t, "-timeout", "10s", server, "room", "1")
	for _, p := range []*program{a, b} {
		p.expect("peer 0 " + endpointPattern)
		p.expect("connected 1 [0-9]+")
	}
	a.say("hello\n\nSYN\n  two words \n")
	b.expect("0: hello")
	b.expect("0:   two words ")
	b.say("last line without newline")
	b.end(0)
	a.expect("0: last line without newline")
	a.end(0)
}

func TestThreeClientsTellTheirPeersApart(t *testing.T) {
	server := startServer(t)
	var programs []*program
	for i := 0; i < 3; i++ {
		programs = append(programs, start(t, server, "room", "2"))
	}
	for _, p := range programs {
		first := p.expect("peer 0 " + endpointPattern)
		second := p.expect("peer 1 " + endpointPattern)
		if strings.Fields(first)[2] == strings.Fields(second)[2] {
			t.Errorf("%q and %q", first, second)
		}
		p.expect("connected 2 [0-9]+")
	}
	programs[0].say("to everyone\n")
	programs[1].expect("[01]: to everyone")
	programs[2].expect("[01]: to everyone")
	for _, p := range programs {
		p.end(0)
	}
}

func TestGateHoldsTheCallBackAndTimesIt(t *testing.T) {
	server := startServer(t)
	gated, other := start(t, "-gate", server, "room", "1"), start(t, server, "room", "1")
	time.Sleep(300 * time.Millisecond)
	if len(gated.lines)+len(other.lines) != 0 {
		t.Fatal("connected before the gate was opened")
	}
	opened := time.Now().UnixNano()
	gated.say("go\n")
	var called, returned int64
	fmt.Sscanf(gated.expect("call [0-9]+"), "call %d", &called)
	fmt.Sscanf(gated.expect("return [0-9]+"), "return %d", &returned)
	if called < opened || returned < called || returned > time.Now().UnixNano() {
		t.Errorf("opened at %d, called at %d, returned at %d", opened, called, returned)
	}
	for _, p := range []*program{gated, other} {
		p.expect("peer 0 " + endpointPattern)
		p.expect("connected 1 [0-9]+")
	}
	gated.say("after the gate\n")
	other.expect("0: after the gate")
	gated.end(0)
	other.end(0)
}

func TestTimeoutsAreToldApartOnStandardError(t *testing.T) {
	silent := listen(t)
	cases := []struct {
		name, list, want string
	}{
		{"waiting", "", "timed out while waiting for peers"},
		{"punching", silent.LocalAddr().String(), "timed out while punching"},
	}
	for _, c := range cases {
		c := c
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := listen(t)
			p := start(t, "-timeout", "800ms", server.LocalAddr().String(), "room", "1")
			_ = server.SetReadDeadline(time.Now().Add(3 * time.Second))
			_, client, err := server.ReadFromUDPAddrPort(make([]byte, 100))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := server.WriteToUDPAddrPort([]byte(c.list), client); err != nil {
				t.Fatal(err)
			}
			p.end(1)
			if !strings.Contains(p.stderr.String(), c.want) {
				t.Errorf("stderr is %q", p.stderr.String())
			}
		})
	}
}

func TestMessageOfManyLinesIsPrintedAsOne(t *testing.T) {
	server, peer := listen(t), listen(t)
	p := start(t, server.LocalAddr().String(), "room", "1")
	_ = server.SetReadDeadline(time.Now().Add(3 * time.Second))
	_, client, err := server.ReadFromUDPAddrPort(make([]byte, 100))
	if err != nil {
		t.Fatal(err)
	}
	send := func(from *net.UDPConn, text string) {
		if _, err := from.WriteToUDPAddrPort([]byte(text), client); err != nil {
			t.Fatal(err)
		}
	}
	send(server, peer.LocalAddr().String())
	_ = peer.SetReadDeadline(time.Now().Add(3 * time.Second))
	if _, _, err := peer.ReadFromUDPAddrPort(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	send(peer, "ACK")
	p.expect("peer 0 " + endpointPattern)
	p.expect("connected 1 [0-9]+")
	for _, text := range []string{"", "SYN", "ACK", "one\r\ntwo\n"} {
		send(peer, text)
	}
	send(server, "not from a peer")
	p.expect(`0: one\\r\\ntwo`)
	p.end(0)
}

func TestUsageErrors(t *testing.T) {
	cases := [][]string{
		{}, {"127.0.0.1:5000", "id"}, {"127.0.0.1:5000", "id", "0"}, {"127.0.0.1:5000", "id", "x"},
		{"127.0.0.1:5000", "id", "1", "more"}, {"-unknown", "127.0.0.1:5000", "id", "1"},
	}
	for _, arguments := range cases {
		var stdout, stderr bytes.Buffer
		if status := run(arguments, strings.NewReader(""), &stdout, &stderr); status != 2 {
			t.Errorf("%q: exit status %d", arguments, status)
		}
		if stdout.Len() != 0 || stderr.Len() == 0 {
			t.Errorf("%q: stdout %q, stderr %q", arguments, stdout.String(), stderr.String())
		}
	}
}
