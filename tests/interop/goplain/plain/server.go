package plain

import (
	"errors"
	"net"
	"net/netip"
	"time"
)

// ServerOptions of a server. A zero value means the default.
type ServerOptions struct {
	KeepAlive time.Duration // between two empty datagrams to each endpoint; default 10 s
	Expiry    time.Duration // of an endpoint, counted from its registration; default 40 s
}

type registration struct {
	endpoint netip.AddrPort
	expires  time.Time
}

// Server is the rendezvous server. It does no more than the dialect asks for; in particular nothing limits how many
// endpoints it stores, so it belongs in tests only.
type Server struct {
	conn     *net.UDPConn
	options  ServerOptions
	sessions map[string][]registration // in the order of registration
}

// NewServer serves on conn, which remains the caller's to close.
func NewServer(conn *net.UDPConn, options ServerOptions) *Server {
	if options.KeepAlive <= 0 {
		options.KeepAlive = 10 * time.Second
	}
	if options.Expiry <= 0 {
		options.Expiry = 40 * time.Second
	}
	return &Server{conn: conn, options: options, sessions: make(map[string][]registration)}
}

// Serve answers datagrams until the socket is closed, and returns nil then.
func (s *Server) Serve() error {
	buffer := make([]byte, maxDatagramBytes)
	nextKeepAlive := time.Now().Add(s.options.KeepAlive)
	for {
		now := time.Now()
		if isDue(nextKeepAlive, now) {
			s.keepAlive(now)
			nextKeepAlive = now.Add(s.options.KeepAlive)
		}
		datagram, from, err := receive(s.conn, buffer, nextKeepAlive)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		if from.IsValid() && len(datagram) > 0 && len(datagram) <= MaxIDBytes {
			send(s.conn, from, []byte(FormatList(s.register(string(datagram), from, time.Now()))))
		}
	}
}

// register files the asker under the ID and returns the others. Asking again does not postpone the expiry: an endpoint
// that still asks when it expires is registered anew by its next datagram.
func (s *Server) register(id string, asker netip.AddrPort, now time.Time) []netip.AddrPort {
	live := unexpired(s.sessions[id], now)
	var others []netip.AddrPort
	known := false
	for _, r := range live {
		if r.endpoint == asker {
			known = true
		} else {
			others = append(others, r.endpoint)
		}
	}
	if !known {
		live = append(live, registration{endpoint: asker, expires: now.Add(s.options.Expiry)})
	}
	s.sessions[id] = live
	return others
}

func (s *Server) keepAlive(now time.Time) {
	everyone := make(map[netip.AddrPort]bool)
	for id, registrations := range s.sessions {
		live := unexpired(registrations, now)
		if len(live) == 0 {
			delete(s.sessions, id)
			continue
		}
		s.sessions[id] = live
		for _, r := range live {
			everyone[r.endpoint] = true
		}
	}
	for endpoint := range everyone {
		send(s.conn, endpoint, nil)
	}
}

func unexpired(registrations []registration, now time.Time) []registration {
	live := registrations[:0]
	for _, r := range registrations {
		if now.Before(r.expires) {
			live = append(live, r)
		}
	}
	return live
}
