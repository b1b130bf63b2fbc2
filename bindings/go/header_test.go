package holepunch_test

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"holepunch.example/holepunch"
)

// The header's copy lets the package be built without the library's sources.
func TestHeaderIsTheLibrarys(t *testing.T) {
	if !bytes.Equal(readFile(t, "holepunch.h"), readFile(t, "../../include/holepunch.h")) {
		t.Error("holepunch.h differs from include/holepunch.h: copy it")
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// nativeText returns the files that know C.
func nativeText(t *testing.T) string {
	t.Helper()
	return string(readFile(t, "native.go")) + string(readFile(t, "native_server.go")) + string(readFile(t, "native_session.go")) +
		string(readFile(t, "native_conn.go"))
}

// unused are the functions that Go programs have no need of, and why.
var unused = map[string]string{
	"hp_addr_parse":         "net/netip does it",
	"hp_addr_format":        "net/netip does it",
	"hp_addr_to_sockaddr":   "package net does it",
	"hp_addr_from_sockaddr": "package net does it",
	"hp_status_name":        "errors are told apart with errors.Is",
}

func TestEveryFunctionOfTheLibraryIsUsed(t *testing.T) {
	used := make(map[string]bool)
	for _, name := range regexp.MustCompile(`\bhp_\w+`).FindAllString(nativeText(t), -1) {
		used[name] = true
	}
	exported := make(map[string]bool)
	for _, name := range strings.Fields(string(readFile(t, "../../include/holepunch.symbols"))) {
		exported[name] = true
		if used[name] == (unused[name] != "") {
			t.Errorf("%s: used %t, but the reason not to is %q", name, used[name], unused[name])
		}
	}
	if len(exported) < 50 {
		t.Errorf("there are %d functions only", len(exported))
	}
	for name := range unused {
		if !exported[name] {
			t.Errorf("%s is no function of the library", name)
		}
	}
}

// inHeader returns the number that the header gives a name.
func inHeader(t *testing.T, name string) int {
	t.Helper()
	match := regexp.MustCompile(`(?m)^#define ` + name + ` (\d+)$`).FindSubmatch(readFile(t, "holepunch.h"))
	if match == nil {
		t.Fatalf("the header has no %s", name)
	}
	number, err := strconv.Atoi(string(match[1]))
	if err != nil {
		t.Fatal(err)
	}
	return number
}

// constants are those that Go programs see, by their names in the header.
var constants = map[string]int{
	"HP_MAX_PEERS":              holepunch.MaxPeers,
	"HP_MAX_SESSION_ID_LEN":     holepunch.MaxSessionIDLen,
	"HP_PATH_HOST":              int(holepunch.Host),
	"HP_PATH_REFLEXIVE":         int(holepunch.Reflexive),
	"HP_PATH_MAPPED":            int(holepunch.Mapped),
	"HP_PATH_PEER_REFLEXIVE":    int(holepunch.PeerReflexive),
	"HP_PATH_PREDICTED":         int(holepunch.Predicted),
	"HP_PATH_RELAYED":           int(holepunch.Relayed),
	"HP_DIALECT_AUTO":           int(holepunch.Auto),
	"HP_DIALECT_NATIVE":         int(holepunch.Native),
	"HP_DIALECT_PLAIN":          int(holepunch.Plain),
	"HP_LOG_ERROR":              int(holepunch.LogError),
	"HP_LOG_WARN":               int(holepunch.LogWarn),
	"HP_LOG_INFO":               int(holepunch.LogInfo),
	"HP_LOG_DEBUG":              int(holepunch.LogDebug),
	"HP_LOG_TRACE":              int(holepunch.LogTrace),
	"HP_PATHS_DIRECT_PREFERRED": int(holepunch.DirectPreferred),
	"HP_PATHS_DIRECT_ONLY":      int(holepunch.DirectOnly),
	"HP_PATHS_RELAY_ONLY":       int(holepunch.RelayOnly),
	"HP_TECHNIQUE_DIAGNOSIS":    int(holepunch.TechniqueDiagnosis),
	"HP_TECHNIQUE_LOW_TTL":      int(holepunch.TechniqueLowTTL),
	"HP_TECHNIQUE_PREDICTION":   int(holepunch.TechniquePrediction),
	"HP_TECHNIQUE_MANY_SOCKETS": int(holepunch.TechniqueManySockets),
	"HP_TECHNIQUE_PORT_MAPPING": int(holepunch.TechniquePortMapping),
	"HP_TECHNIQUE_FRESH_SOCKET": int(holepunch.TechniqueFreshSocket),
	"HP_TECHNIQUES_ALL":         int(holepunch.AllTechniques),
	"HP_CAUSE_UNKNOWN":          int(holepunch.CauseUnknown),
	"HP_CAUSE_PEER_LEFT":        int(holepunch.CausePeerLeft),
	"HP_CAUSE_BOTH_SYMMETRIC":   int(holepunch.CauseBothSymmetric),
	"HP_CAUSE_NOTHING_HEARD":    int(holepunch.CauseNothingHeard),
	"HP_CAUSE_ONE_WAY":          int(holepunch.CauseOneWay),
	"HP_CAUSE_POLICY":           int(holepunch.CausePolicy),
	"HP_CAUSE_TOO_SHORT":        int(holepunch.CauseTooShort),
	"HP_CAUSE_NOT_FOUND":        int(holepunch.CauseNotFound),
	"HP_CAUSE_NO_TCP":           int(holepunch.CauseNoTCP),
	"HP_CAUSE_TCP_UNANSWERED":   int(holepunch.CauseTCPUnanswered),
	"HP_CAUSE_TCP_REFUSED":      int(holepunch.CauseTCPRefused),
	"HP_CAUSE_TCP_STRANGER":     int(holepunch.CauseTCPStranger),
	"HP_REFUSAL_NONE":           int(holepunch.RefusalNone),
	"HP_REFUSAL_NOT_OFFERED":    int(holepunch.RefusalNotOffered),
	"HP_REFUSAL_UNKNOWN_PEER":   int(holepunch.RefusalUnknownPeer),
	"HP_REFUSAL_FULL":           int(holepunch.RefusalFull),

	"HP_KEY_LEN":                       len(holepunch.Key{}),
	"HP_SESSION_MAX_PEERS":             holepunch.MaxSessionPeers,
	"HP_SESSION_MAX_MESSAGE_LEN":       holepunch.MaxMessageLen,
	"HP_SESSION_MAX_PLAIN_MESSAGE_LEN": holepunch.MaxPlainMessageLen,
	"HP_LEFT_GOODBYE":                  int(holepunch.LeftGoodbye),
	"HP_LEFT_TIMED_OUT":                int(holepunch.LeftTimedOut),
	"HP_LEFT_UNREACHABLE":              int(holepunch.LeftUnreachable),
	"HP_LEFT_WRONG_KEY":                int(holepunch.LeftWrongKey),
	"HP_LEFT_WE_LEFT":                  int(holepunch.LeftWeLeft),
	"HP_REFUSED_SESSION_FULL":          int(holepunch.RefusedSessionFull),
	"HP_REFUSED_SERVER_FULL":           int(holepunch.RefusedServerFull),
	"HP_REFUSED_DIALECT":               int(holepunch.RefusedDialect),
	"HP_REFUSED_OTHER":                 int(holepunch.RefusedOther),

	"HP_TRANSPORT_UDP":         int(holepunch.UDP),
	"HP_TRANSPORT_TCP":         int(holepunch.TCP),
	"HP_TRANSPORT_EITHER":      int(holepunch.Either),
	"HP_CONN_MAX_ADDRESSES":    holepunch.MaxPeerAddrs,
	"HP_CONN_MAX_DATAGRAM_LEN": holepunch.MaxDatagramLen,

	"HP_MAPPING_NONE":                         int(holepunch.MappingNone),
	"HP_MAPPING_ENDPOINT_INDEPENDENT":         int(holepunch.MappingEndpointIndependent),
	"HP_MAPPING_ADDRESS_DEPENDENT":            int(holepunch.MappingAddressDependent),
	"HP_MAPPING_ADDRESS_AND_PORT_DEPENDENT":   int(holepunch.MappingAddressAndPortDependent),
	"HP_FILTERING_ENDPOINT_INDEPENDENT":       int(holepunch.FilteringEndpointIndependent),
	"HP_FILTERING_ADDRESS_DEPENDENT":          int(holepunch.FilteringAddressDependent),
	"HP_FILTERING_ADDRESS_AND_PORT_DEPENDENT": int(holepunch.FilteringAddressAndPortDependent),
	"HP_FILTERING_NOT_PORT_DEPENDENT":         int(holepunch.FilteringNotPortDependent),
	"HP_ALLOCATION_SEQUENTIAL":                int(holepunch.AllocationSequential),
	"HP_ALLOCATION_RANDOM":                    int(holepunch.AllocationRandom),
	"HP_HAIRPIN_NO":                           int(holepunch.HairpinNo),
	"HP_HAIRPIN_YES":                          int(holepunch.HairpinYes),
	"HP_PORT_MAPPING_PCP":                     int(holepunch.PortMappingPCP),
	"HP_PORT_MAPPING_NAT_PMP":                 int(holepunch.PortMappingNATPMP),
	"HP_PORT_MAPPING_UPNP":                    int(holepunch.PortMappingUPnP),
}

// families are of constants that a later header may have more of.
var families = regexp.MustCompile(`(?m)^#define (HP_(?:PATHS?|DIALECT|LOG|TECHNIQUES?|CAUSE|REFUSAL|MAPPING|FILTERING|ALLOCATION|HAIRPIN|PORT_MAPPING|LEFT|REFUSED|TRANSPORT)_\w+) \d+$`)

func TestConstantsAreTheHeaders(t *testing.T) {
	for name, number := range constants {
		if want := inHeader(t, name); number != want {
			t.Errorf("%s is %d here and %d there", name, number, want)
		}
	}
	for _, match := range families.FindAllStringSubmatch(string(readFile(t, "holepunch.h")), -1) {
		if _, known := constants[match[1]]; !known {
			t.Errorf("%s is not here", match[1])
		}
	}
	for _, unknown := range []int{
		int(holepunch.MappingUnknown), int(holepunch.FilteringUnknown), int(holepunch.AllocationUnknown), int(holepunch.HairpinUnknown),
	} {
		if want := inHeader(t, "HP_NAT_UNKNOWN"); unknown != want {
			t.Errorf("what is not known is %d here and %d there", unknown, want)
		}
	}
	version := fmt.Sprintf("%d.%d.%d", inHeader(t, "HP_VERSION_MAJOR"), inHeader(t, "HP_VERSION_MINOR"), inHeader(t, "HP_VERSION_PATCH"))
	if holepunch.Version() != version {
		t.Errorf("the library is %s, the header %s", holepunch.Version(), version)
	}
}

// Every status has its reason, so that none becomes a bug of the library's.
func TestEveryStatusHasAReason(t *testing.T) {
	native := nativeText(t)
	statuses := regexp.MustCompile(`(?m)^ +(HP_STATUS_\w+) = -?\d+,$`).FindAllStringSubmatch(string(readFile(t, "holepunch.h")), -1)
	if len(statuses) < 20 {
		t.Errorf("there are %d only", len(statuses))
	}
	for _, status := range statuses {
		if name := status[1]; name != "HP_STATUS_OK" && !strings.Contains(native, "C."+name+":") {
			t.Errorf("%s has no reason", name)
		}
	}
}

func TestEveryEventOfTheHeaderIsKnown(t *testing.T) {
	native := nativeText(t)
	events := regexp.MustCompile(`(?m)^#define (HP_(?:EVENT|CONN|END)_\w+) \d+$`).FindAllStringSubmatch(string(readFile(t, "holepunch.h")), -1)
	if len(events) < 13 {
		t.Errorf("there are %d only", len(events))
	}
	for _, event := range events {
		isLimit := strings.HasPrefix(event[1], "HP_CONN_MAX_")
		if !isLimit && !strings.Contains(native, "case C."+event[1]+":") {
			t.Errorf("%s has no type", event[1])
		}
	}
}
