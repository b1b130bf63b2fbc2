//go:build cgo

package holepunch

import (
	"context"
	"net/netip"
	"strings"
	"time"
)

// CheckNAT asks the rendezvous server at "host:port" what the NAT between this
// host and the server does, without any peer. It takes a second or two, and
// [WithMappingLifetime] as much longer as it says. It fails if the context is
// done or time is up before that.
//
// A server of the plain dialect alone cannot tell: [ErrDialectMismatch].
func CheckNAT(ctx context.Context, server string, options ...Option) (*NATReport, error) {
	client, err := NewClient(server, options...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return client.CheckNAT(ctx)
}

// CheckNAT does what the function [CheckNAT] does, with the client's server,
// timeout and local IP address, from sockets of its own: what earlier calls left
// is not touched.
func (c *Client) CheckNAT(ctx context.Context) (*NATReport, error) {
	const op = "check the NAT"
	if err := c.begin(ctx, op); err != nil {
		return nil, err
	}
	defer c.end()
	var report *NATReport
	err := c.within(ctx, op, func() (err error) {
		report, err = c.native.checkNAT(c.lifetime)
		return err
	})
	return report, err
}

// A NATReport says what stands between this host and the server, in the words
// of RFC 4787.
type NATReport struct {
	// Mapping says whether the NAT gives each peer another port.
	Mapping Mapping
	// Filtering says whom the NAT lets in.
	Filtering Filtering
	// Allocation says how the NAT chooses ports, where Mapping has it choose.
	Allocation Allocation
	// Step is the difference between two mappings' ports, if Allocation is
	// [AllocationSequential].
	Step int
	// FirstPort is the last port seen if Allocation is [AllocationSequential],
	// the lowest one if it is [AllocationRandom], else 0.
	FirstPort uint16
	// LastPort is the highest port seen if Allocation is [AllocationRandom],
	// else 0.
	LastPort uint16
	// Hairpin says whether hosts behind the NAT reach each other by their
	// outside addresses.
	Hairpin Hairpin
	// PortMapping is by what the router can be asked to open ports.
	PortMapping PortMapping
	// InnerRouters is how many routers on the way have private addresses, or
	// -1 if none of them told.
	InnerRouters int
	// LifetimeMin is how long an unused mapping lives at least; 0 without
	// [WithMappingLifetime], and if none survived.
	LifetimeMin time.Duration
	// LifetimeMax is how long it lives at most; 0 without
	// [WithMappingLifetime], and if its end was not seen.
	LifetimeMax time.Duration
	// Local is the host's own IPv4 address and port. It and those below are
	// the zero AddrPort if there is none.
	Local netip.AddrPort
	// Observed is the same as the server sees it.
	Observed netip.AddrPort
	// ObservedIPv6 is the host's IPv6 address and port as the server sees it.
	ObservedIPv6 netip.AddrPort
}

// String returns the behaviour in one line, such as "endpoint-independent
// mapping, address and port-dependent filtering".
func (r NATReport) String() string {
	var parts []string
	if r.Mapping == MappingNone {
		parts = append(parts, "no NAT")
	} else {
		parts = append(parts, r.Mapping.String()+" mapping")
	}
	parts = append(parts, r.Filtering.String()+" filtering")
	if r.Allocation != AllocationUnknown {
		parts = append(parts, r.Allocation.String()+" ports")
	}
	switch r.Hairpin {
	case HairpinNo:
		parts = append(parts, "no hairpinning")
	case HairpinYes:
		parts = append(parts, "hairpinning")
	}
	if r.PortMapping != 0 {
		parts = append(parts, "port mapping by "+r.PortMapping.String())
	}
	switch {
	case r.LifetimeMax > 0:
		parts = append(parts, "mappings live "+r.LifetimeMin.String()+" to "+r.LifetimeMax.String())
	case r.LifetimeMin > 0:
		parts = append(parts, "mappings live at least "+r.LifetimeMin.String())
	}
	return strings.Join(parts, ", ")
}

// A Mapping is how a NAT maps a socket's address and port to outside ones
// (RFC 4787 section 4.1).
type Mapping int

const (
	// MappingUnknown: not known.
	MappingUnknown Mapping = iota
	// MappingNone: no NAT.
	MappingNone
	// MappingEndpointIndependent: the same towards everyone.
	MappingEndpointIndependent
	// MappingAddressDependent: another one for each remote address.
	MappingAddressDependent
	// MappingAddressAndPortDependent: another one for each remote address and
	// port.
	MappingAddressAndPortDependent
)

// String returns RFC 4787's name, such as "endpoint-independent", or "none".
func (m Mapping) String() string {
	switch m {
	case MappingNone:
		return "none"
	case MappingEndpointIndependent:
		return "endpoint-independent"
	case MappingAddressDependent:
		return "address-dependent"
	case MappingAddressAndPortDependent:
		return "address and port-dependent"
	}
	return "unknown"
}

// A Filtering is whom a NAT lets in through a mapping (RFC 4787 section 5).
type Filtering int

const (
	// FilteringUnknown: not known.
	FilteringUnknown Filtering = iota
	// FilteringEndpointIndependent: everyone.
	FilteringEndpointIndependent
	// FilteringAddressDependent: addresses that were sent to.
	FilteringAddressDependent
	// FilteringAddressAndPortDependent: addresses and ports that were sent to.
	FilteringAddressAndPortDependent
	// FilteringNotPortDependent: at least other ports of an address that was
	// sent to; the server has no other address to ask from.
	FilteringNotPortDependent
)

// String returns RFC 4787's name, such as "address-dependent".
func (f Filtering) String() string {
	switch f {
	case FilteringEndpointIndependent:
		return "endpoint-independent"
	case FilteringAddressDependent:
		return "address-dependent"
	case FilteringAddressAndPortDependent:
		return "address and port-dependent"
	case FilteringNotPortDependent:
		return "endpoint-independent or address-dependent"
	}
	return "unknown"
}

// An Allocation is how a NAT chooses the ports of its mappings.
type Allocation int

const (
	// AllocationUnknown: not known, or there is nothing to choose.
	AllocationUnknown Allocation = iota
	// AllocationSequential: each mapping's port is the one before plus
	// [NATReport.Step].
	AllocationSequential
	// AllocationRandom: without a pattern.
	AllocationRandom
)

// String returns "sequential", "random" or "unknown".
func (a Allocation) String() string {
	switch a {
	case AllocationSequential:
		return "sequential"
	case AllocationRandom:
		return "random"
	}
	return "unknown"
}

// A Hairpin says whether a NAT forwards between hosts behind it (RFC 4787
// section 6).
type Hairpin int

const (
	// HairpinUnknown: not known.
	HairpinUnknown Hairpin = iota
	// HairpinNo: outside addresses cannot be reached from inside.
	HairpinNo
	// HairpinYes: they can.
	HairpinYes
)

// String returns "no", "yes" or "unknown".
func (h Hairpin) String() string {
	switch h {
	case HairpinNo:
		return "no"
	case HairpinYes:
		return "yes"
	}
	return "unknown"
}

// A PortMapping is a set of the protocols by which a router can be asked to
// open ports.
type PortMapping uint32

const (
	// PortMappingPCP is PCP (RFC 6887).
	PortMappingPCP PortMapping = 1 << iota
	// PortMappingNATPMP is NAT-PMP (RFC 6886).
	PortMappingNATPMP
	// PortMappingUPnP is UPnP-IGD.
	PortMappingUPnP
)

// String returns the names with bars between, such as "PCP|NAT-PMP", or "none".
func (p PortMapping) String() string {
	return setString(uint32(p), "PCP", "NAT-PMP", "UPnP-IGD")
}
