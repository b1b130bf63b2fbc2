package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"holepunch.example/holepunch"
)

func TestWrongUsage(t *testing.T) {
	for _, line := range []string{"", "-h", "host:1", "host:1 id more", "--other 1 host:1 id", "--identity"} {
		var stdout, stderr bytes.Buffer
		if status := run(context.Background(), strings.Fields(line), strings.NewReader(""), &stdout, &stderr); status != 2 {
			t.Errorf("%q: exit status %d", line, status)
		}
		if stdout.Len() != 0 || !strings.Contains(stderr.String(), "usage: room [--identity") {
			t.Errorf("%q: %q, %q", line, &stdout, &stderr)
		}
	}
}

func TestFailures(t *testing.T) {
	short := filepath.Join(t.TempDir(), "short")
	if err := os.WriteFile(short, make([]byte, 31), 0o600); err != nil {
		t.Fatal(err)
	}
	for pattern, args := range map[string][]string{
		`^room: .*host:port.*\n$`:   {"no port", "id"},
		`^room: .*identity of 32.*`: {"--identity", short, "host:1", "id"},
		`^room: .*is a directory`:   {"--identity", t.TempDir(), "host:1", "id"},
	} {
		var stdout, stderr bytes.Buffer
		if status := run(context.Background(), args, strings.NewReader(""), &stdout, &stderr); status != 1 {
			t.Errorf("%q: exit status %d", args, status)
		}
		if stdout.Len() != 0 || !regexp.MustCompile(pattern).MatchString(stderr.String()) {
			t.Errorf("%q: %q, %q", args, &stdout, &stderr)
		}
	}
}

// talker is a member in this process.
type talker struct {
	stdin  io.WriteCloser
	lines  chan string
	stderr bytes.Buffer
	status chan int
}

func start(ctx context.Context, args ...string) *talker {
	in, stdin := io.Pipe()
	stdout, out := io.Pipe()
	talker := &talker{stdin: stdin, lines: make(chan string, 100), status: make(chan int, 1)}
	go func() {
		status := run(ctx, args, in, out, &talker.stderr)
		out.Close()
		talker.status <- status
	}()
	go func() {
		defer close(talker.lines)
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
			talker.lines <- scanner.Text()
		}
	}()
	return talker
}

// expect returns the next line, which must match.
func (a *talker) expect(t *testing.T, pattern string) []string {
	t.Helper()
	select {
	case line := <-a.lines:
		match := regexp.MustCompile("^(?:" + pattern + ")$").FindStringSubmatch(line)
		if match == nil {
			t.Fatalf("not %q, but %q", pattern, line)
		}
		return match
	case <-time.After(30 * time.Second):
		t.Fatalf("waited in vain for %q; %q", pattern, &a.stderr)
		panic("unreachable")
	}
}

func (a *talker) wantSuccess(t *testing.T) {
	t.Helper()
	if status := <-a.status; status != 0 || a.stderr.Len() != 0 {
		t.Errorf("exit status %d, %q", status, &a.stderr)
	}
}

func TestConversation(t *testing.T) {
	server, err := holepunch.NewServer(holepunch.ServerConfig{Addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go server.Serve(context.Background())

	const print = `([0-9a-f]{4}(?: [0-9a-f]{4}){7})`
	args := []string{server.Addr().String(), "an ID"}
	kept := append([]string{"--identity", filepath.Join(t.TempDir(), "key")}, args...)
	ctx, interrupt := context.WithCancel(context.Background())
	defer interrupt()
	stays := start(ctx, args...)
	stays.expect(t, "me "+print)
	var before string
	for round := 0; round < 2; round++ {
		comes := start(context.Background(), kept...)
		me := comes.expect(t, "me "+print)[1]
		if round == 1 && me != before {
			t.Errorf("%s has become %s", before, me)
		}
		before = me
		name := stays.expect(t, `\+ ([0-9a-f]{8}) 127\.0\.0\.1:\d+ \S+ `+me)[1]
		other := comes.expect(t, `\+ ([0-9a-f]{8}) 127\.0\.0\.1:\d+ \S+ `+print)[1]
		fmt.Fprintln(stays.stdin, "hello")
		comes.expect(t, other+": hello")
		fmt.Fprint(comes.stdin, "one\n\ntwo\n")
		comes.stdin.Close()
		stays.expect(t, name+": one")
		stays.expect(t, name+": two")
		stays.expect(t, "- "+name+" goodbye")
		comes.wantSuccess(t)
	}
	interrupt()
	stays.wantSuccess(t)
}
