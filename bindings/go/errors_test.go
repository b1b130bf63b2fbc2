package holepunch_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"holepunch.example/holepunch"
)

var reasons = map[string]error{
	"ErrServerSilent":      holepunch.ErrServerSilent,
	"ErrTimedOutWaiting":   holepunch.ErrTimedOutWaiting,
	"ErrTimedOutPunching":  holepunch.ErrTimedOutPunching,
	"ErrTimedOut":          holepunch.ErrTimedOut,
	"ErrServerNotFound":    holepunch.ErrServerNotFound,
	"ErrServerUnreachable": holepunch.ErrServerUnreachable,
	"ErrServerPortClosed":  holepunch.ErrServerPortClosed,
	"ErrServerRefused":     holepunch.ErrServerRefused,
	"ErrDialectMismatch":   holepunch.ErrDialectMismatch,
	"ErrUDPBlocked":        holepunch.ErrUDPBlocked,
	"ErrInvalidServer":     holepunch.ErrInvalidServer,
	"ErrInvalidSessionID":  holepunch.ErrInvalidSessionID,
	"ErrInvalidArgument":   holepunch.ErrInvalidArgument,
	"ErrSocket":            holepunch.ErrSocket,
	"ErrNotFound":          holepunch.ErrNotFound,
	"ErrFull":              holepunch.ErrFull,
	"ErrStranger":          holepunch.ErrStranger,
	"ErrNotConnected":      holepunch.ErrNotConnected,
	"ErrAlreadyAttempted":  holepunch.ErrAlreadyAttempted,
	"ErrUnsupported":       holepunch.ErrUnsupported,
	"ErrLibrary":           holepunch.ErrLibrary,
	"ErrCanceled":          holepunch.ErrCanceled,
	"ErrClosed":            holepunch.ErrClosed,
}

var standard = map[string]error{
	"context.DeadlineExceeded": context.DeadlineExceeded,
	"context.Canceled":         context.Canceled,
	"os.ErrDeadlineExceeded":   os.ErrDeadlineExceeded,
	"net.ErrClosed":            net.ErrClosed,
	"os.ErrInvalid":            os.ErrInvalid,
	"syscall.ECONNREFUSED":     syscall.ECONNREFUSED,
}

// equal says which of the standard library's errors the reasons are.
var equal = map[string][]string{
	"ErrServerSilent":     {"context.DeadlineExceeded", "os.ErrDeadlineExceeded"},
	"ErrTimedOutWaiting":  {"context.DeadlineExceeded", "os.ErrDeadlineExceeded"},
	"ErrTimedOutPunching": {"context.DeadlineExceeded", "os.ErrDeadlineExceeded"},
	"ErrTimedOut":         {"context.DeadlineExceeded", "os.ErrDeadlineExceeded"},
	"ErrCanceled":         {"context.Canceled"},
	"ErrClosed":           {"net.ErrClosed"},
	"ErrNotConnected":     {"net.ErrClosed"},
	"ErrInvalidArgument":  {"os.ErrInvalid"},
	"ErrServerPortClosed": {"syscall.ECONNREFUSED"},
}

func TestEveryReasonIsWhatTheStandardLibraryCallsIt(t *testing.T) {
	texts := make(map[string]string)
	for name, reason := range reasons {
		wanted := strings.Join(equal[name], " ")
		for _, err := range []error{reason, &holepunch.Error{Op: "test", Err: reason}, fmt.Errorf("wrapped: %w", reason)} {
			for standardName, target := range standard {
				if is, want := errors.Is(err, target), strings.Contains(wanted, standardName); is != want {
					t.Errorf("%v is %s: %t", err, standardName, is)
				}
			}
			for otherName, other := range reasons {
				if is := errors.Is(err, other); is != (name == otherName) {
					t.Errorf("%v is %s: %t", err, otherName, is)
				}
			}
			var asNet net.Error
			if !errors.As(err, &asNet) {
				t.Errorf("%v is no net.Error", err)
			} else if want := strings.Contains(wanted, "DeadlineExceeded"); asNet.Timeout() != want {
				t.Errorf("%v is a timeout: %t", err, !want)
			}
		}
		text := reason.Error()
		if !strings.HasPrefix(text, "holepunch: ") || texts[text] != "" {
			t.Errorf("%s says %q, and so does %q", name, text, texts[text])
		}
		texts[text] = name
		if want := "holepunch: test: " + strings.TrimPrefix(text, "holepunch: "); (&holepunch.Error{Op: "test", Err: reason}).Error() != want {
			t.Errorf("%v, want %q", &holepunch.Error{Op: "test", Err: reason}, want)
		}
	}
	for _, match := range regexp.MustCompile(`(?m)^\t(Err\w+) +error = `).FindAllStringSubmatch(string(readFile(t, "errors.go")), -1) {
		if reasons[match[1]] == nil {
			t.Errorf("the table lacks %s", match[1])
		}
	}
}

