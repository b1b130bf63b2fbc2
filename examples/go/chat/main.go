// Command chat talks to every peer that shares an ID, also behind NATs.
//
//	chat [--dialect auto|native|plain] [--timeout MS] RENDEZVOUS ID NUM_PEERS
//
// Lines from stdin go to every peer; the chat in C and the existing Go chat
// understand each other and this one. On stdout, for scripts:
//
//	peer <i> <endpoint> <path> <rtt ms>      one line per peer
//	connected <n> <ms since start>
//	<i>: <text>                              one line per message
//
// Exit status: 0 at the end of input, 1 if the peers were not reached, 2 for
// wrong usage.
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
	"strconv"
	"time"

	"holepunch.example/holepunch"
)

const (
	// maxMessage fits into every path's datagrams; longer lines are cut.
	maxMessage = 1200
	// linger is how long to listen after the end of input, so that the peers'
	// last messages are not missed.
	linger = 200 * time.Millisecond
	// keepAlive is how often something must be said: NATs close holes that
	// have been silent for half a minute.
	keepAlive = 20 * time.Second
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	start := time.Now()
	settings, ok := parse(args, stderr)
	if !ok {
		return 2
	}
	fail := func(err error) int {
		fmt.Fprintln(stderr, "chat:", err)
		return 1
	}

	client, err := holepunch.NewClient(settings.server,
		holepunch.WithDialect(settings.dialect), holepunch.WithTimeout(settings.timeout))
	if err != nil {
		return fail(err)
	}
	defer client.Close()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	peers, err := client.Connect(ctx, []byte(settings.id), settings.peers)
	stop() // From here on an interrupt simply ends the program.
	if err != nil {
		return fail(err)
	}

	room := newRoom(stdout, stderr)
	defer room.close()
	for i, peer := range peers {
		socket, err := client.TakeUDPConn(peer)
		if err != nil {
			return fail(err)
		}
		room.add(peer.Addr, socket)
		fmt.Fprintf(stdout, "peer %d %v %v %s\n", i, peer.Addr, peer.Path, milliseconds(peer.RTT))
	}
	fmt.Fprintln(stdout, "connected", len(peers), time.Since(start).Milliseconds())

	// Whoever had connected before us may have spoken already.
	for _, early := range client.EarlyDatagrams() {
		room.print(early)
	}
	room.chat(stdin)
	return 0
}

// settings are what the command line says.
type settings struct {
	server, id string
	peers      int
	dialect    holepunch.Dialect
	timeout    time.Duration
}

func parse(args []string, stderr io.Writer) (s settings, ok bool) {
	flags := flag.NewFlagSet("chat", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintf(stderr, `usage: chat [--dialect auto|native|plain] [--timeout MS] RENDEZVOUS ID NUM_PEERS
  RENDEZVOUS  host:port of the server
  ID          1 to %d bytes that all participants share
  NUM_PEERS   how many others take part, 1 to %d
  --timeout   total time to connect in milliseconds, default 40000; negative: for ever
`, holepunch.MaxSessionIDLen, holepunch.MaxPeers)
	}
	s.timeout = holepunch.DefaultTimeout
	flags.Func("timeout", "", func(text string) error {
		ms, err := strconv.Atoi(text)
		if err != nil || ms < -1 || ms > 1e9 {
			return errors.New("must be a number from -1 to 1000000000")
		}
		s.timeout = time.Duration(ms) * time.Millisecond
		return nil
	})
	flags.Func("dialect", "", func(text string) error {
		for _, dialect := range []holepunch.Dialect{holepunch.Auto, holepunch.Native, holepunch.Plain} {
			if dialect.String() == text {
				s.dialect = dialect
				return nil
			}
		}
		return errors.New("there is no such dialect")
	})
	if flags.Parse(args) != nil {
		return s, false // It has told why.
	}
	s.server, s.id = flags.Arg(0), flags.Arg(1)
	peers, err := strconv.Atoi(flags.Arg(2))
	if flags.NArg() != 3 || err != nil || peers < 1 || peers > holepunch.MaxPeers {
		flags.Usage()
		return s, false
	}
	s.peers = peers
	return s, true
}

// milliseconds is "-" for an RTT that was not measured, as in the plain dialect.
func milliseconds(rtt time.Duration) string {
	if rtt == 0 {
		return "-"
	}
	return fmt.Sprintf("%.3f", float64(rtt.Microseconds())/1000)
}

// A room holds everyone who takes part.
type room struct {
	out, errors io.Writer
	peers       []participant
	numbers     map[netip.AddrPort]int
	messages    chan holepunch.Datagram
}

// A participant is where a peer is and the socket through which it is reached.
type participant struct {
	addr   netip.AddrPort
	socket *net.UDPConn
}

func newRoom(out, errors io.Writer) *room {
	return &room{
		out:      out,
		errors:   errors,
		numbers:  make(map[netip.AddrPort]int),
		messages: make(chan holepunch.Datagram),
	}
}

// add starts to listen to a peer.
func (r *room) add(addr netip.AddrPort, socket *net.UDPConn) {
	known := false // Peers may share a socket.
	for _, p := range r.peers {
		known = known || p.socket == socket
	}
	if !known {
		go r.receive(socket)
	}
	r.numbers[addr] = len(r.peers)
	r.peers = append(r.peers, participant{addr, socket})
}

// receive reads one socket until it is closed.
func (r *room) receive(socket *net.UDPConn) {
	buffer := make([]byte, 65535)
	for {
		n, from, err := socket.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			fmt.Fprintln(r.errors, "chat: receiving:", err)
			return
		}
		// The library's own datagrams may go on for a moment.
		if holepunch.IsControlPacket(buffer[:n]) {
			continue
		}
		// A socket for both IPv6 and IPv4 has its own way to write the latter.
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		r.messages <- holepunch.Datagram{Addr: from, Data: append([]byte(nil), buffer[:n]...)}
	}
}

// print prints what a participant says; strangers are not heard.
func (r *room) print(message holepunch.Datagram) {
	if i, known := r.numbers[message.Addr]; known {
		fmt.Fprintf(r.out, "%d: %s\n", i, message.Data)
	}
}

func (r *room) send(text string) {
	for _, p := range r.peers {
		if _, err := p.socket.WriteToUDPAddrPort([]byte(text), p.addr); err != nil {
			fmt.Fprintln(r.errors, "chat: sending:", err)
		}
	}
}

// chat returns a moment after the end of input.
func (r *room) chat(stdin io.Reader) {
	lines := make(chan string)
	go readLines(stdin, lines)
	alive := time.NewTicker(keepAlive)
	defer alive.Stop()
	var end <-chan time.Time
	for {
		select {
		case line, more := <-lines:
			if more {
				r.send(line)
			} else {
				lines = nil // A nil channel is never ready.
				end = time.After(linger)
			}
		case message := <-r.messages:
			r.print(message)
		case <-alive.C:
			r.send("") // Everyone drops empty datagrams.
		case <-end:
			return
		}
	}
}

// readLines sends all lines that are not empty, long ones in pieces.
func readLines(in io.Reader, lines chan<- string) {
	defer close(lines)
	reader := bufio.NewReaderSize(in, maxMessage)
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

func (r *room) close() {
	for _, p := range r.peers {
		p.socket.Close() // Closing a shared one twice does no harm.
	}
}
