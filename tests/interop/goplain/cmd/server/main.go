// Command server is a stand-in rendezvous server for the plain dialect.
package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"os"

	"goplain/plain"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(arguments []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("server", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var options plain.ServerOptions
	flags.DurationVar(&options.KeepAlive, "keep-alive", 0, "time between keep-alives (default 10s)")
	flags.DurationVar(&options.Expiry, "expiry", 0, "time after which an endpoint is forgotten (default 40s)")
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: server [flags] [LADDR]    (LADDR: default :5000)")
		flags.PrintDefaults()
	}
	if err := flags.Parse(arguments); err == flag.ErrHelp {
		return 0
	} else if err != nil {
		return 2
	}
	if flags.NArg() > 1 {
		flags.Usage()
		return 2
	}
	local := ":5000"
	if flags.NArg() == 1 {
		local = flags.Arg(0)
	}

	address, err := net.ResolveUDPAddr("udp", local)
	if err != nil {
		fmt.Fprintln(stderr, "server:", err)
		return 1
	}
	conn, err := net.ListenUDP("udp", address)
	if err != nil {
		fmt.Fprintln(stderr, "server:", err)
		return 1
	}
	defer conn.Close()
	// Scripts start servers on port 0 and read the port from here.
	fmt.Fprintln(stdout, "listening", conn.LocalAddr())
	if err := plain.NewServer(conn, options).Serve(); err != nil {
		fmt.Fprintln(stderr, "server:", err)
		return 1
	}
	return 0
}
