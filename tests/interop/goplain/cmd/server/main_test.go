package main

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func TestServerPrintsWhereItListensAndAnswers(t *testing.T) {
	output, outputEnd := io.Pipe()
	// Serving ends with the test process.
	go run([]string{"-expiry", "1m", "127.0.0.1:0"}, outputEnd, io.Discard)
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	server := strings.TrimPrefix(strings.TrimSpace(line), "listening ")
	conn, err := net.Dial("udp", server)
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("room")); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(3 * time.Second))
	if length, err := conn.Read(make([]byte, 100)); err != nil || length != 0 {
		t.Errorf("%d bytes, %v", length, err)
	}
}

func TestErrorsHaveAStatus(t *testing.T) {
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	cases := []struct {
		name      string
		arguments []string
		status    int
	}{
		{"too many arguments", []string{"127.0.0.1:0", "127.0.0.1:0"}, 2},
		{"unknown flag", []string{"-unknown"}, 2},
		{"no port", []string{"127.0.0.1"}, 1},
		{"address taken", []string{taken.LocalAddr().String()}, 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var stderr bytes.Buffer
			if status := run(c.arguments, io.Discard, &stderr); status != c.status || stderr.Len() == 0 {
				t.Errorf("exit status %d, stderr %q", status, stderr.String())
			}
		})
	}
}
