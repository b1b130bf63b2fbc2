// Command driver makes one connection by hopconn, told by lines what to do. It is built against the Go module or
// against what stands in for it, with nothing but the import path changed.
package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"hopdriver/hopconn"
)

const (
	// mostData is what one line can have written, in bytes.
	mostData = 64 << 10
	// longestLine bounds a line of input, which is data in hexadecimal digits, and the word before them.
	longestLine = 2*mostData + len("write \n")
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(arguments []string, stdin io.Reader, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("driver", flag.ContinueOnError)
	flags.SetOutput(stderr)
	public := flags.String("public", "127.0.0.1", "IP address to show with the port that is dialed from")
	local := flags.String("local", "127.0.0.1", "IP address to show with the port that is listened on")
	timeout := flags.Duration("timeout", 3*time.Second, "for one dial")
	retries := flags.Int("retries", 3, "how often each address is dialed in all")
	addresses := flags.Int("addresses", 3, "how many addresses can be given")
	if err := flags.Parse(arguments); err == flag.ErrHelp {
		return 0
	} else if err != nil {
		return 2
	}
	if flags.NArg() != 0 || *addresses < 0 {
		flags.Usage()
		return 2
	}

	conn, err := hopconn.New(context.Background(),
		hopconn.WithAttemptTimeout(*timeout),
		hopconn.WithAttemptRetries(*retries),
		hopconn.WithNoOfAddressesToAttempt(*addresses),
		hopconn.WithPublicIPProvider(func() (string, error) { return *public, nil }),
		hopconn.WithLocalIPProvider(func() (string, error) { return *local, nil }))
	if err != nil {
		fmt.Fprintln(stderr, "driver:", err)
		return 1
	}
	out := &output{stdout: stdout}
	conn.RegisterDataHandler(func(data []byte) {
		// The first data can be here before the goroutine below is.
		out.established()
		out.line("data " + hex.EncodeToString(data))
	})
	out.line("local " + conn.LocalAddress())
	out.line("public " + conn.PublicAddress())
	go func() {
		<-conn.EstablishedEvents()
		out.established()
	}()
	go func() {
		obey(conn, stdin, stderr)
		conn.Close()
	}()
	for err := range conn.Errors() {
		select {
		case <-conn.EstablishedEvents():
			out.established()
		default:
		}
		out.line("error " + err.Error())
	}
	return 0
}

// obey returns when it is told to close, or at the end of the input, or where that has a line that is too long.
func obey(conn *hopconn.Connection, stdin io.Reader, stderr io.Writer) {
	lines := bufio.NewScanner(stdin)
	lines.Buffer(nil, longestLine)
	attempted := false
	for lines.Scan() {
		verb, argument, _ := strings.Cut(lines.Text(), " ")
		var err error
		switch verb {
		case "attempt":
			if attempted {
				err = fmt.Errorf("only one attempt can be made")
				break
			}
			attempted = true
			err = conn.AttemptConnection(strings.Split(argument, ",")...)
		case "write":
			var data []byte
			if data, err = hex.DecodeString(argument); err == nil {
				err = conn.Write(data)
			}
		case "close":
			return
		default:
			err = fmt.Errorf("unknown line %q", lines.Text())
		}
		if err != nil {
			fmt.Fprintln(stderr, "driver:", err)
		}
	}
	if err := lines.Err(); err != nil {
		fmt.Fprintln(stderr, "driver:", err)
	}
}

// output keeps lines whole and in order, whoever they come from.
type output struct {
	lock      sync.Mutex
	stdout    io.Writer
	announced sync.Once
}

func (o *output) line(text string) {
	o.lock.Lock()
	defer o.lock.Unlock()
	fmt.Fprintln(o.stdout, text)
}

func (o *output) established() {
	o.announced.Do(func() { o.line("established") })
}
