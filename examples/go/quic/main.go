// Command quic copies a file straight from one computer to another, each behind
// a NAT of its own, encrypted from end to end. Both sides are given the same
// server and the same ID:
//
//	quic send RENDEZVOUS ID FILE
//	quic receive RENDEZVOUS ID FILE
//
// The library opens the hole, and QUIC runs over the socket that it hands over.
// Whoever knows the ID is the other side: let it be random, such as 32
// hexadecimal digits, and used once. The receiver's FILE is overwritten, but
// only once all has arrived intact. Each side ends with one line,
//
//	sent|received <bytes> bytes in <ms> ms, sha256 <hex>
//
// Exit status: 0 if the file was copied, 1 if not, 2 for wrong usage.
//
// Build it in the library's checkout, after "make build":
//
//	go build -tags holepunch_local
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"time"

	"holepunch.example/examples/quic/filecopy"
	"holepunch.example/holepunch"
)

const usage = `usage: quic send RENDEZVOUS ID FILE
       quic receive RENDEZVOUS ID FILE
  RENDEZVOUS  host:port of the server
  ID          1 to 1000 bytes that only the two sides know
  FILE        what to send, or where to put what is received
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) != 4 || args[0] != "send" && args[0] != "receive" {
		fmt.Fprint(stderr, usage)
		return 2
	}
	server, id, path := args[1], []byte(args[2]), args[3]
	var done string
	var copied filecopy.Result
	var took time.Duration
	var err error
	if args[0] == "send" {
		done = "sent"
		copied, took, err = send(ctx, server, id, path)
	} else {
		done = "received"
		copied, took, err = receive(ctx, server, id, path)
	}
	if err != nil {
		fmt.Fprintln(stderr, "quic:", err)
		return 1
	}
	fmt.Fprintf(stdout, "%s %d bytes in %d ms, sha256 %x\n", done, copied.Bytes, took.Milliseconds(), copied.SHA256)
	return 0
}

func send(ctx context.Context, server string, id []byte, path string) (filecopy.Result, time.Duration, error) {
	// First of all, so that a mistyped name shows at once.
	file, err := os.Open(path)
	if err != nil {
		return filecopy.Result{}, 0, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return filecopy.Result{}, 0, err
	}
	if !info.Mode().IsRegular() {
		return filecopy.Result{}, 0, fmt.Errorf("%s is not a regular file", path)
	}

	socket, peer, err := meet(ctx, server, id)
	if err != nil {
		return filecopy.Result{}, 0, err
	}
	defer socket.Close()
	start := time.Now()
	copied, err := filecopy.Send(ctx, socket, peer, id, file, info.Size())
	return copied, time.Since(start), err
}

func receive(ctx context.Context, server string, id []byte, path string) (filecopy.Result, time.Duration, error) {
	file, err := filecopy.NewFile(path)
	if err != nil {
		return filecopy.Result{}, 0, err
	}
	defer file.Discard()

	socket, _, err := meet(ctx, server, id)
	if err != nil {
		return filecopy.Result{}, 0, err
	}
	defer socket.Close()
	start := time.Now()
	copied, err := filecopy.Receive(ctx, socket, id, file)
	return copied, time.Since(start), err
}

// meet opens the hole. QUIC makes the rest of the library's rules easy: it sends
// again what was lost, so nobody needs the early datagrams; it drops what is not
// QUIC, so nobody needs to look for control packets; and it keeps the NATs'
// mappings alive.
func meet(ctx context.Context, server string, id []byte) (*net.UDPConn, net.Addr, error) {
	// The plain dialect would show the ID, from which all keys come, to the
	// network.
	client, err := holepunch.NewClient(server, holepunch.WithDialect(holepunch.Native))
	if err != nil {
		return nil, nil, err
	}
	defer client.Close()
	peers, err := client.Connect(ctx, id, 1)
	if err != nil {
		return nil, nil, err
	}
	socket, err := client.TakeUDPConn(peers[0])
	if err != nil {
		return nil, nil, err
	}
	return socket, net.UDPAddrFromAddrPort(peers[0].Addr), nil
}
