package holepunch_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"time"

	"holepunch.example/holepunch"
)

func ExampleNewAddrConn() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	// How the two sides tell each other their addresses is the program's own
	// affair; here it is two channels.
	tell, hear := make(chan []netip.AddrPort, 1), make(chan []netip.AddrPort, 1)
	id := []byte("an ID that both sides know")

	// The other side, elsewhere.
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := holepunch.NewAddrConn(holepunch.TCP, id)
		if err != nil {
			log.Fatal(err)
		}
		defer conn.Close()
		hear <- conn.LocalAddrs()
		if err := conn.Attempt(ctx, <-tell...); err != nil {
			log.Fatal(err)
		}
		fmt.Fprintln(conn, "hello")
	}()

	conn, err := holepunch.NewAddrConn(holepunch.TCP, id) // With WithSTUN or WithAddressServer there is a public address, too.
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	addrs := conn.LocalAddrs()
	if public, err := conn.PublicAddr(ctx); err == nil {
		addrs = append(addrs, public)
	}
	tell <- addrs
	if err := conn.Attempt(ctx, <-hear...); err != nil {
		log.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	fmt.Printf("%q %v, authenticated: %t\n", line, err, conn.Peer().Authenticated)
	<-done
	// Output: "hello\n" <nil>, authenticated: true
}

func ExampleUnauthenticated() {
	conn, err := holepunch.NewAddrConn(holepunch.TCP, nil, holepunch.Unauthenticated(),
		holepunch.WithBindAddr(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	// The other side knows nothing of this package.
	go func() {
		plain, err := net.Dial("tcp", conn.LocalAddr().String())
		if err != nil {
			log.Fatal(err)
		}
		defer plain.Close()
		fmt.Fprint(plain, "hello")
	}()
	if err := conn.Attempt(context.Background()); err != nil { // It comes to us.
		log.Fatal(err)
	}
	said, err := io.ReadAll(conn)
	fmt.Printf("%s %v\n", said, err)
	// Output: hello <nil>
}

func ExampleAddrConn_Attempt() {
	nobody := netip.MustParseAddrPort("127.0.0.1:9")
	conn, err := holepunch.NewAddrConn(holepunch.UDP, []byte("an ID"),
		holepunch.WithAttemptTimeout(100*time.Millisecond), holepunch.WithAttempts(2))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	err = conn.Attempt(context.Background(), nobody)
	switch {
	case errors.Is(err, holepunch.ErrStranger):
		fmt.Println("somebody else is there")
	case errors.Is(err, holepunch.ErrTimedOutPunching):
		fmt.Println("nobody is there, or nothing comes through")
	}
	fmt.Println(errors.Is(err, context.DeadlineExceeded))
	// Output:
	// nobody is there, or nothing comes through
	// true
}

func ExampleWithPublicIPProvider() {
	conn, err := holepunch.NewAddrConn(holepunch.TCP, []byte("an ID"),
		holepunch.WithBindAddr(netip.MustParseAddrPort("127.0.0.1:0")),
		holepunch.WithPublicIPProvider(func(ctx context.Context) (netip.Addr, error) {
			return netip.MustParseAddr("203.0.113.5"), nil // A web service, or what an operator has configured.
		}))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	public, err := conn.PublicAddr(context.Background())
	fmt.Println(public.Addr(), public.Port() == conn.LocalAddrs()[0].Port(), err)
	// Output: 203.0.113.5 true <nil>
}

func ExampleAddrConn_TakeTCPConn() {
	id := []byte("an ID")
	var conns [2]*holepunch.AddrConn
	for i := range conns {
		var err error
		conns[i], err = holepunch.NewAddrConn(holepunch.TCP, id, holepunch.WithBareSocket())
		if err != nil {
			log.Fatal(err)
		}
		defer conns[i].Close()
	}
	done := make(chan *net.TCPConn)
	for i := range conns {
		go func(conn, peer *holepunch.AddrConn) {
			if err := conn.Attempt(context.Background(), peer.LocalAddrs()...); err != nil {
				log.Fatal(err)
			}
			socket, err := conn.TakeTCPConn()
			if err != nil {
				log.Fatal(err)
			}
			done <- socket
		}(conns[i], conns[1-i])
	}
	from, to := <-done, <-done
	fmt.Fprint(from, "over the bare socket")
	from.Close()
	said, err := io.ReadAll(to)
	to.Close()
	fmt.Printf("%s %v\n", said, err)
	// Output: over the bare socket <nil>
}
