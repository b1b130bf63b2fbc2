package plain

import (
	"strings"
	"testing"
	"time"
)

func TestServerListsTheOthersUnderTheSameID(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", ServerOptions{})
	a, b, c, stranger := newSocket(t), newSocket(t), newSocket(t), newSocket(t)
	A, B, C := a.endpoint().String(), b.endpoint().String(), c.endpoint().String()
	steps := []struct {
		name   string
		asker  *socket
		id     string
		answer string
	}{
		{"first is alone", a, "room", ""},
		{"second sees first", b, "room", A},
		{"first sees second", a, "room", B},
		{"third sees both in order of registration", c, "room", A + "," + B},
		{"asker is left out in the middle", b, "room", A + "," + C},
		{"another ID is another session", stranger, "room2", ""},
		{"an ID is arbitrary bytes", stranger, "\x00\xff,:\n", ""},
		{"an endpoint may be in two sessions", a, "room2", stranger.endpoint().String()},
	}
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			step.asker.send(server, step.id)
			if answer, from := step.asker.receive(); answer != step.answer || from != server {
				t.Errorf("got %q from %v, want %q", answer, from, step.answer)
			}
		})
	}
}

func TestServerLimitsTheLengthOfAnID(t *testing.T) {
	cases := []struct {
		length   int
		answered bool
	}{{0, false}, {1, true}, {1000, true}, {1024, true}, {1025, false}, {9000, false}}
	server := startServer(t, "127.0.0.1:0", ServerOptions{})
	for _, c := range cases {
		asker := newSocket(t)
		asker.send(server, strings.Repeat("x", c.length))
		if _, _, answered := asker.receiveWithin(200 * time.Millisecond); answered != c.answered {
			t.Errorf("%d bytes: answered is %v, want %v", c.length, answered, c.answered)
		}
	}
}

func TestServerSendsKeepAlivesToEveryone(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", ServerOptions{KeepAlive: 50 * time.Millisecond})
	for _, id := range []string{"one", "two"} {
		asker := newSocket(t)
		asker.send(server, id)
		for i := 0; i < 3; i++ { // the empty answer, then keep-alives
			if text, from := asker.receive(); text != "" || from != server {
				t.Errorf("%s: got %q from %v", id, text, from)
			}
		}
	}
}

func TestServerForgetsAnEndpointSomeTimeAfterItsRegistration(t *testing.T) {
	conn := newSocket(t)
	server := NewServer(conn.conn, ServerOptions{})
	early, late := endpoints("192.0.2.1:1")[0], endpoints("192.0.2.2:2")[0]
	start := time.Now()
	at := func(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }

	server.register("room", early, at(0))
	if got := FormatList(server.register("room", late, at(39.9))); got != early.String() {
		t.Errorf("before the expiry: got %q", got)
	}
	server.register("room", early, at(39.9))
	if got := FormatList(server.register("room", late, at(40))); got != "" {
		t.Errorf("asking again put off the expiry: got %q", got)
	}
	if got := FormatList(server.register("room", early, at(40.1))); got != late.String() {
		t.Errorf("registered anew: got %q", got)
	}
	server.keepAlive(at(1000))
	if len(server.sessions) != 0 {
		t.Errorf("%d sessions are left behind", len(server.sessions))
	}
}
