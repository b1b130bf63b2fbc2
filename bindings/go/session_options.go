package holepunch

import (
	"crypto/rand"
	"encoding/hex"
	"net/netip"
	"time"
)

const (
	// MaxSessionPeers is how many others a [Session] has at most.
	MaxSessionPeers = 256
	// MaxMessageLen is the longest message of a [Session] in bytes.
	MaxMessageLen = 65536
	// MaxPlainMessageLen is the longest message to a member that is not
	// encrypted.
	MaxPlainMessageLen = 1200
)

// A PeerID is a member's name in a session: another one each time it joins. The
// zero PeerID is nobody's.
type PeerID [16]byte

// String returns 32 hexadecimal digits.
func (id PeerID) String() string { return hex.EncodeToString(id[:]) }

// A Key is a member's public key, by which it is known again from one session to
// another. The zero Key is nobody's.
type Key [32]byte

// An Identity is the private key (X25519) to a member's public key. It is a
// secret; when printed, only its public key's fingerprint is told.
type Identity [32]byte

// NewIdentity returns a fresh identity.
func NewIdentity() (Identity, error) {
	var identity Identity
	_, err := rand.Read(identity[:])
	return identity, err
}

// A SessionPeer is a member as it is known now.
type SessionPeer struct {
	Member
	// Undelivered counts messages of ours that it is not known to have got.
	Undelivered int
	// Connected tells whether messages flow. Without that there is none of
	// what follows.
	Connected bool
	// Addr is where it is reached.
	Addr netip.AddrPort
	// Path is how Addr was learned.
	Path Path
	// RTT is the round-trip time, or 0 if it was not measured.
	RTT time.Duration
	// Key is the public key that it holds; the zero Key if it is not encrypted.
	Key Key
}

// SessionCounters tell what a session has dropped.
type SessionCounters struct {
	// Strangers counts datagrams of nobody who is known here, or that make no
	// sense.
	Strangers uint64
	// Forged counts sealed datagrams and handshakes that are not authentic.
	Forged uint64
	// Replayed counts sealed datagrams that had come before, or are too old to
	// tell.
	Replayed uint64
	// Malformed counts what is authentic, but without sense.
	Malformed uint64
}

// A JoinOption says how [Client.Join] joins.
type JoinOption func(*joinSettings)

// joinSettings are what options change; a pointer is nil where nothing was
// said.
type joinSettings struct {
	identity       *Identity
	isPinned       bool
	pinned         []Key
	plainPeers     bool
	unacknowledged *int
	unfetched      *int
}

// WithIdentity sets the private key by whose public one the others know us
// again. Without it, it is a fresh one.
func WithIdentity(identity Identity) JoinOption {
	return func(s *joinSettings) { s.identity = &identity }
}

// WithPinnedKeys sets the only public keys, at least one, that others may hold.
// Without it, they may hold any.
func WithPinnedKeys(keys ...Key) JoinOption {
	return func(s *joinSettings) { s.isPinned, s.pinned = true, keys }
}

// WithPlainPeers lets in existing plain tools that the server names. Nothing is
// encrypted, authenticated or repeated between them and us, as every event about
// them says: see [Member].
func WithPlainPeers() JoinOption {
	return func(s *joinSettings) { s.plainPeers = true }
}

// WithMaxUnacknowledged sets how many bytes of messages to one member may wait
// until it has got them, 4194304 by default. Each part of 1154 bytes counts for
// 64 more.
func WithMaxUnacknowledged(bytes int) JoinOption {
	return func(s *joinSettings) { s.unacknowledged = &bytes }
}

// WithMaxUnfetched sets how many bytes of messages from one member may wait for
// [Session.NextEvent] before it has to wait, at least 2048, 2097152 by default.
// Each message counts for 64 more.
func WithMaxUnfetched(bytes int) JoinOption {
	return func(s *joinSettings) { s.unfetched = &bytes }
}
