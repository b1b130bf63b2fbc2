//go:build cgo

package holepunch

// A LogLevel says how important a log line is.
type LogLevel int

const (
	// LogError: a bug, or lost service.
	LogError LogLevel = iota + 1
	// LogWarn: something to look at.
	LogWarn
	// LogInfo: what the library does.
	LogInfo
	// LogDebug: details, with addresses and peer IDs.
	LogDebug
	// LogTrace: every step.
	LogTrace
)

// String returns the level's name in capitals.
func (l LogLevel) String() string {
	switch l {
	case LogError:
		return "ERROR"
	case LogWarn:
		return "WARN"
	case LogInfo:
		return "INFO"
	case LogDebug:
		return "DEBUG"
	case LogTrace:
		return "TRACE"
	}
	return "UNKNOWN"
}

// SetLogFunc sends the log lines of the library, up to a level, to a function;
// nil ends that. Without it the library is silent. It concerns the whole
// process. The function is called from any goroutine, but never twice at a
// time, with the line's level, its source such as "holepunch::client", and its
// text. It must not call SetLogFunc, nor use the client or server that logs.
func SetLogFunc(level LogLevel, log func(level LogLevel, source, text string)) error {
	if log != nil && (level < LogError || level > LogTrace) {
		return &Error{Op: "set the log function", Err: ErrInvalidArgument, message: "there is no such level"}
	}
	return setLog(level, log)
}
