//go:build cgo

package holepunch

import (
	"net/netip"
	"testing"
)

func TestAddressesSurviveTheWayThroughC(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1:65535":            "192.0.2.1:65535",
		"0.0.0.0:0":                  "0.0.0.0:0",
		"[::ffff:192.0.2.1]:5000":    "192.0.2.1:5000",
		"[2001:db8::1]:5000":         "[2001:db8::1]:5000",
		"[::]:1":                     "[::]:1",
		"[fe80::1%4294967295]:1":     "[fe80::1%4294967295]:1",
		"[fe80::1%" + loName + "]:1": "[fe80::1%" + loName + "]:1",
		"[fe80::1%no-such-zone]:1":   "[fe80::1]:1",
	} {
		native := toNative(netip.MustParseAddrPort(text))
		if got := fromNative(&native); got != netip.MustParseAddrPort(want) {
			t.Errorf("%s becomes %v", text, got)
		}
	}
	native := toNative(netip.AddrPort{})
	if got := fromNative(&native); got.IsValid() {
		t.Errorf("no address becomes %v", got)
	}
}

// loName is the name of the first interface.
var loName = zoneName(1)
