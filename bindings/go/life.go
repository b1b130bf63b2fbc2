//go:build cgo

package holepunch

import (
	"context"
	"runtime"
	"sync"
)

// A life keeps what belongs to C from being freed while it is used.
type life struct {
	closed chan struct{}
	once   sync.Once
	// mu is held for reading while what belongs to C is used.
	mu sync.RWMutex
}

// enter keeps what belongs to C from being freed until leave.
func (l *life) enter(op string) error {
	l.mu.RLock()
	select {
	case <-l.closed:
		l.mu.RUnlock()
		return &Error{Op: op, Err: ErrClosed}
	default:
		return nil
	}
}

func (l *life) leave() {
	l.mu.RUnlock()
	runtime.KeepAlive(l)
}

// end has whoever is in leave, and then frees; once.
func (l *life) end(stop, free func()) {
	l.once.Do(func() {
		close(l.closed)
		stop()
		l.mu.Lock()
		defer l.mu.Unlock()
		free()
	})
}

// why tells what ended a wait for a signal.
func (l *life) why(ctx context.Context, op string, waited error) error {
	if err := ctx.Err(); err != nil {
		return contextError(op, err)
	}
	select {
	case <-l.closed:
		return &Error{Op: op, Err: ErrClosed}
	default:
		return &Error{Op: op, Err: ErrSocket, message: waited.Error()}
	}
}

// await waits for a turn: for room in a channel.
func await(ctx context.Context, op string, turn chan<- struct{}, closed <-chan struct{}) error {
	if err := ctx.Err(); err != nil {
		return contextError(op, err)
	}
	select {
	case turn <- struct{}{}:
		return nil
	case <-closed:
		return &Error{Op: op, Err: ErrClosed}
	case <-ctx.Done():
		return contextError(op, ctx.Err())
	}
}
