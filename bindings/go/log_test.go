package holepunch_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holepunch.example/holepunch"
)

type line struct {
	level        holepunch.LogLevel
	source, text string
}

// lines collects what is logged.
type lines struct {
	mu  sync.Mutex
	all []line
}

func (l *lines) log(level holepunch.LogLevel, source, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, line{level, source, text})
}

// take returns what there is and forgets it.
func (l *lines) take() []line {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.all
	l.all = nil
	return all
}

// setLog sets the log function for the time of the test.
func setLog(t *testing.T, level holepunch.LogLevel, log func(holepunch.LogLevel, string, string)) {
	t.Helper()
	t.Cleanup(func() { holepunch.SetLogFunc(holepunch.LogError, nil) })
	if err := holepunch.SetLogFunc(level, log); err != nil {
		t.Fatal(err)
	}
}

// logSomething makes the library log at the levels info and debug.
func logSomething(t *testing.T) {
	t.Helper()
	server := startDefaultServer(t)
	meet(t, newClient(t, server), newClient(t, server))
}

func TestLogFuncGetsLinesUpToItsLevel(t *testing.T) {
	var got lines
	complete := line{holepunch.LogInfo, "holepunch::client", "ended: Complete"}
	for _, test := range []struct {
		upTo        holepunch.LogLevel
		info, debug bool
	}{
		{holepunch.LogError, false, false},
		{holepunch.LogWarn, false, false},
		{holepunch.LogInfo, true, false},
		{holepunch.LogDebug, true, true},
		{holepunch.LogTrace, true, true},
	} {
		setLog(t, test.upTo, got.log)
		logSomething(t)
		var info, debug bool
		for _, line := range got.take() {
			if line.level > test.upTo || line.level < holepunch.LogError {
				t.Errorf("up to %v: %+v", test.upTo, line)
			}
			info = info || line == complete
			debug = debug || line.level == holepunch.LogDebug && strings.HasPrefix(line.text, "registered; ")
		}
		if info != test.info || debug != test.debug {
			t.Errorf("up to %v: info %t, debug %t", test.upTo, info, debug)
		}
	}
}

func TestNilEndsLogging(t *testing.T) {
	var first, second lines
	setLog(t, holepunch.LogTrace, first.log)
	logSomething(t)
	setLog(t, holepunch.LogTrace, second.log)
	if len(first.take()) == 0 {
		t.Fatal("nothing is logged")
	}
	logSomething(t)
	if err := holepunch.SetLogFunc(holepunch.LogTrace, nil); err != nil {
		t.Fatal(err)
	}
	if len(second.take()) == 0 || len(first.take()) != 0 {
		t.Error("the first function still gets lines, or the second gets none")
	}
	logSomething(t)
	if rest := append(first.take(), second.take()...); len(rest) != 0 {
		t.Errorf("after the end: %+v", rest)
	}
}

func TestLogLevelsAreChecked(t *testing.T) {
	var got lines
	setLog(t, holepunch.LogInfo, got.log)
	for _, level := range []holepunch.LogLevel{-1, 0, 6, 1<<32 + 1} {
		wantError(t, holepunch.SetLogFunc(level, got.log), holepunch.ErrInvalidArgument)
	}
	// What was set before stays.
	logSomething(t)
	if len(got.take()) == 0 {
		t.Error("nothing is logged any more")
	}
	for level, name := range map[holepunch.LogLevel]string{
		holepunch.LogError: "ERROR", holepunch.LogWarn: "WARN", holepunch.LogInfo: "INFO",
		holepunch.LogDebug: "DEBUG", holepunch.LogTrace: "TRACE", 0: "UNKNOWN", 6: "UNKNOWN",
	} {
		if level.String() != name {
			t.Errorf("%d is %v", level, level)
		}
	}
}

func TestFormerLogFuncsAreForgotten(t *testing.T) {
	var forgotten int32
	for i := 0; i < 10; i++ {
		got := new(lines)
		runtime.SetFinalizer(got, func(*lines) { atomic.AddInt32(&forgotten, 1) })
		setLog(t, holepunch.LogTrace, got.log)
		holepunch.SetLogFunc(0, got.log)
	}
	holepunch.SetLogFunc(holepunch.LogError, nil)
	eventually(t, "all are collected", func() bool {
		runtime.GC()
		return atomic.LoadInt32(&forgotten) == 10
	})
}

func TestPanicInALogFuncLosesOneLine(t *testing.T) {
	var got lines
	setLog(t, holepunch.LogDebug, func(level holepunch.LogLevel, source, text string) {
		got.log(level, source, text)
		panic("the log function's own fault")
	})
	logSomething(t)
	if count := len(got.take()); count < 4 {
		t.Errorf("%d lines", count)
	}
}

func TestLogFuncCannotBeSetFromWithin(t *testing.T) {
	answers := make(chan error, 100)
	setLog(t, holepunch.LogInfo, func(holepunch.LogLevel, string, string) {
		answers <- holepunch.SetLogFunc(holepunch.LogError, nil)
	})
	logSomething(t)
	wantError(t, receive(t, answers), holepunch.ErrUnsupported)
}

func TestLogFuncIsSetWhileManyLog(t *testing.T) {
	server := startDefaultServer(t)
	ctx, cancel := context.WithCancel(context.Background())
	var loggers sync.WaitGroup
	for i := 0; i < 4; i++ {
		loggers.Add(1)
		go func() {
			defer loggers.Done()
			for ctx.Err() == nil {
				client, err := holepunch.NewClient(server, holepunch.WithTimeout(time.Millisecond))
				if err != nil {
					t.Error(err)
					return
				}
				client.Connect(context.Background(), newID(), 1)
				client.Close()
			}
		}()
	}
	defer loggers.Wait()
	defer cancel()
	for i := 0; i < 100; i++ {
		// Unguarded: it is never called twice at a time, nor after the next is set.
		count, texts := 0, ""
		setLog(t, holepunch.LogTrace, func(_ holepunch.LogLevel, source, text string) {
			count++
			texts += fmt.Sprint(source, text)
		})
		if i%10 == 0 {
			time.Sleep(2 * time.Millisecond)
		}
		if err := holepunch.SetLogFunc(holepunch.LogError, nil); err != nil {
			t.Fatal(err)
		}
		if (count == 0) != (texts == "") {
			t.Error(count, texts)
		}
	}
}
