package order_test

import (
	"testing"
	"time"

	"poller/order"
)

func TestTheFuseLimitIsAShareOfTheSellersButAtLeast20(t *testing.T) {
	for _, c := range []struct {
		share   float64
		sellers int
		want    int
	}{
		{0, 1000, 0}, // off
		{-1, 1000, 0},
		{0.10, 0, 20},
		{0.10, 199, 20},
		{0.10, 209, 20}, // the 21st would be more than 10 % of 209
		{0.10, 210, 21},
		{0.29, 100, 29}, // whose product is a little less in floating point
		{0.07, 300, 21},
		{1, 500, 500},
	} {
		if got := order.FuseLimit(c.share, c.sellers); got != c.want {
			t.Errorf("FuseLimit(%v, %d) = %d, want %d", c.share, c.sellers, got, c.want)
		}
	}
}

func TestTheFuseBlowsAtThe21stSellerWithinAnHour(t *testing.T) {
	var f order.Fuse
	for n := uint32(1); n <= 20; n++ {
		if !f.Admit(n, 20, t0.Add(time.Duration(n)*time.Second)) {
			t.Fatalf("seller %d of 20 is refused", n)
		}
	}
	if f.Blown {
		t.Fatal("blown by the 20th seller")
	}
	at := t0.Add(59 * minute)
	if !f.Admit(3, 20, at) || f.Blown {
		t.Error("another order of a seller that lost one already counts against the fuse")
	}
	if f.Admit(21, 20, at) || !f.Blown || !f.BlownAt.Equal(at) {
		t.Errorf("the 21st seller: blown %v at %v", f.Blown, f.BlownAt)
	}
	later := at.Add(48 * time.Hour)
	if f.Admit(22, 20, later) || f.Admit(21, 20, later) {
		t.Error("time alone mends a blown fuse")
	}
	if f.Admit(22, 1000, later) {
		t.Error("a wider limit mends a blown fuse")
	}
	if !f.Admit(5, 20, later) {
		t.Error("a seller that lost orders before it blew is no further seller")
	}
	if !f.Admit(1, 20, later) || f.Admit(21, 20, later) {
		t.Error("who is in and who is out changes while the fuse is blown")
	}
}

func TestTheFuseForgetsAfterAnHour(t *testing.T) {
	var f order.Fuse
	for n := uint32(1); n <= 20; n++ {
		f.Admit(n, 20, t0)
	}
	early := order.Fuse{Losers: map[uint32]time.Time{}}
	for n, at := range f.Losers {
		early.Losers[n] = at
	}
	if early.Admit(21, 20, t0.Add(time.Hour-1)) {
		t.Error("the 21st within the hour is admitted")
	}
	if !f.Admit(21, 20, t0.Add(time.Hour)) || f.Blown {
		t.Error("the 21st after an hour blows the fuse")
	}
	if len(f.Losers) != 1 {
		t.Errorf("%d sellers remembered, want only the one of this hour", len(f.Losers))
	}
}

func TestAFuseThatIsOffAdmitsAll(t *testing.T) {
	f := order.Fuse{Blown: true}
	for n := uint32(1); n <= 100; n++ {
		if !f.Admit(n, 0, t0) {
			t.Fatalf("seller %d is refused", n)
		}
	}
}
