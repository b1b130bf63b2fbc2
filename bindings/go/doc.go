// Package holepunch opens UDP and TCP holes between programs behind NATs that
// share a session ID, and hands over the working socket.
//
// Two programs that call [Dial] with the same rendezvous server and the same
// ID get a connection to each other, whatever home routers stand between:
//
//	conn, err := holepunch.Dial(ctx, "rendezvous.example.org:5000", []byte("an ID that both sides know"))
//	if err != nil {
//		return err
//	}
//	defer conn.Close()
//	conn.Write([]byte("hello"))
//
// The [Conn] carries datagrams, as UDP does: they may be lost, doubled or
// reordered, and nothing is encrypted by this package. Run QUIC, DTLS or
// another protocol over it, or over the bare *net.UDPConn that [Conn.UDPConn]
// gives.
//
// # Groups
//
// A [Client] meets several peers at once and controls everything:
//
//	client, err := holepunch.NewClient(server, holepunch.WithDialect(holepunch.Native))
//	...
//	peers, err := client.Connect(ctx, id, 3)
//	for _, peer := range peers {
//		socket, err := client.TakeUDPConn(peer)
//		...
//		socket.WriteToUDPAddrPort(hello, peer.Addr)
//	}
//
// Where no UDP gets through, [WithTransport] has the client open holes over TCP,
// and [Client.TakeTCPConn] gives a connected *net.TCPConn.
//
// Programs that read a bare socket drop datagrams for which [IsControlPacket]
// holds, and look at [Client.EarlyDatagrams] first.
//
// # Sessions
//
// A [Session] is everybody who shares an ID, for as long as one stays. Members
// come, go and move; each message comes once and in order, or the sender is told
// who has not got it; and all that is said is encrypted from end to end:
//
//	session, err := client.Join(ctx, id)
//	...
//	defer session.Close()
//	for event := range session.All(ctx) { // Go 1.23; before, session.NextEvent(ctx)
//		switch e := event.(type) {
//		case holepunch.Connected:
//			session.Send(e.Peer, []byte("welcome"))
//		case holepunch.Message:
//			fmt.Printf("%v: %s\n", e.Peer, e.Data)
//		case holepunch.Left:
//			fmt.Println(e.Peer, e.Reason, e.Undelivered)
//		}
//	}
//
// Members are known again by their [Key], the public part of an [Identity]:
// people compare its [Key.Fingerprint], programs pass it to [WithPinnedKeys].
//
// # Plain addresses
//
// An [AddrConn] is for programs that tell each other their addresses by means of
// their own, and need no rendezvous server: over TCP or UDP, with or without
// proof of an ID.
//
//	conn, err := holepunch.NewAddrConn(holepunch.TCP, id, holepunch.WithSTUN("stun.example.org:3478"))
//	...
//	defer conn.Close()
//	public, err := conn.PublicAddr(ctx) // to be told to the peer, with conn.LocalAddrs()
//	...
//	err = conn.Attempt(ctx, addrs...) // the peer's
//	...
//	conn.Write([]byte("hello"))
//
// # Peers that are not reached
//
// The [Error] of a call that timed out carries the peers it has found, with
// what probably kept each from being reached, and where it was looked for:
//
//	var failed *holepunch.Error
//	if errors.As(err, &failed) {
//		for _, peer := range failed.Peers {
//			fmt.Println(peer.Addr, peer.Connected, peer.Cause.Help(), peer.Attempts)
//		}
//	}
//
// [CheckNAT] tells what the NAT on the way does. [WithPathPolicy] says whether
// the server may, or must, forward; [WithTechniques] switches off what is not
// wanted.
//
// # Contexts
//
// A context's cancellation ends a call at once, and its deadline is the call's
// timeout. Without a deadline [WithTimeout] applies, 40 seconds unless set.
//
// # Trust
//
// Whoever knows the session ID is in; nobody else can open or block a hole.
// An ID from [NewSessionID] is a secret that not even the server learns. The
// plain dialect of the existing Go hole-punching tools, which the default
// [Auto] falls back to, proves nothing: see [Peer.Authenticated] and [Native].
// For a protocol of your own over a hole, [Client.ExportKey],
// [Session.ExportKey] and [AddrConn.ExportKey] give keys that both sides alone
// know.
//
// # Linking
//
// The package needs cgo and libholepunch. It finds an installed one by way of
// pkg-config; with the build tag holepunch_local it uses the one that "make
// build" made in this package's own checkout, and with holepunch_static that
// one's static library, for programs that need no libholepunch.so.
package holepunch
