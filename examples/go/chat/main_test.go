package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"holepunch.example/holepunch"
)

func TestCommandLine(t *testing.T) {
	for line, want := range map[string]settings{
		"host:1 id 1":                                  {"host:1", "id", 1, holepunch.Auto, 40 * time.Second},
		"--dialect auto host:1 id 64":                  {"host:1", "id", 64, holepunch.Auto, 40 * time.Second},
		"--dialect native --timeout 1500 host:1 id 2":  {"host:1", "id", 2, holepunch.Native, 1500 * time.Millisecond},
		"--timeout -1 --dialect plain host:1 --id 3":   {"host:1", "--id", 3, holepunch.Plain, -time.Millisecond},
		"--timeout 0 --timeout 1000000000 host:1 id 1": {"host:1", "id", 1, holepunch.Auto, 1e6 * time.Second},
	} {
		var stderr bytes.Buffer
		if got, ok := parse(strings.Fields(line), &stderr); !ok || got != want || stderr.Len() != 0 {
			t.Errorf("%q is %+v, %v, %q", line, got, ok, &stderr)
		}
	}
}

func TestWrongUsage(t *testing.T) {
	for _, line := range []string{
		"",
		"-h",
		"host:1 id",
		"host:1 id 1 more",
		"host:1 id 0",
		"host:1 id 65",
		"host:1 id -1",
		"host:1 id one",
		"--dialect host:1 id 1",
		"--dialect other host:1 id 1",
		"--timeout host:1 id 1",
		"--timeout soon host:1 id 1",
		"--timeout -2 host:1 id 1",
		"--timeout 1000000001 host:1 id 1",
		"--other 1 host:1 id 1",
	} {
		var stdout, stderr bytes.Buffer
		if status := run(strings.Fields(line), strings.NewReader(""), &stdout, &stderr); status != 2 {
			t.Errorf("%q: exit status %d", line, status)
		}
		if stdout.Len() != 0 || !strings.Contains(stderr.String(), "usage: chat [--dialect") {
			t.Errorf("%q: %q, %q", line, &stdout, &stderr)
		}
	}
}

func TestFailureToConnect(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if status := run([]string{"no port", "id", "1"}, strings.NewReader(""), &stdout, &stderr); status != 1 {
		t.Errorf("exit status %d", status)
	}
	if stdout.Len() != 0 || !regexp.MustCompile(`^chat: .*host:port.*\n$`).MatchString(stderr.String()) {
		t.Errorf("%q, %q", &stdout, &stderr)
	}
}

func TestLines(t *testing.T) {
	long := strings.Repeat("x", maxMessage)
	lines := make(chan string)
	go readLines(strings.NewReader("one\n\ntwo\r\n"+long+long[1:]+"\nlast"), lines)
	var got []string
	for line := range lines {
		got = append(got, line)
	}
	if want := []string{"one", "two", long, long[1:], "last"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
}

// talker is a chat in this process.
type talker struct {
	stdin  io.WriteCloser
	lines  chan string
	stderr bytes.Buffer
	status chan int
}

func start(args ...string) *talker {
	in, stdin := io.Pipe()
	stdout, out := io.Pipe()
	talker := &talker{stdin: stdin, lines: make(chan string, 100), status: make(chan int, 1)}
	go func() {
		status := run(args, in, out, &talker.stderr)
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

func (a *talker) expect(t *testing.T, pattern string) {
	t.Helper()
	if line, more := <-a.lines; !more || !regexp.MustCompile("^(?:"+pattern+")$").MatchString(line) {
		t.Fatalf("not %q, but %q", pattern, line)
	}
}

func TestConversation(t *testing.T) {
	server, err := holepunch.NewServer(holepunch.ServerConfig{Addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go server.Serve(context.Background())

	for dialect, rtt := range map[string]string{"auto": `\d+\.\d{3}`, "native": `\d+\.\d{3}`, "plain": "-"} {
		t.Run(dialect, func(t *testing.T) {
			args := []string{"--dialect", dialect, "--timeout", "10000", server.Addr().String(), "an ID", "1"}
			talkers := []*talker{start(args...), start(args...)}
			for _, talker := range talkers {
				talker.expect(t, `peer 0 127\.0\.0\.1:\d+ [a-z-]+ `+rtt)
				talker.expect(t, `connected 1 \d+`)
			}
			for i, talker := range talkers {
				// What looks like the library's own is not passed on.
				fmt.Fprintf(talker.stdin, "SYN\nhello\nfrom %d\n", i)
				talker.stdin.Close()
			}
			for i, talker := range talkers {
				talker.expect(t, "0: hello")
				talker.expect(t, fmt.Sprintf("0: from %d", 1-i))
			}
			for _, talker := range talkers {
				if status := <-talker.status; status != 0 || talker.stderr.Len() != 0 {
					t.Errorf("exit status %d, %q", status, &talker.stderr)
				}
			}
		})
	}
}
