package results

import (
	"net/url"
	"strings"
	"testing"

	"poller/order"
)

func TestUploadKeysCarryTheNameAndAreNeverTheSame(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, c := range []struct{ filename, mimeType, want string }{
		{"report.pdf", pdf, "report.pdf"},
		{"report", pdf, "report.pdf"},
		{"report", "text/csv; charset=utf-8", "report.csv"},
		{"report", "application/x-unheard-of", "report"},
		{"report.v2.pdf", "text/plain", "report.v2.pdf"},
		{"Größe.pdf", pdf, "Gr__e.pdf"},
		{"報告.pdf", pdf, "file.pdf"},
		{"报告.文件", pdf, "file.pdf"},
		{"", pdf, "file.pdf"},
		{"", "", "file"},
		{"..", pdf, "file.pdf"},
		{".", "", "file"},
		{"../../etc/passwd", "", "passwd"},
		{`C:\Users\x\a b.pdf`, pdf, "a_b.pdf"},
		{"a\r\nb%2f.pdf", pdf, "a__b_2f.pdf"},
		{"a.", pdf, "a.pdf"},
		{long + ".pdf", pdf, long[:96] + ".pdf"},
		{"a." + long, pdf, "a.pdf"},
		{"\xff\xfe.pdf", pdf, "file.pdf"},
	} {
		key := NewUploadKey("order-1", c.filename, c.mimeType)
		name, ok := strings.CutPrefix(key, "orders/order-1/")
		if !ok || !validUploadKey(key) || !ValidKey(key) || name[randomLength+1:] != c.want {
			t.Errorf("%q: %s, want %s", c.filename, key, c.want)
		}
		if NewUploadKey("order-1", c.filename, c.mimeType) == key {
			t.Errorf("%s was given twice", key)
		}
	}
}

func TestSignRefusesWhatCannotBe(t *testing.T) {
	good := NewUploadKey("order-1", "a.pdf", pdf)
	for name, c := range map[string]struct {
		key      string
		size     int64
		mimeType string
		change   func(*uploadSite)
		want     string
	}{
		"all right":           {good, MaxUpload, pdf, nil, ""},
		"nothing":             {good, 0, pdf, nil, "1 to 157286400 bytes"},
		"too much":            {good, MaxUpload + 1, pdf, nil, "1 to 157286400 bytes"},
		"no type":             {good, 1, "", nil, "media type"},
		"a header in it":      {good, 1, "text/plain\r\nX: y", nil, "media type"},
		"a key of another":    {"orders/order-1/a.pdf", 1, pdf, nil, "no key"},
		"a key leading away":  {strings.Replace(good, "order-1", "..", 1), 1, pdf, nil, "no key"},
		"a key to be escaped": {good + "?", 1, pdf, nil, "no key"},
		"uploads off":         {good, 1, pdf, func(s *uploadSite) { s.public = "" }, "uploads.public_url"},
		"a short signing key": {good, 1, pdf, func(s *uploadSite) { s.u.opt.Key = s.u.opt.Key[1:] }, "32 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			if c.change != nil {
				c.change(s)
			}
			signedURL, headers, err := s.u.Sign(c.key, c.size, c.mimeType, uploadStart)
			if c.want == "" {
				if err != nil || !strings.HasPrefix(signedURL, "https://files.example.com/in/"+good+"?") || headers["Content-Type"] != pdf {
					t.Errorf("%s, %v, %v", signedURL, headers, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || signedURL != "" {
				t.Errorf("%s, %v", signedURL, err)
			}
		})
	}
}

// A signing key that is missing or short opens nothing.
func TestWithoutASigningKeyNothingIsSigned(t *testing.T) {
	s := uploadURL{NewUploadKey("order-1", "a", pdf), 1, pdf, 1}
	for _, key := range [][]byte{nil, {}, make([]byte, uploadSigningKey-1)} {
		if s.signed(key, s.signature(key)) {
			t.Errorf("a key of %d bytes signs", len(key))
		}
	}
}

// FuzzUploadURL: of all URLs only one that was signed is taken, for just what was signed.
func FuzzUploadURL(f *testing.F) {
	key := []byte("0123456789abcdef0123456789abcdef")
	u := NewUploads(UploadOptions{Key: key, PublicURL: func() string { return "https://files.example.com/in" }})
	const object = "orders/order-1/abcdefghijklmnopqrstuvwxyz/a.pdf" // the same in each worker
	signedURL, _, err := u.Sign(object, 10, "text/csv; charset=utf-8", uploadStart)
	if err != nil {
		f.Fatal(err)
	}
	good, err := url.Parse(signedURL)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good.Path, good.RawQuery)
	f.Add("/orders/../../x/orders/a/b", good.RawQuery)
	f.Add(good.Path, good.RawQuery+"&size=1")
	f.Add(good.Path, strings.ReplaceAll(good.RawQuery, "%20", "+"))
	f.Add(good.Path, "expires=1&size=1&type=a/b&signature=00")
	f.Fuzz(func(t *testing.T, path, query string) {
		s, signature, ok := parseUploadURL(path, query)
		if !ok {
			return
		}
		if !ValidKey(s.key) || s.size < 1 || s.size > MaxUpload || s.expires < 0 || !order.ValidMIMEType(s.mimeType) || !strings.HasSuffix(path, "/"+s.key) {
			t.Errorf("taken: %+v", s)
		}
		want := uploadURL{object, 10, "text/csv; charset=utf-8", uploadStart.Add(UploadExpiry).Unix()}
		if s.signed(key, signature) && s != want {
			t.Errorf("%+v is signed", s)
		}
	})
}
