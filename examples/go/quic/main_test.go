package main

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"
)

func TestWrongUsage(t *testing.T) {
	for _, args := range [][]string{
		nil,
		{"send"},
		{"-h"},
		{"send", "server:5000", "our ID"},
		{"send", "server:5000", "our ID", "file", "more"},
		{"give", "server:5000", "our ID", "file"},
	} {
		var stdout, stderr bytes.Buffer
		if status := run(context.Background(), args, &stdout, &stderr); status != 2 {
			t.Errorf("%q: exit status %d", args, status)
		}
		if stdout.Len() != 0 || stderr.String() != usage {
			t.Errorf("%q: %q, %q", args, &stdout, &stderr)
		}
	}
}

// Nobody waits for a peer only to hear of a mistake of his own.
func TestMistakesShowBeforeAnyoneIsMet(t *testing.T) {
	directory := t.TempDir()
	for _, args := range [][]string{
		{"send", "127.0.0.1:1", "our ID", filepath.Join(directory, "missing")},
		{"send", "127.0.0.1:1", "our ID", directory},
		{"receive", "127.0.0.1:1", "our ID", directory},
		{"receive", "127.0.0.1:1", "our ID", filepath.Join(directory, "missing", "file")},
		{"receive", "no port", "our ID", filepath.Join(directory, "file")},
		{"receive", "127.0.0.1:1", "", filepath.Join(directory, "file")},
	} {
		var stdout, stderr bytes.Buffer
		if status := run(context.Background(), args, &stdout, &stderr); status != 1 {
			t.Errorf("%q: exit status %d", args, status)
		}
		if stdout.Len() != 0 || !strings.HasPrefix(stderr.String(), "quic: ") {
			t.Errorf("%q: %q, %q", args, &stdout, &stderr)
		}
		t.Log(stderr.String())
	}
	if left, _ := filepath.Glob(filepath.Join(directory, ".*")); len(left) != 0 {
		t.Error("left behind:", left)
	}
}
