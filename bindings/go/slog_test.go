//go:build go1.21

package holepunch_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"holepunch.example/holepunch"
)

// records collects what a structured logger is given.
type records struct {
	level slog.Level
	mu    sync.Mutex
	all   []slog.Record
}

func (r *records) Enabled(_ context.Context, level slog.Level) bool { return level >= r.level }
func (r *records) WithAttrs([]slog.Attr) slog.Handler               { return r }
func (r *records) WithGroup(string) slog.Handler                    { return r }
func (r *records) Handle(_ context.Context, record slog.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, record.Clone())
	return nil
}

func TestLoggerGetsTheLevelsThatItWants(t *testing.T) {
	for _, test := range []struct {
		level       slog.Level
		info, debug bool
	}{
		{slog.LevelError, false, false},
		{slog.LevelInfo + 1, false, false},
		{slog.LevelInfo, true, false},
		{slog.LevelDebug, true, true},
		{slog.LevelDebug - 4, true, true},
	} {
		got := &records{level: test.level}
		t.Cleanup(func() { holepunch.SetLogger(nil) })
		if err := holepunch.SetLogger(slog.New(got)); err != nil {
			t.Fatal(err)
		}
		logSomething(t)
		if err := holepunch.SetLogger(nil); err != nil {
			t.Fatal(err)
		}
		levels := make(map[slog.Level]bool)
		for _, record := range got.all {
			levels[record.Level] = true
			source := ""
			record.Attrs(func(attr slog.Attr) bool {
				if attr.Key == "source" {
					source = attr.Value.String()
				}
				return true
			})
			if !strings.HasPrefix(source, "holepunch::") || record.NumAttrs() != 1 || record.Message == "" || record.Level < test.level {
				t.Errorf("%v from %q with %d attributes: %q", record.Level, source, record.NumAttrs(), record.Message)
			}
		}
		if levels[slog.LevelInfo] != test.info || levels[slog.LevelDebug] != test.debug {
			t.Errorf("wanted %v, got %v", test.level, levels)
		}
		count := len(got.all)
		logSomething(t)
		if len(got.all) != count {
			t.Error("it still gets lines")
		}
	}
}
