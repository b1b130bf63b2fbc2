package holepunch

import (
	"net/netip"
	"strings"
)

// A PathPolicy says which paths to a peer are good enough.
type PathPolicy int

const (
	// DirectPreferred means direct paths; where there is none for two seconds,
	// or can be none, the server forwards, if it offers that.
	DirectPreferred PathPolicy = iota
	// DirectOnly means direct paths only.
	DirectOnly
	// RelayOnly means only what the server forwards: the peer's own addresses
	// are sent nothing.
	RelayOnly
)

// String returns "direct-preferred", "direct-only" or "relay-only".
func (p PathPolicy) String() string {
	switch p {
	case DirectPreferred:
		return "direct-preferred"
	case DirectOnly:
		return "direct-only"
	case RelayOnly:
		return "relay-only"
	}
	return "unknown"
}

// Techniques are a set of what may be done to get through to a peer beside
// probing known addresses. Its zero value is the empty set.
type Techniques uint32

const (
	// TechniqueDiagnosis finds out what our own NAT does, and tells the peers;
	// TechniquePrediction and TechniqueManySockets need it.
	TechniqueDiagnosis Techniques = 1 << iota
	// TechniqueLowTTL sends the first probes with a low TTL, so that they open
	// our NAT and do not reach the peer's before it is open.
	TechniqueLowTTL
	// TechniquePrediction probes the ports that come next where a NAT counts.
	TechniquePrediction
	// TechniqueManySockets uses up to 256 sockets on one side and 1024 probes
	// from the other where a NAT chooses ports at random.
	TechniqueManySockets
	// TechniquePortMapping has our router open a port (PCP, NAT-PMP, UPnP-IGD)
	// where that could help.
	TechniquePortMapping
	// TechniqueFreshSocket probes from a further socket, whose mapping nothing
	// has spoiled, where ordinary NATs do not connect as they should.
	TechniqueFreshSocket

	// AllTechniques is the set of all of them, the default.
	AllTechniques = TechniqueDiagnosis | TechniqueLowTTL | TechniquePrediction | TechniqueManySockets | TechniquePortMapping |
		TechniqueFreshSocket
)

// String returns the names with bars between, such as "diagnosis|low-ttl", or
// "none".
func (t Techniques) String() string {
	return setString(uint32(t), "diagnosis", "low-ttl", "prediction", "many-sockets", "port-mapping",
		"fresh-socket")
}

// setString joins the names of the bits that are set, from the lowest on.
func setString(bits uint32, names ...string) string {
	var set []string
	for i, name := range names {
		if bits&(1<<i) != 0 {
			set = append(set, name)
		}
	}
	if bits>>len(names) != 0 {
		set = append(set, "unknown")
	}
	if set == nil {
		return "none"
	}
	return strings.Join(set, "|")
}

// A Cause is what probably kept a peer from being reached.
type Cause int

const (
	// CauseUnknown: nothing kept it, or too little is known to say.
	CauseUnknown Cause = iota
	// CausePeerLeft: the peer left before a hole was open.
	CausePeerLeft
	// CauseBothSymmetric: both NATs give each peer another port.
	CauseBothSymmetric
	// CauseNothingHeard: nothing of the peer's came through, although both
	// NATs would let it.
	CauseNothingHeard
	// CauseOneWay: the peer's probes come through, ours or its answers do not.
	CauseOneWay
	// CausePolicy: the two sides insist on different kinds of paths or
	// dialects.
	CausePolicy
	// CauseTooShort: the call ended before enough could be tried.
	CauseTooShort
	// CauseNotFound: one NAT gives each peer another port, and the right one
	// was not found.
	CauseNotFound
	// CauseNoTCP: the server hears one of the two sides over TCP only, and the
	// other one does not use TCP.
	CauseNoTCP
	// CauseTCPUnanswered: nobody answered over TCP.
	CauseTCPUnanswered
	// CauseTCPRefused: attempts over TCP were refused; a router answers in the
	// peer's name.
	CauseTCPRefused
	// CauseTCPStranger: over TCP somebody else was there, or nothing was said.
	CauseTCPStranger
)

// String returns the cause's name, such as "both symmetric". [Cause.Help] says
// more.
func (c Cause) String() string {
	switch c {
	case CausePeerLeft:
		return "peer left"
	case CauseBothSymmetric:
		return "both symmetric"
	case CauseNothingHeard:
		return "nothing heard"
	case CauseOneWay:
		return "one way"
	case CausePolicy:
		return "policy"
	case CauseTooShort:
		return "too short"
	case CauseNotFound:
		return "not found"
	case CauseNoTCP:
		return "no TCP"
	case CauseTCPUnanswered:
		return "TCP unanswered"
	case CauseTCPRefused:
		return "TCP refused"
	case CauseTCPStranger:
		return "TCP stranger"
	}
	return "unknown"
}

// A Refusal is why the server does not forward to a peer.
type Refusal int

const (
	// RefusalNone: the server was not asked to forward, or agreed.
	RefusalNone Refusal = iota
	// RefusalNotOffered: the server forwards nothing.
	RefusalNotOffered
	// RefusalUnknownPeer: the server knows no such native peer, or not any
	// more.
	RefusalUnknownPeer
	// RefusalFull: the server forwards as much as it allows, in all or for
	// this client.
	RefusalFull
)

// An Attempt is one address at which a peer was looked for.
type Attempt struct {
	// Endpoint is the address.
	Endpoint netip.AddrPort
	// Path is how the address was learned.
	Path Path
	// Sent counts probes sent there.
	Sent int
	// Received counts authentic probes that came from there.
	Received int
}
