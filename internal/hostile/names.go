package hostile

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
)

// A DNSAnswer is what a name server says to one query.
type DNSAnswer struct {
	Code   int // RCODE
	Addrs  []netip.Addr
	Alias  string // a CNAME from the name asked for; Addrs are then its own
	Silent bool   // no answer at all
	ByTCP  bool   // over UDP: truncated
	Raw    []byte // instead of all this, after the id
}

// nameServer knows the sellers of a world, and nobody else.
type nameServer struct {
	w    *World
	addr string
	udp  net.PacketConn
	tcp  net.Listener
	mu   sync.Mutex
	seen map[string]int // queries by name and type
}

func startNames(w *World) (*nameServer, error) {
	var conf net.ListenConfig
	for range 20 {
		udp, err := conf.ListenPacket(w.ctx, "udp", w.DNS)
		if err != nil {
			return nil, err
		}
		tcp, err := conf.Listen(w.ctx, "tcp", udp.LocalAddr().String())
		if err != nil {
			_ = udp.Close() // another port, then
			continue
		}
		n := &nameServer{w: w, addr: udp.LocalAddr().String(), udp: udp, tcp: tcp, seen: map[string]int{}}
		w.wg.Go(n.serveUDP)
		w.wg.Go(n.serveTCP)
		return n, nil
	}
	return nil, errors.New("no port is free for UDP and TCP")
}

func (n *nameServer) close() {
	_ = n.udp.Close()
	_ = n.tcp.Close()
}

func (n *nameServer) serveUDP() {
	buf := make([]byte, 4096)
	for {
		k, from, err := n.udp.ReadFrom(buf)
		if err != nil {
			return
		}
		if out := n.answer(buf[:k], true); out != nil {
			_, _ = n.udp.WriteTo(out, from)
		}
	}
}

func (n *nameServer) serveTCP() {
	for {
		c, err := n.tcp.Accept()
		if err != nil {
			return
		}
		n.w.wg.Go(func() {
			defer c.Close()
			var size [2]byte
			if _, err := io.ReadFull(c, size[:]); err != nil {
				return
			}
			query := make([]byte, binary.BigEndian.Uint16(size[:]))
			if _, err := io.ReadFull(c, query); err != nil {
				return
			}
			if out := n.answer(query, false); out != nil {
				_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...))
			}
		})
	}
}

const (
	typeA     = 1
	typeCNAME = 5
	typeAAAA  = 28
)

// answer is the message that goes back; nil: none.
func (n *nameServer) answer(query []byte, udp bool) []byte {
	name, end := question(query)
	if end == 0 {
		return nil
	}
	kind := binary.BigEndian.Uint16(query[end-4:])
	a := n.say(name, kind, udp)
	switch {
	case a.Silent:
		return nil
	case a.Raw != nil:
		return append(query[:2:2], a.Raw...)
	}
	flags := uint16(0x8180 | a.Code)
	if a.ByTCP && udp {
		flags, a.Addrs, a.Alias = flags|0x0200, nil, ""
	}
	out := binary.BigEndian.AppendUint16(query[:2:2], flags)
	out = append(out, 0, 1, 0, 0, 0, 0, 0, 0)
	out = append(out, query[12:end]...)
	count, owner := 0, []byte{0xC0, 12}
	if a.Alias != "" {
		target := wire(a.Alias)
		out = record(out, owner, typeCNAME, target)
		owner = target
		count++
	}
	for _, addr := range a.Addrs {
		if addr.Is4() == (kind == typeA) && (kind == typeA || kind == typeAAAA) {
			out = record(out, owner, kind, addr.AsSlice())
			count++
		}
	}
	binary.BigEndian.PutUint16(out[6:], uint16(count))
	return out
}

// say asks the seller of that name.
func (n *nameServer) say(name string, kind uint16, udp bool) DNSAnswer {
	for _, s := range append(n.w.Sellers, n.w.Other) {
		if !strings.EqualFold(name, s.Host) {
			continue
		}
		if s.DNS == nil {
			return DNSAnswer{Addrs: []netip.Addr{s.Addr.Addr()}}
		}
		n.mu.Lock()
		key := name + itoa(int(kind))
		seen := n.seen[key]
		if udp {
			n.seen[key]++
		}
		n.mu.Unlock()
		return s.DNS(n.w, s, seen)
	}
	return DNSAnswer{Code: 3}
}

// question returns the name asked for and where the question ends; 0: it is none.
func question(m []byte) (name string, end int) {
	var labels []string
	for i := 12; i < len(m); {
		size := int(m[i])
		if size == 0 {
			if i+5 > len(m) {
				return "", 0
			}
			return strings.Join(labels, "."), i + 5
		}
		if i += 1 + size; i > len(m) {
			return "", 0
		}
		labels = append(labels, string(m[i-size:i]))
	}
	return "", 0
}

// wire is a name as it stands in a message.
func wire(name string) []byte {
	var b []byte
	for label := range strings.SplitSeq(name, ".") {
		b = append(append(b, byte(len(label))), label...)
	}
	return append(b, 0)
}

func record(out, owner []byte, kind uint16, data []byte) []byte {
	out = binary.BigEndian.AppendUint16(append(out, owner...), kind)
	out = append(out, 0, 1, 0, 0, 0, 0) // IN, not to be kept
	return append(binary.BigEndian.AppendUint16(out, uint16(len(data))), data...)
}
