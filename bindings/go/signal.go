//go:build cgo

package holepunch

import (
	"context"
	"os"
	"syscall"
	"time"
)

// A signal is readable while C has something to tell. No thread waits for it in
// C: Go's own poller does, for all signals.
type signal struct {
	file *os.File
	wait syscall.RawConn
}

// newSignal makes a signal of a descriptor of the library's.
func newSignal(op string, fd uintptr) (signal, error) {
	// A duplicate, so that closing it ends a wait before the library closes
	// its own.
	own, err := duplicate(op, fd)
	if err != nil {
		return signal{}, err
	}
	s := signal{file: os.NewFile(own, "holepunch")}
	if s.wait, err = s.file.SyscallConn(); err != nil {
		s.close()
		return signal{}, err
	}
	return s, nil
}

// until calls poll now and whenever there is something, until it holds or the
// context is done; the error is for nobody but life.why.
func (s signal) until(ctx context.Context, poll func() bool) error {
	woken := make(chan struct{})
	stop := afterDone(ctx, func() {
		defer close(woken)
		s.file.SetReadDeadline(time.Unix(1, 0))
	})
	waited := s.wait.Read(func(uintptr) bool { return poll() })
	if !stop() {
		<-woken
		s.file.SetReadDeadline(time.Time{})
	}
	return waited
}

func (s signal) close() { s.file.Close() }
