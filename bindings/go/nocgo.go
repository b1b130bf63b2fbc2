//go:build !cgo

package holepunch

// Without cgo there is no way to the library. The name says it to whoever
// meets the compiler's error.
var _ = package_holepunch_needs_cgo__set_CGO_ENABLED_1_and_install_a_C_compiler
