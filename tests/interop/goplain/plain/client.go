package plain

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
)

var (
	// ErrWaitTimeout means that the server never named the expected number of peers.
	ErrWaitTimeout = errors.New("timed out while waiting for peers")
	// ErrPunchTimeout means that all peers were named, but at least one hole did not open.
	ErrPunchTimeout = errors.New("timed out while punching")
)

// Options of a client. A zero value means the default.
type Options struct {
	Timeout     time.Duration // for waiting and punching together; default 40 s, negative: never
	ServerRetry time.Duration // default 100 ms
	PeerRetry   time.Duration // default 100 ms

	// Ignored, if set, hears about datagrams that count as nothing although a counterpart ought not to send them.
	Ignored func(from netip.AddrPort, datagram []byte, why string)
}

func (o Options) withDefaults() Options {
	if o.Timeout == 0 {
		o.Timeout = 40 * time.Second
	}
	if o.ServerRetry <= 0 {
		o.ServerRetry = 100 * time.Millisecond
	}
	if o.PeerRetry <= 0 {
		o.PeerRetry = 100 * time.Millisecond
	}
	if o.Ignored == nil {
		o.Ignored = func(netip.AddrPort, []byte, string) {}
	}
	return o
}

// deadline is zero if there is none.
func (o Options) deadline() time.Time {
	if o.Timeout < 0 {
		return time.Time{}
	}
	return time.Now().Add(o.Timeout)
}

// Result is what a client has in hand, after success and after a timeout alike.
type Result struct {
	Conn      *net.UDPConn     // the caller's to close
	Peers     []netip.AddrPort // as last listed by the server
	Confirmed []bool           // for each of Peers: is its hole open?
}

// Connect meets count peers at the rendezvous server and opens a hole to each. After ErrWaitTimeout and
// ErrPunchTimeout the result is still there, so that the caller can go on with ConnectPeers; after any other error it
// is nil.
func Connect(rendezvous string, id []byte, count int, options Options) (*Result, error) {
	if len(id) == 0 {
		return nil, errors.New("the session ID is empty")
	}
	if count < 1 {
		return nil, fmt.Errorf("cannot wait for %d peers", count)
	}
	options = options.withDefaults()
	deadline := options.deadline()

	address, err := net.ResolveUDPAddr("udp", rendezvous)
	if err != nil {
		return nil, err
	}
	if address.IP == nil {
		return nil, fmt.Errorf("rendezvous server %q has no host", rendezvous)
	}
	conn, err := net.ListenUDP("udp", nil)
	if err != nil {
		return nil, err
	}

	peers, err := waitForPeers(conn, unmap(address.AddrPort()), id, count, deadline, options)
	result := &Result{Conn: conn, Peers: peers, Confirmed: make([]bool, len(peers))}
	if err == nil {
		result.Confirmed, err = punch(conn, peers, deadline, options)
	}
	if err != nil && !errors.Is(err, ErrWaitTimeout) && !errors.Is(err, ErrPunchTimeout) {
		conn.Close()
		return nil, err
	}
	_ = conn.SetReadDeadline(time.Time{})
	return result, err
}

// ConnectPeers opens a hole to each of peers from conn and tells for each whether it is open. It does not close conn.
func ConnectPeers(conn *net.UDPConn, peers []netip.AddrPort, options Options) ([]bool, error) {
	options = options.withDefaults()
	endpoints := make([]netip.AddrPort, len(peers))
	for i, peer := range peers {
		endpoints[i] = unmap(peer)
	}
	defer conn.SetReadDeadline(time.Time{})
	return punch(conn, endpoints, options.deadline(), options)
}

