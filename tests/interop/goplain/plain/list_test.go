package plain

import (
	"net/netip"
	"reflect"
	"testing"
)

func endpoints(texts ...string) []netip.AddrPort {
	var result []netip.AddrPort
	for _, text := range texts {
		result = append(result, netip.MustParseAddrPort(text))
	}
	return result
}

func TestParseList(t *testing.T) {
	cases := []struct {
		name, text string
		want       []netip.AddrPort // nil: refused
	}{
		{"one IPv4 endpoint", "192.0.2.1:5000", endpoints("192.0.2.1:5000")},
		{"IPv6 in brackets", "[2001:db8::1]:65535", endpoints("[2001:db8::1]:65535")},
		{"both families in order", "[::1]:2,127.0.0.1:1", endpoints("[::1]:2", "127.0.0.1:1")},
		{"mapped IPv4 is IPv4", "[::ffff:192.0.2.1]:7", endpoints("192.0.2.1:7")},
		{"repeated entries each count", "192.0.2.1:7,192.0.2.1:7", endpoints("192.0.2.1:7", "192.0.2.1:7")},
		{"empty", "", nil},
		{"trailing comma", "192.0.2.1:5000,", nil},
		{"leading comma", ",192.0.2.1:5000", nil},
		{"space after comma", "192.0.2.1:1, 192.0.2.1:2", nil},
		{"trailing newline", "192.0.2.1:5000\n", nil},
		{"no port", "192.0.2.1", nil},
		{"port 0", "192.0.2.1:0", nil},
		{"port too large", "192.0.2.1:65536", nil},
		{"negative port", "192.0.2.1:-1", nil},
		{"host name", "localhost:5000", nil},
		{"no host", ":5000", nil},
		{"IPv6 without brackets", "2001:db8::1:5000", nil},
		{"IPv4 in brackets", "[192.0.2.1]:5000", nil},
		{"zero byte at the end", "192.0.2.1:5000\x00", nil},
		{"not a list", "SYN", nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseList(c.text)
			if (err != nil) != (c.want == nil) {
				t.Fatalf("error is %v, list is %v", err, got)
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestFormatList(t *testing.T) {
	cases := []struct {
		name, want string
		endpoints  []netip.AddrPort
	}{
		{"none", "", nil},
		{"one", "192.0.2.1:5000", endpoints("192.0.2.1:5000")},
		{"both families", "192.0.2.1:5000,[2001:db8::1]:6", endpoints("192.0.2.1:5000", "[2001:db8::1]:6")},
		{"mapped IPv4 as IPv4", "192.0.2.1:5", endpoints("[::ffff:192.0.2.1]:5")},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := FormatList(c.endpoints); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestIsHandshake(t *testing.T) {
	cases := map[string]bool{"": true, "SYN": true, "ACK": true, "syn": false, "SYN\n": false, "SYNACK": false, "hello": false}
	for datagram, want := range cases {
		if got := IsHandshake([]byte(datagram)); got != want {
			t.Errorf("%q: got %v, want %v", datagram, got, want)
		}
	}
}
