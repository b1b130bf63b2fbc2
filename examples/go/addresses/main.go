// Command addresses talks with a peer whose addresses one is told: by mail, by
// voice, by whatever means people have.
//
//	addresses [--tcp | --udp] [--server HOST:PORT | --stun HOST:PORT] --id ID | --unauthenticated
//
// Both sides start it and tell each other what it prints; then each enters the
// other's addresses, on one line, within 9 seconds of each other. From then on,
// lines from stdin go to the peer. On stdout, as the one in C does:
//
//	local <address>                  one line per address
//	public <address>                 if a server was asked and has answered
//	connected <address> <path> <rtt ms>
//	peer: <text>                     one line per line of the peer's
//
// Lines are not encrypted. Over UDP they may be lost, and without an ID nobody
// is told over UDP that the peer has gone.
//
// Exit status: 0 at the end of input and when the peer leaves, 1 if it was not
// reached or the connection has failed, 2 for wrong usage.
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
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"time"

	"holepunch.example/holepunch"
)

const (
	// maxLine fits into every path's datagrams; longer lines are sent in pieces.
	maxLine = 1200
	// linger is how long to listen after the end of input, so that the peer's
	// last lines are not missed.
	linger = 200 * time.Millisecond
	usage  = `usage: addresses [--tcp | --udp] [--server HOST:PORT | --stun HOST:PORT] --id ID | --unauthenticated
  --server           ask this hp-server for our public address
  --stun             ask this STUN server for it
  --id               1 to %d bytes that both sides share, and nobody else knows
  --unauthenticated  take whoever is at the peer's addresses for the peer
The peer's addresses are read from the first line of standard input, separated by commas; if that is empty, the peer is
waited for.
`
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	conn, err := parse(args, stderr)
	if err == errUsage {
		return 2
	}
	if err == nil {
		defer conn.Close()
		err = meet(ctx, conn, stdin, stdout, stderr)
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(stderr, "addresses:", err)
		return 1
	}
	return 0
}

var errUsage = errors.New("wrong usage")

// parse makes what the arguments ask for.
func parse(args []string, stderr io.Writer) (*holepunch.AddrConn, error) {
	flags := flag.NewFlagSet("addresses", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprintf(stderr, usage, holepunch.MaxSessionIDLen) }
	tcp, udp := flags.Bool("tcp", false, ""), flags.Bool("udp", false, "")
	server, stun := flags.String("server", "", ""), flags.String("stun", "", "")
	id, unauthenticated := flags.String("id", "", ""), flags.Bool("unauthenticated", false, "")
	if flags.Parse(args) != nil {
		return nil, errUsage
	}
	if flags.NArg() != 0 || *tcp && *udp || *server != "" && *stun != "" || (*id == "") != *unauthenticated {
		flags.Usage()
		return nil, errUsage
	}
	transport := holepunch.UDP
	if *tcp {
		transport = holepunch.TCP
	}
	var options []holepunch.AddrConnOption
	switch {
	case *server != "":
		options = append(options, holepunch.WithAddressServer(*server))
	case *stun != "":
		options = append(options, holepunch.WithSTUN(*stun))
	}
	if *unauthenticated {
		options = append(options, holepunch.Unauthenticated())
	}
	return holepunch.NewAddrConn(transport, []byte(*id), options...)
}

// meet tells our addresses, asks for the peer's, and talks.
func meet(ctx context.Context, conn *holepunch.AddrConn, stdin io.Reader, stdout, stderr io.Writer) error {
	for _, addr := range conn.LocalAddrs() {
		fmt.Fprintln(stdout, "local", addr)
	}
	// Without it, peers in the same network can still be met, and all whom we
	// can reach.
	if addr, err := conn.PublicAddr(ctx); err == nil {
		fmt.Fprintln(stdout, "public", addr)
	} else if !errors.Is(err, holepunch.ErrNotFound) {
		fmt.Fprintln(stderr, "addresses:", err)
	}
	fmt.Fprintln(stderr, "addresses: the peer's addresses, separated by commas, or nothing to wait for it:")
	lines := make(chan string)
	go readLines(stdin, lines)
	var addrs []netip.AddrPort
	select {
	case line, more := <-lines:
		if !more {
			return errors.New("there is no line with the peer's addresses")
		}
		for _, text := range strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(", \t\r", r) }) {
			addr, err := netip.ParseAddrPort(text)
			if err != nil {
				return errors.New("not an address: " + text)
			}
			addrs = append(addrs, addr)
		}
	case <-ctx.Done():
		return nil
	}
	if err := conn.Attempt(ctx, addrs...); err != nil {
		return err
	}
	peer, rtt := conn.Peer(), "-"
	if peer.RTT != 0 {
		rtt = fmt.Sprintf("%.3f", peer.RTT.Seconds()*1000)
	}
	fmt.Fprintln(stdout, "connected", peer.Addr, peer.Path, rtt)
	return talk(ctx, conn, lines, stdout, stderr)
}

// talk sends lines and prints the peer's, until one side has no more to say.
func talk(ctx context.Context, conn *holepunch.AddrConn, lines <-chan string, stdout, stderr io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // A peer that does not read must not keep us.
		<-ctx.Done()
		conn.Close()
	}()
	heard := make(chan error, 1)
	go func() { heard <- hear(conn, stdout) }()
	var end <-chan time.Time
	for {
		select {
		case line, more := <-lines:
			if !more {
				lines, end = nil, time.After(linger) // A nil channel is never ready.
				break
			}
			// If it is over, who hears knows why.
			if _, err := io.WriteString(conn, line+"\n"); err != nil && !errors.Is(err, net.ErrClosed) {
				fmt.Fprintln(stderr, "addresses:", err)
			}
		case err := <-heard:
			if err == io.EOF {
				fmt.Fprintln(stderr, "addresses: the peer has closed the connection")
				return nil
			}
			return err
		case <-end:
			return nil
		}
	}
}

// hear prints what the peer says, datagram by datagram or line by line.
func hear(conn *holepunch.AddrConn, stdout io.Writer) error {
	datagram := make([]byte, holepunch.MaxDatagramLen)
	stream := bufio.NewReaderSize(conn, maxLine)
	for {
		if conn.LocalAddr().Network() == "udp" {
			n, err := conn.Read(datagram)
			if err != nil {
				return err
			}
			for _, line := range strings.Split(strings.TrimSuffix(string(datagram[:n]), "\n"), "\n") {
				printLine(stdout, line)
			}
			continue
		}
		line, _, err := stream.ReadLine()
		if err != nil {
			return err
		}
		printLine(stdout, string(line))
	}
}

// printLine leaves out what would drive a terminal.
func printLine(stdout io.Writer, line string) {
	fmt.Fprintln(stdout, "peer:", strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7F && r < 0xA0 {
			return '?'
		}
		return r
	}, line))
}

// readLines gives all lines, long ones in pieces.
func readLines(in io.Reader, lines chan<- string) {
	defer close(lines)
	for reader := bufio.NewReaderSize(in, maxLine); ; {
		line, _, err := reader.ReadLine()
		if err != nil {
			return
		}
		lines <- string(line)
	}
}
