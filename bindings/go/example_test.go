package holepunch_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/netip"
	"os"
	"time"

	"holepunch.example/holepunch"
)

// serveExample starts a rendezvous server on loopback and returns its address.
func serveExample() (address string, stop func() error) {
	server, err := holepunch.NewServer(holepunch.ServerConfig{Addr: "127.0.0.1:0"})
	if err != nil {
		log.Fatal(err)
	}
	go server.Serve(context.Background())
	return server.Addr().String(), server.Close
}

func ExampleDial() {
	server, stop := serveExample()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	id := []byte("an ID that both sides know")

	// The other side, elsewhere.
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := holepunch.Dial(ctx, server, id)
		if err != nil {
			log.Fatal(err)
		}
		defer conn.Close()
		buffer := make([]byte, 1500)
		n, err := conn.Read(buffer)
		fmt.Printf("%s %v\n", buffer[:n], err)
	}()

	conn, err := holepunch.Dial(ctx, server, id)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("hello")); err != nil {
		log.Fatal(err)
	}
	<-done
	// Output: hello <nil>
}

func ExampleDial_timeout() {
	server, stop := serveExample()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_, err := holepunch.Dial(ctx, server, []byte("an ID that nobody else knows"))
	switch {
	case errors.Is(err, holepunch.ErrServerSilent):
		fmt.Println("is the server's address right?")
	case errors.Is(err, holepunch.ErrTimedOutWaiting):
		fmt.Println("the other side did not come")
	}
	fmt.Println(errors.Is(err, context.DeadlineExceeded))
	fmt.Println(err)
	// Output:
	// the other side did not come
	// true
	// holepunch: connect: timed out while waiting for peers: 0 of 1 found
}

func ExampleWithPathPolicy() {
	server, err := holepunch.NewServer(holepunch.ServerConfig{Addr: "127.0.0.1:0", Relay: &holepunch.RelayOptions{}})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	go server.Serve(context.Background())

	id := []byte("an ID that both sides know")
	paths := make(chan holepunch.Path)
	for i := 0; i < 2; i++ {
		go func() {
			conn, err := holepunch.Dial(context.Background(), server.Addr().String(), id, holepunch.WithPathPolicy(holepunch.RelayOnly))
			if err != nil {
				log.Fatal(err)
			}
			defer conn.Close()
			paths <- conn.Peer().Path
		}()
	}
	fmt.Println(<-paths, <-paths)
	// Output: relayed relayed
}

func ExampleCause() {
	server, stop := serveExample()
	defer stop()
	id := []byte("an ID that both sides know")

	// The other side, elsewhere, wants to be forwarded to, which this server does not do.
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		_, err := holepunch.Dial(ctx, server, id, holepunch.WithPathPolicy(holepunch.RelayOnly))
		done <- err
	}()
	_, err := holepunch.Dial(ctx, server, id, holepunch.WithPathPolicy(holepunch.RelayOnly), holepunch.WithTimeout(time.Second))
	var failed *holepunch.Error
	if errors.As(err, &failed) {
		for _, peer := range failed.Peers {
			fmt.Printf("not reached, %v: %s\n", peer.Cause, peer.Cause.Help())
			for _, attempt := range peer.Attempts {
				fmt.Println(attempt.Endpoint, attempt.Path, attempt.Sent, attempt.Received)
			}
		}
	}
	cancel()
	<-done
	// Output:
	// not reached, policy: the two sides insist on different kinds of paths or dialects, or no server forwards: their settings must fit each other
}

func ExampleCheckNAT() {
	server, stop := serveExample()
	defer stop()
	report, err := holepunch.CheckNAT(context.Background(), server)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.Mapping, report.Observed == report.Local)
	// Output: none true
}

func ExampleWithTechniques() {
	// All but what asks the router.
	option := holepunch.WithTechniques(holepunch.AllTechniques &^ holepunch.TechniquePortMapping)
	client, err := holepunch.NewClient("rendezvous.example.org:5000", option)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	fmt.Println(holepunch.AllTechniques &^ holepunch.TechniquePortMapping)
	// Output: diagnosis|low-ttl|prediction|many-sockets|fresh-socket
}

func ExampleClient_Connect() {
	server, stop := serveExample()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	id := []byte("an ID that all three know")

	member := func(done chan<- int) {
		client, err := holepunch.NewClient(server, holepunch.WithDialect(holepunch.Native))
		if err != nil {
			log.Fatal(err)
		}
		defer client.Close()
		peers, err := client.Connect(ctx, id, 2)
		if err != nil {
			log.Fatal(err)
		}
		for _, peer := range peers {
			socket, err := client.TakeUDPConn(peer)
			if err != nil {
				log.Fatal(err)
			}
			// Peers may share a socket; closing it twice does no harm.
			defer socket.Close()
			if _, err := socket.WriteToUDPAddrPort([]byte("hello"), peer.Addr); err != nil {
				log.Fatal(err)
			}
		}
		done <- len(peers)
	}
	done := make(chan int)
	for i := 0; i < 3; i++ {
		go member(done)
	}
	fmt.Println(<-done, <-done, <-done)
	// Output: 2 2 2
}