func waitForPeers(
	conn *net.UDPConn, server netip.AddrPort, id []byte, count int, deadline time.Time, options Options,
) ([]netip.AddrPort, error) {
	var peers []netip.AddrPort
	var sendError error
	buffer := make([]byte, maxDatagramBytes)
	nextSend := time.Now()
	for {
		now := time.Now()
		if isDue(deadline, now) {
			err := fmt.Errorf("%w: %d of %d listed", ErrWaitTimeout, len(peers), count)
			if sendError != nil {
				err = fmt.Errorf("%w (last send error: %v)", err, sendError)
			}
			return peers, err
		}
		if isDue(nextSend, now) {
			// A datagram that could not be sent is like one lost on the way; the next attempt may get through.
			_, sendError = conn.WriteToUDPAddrPort(id, server)
			nextSend = now.Add(options.ServerRetry)
		}
		datagram, from, err := receive(conn, buffer, earlier(nextSend, deadline))
		if err != nil {
			return peers, err
		}
		if from != server || len(datagram) == 0 {
			continue
		}
		listed, err := ParseList(string(datagram))
		if err != nil {
			options.Ignored(from, datagram, err.Error())
			continue
		}
		peers = listed
		if len(peers) == count {
			return peers, nil
		}
	}
}

type holeState int

const (
	punching  holeState = iota
	confirmed           // the peer's ACK is here, our last one is still to be sent
	done
)

type hole struct {
	peer     netip.AddrPort
	state    holeState
	message  []byte // what goes out at nextSend
	nextSend time.Time
}

func punch(conn *net.UDPConn, peers []netip.AddrPort, deadline time.Time, options Options) ([]bool, error) {
	holes := make([]*hole, len(peers))
	byPeer := make(map[netip.AddrPort]*hole, len(peers))
	now := time.Now()
	for i, peer := range peers {
		if byPeer[peer] == nil {
			byPeer[peer] = &hole{peer: peer, message: synMessage, nextSend: now}
		}
		holes[i] = byPeer[peer]
	}

	buffer := make([]byte, maxDatagramBytes)
	for {
		now = time.Now()
		expired := isDue(deadline, now)
		wake := deadline
		open, finished := 0, 0
		for _, h := range holes {
			if h.state == confirmed && (expired || isDue(h.nextSend, now)) {
				send(conn, h.peer, ackMessage)
				h.state = done
			}
			if h.state == punching && !expired && isDue(h.nextSend, now) {
				send(conn, h.peer, h.message)
				h.nextSend = now.Add(options.PeerRetry)
			}
			if h.state == done {
				finished++
			} else {
				wake = earlier(wake, h.nextSend)
			}
			if h.state != punching {
				open++
			}
		}
		if finished == len(holes) {
			return openHoles(holes), nil
		}
		if expired {
			return openHoles(holes), fmt.Errorf("%w: %d of %d peers confirmed", ErrPunchTimeout, open, len(holes))
		}

		datagram, from, err := receive(conn, buffer, wake)
		if err != nil {
			return openHoles(holes), err
		}
		h := byPeer[from]
		if h != nil && h.state == punching {
			// Whatever comes puts off the next word, as it does in the Go library: who never pauses never hears it.
			h.nextSend = time.Now().Add(options.PeerRetry)
		}
		switch {
		case h == nil:
		case !IsHandshake(datagram):
			options.Ignored(from, datagram, "neither SYN nor ACK, but not all holes are open yet")
		case h.state != punching:
		case string(datagram) == string(synMessage):
			h.message = ackMessage
		case string(datagram) == string(ackMessage):
			// Once now and once more later, because after that nobody here answers a peer that missed it.
			send(conn, h.peer, ackMessage)
			h.state = confirmed
			h.nextSend = time.Now().Add(options.PeerRetry)
		}
	}
}

// send leaves errors to the retries: an unreachable peer is what the timeout is for.
func send(conn *net.UDPConn, to netip.AddrPort, message []byte) {
	_, _ = conn.WriteToUDPAddrPort(message, to)
}

// receive waits until wake (zero: for ever). When nothing came the source is invalid, which equals no one's endpoint.
func receive(conn *net.UDPConn, buffer []byte, wake time.Time) ([]byte, netip.AddrPort, error) {
	if err := conn.SetReadDeadline(wake); err != nil {
		return nil, netip.AddrPort{}, err
	}
	length, from, err := conn.ReadFromUDPAddrPort(buffer)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, netip.AddrPort{}, nil
	}
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	return buffer[:length], unmap(from), nil
}

func openHoles(holes []*hole) []bool {
	open := make([]bool, len(holes))
	for i, h := range holes {
		open[i] = h.state != punching
	}
	return open
}

func isDue(at, now time.Time) bool {
	return !at.IsZero() && !now.Before(at)
}

// earlier takes a zero time for "never".
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}
