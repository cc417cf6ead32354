package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// Bounds on connections; those on bodies and answers are in routes.go, bulk.go, lines.go and writer.go.
const (
	headerTimeout  = 10 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 32 << 10
)

// SocketMode is who may connect to a unix socket: the owner and the group, such as a reverse proxy's.
const SocketMode fs.FileMode = 0o660

// NewServer makes a server for the API with at most so many connections, of
// which those without a valid token give way to others. Shutdown stops the API first, so that
// readers who wait do not hold it up. Its ErrorLog is the caller's to set: what it says quotes strangers.
func NewServer(a *API, connections int, log *zap.Logger) *http.Server {
	s := &http.Server{
		Handler:           a,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		// "OPTIONS *" would be answered without a token.
		DisableGeneralOptionsHandler: true,
	}
	LimitConnections(s, connections, false, log) // the guard says what is at work
	s.RegisterOnShutdown(a.Stop)
	return s
}

// Listen opens a listen address: "host:port", or "unix:/path" for a socket
// with SocketMode. A socket that a dead process left is replaced; one that is
// answered, and anything else in its place, is an error.
func Listen(addr string) (net.Listener, error) {
	path, ok := strings.CutPrefix(addr, "unix:")
	if !ok {
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
		if err != nil {
			return nil, fmt.Errorf("api: %w", err)
		}
		return l, nil
	}
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	if err := os.Chmod(path, SocketMode); err != nil {
		return nil, errors.Join(fmt.Errorf("api: %w", err), l.Close())
	}
	return l, nil
}

// removeStale removes a socket that nobody listens on.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s exists and is no socket", path)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		return errors.Join(fmt.Errorf("somebody listens on %s already", path), c.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}
