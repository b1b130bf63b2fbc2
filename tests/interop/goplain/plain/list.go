// Package plain speaks the plain dialect: a rendezvous by bare session ID and hole punching with SYN and ACK.
//
// It is a stand-in for test purposes, written from the facts on the wire alone. It is deliberately strict and simple:
// it does what the dialect says and nothing that would help a sloppy counterpart along.
package plain

import (
	"fmt"
	"net/netip"
	"strings"
)

const (
	// MaxIDBytes is the longest session ID that a server looks at; it drops longer datagrams.
	MaxIDBytes = 1024

	maxDatagramBytes = 65535
)

var (
	synMessage = []byte("SYN")
	ackMessage = []byte("ACK")
)

// FormatList writes endpoints the way a server sends them. Without endpoints the result is empty.
func FormatList(endpoints []netip.AddrPort) string {
	texts := make([]string, len(endpoints))
	for i, endpoint := range endpoints {
		texts[i] = unmap(endpoint).String()
	}
	return strings.Join(texts, ",")
}

// ParseList reads a server's list. Every entry must be an IP address and a port; the number of entries is what
// decides whether a client goes on, so nothing is repaired, skipped or merged.
func ParseList(text string) ([]netip.AddrPort, error) {
	entries := strings.Split(text, ",")
	endpoints := make([]netip.AddrPort, 0, len(entries))
	for _, entry := range entries {
		endpoint, err := netip.ParseAddrPort(entry)
		if err != nil {
			return nil, fmt.Errorf("entry %q is not ip:port", entry)
		}
		if endpoint.Port() == 0 {
			return nil, fmt.Errorf("entry %q has port 0", entry)
		}
		endpoints = append(endpoints, unmap(endpoint))
	}
	return endpoints, nil
}

// IsHandshake tells the dialect's own datagrams between peers, keep-alives included, from the application's.
func IsHandshake(datagram []byte) bool {
	return len(datagram) == 0 || string(datagram) == string(synMessage) || string(datagram) == string(ackMessage)
}

// unmap makes endpoints comparable: a dual-stack socket reports IPv4 sources as ::ffff:a.b.c.d.
func unmap(endpoint netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(endpoint.Addr().Unmap(), endpoint.Port())
}
