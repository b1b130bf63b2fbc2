// Command room talks to everybody who shares an ID, for as long as one stays:
// encrypted from end to end, also behind NATs, and whoever comes or goes
// meanwhile.
//
//	room [--identity FILE] RENDEZVOUS ID
//
// Lines from stdin go to all who are there. On stdout, for scripts:
//
//	me <fingerprint>
//	+ <peer> <endpoint> <path> <fingerprint>   someone is there
//	<peer>: <text>                             someone says something
//	- <peer> <reason>                          someone is gone
//
// A peer is the first 8 digits of its name, which is another one each time it
// joins; the fingerprint of its key stays the same for one who keeps an identity
// in a file.
//
// Exit status: 0 at the end of input, 1 if the session cannot be joined or fails,
// 2 for wrong usage.
//
// Build it in the library's checkout, after "make build":
//
//	go build -tags holepunch_local
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"time"

	"holepunch.example/holepunch"
)

// patience is how long the others may take to get what was said last.
const patience = 5 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("room", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintf(stderr, `usage: room [--identity FILE] RENDEZVOUS ID
  RENDEZVOUS  host:port of the server
  ID          1 to %d bytes that all share
  --identity  where the private key is kept; made if it is not there
`, holepunch.MaxSessionIDLen)
	}
	file := flags.String("identity", "", "")
	if flags.Parse(args) != nil {
		return 2
	}
	if flags.NArg() != 2 {
		flags.Usage()
		return 2
	}
	if err := talk(ctx, flags.Arg(0), flags.Arg(1), *file, stdin, stdout); err != nil {
		fmt.Fprintln(stderr, "room:", err)
		return 1
	}
	return 0
}

func talk(ctx context.Context, server, id, file string, stdin io.Reader, stdout io.Writer) error {
	identity, err := identityOf(file)
	if err != nil {
		return err
	}
	client, err := holepunch.NewClient(server)
	if err != nil {
		return err
	}
	defer client.Close()
	session, err := client.Join(ctx, []byte(id), holepunch.WithIdentity(identity))
	if err != nil {
		return err
	}
	defer session.Close() // It says goodbye.
	fmt.Fprintln(stdout, "me", session.PublicKey().Fingerprint())

	lines := make(chan string)
	go readLines(stdin, lines)
	waiting := make(map[holepunch.PeerID]map[uint64]bool) // what who has not got yet
	var end <-chan time.Time
	for {
		select {
		case line, more := <-lines:
			if !more {
				lines, end = nil, time.After(patience) // A nil channel is never ready.
				break
			}
			if err := say(session, line, waiting); err != nil {
				fmt.Fprintln(stdout, "! not said:", err)
			}
		case event := <-session.Events():
			if err := hear(event, waiting, stdout); err != nil {
				return err
			}
		case <-end:
			return nil
		case <-ctx.Done():
			return nil
		}
		if lines == nil && len(waiting) == 0 {
			return nil
		}
	}
}

// say says a line to all.
func say(session *holepunch.Session, line string, waiting map[holepunch.PeerID]map[uint64]bool) error {
	number, err := session.SendToAll([]byte(line))
	if err != nil {
		return err
	}
	for _, peer := range session.Peers() {
		if waiting[peer.Peer] == nil {
			waiting[peer.Peer] = make(map[uint64]bool)
		}
		waiting[peer.Peer][number] = true
	}
	return nil
}

// hear tells what has happened, and fails if the session has.
func hear(event holepunch.Event, waiting map[holepunch.PeerID]map[uint64]bool, stdout io.Writer) error {
	got := func(peer holepunch.PeerID, number uint64) {
		delete(waiting[peer], number)
		if len(waiting[peer]) == 0 {
			delete(waiting, peer)
		}
	}
	switch e := event.(type) {
	case holepunch.Connected:
		fmt.Fprintf(stdout, "+ %.8s %v %v %s\n", e.Peer, e.Addr, e.Path, e.Key.Fingerprint())
	case holepunch.Message:
		fmt.Fprintf(stdout, "%.8s: %s\n", e.Peer, e.Data)
	case holepunch.Left:
		delete(waiting, e.Peer)
		fmt.Fprintf(stdout, "- %.8s %v\n", e.Peer, e.Reason)
	case holepunch.Delivered:
		got(e.Peer, e.Number)
	case holepunch.Untaken:
		fmt.Fprintf(stdout, "! %.8s was told nothing: too much waits for it\n", e.Peer)
		got(e.Peer, e.Number)
	case holepunch.ServerLost:
		fmt.Fprintln(stdout, "! the server does not answer; who is here stays")
	case holepunch.Refused:
		fmt.Fprintln(stdout, "! the server does not take us:", e.Reason)
	case holepunch.Failed:
		return e.Err
	}
	return nil
}

// identityOf reads an identity from a file, or makes it; without a file it is a
// fresh one.
func identityOf(file string) (identity holepunch.Identity, err error) {
	if file != "" {
		kept, err := os.ReadFile(file)
		if err == nil && len(kept) != len(identity) {
			err = fmt.Errorf("%s does not hold an identity of %d bytes", file, len(identity))
		}
		if !errors.Is(err, fs.ErrNotExist) {
			copy(identity[:], kept)
			return identity, err
		}
	}
	identity, err = holepunch.NewIdentity()
	if err == nil && file != "" {
		err = os.WriteFile(file, identity[:], 0o600)
	}
	return identity, err
}

// readLines sends all lines that are not empty, long ones in pieces.
func readLines(in io.Reader, lines chan<- string) {
	defer close(lines)
	reader := bufio.NewReaderSize(in, holepunch.MaxMessageLen)
	for {
		line, _, err := reader.ReadLine()
		if err != nil {
			return
		}
		if len(line) > 0 {
			lines <- string(line)
		}
	}
}
