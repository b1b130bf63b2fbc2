//go:build holepunch_static

package holepunch

// The static library of this checkout ("make build").

/*
#cgo LDFLAGS: ${SRCDIR}/../../build/lib/libholepunch.a -lm -ldl -lpthread
#if !__has_include("../../build/lib/libholepunch.a")
#error "libholepunch is not built: run `make build` in the checkout that holds this package"
#endif
*/
import "C"
