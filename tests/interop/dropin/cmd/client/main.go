// A chat written for the existing Go library, using all that its package client
// exports. The tests build it against the compat package, with the import path
// changed and nothing else.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/4kills/hole-punching/go/pkg/client"
)

// The peers' last messages are not missed by those who end first.
const linger = 200 * time.Millisecond

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: client RENDEZVOUS ID NUM_PEERS")
		os.Exit(2)
	}
	count, err := strconv.Atoi(os.Args[3])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	start := time.Now()
	addrs, socket, err := connect(os.Args[1], []byte(os.Args[2]), count)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	numbers := map[string]int{}
	for i, addr := range addrs {
		numbers[addr.String()] = i
		fmt.Println("peer", i, addr)
	}
	fmt.Println("connected", len(addrs), time.Since(start).Milliseconds())
	go keepAlive(socket, addrs)
	go receive(socket, numbers)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		for _, addr := range addrs {
			if _, err := socket.WriteToUDP(lines.Bytes(), addr); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
	}
	time.Sleep(linger)
}

func connect(rendezvous string, id []byte, count int) ([]*net.UDPAddr, *net.UDPConn, error) {
	c, err := client.New(rendezvous)
	if err != nil {
		return nil, nil, err
	}
	c.Timeout = 15 * time.Second
	c.MediatorServerRetryPeriod = 100 * time.Millisecond
	c.PeerRetryPeriod = 100 * time.Millisecond
	addrs, socket, err := c.Connect(id, count)
	if errors.Is(err, client.ErrTimeoutDuringServerConnect) && len(addrs) > 0 {
		err = c.ConnectPeers(addrs)
	}
	if errors.Is(err, client.ErrTimeoutDuringPeerConnect) && errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, nil, fmt.Errorf("the peers cannot be reached: %w", err)
	}
	if err == nil && socket != c.Socket {
		err = errors.New("the socket is not the client's")
	}
	return addrs, socket, err
}

func receive(socket *net.UDPConn, numbers map[string]int) {
	buffer := make([]byte, 0xffff)
	for {
		n, from, err := socket.ReadFromUDP(buffer)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return
		}
		text := string(buffer[:n])
		if number, known := numbers[from.String()]; known && text != "" && text != "SYN" && text != "ACK" {
			fmt.Printf("%d: %s\n", number, text)
		}
	}
}

func keepAlive(socket *net.UDPConn, addrs []*net.UDPAddr) {
	for range time.Tick(5 * time.Second) {
		for _, addr := range addrs {
			_, _ = socket.WriteToUDP(nil, addr)
		}
	}
}
