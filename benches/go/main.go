// Times one Connect through the Go binding, as tests/c/timed_connect.c does in
// C and with the same lines of output:
//
//	timed_connect [--dialect auto|native|plain] SERVER ID PEERS
//
//	ready                          the client is made; a line of input opens the gate
//	call <unix ns>
//	return <unix ns> HP_STATUS_OK  or another word after a failure
//
// It stays until its input ends.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"holepunch.example/holepunch"
)

func main() {
	arguments, dialect := os.Args[1:], holepunch.Auto
	if len(arguments) == 5 && arguments[0] == "--dialect" {
		for _, dialect = range []holepunch.Dialect{holepunch.Native, holepunch.Plain, holepunch.Auto} {
			if dialect.String() == arguments[1] {
				break
			}
		}
		arguments = arguments[2:]
	}
	if len(arguments) != 3 {
		fmt.Fprintln(os.Stderr, "usage: timed_connect [--dialect auto|native|plain] SERVER ID PEERS")
		os.Exit(2)
	}
	peers, err := strconv.Atoi(arguments[2])
	if err == nil {
		err = run(arguments[0], arguments[1], peers, dialect)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(server, id string, peers int, dialect holepunch.Dialect) error {
	client, err := holepunch.NewClient(server, holepunch.WithDialect(dialect))
	if err != nil {
		return err
	}
	defer client.Close()
	input := bufio.NewScanner(os.Stdin)
	fmt.Println("ready")
	if !input.Scan() {
		return fmt.Errorf("the input ended before the gate was opened")
	}
	// With a context that can end, as programs have it: without one the binding would do less.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	called := time.Now()
	_, err = client.Connect(ctx, []byte(id), peers)
	returned := time.Now()
	status := "HP_STATUS_OK"
	if err != nil {
		status = "failed"
	}
	fmt.Printf("call %d\nreturn %d %s\n", called.UnixNano(), returned.UnixNano(), status)
	for input.Scan() {
	}
	return err
}