// connectTo connects a client of its own that has little time.
func connectTo(t *testing.T, server string, id []byte, peers int, options ...holepunch.Option) error {
	t.Helper()
	client := newClient(t, server, append([]holepunch.Option{holepunch.WithTimeout(300 * time.Millisecond)}, options...)...)
	found, err := client.Connect(bounded(t), id, peers)
	if err == nil {
		t.Errorf("connected to %v", found)
	}
	return err
}

func TestEveryCauseHasItsReason(t *testing.T) {
	server := startDefaultServer(t)
	silent := addrOf(listen(t)).String()
	closed := listen(t)
	closed.Close()
	plainOnly := startServer(t, holepunch.ServerConfig{Dialect: holepunch.Plain}).Addr().String()
	taken := addrOf(listen(t))
	local := func(text string) holepunch.Option { return holepunch.WithLocalAddr(netip.MustParseAddrPort(text)) }

	for _, test := range []struct {
		name    string
		server  string
		id      string
		peers   int
		option  holepunch.Option
		reason  error
		errno   syscall.Errno
		message []string
	}{
		{"no ID", server, "", 1, nil, holepunch.ErrInvalidSessionID, 0, []string{"empty"}},
		{"ID too long", server, strings.Repeat("x", holepunch.MaxSessionIDLen+1), 1, nil, holepunch.ErrInvalidSessionID, 0, []string{"1000"}},
		{"no peers", server, "id", 0, nil, holepunch.ErrInvalidArgument, 0, []string{"1 to 64"}},
		{"too many peers", server, "id", holepunch.MaxPeers + 1, nil, holepunch.ErrInvalidArgument, 0, []string{"1 to 64"}},
		{"fewer than no peers", server, "id", -1, nil, holepunch.ErrInvalidArgument, 0, []string{"1 to 64"}},
		{"2^32+1 peers", server, "id", 1<<32 + 1, nil, holepunch.ErrInvalidArgument, 0, []string{"1 to 64"}},
		{"silence", silent, "id", 1, nil, holepunch.ErrServerSilent, 0, []string{silent, "no answer"}},
		{"no UDP", silent, "id", 1, holepunch.WithTimeout(time.Minute), holepunch.ErrUDPBlocked, 0, []string{silent, "TCP", "blocked"}},
		{"nobody comes", server, "a lonely one's", 3, nil, holepunch.ErrTimedOutWaiting, 0, []string{"0 of 3"}},
		{"closed port", addressText(closed), "id", 1, nil, holepunch.ErrServerPortClosed, 0, []string{addressText(closed), "closed"}},
		// A label of a name has 63 letters at most, so that nobody is asked.
		{"no such name", strings.Repeat("x", 64) + ".invalid:5000", "id", 1, holepunch.WithTimeout(patience), holepunch.ErrServerNotFound, 0, []string{"looking up"}},
		{"plain server", plainOnly, "id", 1, holepunch.WithDialect(holepunch.Native), holepunch.ErrDialectMismatch, 0, []string{plainOnly, "dialect"}},
		{"taken address", server, "id", 1, holepunch.WithLocalAddr(taken), holepunch.ErrSocket, syscall.EADDRINUSE, []string{taken.String()}},
		{"foreign address", server, "id", 1, local("192.0.2.1:0"), holepunch.ErrSocket, syscall.EADDRNOTAVAIL, []string{"192.0.2.1"}},
		{"other family", server, "id", 1, local("[::1]:0"), holepunch.ErrServerUnreachable, 0, []string{"family"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var options []holepunch.Option
			if test.option != nil {
				options = append(options, test.option)
			}
			err := connectTo(t, test.server, []byte(test.id), test.peers, options...)
			wantError(t, err, test.reason)
			var own *holepunch.Error
			if !errors.As(err, &own) {
				return
			}
			if own.Op != "connect" || own.Errno != test.errno || own.Err != test.reason {
				t.Errorf("%+v", own)
			}
			if test.errno != 0 && !errors.Is(err, test.errno) {
				t.Errorf("%v is not %v", err, test.errno)
			}
			for _, part := range test.message {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q says nothing of %q", err, part)
				}
			}
		})
	}
	if err := connectTo(t, server, []byte(strings.Repeat("x", holepunch.MaxSessionIDLen)), holepunch.MaxPeers); !errors.Is(err, holepunch.ErrTimedOutWaiting) {
		t.Errorf("at the limits: %v", err)
	}
}

