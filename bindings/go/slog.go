//go:build cgo && go1.21

package holepunch

import (
	"context"
	"log/slog"
)

// SetLogger sends the library's log lines to a structured logger, which is
// asked once, now, for the level that it wants; nil ends logging. Each line
// carries the attribute "source". It concerns the whole process, and takes the
// place of [SetLogFunc].
func SetLogger(logger *slog.Logger) error {
	if logger == nil {
		return SetLogFunc(LogError, nil)
	}
	level := LogError
	for level < LogTrace && logger.Enabled(context.Background(), slogLevel(level+1)) {
		level++
	}
	return SetLogFunc(level, func(level LogLevel, source, text string) {
		logger.Log(context.Background(), slogLevel(level), text, "source", source)
	})
}

func slogLevel(level LogLevel) slog.Level {
	switch level {
	case LogError:
		return slog.LevelError
	case LogWarn:
		return slog.LevelWarn
	case LogInfo:
		return slog.LevelInfo
	case LogDebug:
		return slog.LevelDebug
	}
	return slog.LevelDebug - 4
}
