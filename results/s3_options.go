package results

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
)

// S3Options say which bucket keeps the files and how to reach it. ParseS3 makes
// them of results.bucket; the rest is for the caller to add.
type S3Options struct {
	Bucket   string
	Region   string
	Endpoint string // scheme://host[:port] of a server that is not AWS; empty: AWS

	Keys     S3Keys
	SpoolDir string         // a folder that exists: a file waits here, nameless, until all of it is known
	RootCAs  *x509.CertPool // that sign the server's certificate; nil: the system's

	limits *s3Limits // nil: defaultS3Limits
}

// regionOfOthers is what servers other than AWS take for a region unless told otherwise.
const regionOfOthers = "us-east-1"

var (
	validBucket = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	validRegion = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
)

// ParseS3 reads s3://BUCKET?region=REGION&endpoint=URL (SPEC §3). The region
// must be there unless an endpoint is. The endpoint is https://HOST or
// http://HOST, with a port if need be: the server is the operator's own, and
// a signature, not the keys, is sent. With an endpoint the bucket is named in the
// path, without one in the host name. An error says what is wrong and repeats nothing of the
// text: somebody may have put keys into it.
func ParseS3(bucket string) (S3Options, error) {
	u, err := url.Parse(bucket)
	if err != nil || u.Scheme != "s3" || u.Opaque != "" || u.Host == "" {
		return S3Options{}, errors.New("want s3://BUCKET?region=REGION&endpoint=URL")
	}
	switch {
	case u.User != nil:
		return S3Options{}, errors.New("keys don't belong here: set " + envKeyID + " and " + envSecret)
	case !validBucket.MatchString(u.Host) || strings.Contains(u.Host, ".."):
		return S3Options{}, errors.New("no bucket has such a name: it has 3 to 63 lower-case letters, digits, dots and hyphens")
	case strings.Trim(u.Path, "/") != "" || u.Fragment != "":
		return S3Options{}, errors.New("the bucket must be poller's alone: nothing but ? and parameters may follow its name")
	}
	parameters, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return S3Options{}, errors.New("the parameters after ? can't be read")
	}
	o := S3Options{Bucket: u.Host}
	for name, values := range parameters {
		if len(values) != 1 || values[0] == "" {
			return S3Options{}, fmt.Errorf("%.32q needs one value", name)
		}
		switch value := values[0]; name {
		case "region":
			if !validRegion.MatchString(value) {
				return S3Options{}, errors.New("no region has such a name")
			}
			o.Region = value
		case "endpoint":
			if o.Endpoint, err = parseEndpoint(value); err != nil {
				return S3Options{}, err
			}
		default:
			return S3Options{}, fmt.Errorf("unknown parameter %.32q: there are region and endpoint", name)
		}
	}
	switch {
	case o.Region != "":
	case o.Endpoint == "":
		return S3Options{}, errors.New("region= is missing")
	default:
		o.Region = regionOfOthers
	}
	return o, nil
}

func parseEndpoint(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil ||
		strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("endpoint must be https://HOST[:PORT] or http://HOST[:PORT]")
	}
	return u.Scheme + "://" + u.Host, nil
}

// The usual AWS variables, and their like that name a file.
const (
	envKeyID  = "AWS_ACCESS_KEY_ID"
	envSecret = "AWS_SECRET_ACCESS_KEY" //nolint:gosec // the variable's name
	envToken  = "AWS_SESSION_TOKEN"     //nolint:gosec // the variable's name
	envFile   = "_FILE"
)

// S3Keys are the credentials of a bucket. Printed they show nothing (GUARANTEES, G19).
type S3Keys struct{ id, secret, token string }

// NewS3Keys makes keys; the token is empty for keys that don't expire.
func NewS3Keys(id, secret, token string) S3Keys { return S3Keys{id, secret, token} }

// String implements fmt.Stringer.
func (S3Keys) String() string { return "***" }

// GoString implements fmt.GoStringer.
func (S3Keys) GoString() string { return "***" }

// ReadS3Keys takes the keys from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, if there is one, AWS_SESSION_TOKEN,
// or from the files that the same names with _FILE after them give. An error names variables, never values.
func ReadS3Keys(getenv func(string) string) (S3Keys, error) {
	var (
		k   S3Keys
		bad []error
	)
	for _, v := range []struct {
		name     string
		to       *string
		required bool
	}{{envKeyID, &k.id, true}, {envSecret, &k.secret, true}, {envToken, &k.token, false}} {
		value, err := readKey(getenv, v.name)
		if err == nil && value == "" && v.required {
			err = fmt.Errorf("%s is not set, nor is %s%s", v.name, v.name, envFile)
		}
		if err != nil {
			bad = append(bad, err)
		}
		*v.to = value
	}
	if len(bad) > 0 {
		return S3Keys{}, errors.Join(bad...)
	}
	return k, nil
}

func readKey(getenv func(string) string, name string) (string, error) {
	value, file := getenv(name), getenv(name+envFile)
	if value != "" && file != "" {
		return "", fmt.Errorf("both %s and %s%s are set", name, name, envFile)
	}
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("%s%s: %w", name, envFile, err)
		}
		if value = strings.TrimRight(string(b), "\r\n"); value == "" {
			return "", fmt.Errorf("%s%s: the file is empty", name, envFile)
		}
	}
	if strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("%s holds what no key does: spaces or control characters", name)
	}
	return value, nil
}
