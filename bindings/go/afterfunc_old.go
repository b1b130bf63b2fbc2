//go:build cgo && !go1.21

package holepunch

import (
	"context"
	"sync/atomic"
)

// afterDone runs f once the context is done, until stop is called. stop tells
// whether f will not run.
func afterDone(ctx context.Context, f func()) (stop func() bool) {
	var decided atomic.Bool
	done, stopped := ctx.Done(), make(chan struct{})
	go func() {
		select {
		case <-stopped:
		case <-done:
			if !decided.Swap(true) {
				f()
			}
		}
	}()
	return func() bool {
		first := !decided.Swap(true)
		if first {
			close(stopped)
		}
		return first
	}
}
