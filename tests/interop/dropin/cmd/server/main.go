// A server written for the existing Go library, using all that its package
// server exports. The tests build it against the compat package, with the
// import path changed and nothing else.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/4kills/hole-punching/go/pkg/server"
	"github.com/go-logr/stdr"
)

func main() {
	address := ":5000"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	s, err := server.New(address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	stdr.SetVerbosity(1)
	s.SetLogger(stdr.New(nil))
	s.DomainTimeout = 40 * time.Second
	s.MaxPacketSize = 1024
	var store server.AddressStore = s.AddrStore
	if _, err := store.FetchAllAddresses(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	s.GetLogger().V(1).Info("serving", "address", s.ListeningAddr)
	fmt.Println("listening", s.ListeningAddr)
	s.ListenAndServe()
}
