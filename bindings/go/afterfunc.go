//go:build cgo && go1.21

package holepunch

import "context"

// afterDone runs f once the context is done, until stop is called. stop tells
// whether f will not run.
func afterDone(ctx context.Context, f func()) (stop func() bool) {
	return context.AfterFunc(ctx, f)
}
