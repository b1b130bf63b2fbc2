package server

import (
	"fmt"
	"log"
	"reflect"
	"strings"
	"sync"
)

// Logger is what [Server.GetLogger] returns. It has the methods of logr.Logger
// that programs call, so that they need no change; the package itself does
// without that module.
type Logger struct {
	to    sink
	level int
	name  string
	with  []interface{}
}

// sink is what both versions of logr's Logger, its interface and its struct,
// have in common.
type sink interface {
	Info(message string, keysAndValues ...interface{})
	Error(err error, message string, keysAndValues ...interface{})
}

// Info logs what is worth knowing.
func (l Logger) Info(message string, keysAndValues ...interface{}) {
	if to := l.leveled(); to != nil {
		to.Info(l.named(message), append(l.with[:len(l.with):len(l.with)], keysAndValues...)...)
	}
}

// Error logs an error, whatever the level.
func (l Logger) Error(err error, message string, keysAndValues ...interface{}) {
	if l.to != nil {
		l.to.Error(err, l.named(message), append(l.with[:len(l.with):len(l.with)], keysAndValues...)...)
	}
}

// Enabled tells whether Info logs.
func (l Logger) Enabled() bool {
	to := l.leveled()
	if asked, ok := to.(interface{ Enabled() bool }); ok {
		return asked.Enabled()
	}
	return to != nil
}

// V returns a logger for lines that are less important, the higher the level.
func (l Logger) V(level int) Logger {
	l.level += level
	return l
}

// WithValues returns a logger that adds keys and values to each line.
func (l Logger) WithValues(keysAndValues ...interface{}) Logger {
	l.with = append(l.with[:len(l.with):len(l.with)], keysAndValues...)
	return l
}

// WithName returns a logger that adds a name to each line.
func (l Logger) WithName(name string) Logger {
	if l.name != "" {
		name = l.name + "." + name
	}
	l.name = name
	return l
}

func (l Logger) named(message string) string {
	if l.name == "" {
		return message
	}
	return l.name + ": " + message
}

// leveled is the sink for the logger's level; nil if it wants no such lines.
func (l Logger) leveled() sink {
	if l.level <= 0 || l.to == nil {
		return l.to
	}
	// logr's V returns a type of logr's, which only reflection can name here.
	v := reflect.ValueOf(l.to).MethodByName("V")
	if !v.IsValid() || v.Type().NumIn() != 1 || v.Type().NumOut() != 1 || v.Type().In(0).Kind() != reflect.Int {
		return nil
	}
	to, _ := v.Call([]reflect.Value{reflect.ValueOf(l.level)})[0].Interface().(sink)
	return to
}

// loggerBox is a logger that may be changed while the server runs.
type loggerBox struct {
	mu     sync.Mutex
	logger Logger
}

// SetLogger has the server log to a logr.Logger, or whatever has its methods
// Info and Error. Anything else ends logging. At first errors go to the
// standard logger of package log.
func (s Server) SetLogger(logger interface{}) {
	if s.state == nil {
		return
	}
	to, _ := logger.(sink)
	s.state.log.mu.Lock()
	defer s.state.log.mu.Unlock()
	s.state.log.logger = Logger{to: to}
}

// GetLogger returns the logger that the server logs to.
func (s Server) GetLogger() Logger {
	if s.state == nil {
		return Logger{}
	}
	s.state.log.mu.Lock()
	defer s.state.log.mu.Unlock()
	return s.state.log.logger
}

// defaultLogger writes to package log.
type defaultLogger struct{}

func (defaultLogger) Info(message string, keysAndValues ...interface{}) {
	log.Print(message, pairs(keysAndValues))
}

func (defaultLogger) Error(err error, message string, keysAndValues ...interface{}) {
	log.Print(message, ": ", err, pairs(keysAndValues))
}

func pairs(keysAndValues []interface{}) string {
	var text strings.Builder
	for i := 0; i+1 < len(keysAndValues); i += 2 {
		fmt.Fprintf(&text, " %v=%v", keysAndValues[i], keysAndValues[i+1])
	}
	return text.String()
}
