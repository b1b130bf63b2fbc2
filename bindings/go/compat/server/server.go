// Package server is a drop-in for the package of the same name in the existing
// Go hole-punching library: programs that use it build and run with only the
// import path changed. The server that it runs is libholepunch's, within the
// process: it serves the clients of both, and lets them meet.
//
// New programs are better served by the Server of package holepunch itself.
package server

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"holepunch.example/holepunch"
)

const (
	// maxPacketSize is the largest MaxPacketSize that the library honours.
	maxPacketSize = 1024
	// domainTimeout is the DomainTimeout of a new server.
	domainTimeout = 40 * time.Second
)

// Server is a rendezvous server. It is made by [New]; its fields may be changed
// before [Server.ListenAndServe]. Copies are the same server.
type Server struct {
	// ListeningAddr is the address that the server listens on.
	ListeningAddr string
	// AddrStore keeps the addresses. The library keeps them itself unless this
	// is replaced; then the server asks the replacement, and serves only the
	// plain dialect, for which the interface was made.
	AddrStore AddressStore
	// DomainTimeout is after how much silence an address is forgotten, 40
	// seconds at first; negative: never. It concerns plain clients: native
	// ones say themselves that they are there, and are forgotten after 15
	// seconds of silence.
	DomainTimeout time.Duration
	// MaxPacketSize is the longest datagram of a plain client that is not
	// dropped, 1024 bytes at first and at most.
	MaxPacketSize int

	state *state
}

// state is shared by all copies of a server.
type state struct {
	native *holepunch.Server
	log    loggerBox
	once   sync.Once
	closed chan struct{}
}

// New makes a server and binds its address, "host:port" or ":port".
// ListenAndServe has to be called for it to answer.
func New(listeningAddr string) (Server, error) {
	s := Server{
		ListeningAddr: listeningAddr,
		DomainTimeout: domainTimeout,
		MaxPacketSize: maxPacketSize,
	}
	// The same addresses are good as with the standard library, which knows
	// names of ports, too.
	addr, err := net.ResolveUDPAddr("udp", listeningAddr)
	if err != nil {
		return s, err
	}
	native, err := holepunch.NewServer(holepunch.ServerConfig{Addr: addr.String()})
	if err != nil {
		return s, err
	}
	s.state = &state{native: native, closed: make(chan struct{})}
	s.AddrStore = nativeStore{native}
	s.SetLogger(defaultLogger{})
	return s, nil
}

// ListenAndServe serves, and returns only after Close or if it cannot go on,
// which it logs.
func (s Server) ListenAndServe() {
	if s.state == nil {
		return
	}
	err := s.serve()
	if !errors.Is(err, net.ErrClosed) {
		s.GetLogger().Error(err, "the server has ended", "address", s.ListeningAddr)
	}
}

func (s Server) serve() error {
	if _, own := s.AddrStore.(nativeStore); !own {
		return s.serveStore()
	}
	if err := s.state.native.SetMaxPlainIDLen(s.packetSize()); err != nil {
		return err
	}
	if err := s.state.native.SetPlainExpiry(s.DomainTimeout); err != nil {
		return err
	}
	return s.state.native.Serve(context.Background())
}

// packetSize is MaxPacketSize, brought into the library's range.
func (s Server) packetSize() int {
	if s.MaxPacketSize < 1 || s.MaxPacketSize > maxPacketSize {
		return maxPacketSize
	}
	return s.MaxPacketSize
}

// Close ends ListenAndServe and frees the address. (An addition: the existing
// library's servers end with their process.)
func (s Server) Close() error {
	if s.state == nil {
		return nil
	}
	s.state.once.Do(func() { close(s.state.closed) })
	return s.state.native.Close()
}
