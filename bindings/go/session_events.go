package holepunch

import (
	"net/netip"
	"time"
)

// An Event is what happened in a [Session]: one of [Registered], [ServerLost],
// [ServerRegained], [Refused], [Failed], [Joined], [Connected], [PathChanged],
// [Message], [Delivered], [Untaken], [Left] and [Untold]. Later versions may
// have more.
type Event interface{ event() }

// A Member is whom an event is about.
type Member struct {
	// Peer is the member's name.
	Peer PeerID
	// Encrypted tells whether what it says and hears is encrypted and
	// authenticated. It is false only of those whom [WithPlainPeers] lets in:
	// anyone on the way may read, forge and drop what they say.
	Encrypted bool
}

// Registered: the server keeps us; for the first time, or again.
type Registered struct {
	// Addr is where the server sees us.
	Addr netip.AddrPort
}

// ServerLost: the server does not answer any more. Peers that are connected
// stay so.
type ServerLost struct{}

// ServerRegained: the server answers again.
type ServerRegained struct{}

// Refused: the server does not take us. It is asked again.
type Refused struct {
	// Reason is why.
	Reason RefusedReason
}

// Failed: the session cannot go on, and was left.
type Failed struct {
	// Err is the reason, an [*Error] with the system's error number.
	Err error
}

// Joined: a member is there, and is being reached.
type Joined struct{ Member }

// Connected: messages flow to and from a member.
type Connected struct {
	Member
	// Addr is where it is reached.
	Addr netip.AddrPort
	// Path is how Addr was learned.
	Path Path
	// RTT is the round-trip time, or 0 if it was not measured.
	RTT time.Duration
	// Key is the public key that it holds; the zero Key if it is not encrypted.
	Key Key
}

// PathChanged: they flow over another path.
type PathChanged struct {
	Member
	// Addr is where the member is reached now.
	Addr netip.AddrPort
	// Path is how Addr was learned.
	Path Path
	// RTT is the round-trip time, or 0 if it was not measured.
	RTT time.Duration
}

// Message: a member says something.
type Message struct {
	Member
	// Data is what it says; it is the receiver's to keep.
	Data []byte
}

// Delivered: a member has got a message of ours.
type Delivered struct {
	Member
	// Number is what [Session.Send] returned.
	Number uint64
}

// Untaken: a message of ours to all was not taken for a member, for whom too
// much waits already.
type Untaken struct {
	Member
	// Number is what [Session.SendToAll] returned.
	Number uint64
}

// Left: a member is gone, or we are.
type Left struct {
	Member
	// Reason is why.
	Reason LeftReason
	// Key is the public key that is not allowed, for [LeftWrongKey].
	Key Key
	// Undelivered are the numbers of our messages that it has not got, as far
	// as is known.
	Undelivered []uint64
}

// Untold: events were not kept, because nobody asked for those before. Messages
// are among them only if they are of members that are not encrypted, or beyond
// 16 MiB of members who have left.
type Untold struct {
	// Count is how many.
	Count uint64
}

func (Registered) event()     {}
func (ServerLost) event()     {}
func (ServerRegained) event() {}
func (Refused) event()        {}
func (Failed) event()         {}
func (Joined) event()         {}
func (Connected) event()      {}
func (PathChanged) event()    {}
func (Message) event()        {}
func (Delivered) event()      {}
func (Untaken) event()        {}
func (Left) event()           {}
func (Untold) event()         {}

// A LeftReason is why a member is gone.
type LeftReason int

const (
	// LeftGoodbye: it said goodbye.
	LeftGoodbye LeftReason = iota + 1
	// LeftTimedOut: the server has not heard of it for long, and neither have
	// we.
	LeftTimedOut
	// LeftUnreachable: it may be there, but nothing comes through any more.
	LeftUnreachable
	// LeftWrongKey: it holds a key that is not allowed; see [WithPinnedKeys].
	LeftWrongKey
	// LeftWeLeft: it was we who left the session.
	LeftWeLeft
)

// String returns the reason in a word or two, such as "timed out".
func (r LeftReason) String() string {
	switch r {
	case LeftGoodbye:
		return "goodbye"
	case LeftTimedOut:
		return "timed out"
	case LeftUnreachable:
		return "unreachable"
	case LeftWrongKey:
		return "wrong key"
	case LeftWeLeft:
		return "we left"
	}
	return "unknown"
}

// A RefusedReason is why the server does not take us.
type RefusedReason int

const (
	// RefusedSessionFull: the session has as many members as the server
	// allows.
	RefusedSessionFull RefusedReason = iota + 1
	// RefusedServerFull: the server has as many registrations as it can hold.
	RefusedServerFull
	// RefusedDialect: the server does not speak the native dialect, and
	// sessions need it.
	RefusedDialect
	// RefusedOther: another reason.
	RefusedOther
)

// String returns the reason in a word or two, such as "session full".
func (r RefusedReason) String() string {
	switch r {
	case RefusedSessionFull:
		return "session full"
	case RefusedServerFull:
		return "server full"
	case RefusedDialect:
		return "dialect"
	case RefusedOther:
		return "other"
	}
	return "unknown"
}
