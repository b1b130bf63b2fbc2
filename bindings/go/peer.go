package holepunch

import (
	"net/netip"
	"time"
)

// A Peer is another participant that a call has found.
type Peer struct {
	// Addr is where the peer is reached: the other end of the hole.
	Addr netip.AddrPort
	// Path is how Addr was learned.
	Path Path
	// Transport is what carries the hole, [UDP] or [TCP]: whether it is
	// [Client.TakeUDPConn] or [Client.TakeTCPConn] that gives its socket.
	Transport Transport
	// RTT is the round-trip time over the hole, or 0 if it was not measured
	// (the plain dialect has no means).
	RTT time.Duration
	// Connected tells whether the hole is confirmed in both directions.
	// Always true for the peers of a call that succeeded.
	Connected bool
	// Authenticated tells whether the peer proved that it knows the session
	// ID, or merely spoke from a listed address (plain dialect).
	Authenticated bool
	// Cause is what probably kept the peer from being reached, and
	// [CauseUnknown] if it was reached.
	Cause Cause
	// Attempts are the addresses at which the peer was looked for, but for
	// ports that were merely guessed. There are none in the plain dialect.
	Attempts []Attempt
	// Guesses counts probes to ports that were merely guessed.
	Guesses int
	// RelayRefused is why the server did not forward to the peer when it was
	// asked to, and [RefusalNone] if it was not asked, or agreed.
	RelayRefused Refusal

	// call numbers the call that found it, index that call's peers, and socket
	// its sockets.
	call   uint64
	index  uint32
	socket uint32
}

// A Path is how a peer's address was learned, in the words of RFC 8445.
type Path int

const (
	// Host is an address of the peer's own interface; nothing stands between.
	Host Path = iota + 1
	// Reflexive is the peer's address as the rendezvous server sees it.
	Reflexive
	// Mapped is a port that the peer's router was asked to open.
	Mapped
	// PeerReflexive was learned from the peer's own authenticated probe.
	PeerReflexive
	// Predicted was guessed from a symmetric NAT's pattern, or found among
	// random ports.
	Predicted
	// Relayed means that the server forwards.
	Relayed
)

// A Dialect says which protocols a client or server may speak.
type Dialect int

const (
	// Auto speaks native where the other side understands it, else plain.
	Auto Dialect = iota
	// Native authenticates every peer, and the server never sees the
	// session ID.
	Native
	// Plain is what the existing Go hole-punching tools speak. Nothing is
	// authenticated.
	Plain
)

// String returns "auto", "native" or "plain".
func (d Dialect) String() string {
	switch d {
	case Auto:
		return "auto"
	case Native:
		return "native"
	case Plain:
		return "plain"
	}
	return "unknown"
}

// A Datagram is what a peer's program sent before Connect had returned.
type Datagram struct {
	// Addr is the peer's address.
	Addr netip.AddrPort
	// Data is the datagram's payload.
	Data []byte
}

// Counters tell what a call has counted.
type Counters struct {
	// ProbesSent counts datagrams sent to peers.
	ProbesSent uint64
	// Forged counts probes of someone who does not know the session ID.
	Forged uint64
	// Replayed counts authentic probes that were seen before or are too old.
	Replayed uint64
	// Misdirected counts authentic probes of our own, or for someone else.
	Misdirected uint64
	// Malformed counts malformed datagrams in the native dialect.
	Malformed uint64
	// Strangers counts datagrams from sources that are neither the server
	// nor a peer.
	Strangers uint64
	// ServerDropped counts datagrams from the server's address that made no
	// sense.
	ServerDropped uint64
	// OverLimit counts peers and addresses beyond the limits.
	OverLimit uint64
}
