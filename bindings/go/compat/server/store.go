package server

import (
	"errors"
	"net"
	"strings"
	"time"

	"holepunch.example/holepunch"
)

// AddressStore keeps addresses by domain ID. It must be safe for concurrent
// use. A program that keeps them elsewhere, for several servers together, puts
// its own into [Server.AddrStore].
type AddressStore interface {
	// ProcessAddress adds addr to the domain id, until timeout has passed
	// (negative: for good), and returns the domain's other addresses.
	ProcessAddress(id string, addr string, timeout time.Duration) ([]string, error)
	// FetchAllAddresses returns the addresses of all domains.
	FetchAllAddresses() ([]string, error)
}

// nativeStore is what the library keeps.
type nativeStore struct{ native *holepunch.Server }

// ProcessAddress is an error: the library lets clients in that have shown that
// the address is theirs, and nobody else.
func (nativeStore) ProcessAddress(string, string, time.Duration) ([]string, error) {
	return nil, errors.New("the library keeps its addresses itself: clients add theirs by a datagram")
}

// FetchAllAddresses returns the addresses of all clients that are registered.
func (s nativeStore) FetchAllAddresses() ([]string, error) {
	endpoints := s.native.Endpoints()
	addrs := make([]string, len(endpoints))
	for i, endpoint := range endpoints {
		addrs[i] = endpoint.String()
	}
	return addrs, nil
}

// keepAlivePeriod is how often the plain dialect's server sends everyone an
// empty datagram.
const keepAlivePeriod = 10 * time.Second

// serveStore serves the plain dialect from the program's own store.
func (s Server) serveStore() error {
	if s.AddrStore == nil {
		return errors.New("AddrStore is nil")
	}
	addr := net.UDPAddrFromAddrPort(s.state.native.Addr())
	s.state.native.Close()
	conn, err := net.ListenUDP("udp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	ended := make(chan struct{})
	defer close(ended)
	go s.keepAlive(conn, ended)
	size := s.packetSize()
	// One byte more, to tell a datagram that is too long.
	buffer := make([]byte, size+1)
	for {
		n, from, err := conn.ReadFromUDP(buffer)
		switch {
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			s.GetLogger().Error(err, "a datagram could not be read")
			continue
		case n == 0 || n > size:
			continue
		}
		others, err := s.AddrStore.ProcessAddress(string(buffer[:n]), from.String(), s.DomainTimeout)
		if err != nil {
			s.GetLogger().Error(err, "an address could not be stored", "address", from.String())
			continue
		}
		if _, err := conn.WriteToUDP([]byte(strings.Join(others, ",")), from); err != nil {
			s.GetLogger().Error(err, "an answer could not be sent", "address", from.String())
		}
	}
}

// keepAlive keeps the NATs' mappings towards the server open; it ends with the
// server, whose socket it closes.
func (s Server) keepAlive(conn *net.UDPConn, ended <-chan struct{}) {
	ticker := time.NewTicker(keepAlivePeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ended:
			return
		case <-s.state.closed:
			conn.Close()
			return
		case <-ticker.C:
		}
		addrs, err := s.AddrStore.FetchAllAddresses()
		if err != nil {
			s.GetLogger().Error(err, "the addresses could not be fetched")
		}
		for _, text := range addrs {
			if addr, err := net.ResolveUDPAddr("udp", text); err == nil {
				_, _ = conn.WriteToUDP(nil, addr)
			}
		}
	}
}
