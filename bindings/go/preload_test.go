//go:build !holepunch_static

package holepunch_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"holepunch.example/holepunch"
)

// Tests that need another library than the one there is run in a process of
// their own, for which a few functions are replaced.

const underPreload = "HOLEPUNCH_TEST_PRELOAD"

// preloaded runs a test of this file with functions written in C in the place
// of the library's or the system's, and returns what it says.
func preloaded(t *testing.T, name, functions string) {
	t.Helper()
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("there is no C compiler: ", err)
	}
	dir := t.TempDir()
	source, object := filepath.Join(dir, "preload.c"), filepath.Join(dir, "preload.so")
	if err := os.WriteFile(source, []byte(functions), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	if output, err := exec.CommandContext(ctx, cc, "-shared", "-fPIC", "-o", object, source).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	test := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+name+"$", "-test.v")
	test.Env = append(os.Environ(), "LD_PRELOAD="+object, underPreload+"="+name)
	output, err := test.CombinedOutput()
	if err != nil || !strings.Contains(string(output), "--- PASS: "+name) {
		t.Errorf("%v:\n%s", err, output)
	}
}

func TestLibraryOfAnotherABIIsRefused(t *testing.T) {
	const name = "TestLibraryOfAnotherABIIsRefused"
	if os.Getenv(underPreload) != name {
		preloaded(t, name, "unsigned hp_abi_version(void) { return 4711; }\n")
		return
	}
	needed := fmt.Sprint(inHeader(t, "HP_ABI_VERSION"))
	for i := 0; i < 2; i++ {
		client, clientErr := holepunch.NewClient("127.0.0.1:5000")
		server, serverErr := holepunch.NewServer(holepunch.ServerConfig{Addr: "127.0.0.1:0"})
		_, dialErr := holepunch.Dial(bounded(t), "127.0.0.1:5000", newID())
		if client != nil || server != nil {
			t.Error("it is used")
		}
		for _, err := range []error{clientErr, serverErr, dialErr} {
			wantError(t, err, holepunch.ErrLibrary)
			numbers := regexp.MustCompile(`\d+`).FindAllString(strings.Replace(err.Error(), holepunch.Version(), "", 1), -1)
			if fmt.Sprint(numbers) != fmt.Sprint([]string{"4711", needed}) {
				t.Errorf("%q does not name 4711 and %s", err, needed)
			}
		}
	}
}

// A name server that does not answer must not hold a call back.
func TestContextEndsTheLookUpOfTheServer(t *testing.T) {
	const name = "TestContextEndsTheLookUpOfTheServer"
	if os.Getenv(underPreload) != name {
		preloaded(t, name, `
#include <unistd.h>
int getaddrinfo(const char *node, const char *service, const void *hints, void *result) { sleep(60); return -2; }
`)
		return
	}
	for _, test := range []struct {
		name string
		make func() (context.Context, context.CancelFunc)
		want func(*testing.T, error)
	}{
		{"canceled", func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(30*time.Millisecond, cancel)
			return ctx, cancel
		}, wantCanceled},
		{"exceeded", func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(context.Background(), 30*time.Millisecond)
		}, func(t *testing.T, err error) { wantExceeded(t, err, holepunch.ErrServerSilent) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			late := bestOf(promptly, func() time.Duration {
				client := newClient(t, "rendezvous.example:5000", holepunch.WithTimeout(-1))
				ctx, cancel := test.make()
				defer cancel()
				start := time.Now()
				_, err := client.Connect(ctx, newID(), 1)
				test.want(t, err)
				return time.Since(start) - 30*time.Millisecond
			})
			if late > promptly {
				t.Errorf("it ended %v late", late)
			}
		})
	}
	t.Run("closed", func(t *testing.T) {
		client := newClient(t, "rendezvous.example:5000")
		call := connecting(context.Background(), client, newID(), 1)
		// Nothing tells that the name is being looked up.
		time.Sleep(20 * time.Millisecond)
		client.Close()
		if err := receive(t, call).err; !errors.Is(err, holepunch.ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}
