package fetcher

import (
	"context"
	"crypto/x509"
	"io"
	"net"
	"net/netip"
	"time"
)

// Options say how sellers are asked. All of them may change while running
// (Client.Reload) but Files. A zero duration, size or count means the default
// named; Redirects, AllowPorts and AllowNetworks are taken as they are.
type Options struct {
	Timeout     time.Duration // for a whole answer of up to 1 MiB, from the dial; 8s
	BodyTimeout time.Duration // for a longer one, from the dial too; 60s
	MaxBody     int64         // bytes of an answer, after decompression; 64 MiB
	MaxMemory   int64         // bytes of all answers held in memory together; 256 MiB
	MaxPerOrder int64         // bytes of all files of one result (results.max_per_order); 1 GiB

	Redirects     int            // that are followed; 0: none
	AllowPorts    []uint16       // that may be dialled
	AllowNetworks []netip.Prefix // that may be dialled although not public

	RootCAs      *x509.CertPool // nil: the system's
	Version      string         // poller's own, for User-Agent
	MaxIdleConns int            // connections kept in all, some 20 KiB each; 1024

	// Files is where the files of results are kept. Without it an answer that brings one is a local_fault.
	Files Files

	Resolver   *net.Resolver                   // nil: Go's own, which takes "127.1" for a name and not for an address
	Interfaces func() ([]net.Interface, error) // nil: net.Interfaces; asked after a dial failed
	Now        func() time.Time                // wall clock; nil: time.Now
}

// Files is a store of result files. Its methods are called concurrently.
type Files interface {
	// Create begins a file of the order that the seller knows as remoteID,
	// under a new key, orders/<remoteID>/<random>. Nothing is kept before Close.
	Create(ctx context.Context, remoteID string) (FileWriter, error)
	// Stat says how long a file is and its SHA-256 (hex). order.ErrNotFound: there is none.
	Stat(ctx context.Context, key string) (size int64, sha256 string, err error)
	// Remove deletes files. One that is not there is no error.
	Remove(ctx context.Context, keys ...string) error
}

// FileWriter takes the bytes of one new file. Exactly one of Close and Abort is called.
type FileWriter interface {
	io.Writer
	// Close makes the file durable. An error wraps order.ErrNoSpace when the
	// disk is full; then nothing is kept.
	Close() (key string, size int64, sha256 string, err error)
	// Abort drops the file.
	Abort()
}

func (o Options) withDefaults() Options {
	orDefault(&o.Timeout, 8*time.Second)
	orDefault(&o.BodyTimeout, 60*time.Second)
	o.BodyTimeout = max(o.BodyTimeout, o.Timeout)
	orDefault(&o.MaxBody, 64<<20)
	orDefault(&o.MaxMemory, 256<<20)
	orDefault(&o.MaxPerOrder, 1<<30)
	orDefault(&o.MaxIdleConns, 1024)
	if o.Version == "" {
		o.Version = "dev"
	}
	if o.Resolver == nil {
		o.Resolver = &net.Resolver{PreferGo: true}
	}
	if o.Interfaces == nil {
		o.Interfaces = net.Interfaces
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

func orDefault[T ~int | ~int64](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}
