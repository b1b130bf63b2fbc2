package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"holepunch.example/holepunch"
)

func TestWrongUsage(t *testing.T) {
	for _, line := range []string{
		"", "-h", "--tcp", "--id", "--id ID more", "--other", "--tcp --udp --id ID", "--id ID --unauthenticated",
		"--id ID --server host:1 --stun host:2",
	} {
		var stdout, stderr bytes.Buffer
		if status := run(context.Background(), strings.Fields(line), strings.NewReader(""), &stdout, &stderr); status != 2 {
			t.Errorf("%q: exit status %d", line, status)
		}
		if stdout.Len() != 0 || !strings.Contains(stderr.String(), "usage: addresses [--tcp") {
			t.Errorf("%q: %q, %q", line, &stdout, &stderr)
		}
	}
}

func TestFailures(t *testing.T) {
	for line, test := range map[string]struct{ input, wanted string }{
		"--id ID --stun nonsense":           {"", "host:port"},
		"--id " + strings.Repeat("x", 1001): {"", "longer than 1000 bytes"},
		"--id ID":                           {"", "there is no line"},
		"--tcp --id ID":                     {"nonsense\n", "not an address: nonsense"},
		"--udp --id ID":                     {"127.0.0.1:0\n", "needs a host and a port"},
	} {
		var stdout, stderr bytes.Buffer
		if status := run(context.Background(), strings.Fields(line), strings.NewReader(test.input), &stdout, &stderr); status != 1 {
			t.Errorf("%.40q: exit status %d", line, status)
		}
		if !strings.Contains(stderr.String(), test.wanted) || strings.Contains(stdout.String(), "connected") {
			t.Errorf("%.40q: %q, %q", line, &stdout, &stderr)
		}
	}
}

// talker is one side in this process.
type talker struct {
	stdin  io.WriteCloser
	lines  chan string
	stderr bytes.Buffer
	status chan int
	addr   netip.AddrPort
}

// start starts one side and reads its address.
func start(ctx context.Context, t *testing.T, args ...string) *talker {
	in, stdin := io.Pipe()
	stdout, out := io.Pipe()
	talker := &talker{stdin: stdin, lines: make(chan string, 100), status: make(chan int, 1)}
	go func() {
		status := run(ctx, args, in, out, &talker.stderr)
		out.Close()
		in.Close()
		talker.status <- status
	}()
	go func() {
		defer close(talker.lines)
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
			talker.lines <- scanner.Text()
		}
	}()
	t.Cleanup(func() { stdin.Close() })
	first := netip.MustParseAddrPort(talker.expect(t, `local (\S+)`)[1])
	// It is bound to all addresses; this one leads nowhere else.
	talker.addr = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), first.Port())
	return talker
}

// expect returns the next line but for further local addresses, which must
// match.
func (a *talker) expect(t *testing.T, pattern string) []string {
	t.Helper()
	for late := time.After(30 * time.Second); ; {
		select {
		case line := <-a.lines:
			if match := regexp.MustCompile("^(?:" + pattern + ")$").FindStringSubmatch(line); match != nil {
				return match
			}
			if !strings.HasPrefix(line, "local ") {
				t.Fatalf("not %q, but %q", pattern, line)
			}
		case <-late:
			t.Fatalf("waited in vain for %q", pattern)
		}
	}
}

func (a *talker) wantSuccess(t *testing.T, told string) {
	t.Helper()
	select {
	case status := <-a.status:
		if status != 0 || !strings.Contains(a.stderr.String(), told) {
			t.Errorf("exit status %d, %q", status, &a.stderr)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("waited in vain for the end")
	}
}

const connected = `connected (\S+) (?:reflexive|peer-reflexive) (?:-|\d+\.\d{3})`

func TestConversations(t *testing.T) {
	server, err := holepunch.NewServer(holepunch.ServerConfig{Addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go server.Serve(context.Background())
	for _, line := range []string{
		"--tcp --id ID", "--udp --id ID", "--id ID", "--tcp --unauthenticated", "--udp --unauthenticated",
		"--udp --id ID --server " + server.Addr().String(),
	} {
		t.Run(line, func(t *testing.T) {
			a, b := start(context.Background(), t, strings.Fields(line)...), start(context.Background(), t, strings.Fields(line)...)
			if strings.Contains(line, "--server") {
				for _, side := range []*talker{a, b} {
					if public := side.expect(t, `public (\S+)`)[1]; public != side.addr.String() {
						t.Errorf("%s is not %v", public, side.addr)
					}
				}
			}
			fmt.Fprintf(a.stdin, "%v, 127.0.0.1:1\n", b.addr)
			fmt.Fprintln(b.stdin, a.addr)
			if at := a.expect(t, connected)[1]; at != b.addr.String() {
				t.Errorf("%s is not %v", at, b.addr)
			}
			b.expect(t, connected)
			fmt.Fprint(a.stdin, "hello\n\x1b[2Jbell\a\n")
			b.expect(t, "peer: hello")
			b.expect(t, `peer: \?\[2Jbell\?`)
			fmt.Fprintln(b.stdin, "grüße")
			a.expect(t, "peer: grüße")
			fmt.Fprint(a.stdin, "without an end")
			a.stdin.Close()
			b.expect(t, "peer: without an end")
			a.wantSuccess(t, "")
			if line == "--udp --unauthenticated" { // Nobody says that the peer has gone.
				b.stdin.Close()
				b.wantSuccess(t, "")
			} else {
				b.wantSuccess(t, "the peer has closed the connection")
			}
		})
	}
}

func TestProgramThatKnowsNothingOfUs(t *testing.T) {
	a := start(context.Background(), t, "--tcp", "--unauthenticated")
	fmt.Fprintln(a.stdin)
	// Whoever connects too early waits.
	peer, err := net.Dial("tcp4", a.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	peer.SetDeadline(time.Now().Add(30 * time.Second))
	if at := a.expect(t, connected)[1]; at != peer.LocalAddr().String() {
		t.Errorf("%s is not %v", at, peer.LocalAddr())
	}
	fmt.Fprintln(a.stdin, "hello")
	if line, err := bufio.NewReader(peer).ReadString('\n'); line != "hello\n" || err != nil {
		t.Errorf("%q, %v", line, err)
	}
	fmt.Fprint(peer, "hel")
	fmt.Fprint(peer, "lo\n")
	a.expect(t, "peer: hello")
	peer.Close()
	a.wantSuccess(t, "the peer has closed the connection")
}

func TestInterruptsEndEveryStage(t *testing.T) {
	for stage, input := range map[string]string{"asking": "", "waiting": "\n"} {
		ctx, interrupt := context.WithCancel(context.Background())
		a := start(ctx, t, "--tcp", "--id", "ID")
		if input != "" {
			fmt.Fprint(a.stdin, input)
			time.Sleep(20 * time.Millisecond) // It may wait by now.
		}
		interrupt()
		t.Log(stage)
		a.wantSuccess(t, "the peer's addresses")
	}
	// Nobody reads what we say.
	ctx, interrupt := context.WithCancel(context.Background())
	a := start(ctx, t, "--tcp", "--unauthenticated")
	fmt.Fprintln(a.stdin)
	peer, err := net.Dial("tcp4", a.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	a.expect(t, connected)
	go func() {
		for {
			if _, err := fmt.Fprintln(a.stdin, strings.Repeat("x", 1000)); err != nil {
				return
			}
		}
	}()
	time.Sleep(100 * time.Millisecond)
	interrupt()
	a.wantSuccess(t, "")
}