// addressText returns the address that a socket had before it was closed.
func addressText(socket net.PacketConn) string { return socket.LocalAddr().String() }

func TestServersThatAreNoneAreRefused(t *testing.T) {
	for _, text := range []string{"", "no port", "host:0", "host:99999", ":5000", "::1:5000", "127.0.0.1:5000\x00", "127.0.0.1:5000\x00.example:1", "h\xff:5000"} {
		client, err := holepunch.NewClient(text)
		if client != nil {
			t.Errorf("%q gives a client", text)
			client.Close()
			continue
		}
		wantError(t, err, holepunch.ErrInvalidServer)
	}
}

// A session's room is an even share of the server's, of which there are 64.
func TestFullServerRefuses(t *testing.T) {
	server := startServer(t, holepunch.ServerConfig{MaxEndpoints: 256})
	ctx, cancel := context.WithCancel(bounded(t))
	id := newID()
	var members []<-chan result
	for i := 0; i < 256/64; i++ {
		members = append(members, connecting(ctx, newClient(t, server.Addr().String()), id, holepunch.MaxPeers))
	}
	eventually(t, "all are registered", func() bool { return server.Counters().Endpoints == 256/64 })
	err := connectTo(t, server.Addr().String(), id, 1)
	wantError(t, err, holepunch.ErrServerRefused)
	if refused := server.Counters().Refused; refused == 0 {
		t.Error("nothing is counted")
	}
	cancel()
	for _, member := range members {
		wantError(t, receive(t, member).err, holepunch.ErrCanceled)
	}
}

func TestPeersThatDoNotAnswer(t *testing.T) {
	silent := addrOf(listen(t))
	client := newClient(t, "127.0.0.1:1", holepunch.WithTimeout(50*time.Millisecond))
	peers, err := client.ConnectPeers(bounded(t), newID(), []netip.AddrPort{silent})
	wantError(t, err, holepunch.ErrTimedOutPunching)
	if !strings.Contains(err.Error(), "0 of 1") {
		t.Errorf("%q", err)
	}
	if len(peers) != 1 || peers[0].Connected || peers[0].Addr != silent {
		t.Errorf("%+v", peers)
	}
	for name, addrs := range map[string][]netip.AddrPort{
		"none":       nil,
		"too many":   make([]netip.AddrPort, holepunch.MaxPeers+1),
		"no address": {netip.AddrPort{}},
		"no port":    {netip.AddrPortFrom(silent.Addr(), 0)},
		"any":        {netip.MustParseAddrPort("0.0.0.0:1")},
	} {
		peers, err := client.ConnectPeers(bounded(t), newID(), addrs)
		if len(peers) != 0 {
			t.Errorf("%s: %v", name, peers)
		}
		wantError(t, err, holepunch.ErrInvalidArgument)
	}
	_, err = client.ConnectPeers(bounded(t), nil, []netip.AddrPort{silent})
	wantError(t, err, holepunch.ErrInvalidSessionID)
}

func TestErrnosAreTheStandardLibrarysErrorsToo(t *testing.T) {
	err := error(&holepunch.Error{Op: "test", Err: holepunch.ErrSocket, Errno: syscall.EACCES})
	if !errors.Is(err, os.ErrPermission) || !errors.Is(err, syscall.EACCES) || !errors.Is(err, holepunch.ErrSocket) {
		t.Error("EACCES is not what it should be")
	}
	if errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, os.ErrExist) {
		t.Error("EACCES is something else, too")
	}
	if err := error(&holepunch.Error{Op: "test", Err: holepunch.ErrSocket}); errors.Is(err, syscall.Errno(0)) {
		t.Error("no number is number 0")
	}
}

func TestReasonAtTheContextsDeadlineIsATimeoutToo(t *testing.T) {
	closed := listen(t)
	closed.Close()
	client := newClient(t, addressText(closed))
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, err := client.Connect(ctx, newID(), 1)
	wantError(t, err, holepunch.ErrServerPortClosed)
	timeout, ok := err.(net.Error)
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, os.ErrDeadlineExceeded) || !ok || !timeout.Timeout() {
		t.Errorf("%v does not say that time was up", err)
	}
	if _, err := client.Connect(context.Background(), nil, 1); errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v says that time was up", err)
	}
}
