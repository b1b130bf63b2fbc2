//go:build holepunch_local && !holepunch_static

package holepunch

// The shared library of this checkout ("make build").

/*
#cgo LDFLAGS: -L${SRCDIR}/../../build/lib -lholepunch -Wl,-rpath,${SRCDIR}/../../build/lib
#if !__has_include("../../build/lib/libholepunch.so")
#error "libholepunch is not built: run `make build` in the checkout that holds this package"
#endif
*/
import "C"
