package holepunch

import (
	"context"
	"net"
	"os"
	"syscall"
)

// The reasons why calls fail, to be told apart with [errors.Is]. Each is a
// [net.Error]; those that say that time is up are equal to
// [context.DeadlineExceeded] and [os.ErrDeadlineExceeded], too.
var (
	// ErrServerSilent: time is up, and the server never answered.
	ErrServerSilent error = &reason{text: "the server never answered", timeout: true}
	// ErrTimedOutWaiting: time is up, and the server has named too few peers.
	ErrTimedOutWaiting error = &reason{text: "timed out while waiting for peers", timeout: true}
	// ErrTimedOutPunching: time is up, and too few of the named peers were
	// reached.
	ErrTimedOutPunching error = &reason{text: "timed out while punching", timeout: true}
	// ErrTimedOut: the context's deadline had passed before anything could be
	// done, or passed while a server was serving.
	ErrTimedOut error = &reason{text: "the context's deadline has passed", timeout: true}
	// ErrServerNotFound: the server's name has no address.
	ErrServerNotFound error = &reason{text: "the server's name has no address"}
	// ErrServerUnreachable: the network says that the server cannot be reached.
	ErrServerUnreachable error = &reason{text: "the server cannot be reached"}
	// ErrServerPortClosed: the server's host says that nothing listens on that
	// port. It is equal to [syscall.ECONNREFUSED], too.
	ErrServerPortClosed error = &reason{text: "nothing listens on the server's port", is: syscall.ECONNREFUSED}
	// ErrServerRefused: the server or the session is full.
	ErrServerRefused error = &reason{text: "the server or the session is full"}
	// ErrDialectMismatch: the server speaks no dialect that is allowed.
	ErrDialectMismatch error = &reason{text: "the server speaks no dialect that is allowed"}
	// ErrUDPBlocked: the server's host answers over TCP, but not over UDP,
	// which seems to be blocked on the way: [WithTransport] may help.
	ErrUDPBlocked error = &reason{text: "UDP to the server seems to be blocked"}
	// ErrInvalidServer: an address is not given as host:port.
	ErrInvalidServer error = &reason{text: "an address is not given as host:port"}
	// ErrInvalidSessionID: a session ID has 1 to [MaxSessionIDLen] bytes.
	ErrInvalidSessionID error = &reason{text: "a session ID has 1 to 1000 bytes"}
	// ErrInvalidArgument: an argument or option is out of its range. It is
	// equal to [os.ErrInvalid], too.
	ErrInvalidArgument error = &reason{text: "an argument is out of its range", is: os.ErrInvalid}
	// ErrSocket: a local socket could not be made, bound or used; see
	// [Error.Errno].
	ErrSocket error = &reason{text: "a local socket could not be made, bound or used"}
	// ErrNotFound: there is no such peer or socket.
	ErrNotFound error = &reason{text: "no such peer or socket"}
	// ErrFull: so much waits already that nothing more is taken; later there
	// is room.
	ErrFull error = &reason{text: "too much waits already"}
	// ErrStranger: somebody else is at the peer's addresses, who does not know
	// the ID.
	ErrStranger error = &reason{text: "somebody else is at the peer's addresses"}
	// ErrNotConnected: there is no connection, or not any more. It is equal to
	// [net.ErrClosed], too.
	ErrNotConnected error = &reason{text: "there is no connection", is: net.ErrClosed}
	// ErrAlreadyAttempted: what can be done once has been done.
	ErrAlreadyAttempted error = &reason{text: "that can be done once only"}
	// ErrUnsupported: not possible here.
	ErrUnsupported error = &reason{text: "not possible here"}
	// ErrLibrary: libholepunch is of another version than this package, or
	// has met a bug.
	ErrLibrary error = &reason{text: "a bug in libholepunch, or another version of it"}
	// ErrCanceled: the context was canceled. It is equal to
	// [context.Canceled], too.
	ErrCanceled error = &reason{text: "canceled", is: context.Canceled}
	// ErrClosed: the client, server, session or connection was closed. It is equal to
	// [net.ErrClosed], too.
	ErrClosed error = &reason{text: "closed", is: net.ErrClosed}
)

// reason is the type of the variables above.
type reason struct {
	text    string
	timeout bool
	is      error
}

func (r *reason) Error() string   { return "holepunch: " + r.text }
func (r *reason) Timeout() bool   { return r.timeout }
func (r *reason) Temporary() bool { return r.timeout }

// Is makes a reason equal to what the standard library calls the same.
func (r *reason) Is(target error) bool {
	if r.timeout {
		return target == context.DeadlineExceeded || target == os.ErrDeadlineExceeded
	}
	return r.is != nil && target == r.is
}

// An Error is what a failing call returns. It is a [net.Error].
type Error struct {
	// Op is the operation that failed, such as "connect".
	Op string
	// Err is the reason: one of this package's Err variables, or what the
	// function of [WithPublicIPProvider] has returned.
	Err error
	// Errno is the operating system's error number, or 0.
	Errno syscall.Errno
	// Peers are those that were found before the call failed, connected ones
	// first: [Peer.Cause] says of each of the others what probably kept it
	// from being reached. Only for [Dial], [Client.Connect] and
	// [Client.ConnectPeers].
	Peers []Peer

	message string
	// late: the context's deadline has passed.
	late bool
}

// Error returns a sentence with what was found before the call failed.
func (e *Error) Error() string {
	message := e.message
	if r, ok := e.Err.(*reason); ok && message == "" {
		message = r.text
	}
	return "holepunch: " + e.Op + ": " + message
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Is tells whether target is the operating system's error, or says that the
// context's deadline has passed.
func (e *Error) Is(target error) bool {
	if e.late && (target == context.DeadlineExceeded || target == os.ErrDeadlineExceeded) {
		return true
	}
	return e.Errno != 0 && (target == error(e.Errno) || e.Errno.Is(target))
}

// Timeout tells whether the call failed because time was up.
func (e *Error) Timeout() bool {
	r, ok := e.Err.(*reason)
	return e.late || ok && r.timeout
}

// Temporary tells the same as Timeout: trying again may help.
//
// Deprecated: as [net.Error] says.
func (e *Error) Temporary() bool { return e.Timeout() }
