package hostile

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// TLS is how a behaviour shakes hands.
type TLS struct{ Config *tls.Config }

// A CA signs the certificates of a world's sellers.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	leaf *ecdsa.PrivateKey // of all certificates
}

func newCA() (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "hostile test CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-1000 * time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making a certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	return &CA{cert, key, leafKey}, err
}

// PEM is the CA's certificate.
func (a *CA) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// Pool holds the CA's certificate.
func (a *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// leaf says what a certificate is to be; zero times are an hour ago and an hour ahead.
type leaf struct {
	name     string
	addr     net.IP
	from, to time.Time
	usage    x509.ExtKeyUsage // 0 (any): for servers
	extra    int              // bytes of names added to it
}

func (a *CA) issue(l leaf) (*tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{l.name}, NotBefore: l.from, NotAfter: l.to,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if l.addr != nil {
		template.IPAddresses = []net.IP{l.addr}
	}
	if l.usage != 0 {
		template.ExtKeyUsage[0] = l.usage
	}
	if l.from.IsZero() {
		template.NotBefore = time.Now().Add(-time.Hour)
	}
	if l.to.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	for n := 0; n*30 < l.extra; n++ {
		template.DNSNames = append(template.DNSNames, fmt.Sprintf("n%d.long.sellers.test", n))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, a.leaf.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("signing for %s: %w", l.name, err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.leaf}, nil
}

// shows is a handshake with a certificate made for the occasion.
func shows(change func(w *World, s *Seller, l *leaf) *CA) func(*World, *Seller) *TLS {
	return func(w *World, s *Seller) *TLS {
		l := leaf{name: s.Host}
		signer := change(w, s, &l)
		if signer == nil {
			return &TLS{&tls.Config{}}
		}
		cert, err := signer.issue(l)
		if err != nil {
			return &TLS{&tls.Config{}} // the handshake fails
		}
		return &TLS{&tls.Config{Certificates: []tls.Certificate{*cert}}}
	}
}

// with is a handshake with the good certificate and other terms.
func with(change func(*tls.Config)) func(*World, *Seller) *TLS {
	return func(_ *World, s *Seller) *TLS {
		conf := &tls.Config{Certificates: []tls.Certificate{*s.cert}}
		change(conf)
		return &TLS{conf}
	}
}
