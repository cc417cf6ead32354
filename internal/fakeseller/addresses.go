package fakeseller

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"time"
)

// maxAddresses is how many loopback addresses a server answers at.
const maxAddresses = 1 << 20

// loopbackAddress returns the n-th of them, from 127.1.0.0 upward.
func loopbackAddress(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{127, byte(1 + n>>16), byte(n >> 8), byte(n)})
}

// loopbackOnly is a listener on all addresses of the machine that drops whoever does not come from it.
type loopbackOnly struct{ net.Listener }

func listenEverywhere(ctx context.Context) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp4", "0.0.0.0:0")
	return loopbackOnly{l}, err
}

// Accept implements net.Listener.
func (l loopbackOnly) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if a, ok := c.RemoteAddr().(*net.TCPAddr); ok && a.IP.IsLoopback() {
			return c, nil
		}
		reset(c)
	}
}

// issuer gives each address a certificate of its own when it is first asked
// for: signed by an intermediate authority, whose certificate is sent with it.
type issuer struct {
	authority
	leafKey *ecdsa.PrivateKey // shared by all of them
	until   time.Time

	mu     sync.RWMutex
	issued map[netip.Addr]*tls.Certificate
}

// newIssuer makes an intermediate authority under a root.
func newIssuer(root *authority, until time.Time) (*issuer, error) {
	i := &issuer{until: until, issued: make(map[netip.Addr]*tls.Certificate)}
	var err error
	if i.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("making the intermediate CA's key: %w", err)
	}
	if i.leafKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("making the sellers' key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(3),
		Subject:               pkix.Name{CommonName: "fakeseller intermediate test CA"},
		NotBefore:             root.cert.NotBefore,
		NotAfter:              until,
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, root.cert, i.key.Public(), root.key)
	if err != nil {
		return nil, fmt.Errorf("making the intermediate CA's certificate: %w", err)
	}
	if i.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("reading the intermediate CA's certificate: %w", err)
	}
	return i, nil
}

// certificate returns that of the address that a client has connected to; for tls.Config.
func (i *issuer) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	local, err := netip.ParseAddrPort(hello.Conn.LocalAddr().String())
	if err != nil {
		return nil, err
	}
	address := local.Addr()
	i.mu.RLock()
	known := i.issued[address]
	i.mu.RUnlock()
	if known != nil {
		return known, nil
	}
	template := leafTemplate(i.cert.NotBefore, i.until)
	template.IPAddresses = []net.IP{address.AsSlice()}
	der, err := x509.CreateCertificate(rand.Reader, template, i.cert, i.leafKey.Public(), i.key)
	if err != nil {
		return nil, fmt.Errorf("making the certificate of %s: %w", address, err)
	}
	made := &tls.Certificate{Certificate: [][]byte{der, i.cert.Raw}, PrivateKey: i.leafKey}
	i.mu.Lock()
	i.issued[address] = made // two that were asked for at once are both good
	i.mu.Unlock()
	return made, nil
}
