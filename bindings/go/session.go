//go:build cgo

package holepunch

import (
	"context"
	"runtime"
	"sync"
)

// A Session is everybody who shares an ID, for as long as one stays. Members
// come, go and move, and all that is said is encrypted from end to end. Its
// methods may be called from any goroutine.
//
// What happens is told by [Session.NextEvent], [Session.All] or
// [Session.Events]. Who does not ask for events makes those wait who send
// messages to him; nothing that they say is lost. It is to be closed after use.
type Session struct {
	native nativeSession
	life   life
	local  PeerID
	key    Key

	// turn holds a token while a goroutine asks for events.
	turn chan struct{}
	// flag is readable while there are events.
	flag signal

	once   sync.Once
	events chan Event
}

// Join joins the session of those who share the id, 1 to [MaxSessionIDLen]
// bytes, by way of the client's server and with its settings; only the
// dialect's is of no account: the server must speak native, and never sees the
// id. It looks up the server and returns. Who is there, and whether the server
// answers, are events.
//
// The context is that of the look-up; the session does not end with it. Nor
// does it end with the client, which may be used for something else. A socket
// that was given by [WithUDPConn] serves this session alone: nobody else may
// read from it until the session is closed.
func (c *Client) Join(ctx context.Context, id []byte, options ...JoinOption) (*Session, error) {
	const op = "join"
	var settings joinSettings
	for _, option := range options {
		option(&settings)
	}
	if err := c.begin(ctx, op); err != nil {
		return nil, err
	}
	defer c.end()
	if c.given != nil && !isOpen(c.given) {
		return nil, &Error{Op: op, Err: ErrClosed}
	}
	var native nativeSession
	err := c.within(ctx, op, func() (err error) {
		native, err = c.native.join(op, id, settings)
		return err
	})
	if err != nil {
		return nil, err
	}
	c.given = nil // The library's duplicate is the session's now.
	return newSession(op, native)
}

func newSession(op string, native nativeSession) (*Session, error) {
	s := &Session{
		native: native,
		life:   life{closed: make(chan struct{})},
		local:  native.localID(),
		key:    native.publicKey(),
		turn:   make(chan struct{}, 1),
	}
	var err error
	if s.flag, err = newSignal(op, native.eventFD()); err != nil {
		native.free()
		return nil, err
	}
	runtime.SetFinalizer(s, (*Session).Close)
	return s, nil
}

// LocalID returns our own name in the session.
func (s *Session) LocalID() PeerID { return s.local }

// PublicKey returns our own public key, which the others know us by.
func (s *Session) PublicKey() Key { return s.key }

// NextEvent returns the next event, and waits for it until the context is done.
// Calls wait for each other, and each event is told once. When all that is still
// there after [Session.Leave] has been fetched, and after [Session.Close], the
// error is one that is [net.ErrClosed].
func (s *Session) NextEvent(ctx context.Context) (Event, error) {
	const op = "wait for an event"
	if err := await(ctx, op, s.turn, s.life.closed); err != nil {
		return nil, err
	}
	defer func() { <-s.turn }()
	event, err := s.poll(op)
	if event != nil || err != nil {
		return event, err
	}
	waited := s.flag.until(ctx, func() bool {
		event, err = s.poll(op)
		return event != nil || err != nil
	})
	if event != nil || err != nil {
		return event, err
	}
	return nil, s.life.why(ctx, op, waited)
}

// poll returns nil if there is no event yet.
func (s *Session) poll(op string) (Event, error) {
	if err := s.life.enter(op); err != nil {
		return nil, err
	}
	defer s.life.leave()
	return s.native.next(op)
}

// All returns the events to come, for "for event := range session.All(ctx)" in
// Go 1.23 and newer. It ends as [Session.NextEvent] does.
func (s *Session) All(ctx context.Context) func(yield func(Event) bool) {
	return func(yield func(Event) bool) {
		for {
			event, err := s.NextEvent(ctx)
			if err != nil || !yield(event) {
				return
			}
		}
	}
}

// Events returns a channel of the events to come, always the same one, for use
// in select statements. One event waits in it at most; the others wait in the
// session. It is closed when [Session.NextEvent] would fail. Whoever calls it
// must close the session in the end.
func (s *Session) Events() <-chan Event {
	s.once.Do(func() {
		s.events = make(chan Event)
		go func() {
			defer close(s.events)
			s.All(context.Background())(func(event Event) bool {
				select {
				case s.events <- event:
					return true
				case <-s.life.closed:
					return false
				}
			})
		}()
	})
	return s.events
}

// Send sends a message of at most [MaxMessageLen] bytes to a member, who gets it
// once and in order with the others of ours, or is gone: [Delivered] and [Left]
// tell which, by the number that is returned. One that is not connected yet gets
// it when it is. ErrFull says that too much waits already: try again after some
// events.
//
// To one that is not encrypted a message goes once, in one datagram of at most
// [MaxPlainMessageLen] bytes for which [IsControlPacket] does not hold, and
// nothing is told.
func (s *Session) Send(to PeerID, data []byte) (uint64, error) {
	return s.send(&to, data)
}

// SendToAll sends a message to everybody who is there, as [Session.Send] does.
// That there is nobody is no error, nor that it is not taken for some, for whom
// too much waits: see [Untaken].
func (s *Session) SendToAll(data []byte) (uint64, error) {
	return s.send(nil, data)
}

func (s *Session) send(to *PeerID, data []byte) (uint64, error) {
	const op = "send"
	if err := s.life.enter(op); err != nil {
		return 0, err
	}
	defer s.life.leave()
	return s.native.send(op, to, data)
}

// Peers returns who is there; nobody after Close.
func (s *Session) Peers() []SessionPeer {
	if s.life.enter("list peers") != nil {
		return nil
	}
	defer s.life.leave()
	return s.native.peers()
}

// Peer returns what is known of a member now. ErrNotFound says that it is not
// there.
func (s *Session) Peer(id PeerID) (SessionPeer, error) {
	const op = "look for a peer"
	if err := s.life.enter(op); err != nil {
		return SessionPeer{}, err
	}
	defer s.life.leave()
	return s.native.peer(op, id)
}

// ExportKey returns a key for another protocol between us and a member: the same
// on both sides, another one for each label and each time that the member joins,
// known to nobody else. ErrNotFound says that it is not there, not connected
// yet, or not encrypted.
func (s *Session) ExportKey(id PeerID, label string) ([32]byte, error) {
	const op = "export a key"
	if err := s.life.enter(op); err != nil {
		return [32]byte{}, err
	}
	defer s.life.leave()
	return s.native.exportKey(op, id, label)
}

// Counters returns what the session has dropped; all 0 after Close.
func (s *Session) Counters() SessionCounters {
	if s.life.enter("read the counters") != nil {
		return SessionCounters{}
	}
	defer s.life.leave()
	return s.native.counters()
}

// Leave says goodbye to everybody, who are told at once. What has come can still
// be fetched, and a [Left] of each member with the messages that it has not got,
// as far as is known.
func (s *Session) Leave() {
	if s.life.enter("leave") == nil {
		defer s.life.leave()
		s.native.leave()
	}
}

// Close leaves the session, ends whatever waits for events and frees all. It
// always returns nil.
func (s *Session) Close() error {
	s.life.end(s.flag.close, func() {
		s.native.free()
		runtime.SetFinalizer(s, nil)
	})
	return nil
}
