package fetcher

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
)

func TestPublic(t *testing.T) {
	for _, a := range []string{
		"8.8.8.8", "1.1.1.1", "93.184.216.34", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "192.0.1.1", "198.17.0.1", "198.20.0.1", "223.255.255.255",
		"168.63.129.15", "168.63.129.17", "11.0.0.1", "126.255.255.255", "128.0.0.1", "169.253.0.1", "169.255.0.1",
		"2606:4700::1111", "2a00:1450:4001::1", "::ffff:8.8.8.8",
	} {
		if !public(netip.MustParseAddr(a)) {
			t.Errorf("%s is public", a)
		}
	}
	for _, a := range []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254", "169.254.0.1", "169.254.169.254",
		"172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.170", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1",
		"224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16",
		"::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2001:2::1", "2001:20::1",
		"2002:7f00:1::", "2002:808:808::1", "2620:4f:8000::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%lo", "2606:4700::1111%eth0", "fec0::1", "ff02::1", "4000::1", "1fff::1",
	} {
		if public(netip.MustParseAddr(a)) {
			t.Errorf("%s is not public", a)
		}
	}
}

func TestGuardControl(t *testing.T) {
	g := &guard{ports: []uint16{443, 8443}, networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}}
	for addr, ok := range map[string]bool{
		"8.8.8.8:443": true, "8.8.8.8:8443": true, "10.1.2.3:443": true, "[fd00::1]:443": true, "[2606:4700::1]:443": true, "[::ffff:10.0.0.1]:443": true,
		"8.8.8.8:80": false, "8.8.8.8:22": false, "10.1.2.3:80": false, "127.0.0.1:443": false, "[::1]:443": false, "[fe80::1%lo]:443": false, "[fc00::1]:443": false,
		"192.168.0.1:443": false, "8.8.8.8": false, "": false, "localhost:443": false, "0.0.0.0:443": false, "[::]:443": false,
	} {
		network := "tcp4"
		if addr != "" && addr[0] == '[' {
			network = "tcp6"
		}
		err := g.control(context.Background(), network, addr, nil)
		var blocked *blockedError
		if (err == nil) != ok || err != nil && !errors.As(err, &blocked) {
			t.Errorf("%s: %v", addr, err)
		}
	}
	if g.control(context.Background(), "udp4", "8.8.8.8:443", nil) == nil {
		t.Error("udp")
	}
}

// TestDialledIsJudged: a name that leads inward is found out at the dial, with no packet sent.
func TestDialledIsJudged(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	accepted := make(chan struct{}, 1)
	go func() {
		if _, err := ln.Accept(); err == nil {
			accepted <- struct{}{}
		}
	}()
	s := newSeller(t, says(`{}`), func(o *Options) {
		o.AllowNetworks = nil
		o.AllowPorts = append(o.AllowPorts, uint16(ln.Addr().(*net.TCPAddr).Port))
	})
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	ask := s.ask()
	ask.Seller.StatusURL = "https://localhost:" + port + "/{order_id}"
	obs := s.fetch(t, ask)
	if obs.Outcome != "blocked" || obs.NoConnection || obs.Answered {
		t.Errorf("%+v", obs)
	}
	select {
	case <-accepted:
		t.Error("it was dialled")
	default:
	}
}
