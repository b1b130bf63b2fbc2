//go:build !holepunch_local && !holepunch_static

package holepunch

// An installed library ("make install").

// #cgo pkg-config: holepunch
import "C"
