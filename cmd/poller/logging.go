package main

import (
	"io"
	"log"
	"strings"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// A logger is the daemon's log, whose level and format may change while it runs.
// Nothing is sampled: each poll that went wrong has its line.
type logger struct {
	*zap.Logger
	level   zap.AtomicLevel
	console *atomic.Bool
}

func newLogger(w io.Writer) *logger {
	l := &logger{level: zap.NewAtomicLevel(), console: new(atomic.Bool)}
	enc := zap.NewProductionEncoderConfig()
	enc.TimeKey = "time"
	enc.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	enc.EncodeDuration = zapcore.StringDurationEncoder
	l.Logger = zap.New(&lineCore{
		LevelEnabler: l.level, out: zapcore.Lock(zapcore.AddSync(w)),
		console: l.console, asJSON: zapcore.NewJSONEncoder(enc), asText: zapcore.NewConsoleEncoder(enc),
	})
	return l
}

// set brings the log section of a configuration into effect.
func (l *logger) set(c *Config) {
	level, err := zapcore.ParseLevel(c.Log.Level)
	if err != nil {
		level = zapcore.InfoLevel // was checked
	}
	l.level.SetLevel(level)
	l.console.Store(c.Log.Format == "console")
}

// redirectLibraries has what libraries say through the standard log package written as libraryLog does, until undo is called.
func redirectLibraries(l *zap.Logger) (undo func()) {
	flags, prefix, out := log.Flags(), log.Prefix(), log.Writer()
	log.SetFlags(0)
	log.SetPrefix("")
	log.SetOutput(library{l})
	return func() {
		log.SetFlags(flags)
		log.SetPrefix(prefix)
		log.SetOutput(out)
	}
}

// libraryLog is a log for a library: each line is said at level debug, as it is
// mostly of broken handshakes and the like, the strangers' doing and not the operator's.
func libraryLog(l *zap.Logger) *log.Logger { return log.New(library{l}, "", 0) }

// library is where a library's log goes. What it says may quote strangers: it is a field, never the message.
type library struct{ log *zap.Logger }

func (l library) Write(p []byte) (int, error) {
	l.log.Debug("said by a library", zap.String("text", strings.TrimSpace(string(p))))
	return len(p), nil
}
