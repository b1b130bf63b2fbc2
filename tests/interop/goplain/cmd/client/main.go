// Command client is a stand-in client for the plain dialect, with a chat on top that scripts can drive.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"goplain/plain"
)

// lingerAfterInput lets datagrams that are on their way when the input ends arrive before the socket is closed.
const lingerAfterInput = 200 * time.Millisecond

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(arguments []string, stdin io.Reader, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("client", flag.ContinueOnError)
	flags.SetOutput(stderr)
	timeout := flags.Duration("timeout", 40*time.Second, "total time for waiting and punching; 0: the default, negative: no limit")
	gate := flags.Bool("gate", false, "connect only after one line of input, and print when the call began and ended")
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: client [flags] RENDEZVOUS ID NUM_PEERS")
		flags.PrintDefaults()
	}
	if err := flags.Parse(arguments); err == flag.ErrHelp {
		return 0
	} else if err != nil {
		return 2
	}
	if flags.NArg() != 3 {
		flags.Usage()
		return 2
	}
	count, err := strconv.Atoi(flags.Arg(2))
	if err != nil || count < 1 {
		fmt.Fprintf(stderr, "client: NUM_PEERS is %q, but must be a number from 1 on\n", flags.Arg(2))
		return 2
	}

	input := bufio.NewReader(stdin)
	if *gate {
		if _, err := input.ReadString('\n'); err != nil {
			fmt.Fprintln(stderr, "client: the input ended before the gate was opened")
			return 1
		}
	}

	options := plain.Options{Timeout: *timeout, Ignored: func(from netip.AddrPort, datagram []byte, why string) {
		fmt.Fprintf(stderr, "client: ignored %q from %v: %s\n", datagram, from, why)
	}}
	called := time.Now()
	if *gate {
		fmt.Fprintln(stdout, "call", called.UnixNano())
	}
	result, err := plain.Connect(flags.Arg(0), []byte(flags.Arg(1)), count, options)
	returned := time.Now()
	if *gate {
		fmt.Fprintln(stdout, "return", returned.UnixNano())
	}
	if result != nil {
		defer result.Conn.Close()
	}
	if err != nil {
		fmt.Fprintln(stderr, "client:", err)
		return 1
	}
	for i, peer := range result.Peers {
		fmt.Fprintln(stdout, "peer", i, peer)
	}
	fmt.Fprintln(stdout, "connected", len(result.Peers), returned.Sub(called).Milliseconds())

	chat(result.Conn, result.Peers, input, stdout, stderr)
	return 0
}

// chat returns some time after the end of the input.
func chat(conn *net.UDPConn, peers []netip.AddrPort, input *bufio.Reader, stdout, stderr io.Writer) {
	var receiver sync.WaitGroup
	receiver.Add(1)
	go func() {
		defer receiver.Done()
		if err := printMessages(conn, peers, stdout); err != nil {
			fmt.Fprintln(stderr, "client:", err)
		}
	}()
	for {
		line, err := input.ReadString('\n')
		// An empty datagram would be a keep-alive, not a message.
		if message := strings.TrimRight(line, "\r\n"); message != "" {
			for i, peer := range peers {
				if _, err := conn.WriteToUDPAddrPort([]byte(message), peer); err != nil {
					fmt.Fprintf(stderr, "client: to peer %d: %v\n", i, err)
				}
			}
		}
		if err != nil {
			break
		}
	}
	_ = conn.SetReadDeadline(time.Now().Add(lingerAfterInput))
	receiver.Wait()
}

// printMessages ends without error at the socket's read deadline.
func printMessages(conn *net.UDPConn, peers []netip.AddrPort, stdout io.Writer) error {
	number := make(map[netip.AddrPort]int, len(peers))
	for i := len(peers) - 1; i >= 0; i-- {
		number[peers[i]] = i
	}
	// One message is one line for the reader of the output, whatever the peer put into it.
	oneLine := strings.NewReplacer("\r", `\r`, "\n", `\n`)
	buffer := make([]byte, 65535)
	for {
		length, from, err := conn.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		i, known := number[from]
		if !known || plain.IsHandshake(buffer[:length]) {
			continue
		}
		fmt.Fprintf(stdout, "%d: %s\n", i, oneLine.Replace(strings.TrimRight(string(buffer[:length]), "\r\n")))
	}
}
