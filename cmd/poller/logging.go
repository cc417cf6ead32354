package main

import (
	"errors"
	"io"
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
	out := zapcore.Lock(zapcore.AddSync(w))
	l.Logger = zap.New(&formats{
		console: l.console,
		asJSON:  zapcore.NewCore(zapcore.NewJSONEncoder(enc), out, l.level),
		asText:  zapcore.NewCore(zapcore.NewConsoleEncoder(enc), out, l.level),
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

// formats is a core that writes in one of two formats.
type formats struct {
	console        *atomic.Bool
	asJSON, asText zapcore.Core
}

func (f *formats) Enabled(l zapcore.Level) bool { return f.asJSON.Enabled(l) }

func (f *formats) With(fields []zapcore.Field) zapcore.Core {
	return &formats{console: f.console, asJSON: f.asJSON.With(fields), asText: f.asText.With(fields)}
}

func (f *formats) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if f.Enabled(e.Level) {
		return c.AddCore(e, f)
	}
	return c
}

func (f *formats) Write(e zapcore.Entry, fields []zapcore.Field) error {
	if f.console.Load() {
		return f.asText.Write(e, fields)
	}
	return f.asJSON.Write(e, fields)
}

func (f *formats) Sync() error { return errors.Join(f.asJSON.Sync(), f.asText.Sync()) }