func ExampleClient_Join() {
	server, stop := serveExample()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	id := []byte("an ID that all share")

	member := func(name string, heard chan<- string) {
		client, err := holepunch.NewClient(server)
		if err != nil {
			log.Fatal(err)
		}
		defer client.Close()
		session, err := client.Join(ctx, id)
		if err != nil {
			log.Fatal(err)
		}
		defer session.Close()
		// In Go 1.23 and newer: for event := range session.All(ctx) { ... }
		session.All(ctx)(func(event holepunch.Event) bool {
			switch e := event.(type) {
			case holepunch.Connected:
				session.Send(e.Peer, []byte("hello from "+name))
			case holepunch.Message:
				heard <- string(e.Data)
			}
			return true
		})
	}
	a, b := make(chan string), make(chan string)
	go member("a", a)
	go member("b", b)
	fmt.Println(<-a)
	fmt.Println(<-b)
	// Output:
	// hello from b
	// hello from a
}

func ExampleSession_Events() {
	server, stop := serveExample()
	defer stop()
	client, err := holepunch.NewClient(server)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	session, err := client.Join(context.Background(), []byte("an ID that all share"))
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close()
	select {
	case event := <-session.Events():
		fmt.Printf("%T\n", event)
	case <-time.After(10 * time.Second):
		fmt.Println("the server is silent")
	}
	// Output: holepunch.Registered
}

func ExampleWithIdentity() {
	// Bytes that the program keeps; NewIdentity makes them.
	identity := holepunch.Identity{1, 2, 3}
	option := holepunch.WithIdentity(identity)
	_ = option // for Client.Join
	fmt.Println(len(identity.PublicKey().Fingerprint()))
	// Output: 39
}

func ExampleClient_ConnectPeers() {
	// Addresses may come from anywhere, so that no server is needed.
	var sockets [2]*net.UDPConn
	var addrs [2]netip.AddrPort
	for i := range sockets {
		socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			log.Fatal(err)
		}
		defer socket.Close()
		sockets[i], addrs[i] = socket, socket.LocalAddr().(*net.UDPAddr).AddrPort()
	}
	done := make(chan bool)
	for i := range sockets {
		go func(socket *net.UDPConn, other netip.AddrPort) {
			client, err := holepunch.NewClient("127.0.0.1:5000", holepunch.WithUDPConn(socket))
			if err != nil {
				log.Fatal(err)
			}
			defer client.Close()
			peers, err := client.ConnectPeers(context.Background(), []byte("an ID"), []netip.AddrPort{other})
			if err != nil {
				log.Fatal(err)
			}
			done <- peers[0].Authenticated && peers[0].Addr == other
		}(sockets[i], addrs[1-i])
	}
	fmt.Println(<-done, <-done)
	// Output: true true
}

func ExampleServer() {
	server, err := holepunch.NewServer(holepunch.ServerConfig{Addr: "127.0.0.1:0"})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- server.Serve(ctx) }()
	fmt.Println("listening on", server.Addr().Addr())

	cancel()
	err = <-served
	fmt.Println(err, errors.Is(err, context.Canceled))
	// Output:
	// listening on 127.0.0.1
	// holepunch: serve: canceled true
}

func ExampleNewSessionID() {
	id, err := holepunch.NewSessionID()
	fmt.Println(len(id), err)
	// Output: 32 <nil>
}

func ExampleIsControlPacket() {
	for _, datagram := range []string{"", "SYN", "ACK", "\x0eholep\x01\x20 ...", "SYNC", "hello"} {
		fmt.Printf("%q: %t\n", datagram, holepunch.IsControlPacket([]byte(datagram)))
	}
	// Output:
	// "": true
	// "SYN": true
	// "ACK": true
	// "\x0eholep\x01  ...": true
	// "SYNC": false
	// "hello": false
}

func ExampleSetLogFunc() {
	err := holepunch.SetLogFunc(holepunch.LogInfo, func(level holepunch.LogLevel, source, text string) {
		fmt.Println(level, source, text)
	})
	if err != nil {
		log.Fatal(err)
	}
	defer holepunch.SetLogFunc(holepunch.LogInfo, nil)

	server, stop := serveExample()
	defer stop()
	_, err = holepunch.Dial(context.Background(), server, []byte("an ID"), holepunch.WithTimeout(200*time.Millisecond))
	fmt.Println(errors.Is(err, os.ErrDeadlineExceeded))
	// Output:
	// INFO holepunch::client ended: TimedOutWaiting
	// true
}

func ExampleWithUDPConn() {
	server, stop := serveExample()
	defer stop()
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		log.Fatal(err)
	}
	defer socket.Close()
	port := socket.LocalAddr().(*net.UDPAddr).AddrPort().Port()

	id := []byte("an ID that both sides know")
	seen := make(chan uint16)
	go func() {
		conn, err := holepunch.Dial(context.Background(), server, id)
		if err != nil {
			log.Fatal(err)
		}
		defer conn.Close()
		seen <- conn.Peer().Addr.Port()
	}()
	conn, err := holepunch.Dial(context.Background(), server, id, holepunch.WithUDPConn(socket))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(conn.UDPConn() == socket, <-seen == port)
	// Output: true true
}

func ExampleError() {
	_, err := holepunch.NewServer(holepunch.ServerConfig{Addr: "192.0.2.1:5000"})
	var failed *holepunch.Error
	if errors.As(err, &failed) {
		fmt.Println(failed.Op, failed.Err == holepunch.ErrSocket, failed.Errno)
	}
	// Output: listen true cannot assign requested address
}
