package results

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseS3(t *testing.T) {
	for bucket, want := range map[string]S3Options{
		"s3://results?region=eu-central-1":                                            {Bucket: "results", Region: "eu-central-1"},
		"s3://my.results-2/?region=auto&endpoint=https://s3.example":                  {Bucket: "my.results-2", Region: "auto", Endpoint: "https://s3.example"},
		"s3://results?endpoint=http://127.0.0.1:7070/":                                {Bucket: "results", Region: "us-east-1", Endpoint: "http://127.0.0.1:7070"},
		"s3://results?endpoint=https%3A%2F%2F%5B2001%3Adb8%3A%3A1%5D%3A9000&region=x": {Bucket: "results", Region: "x", Endpoint: "https://[2001:db8::1]:9000"},
	} {
		if got, err := ParseS3(bucket); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %+v, %v", bucket, got, err)
		}
	}
	for bucket, want := range map[string]string{
		"":                                           "want s3://BUCKET",
		"results":                                    "want s3://BUCKET",
		"s3:results?region=x":                        "want s3://BUCKET",
		"s3://?region=x":                             "want s3://BUCKET",
		"file:///srv":                                "want s3://BUCKET",
		"s3://a b?region=x":                          "want s3://BUCKET",
		"s3://KEY:SECRET@results?region=x":           "keys don't belong here: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
		"s3://Results?region=x":                      "no bucket has such a name",
		"s3://re?region=x":                           "no bucket has such a name",
		"s3://results:80?region=x":                   "no bucket has such a name",
		"s3://a..b?region=x":                         "no bucket has such a name",
		"s3://results/folder?region=x":               "the bucket must be poller's alone",
		"s3://results?region=x#y":                    "the bucket must be poller's alone",
		"s3://results":                               "region= is missing",
		"s3://results?region=":                       `"region" needs one value`,
		"s3://results?region=x&region=y":             `"region" needs one value`,
		"s3://results?region=x/y":                    "no region has such a name",
		"s3://results?region=x&secret=SECRET":        `unknown parameter "secret": there are region and endpoint`,
		"s3://results?region=x;endpoint=y":           "the parameters after ? can't be read",
		"s3://results?endpoint=s3.example":           "endpoint must be https://HOST",
		"s3://results?endpoint=ftp://s3.example":     "endpoint must be https://HOST",
		"s3://results?endpoint=https://":             "endpoint must be https://HOST",
		"s3://results?endpoint=https://h/path":       "endpoint must be https://HOST",
		"s3://results?endpoint=https://K:SECRET@h":   "endpoint must be https://HOST",
		"s3://results?endpoint=https://h%3Fx=SECRET": "endpoint must be https://HOST",
	} {
		_, err := ParseS3(bucket)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "SECRET@") || strings.Contains(err.Error(), "=SECRET") {
			t.Errorf("%s: %v, want %s", bucket, err, want)
		}
	}
}

func TestReadS3KeysFromVariablesOrFiles(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	secret, empty, two := file("secret", "s3cret/+\n"), file("empty", "\n"), file("two", "a\nb\n")
	for name, test := range map[string]struct {
		env  map[string]string
		want S3Keys
		err  string
	}{
		"variables":     {env: map[string]string{envKeyID: "id", envSecret: "s3cret", envToken: "token"}, want: NewS3Keys("id", "s3cret", "token")},
		"file":          {env: map[string]string{envKeyID: "id", envSecret + "_FILE": secret}, want: NewS3Keys("id", "s3cret/+", "")},
		"nothing":       {err: "AWS_ACCESS_KEY_ID is not set, nor is AWS_ACCESS_KEY_ID_FILE\nAWS_SECRET_ACCESS_KEY is not set, nor is AWS_SECRET_ACCESS_KEY_FILE"},
		"no secret":     {env: map[string]string{envKeyID: "id"}, err: "AWS_SECRET_ACCESS_KEY is not set"},
		"both":          {env: map[string]string{envKeyID: "id", envSecret: "s3cret", envSecret + "_FILE": secret}, err: "both AWS_SECRET_ACCESS_KEY and AWS_SECRET_ACCESS_KEY_FILE are set"},
		"missing file":  {env: map[string]string{envKeyID: "id", envSecret + "_FILE": dir + "/none"}, err: "AWS_SECRET_ACCESS_KEY_FILE: open"},
		"empty file":    {env: map[string]string{envKeyID: "id", envSecret + "_FILE": empty}, err: "AWS_SECRET_ACCESS_KEY_FILE: the file is empty"},
		"two lines":     {env: map[string]string{envKeyID: "id", envSecret + "_FILE": two}, err: "AWS_SECRET_ACCESS_KEY holds what no key does"},
		"a space in it": {env: map[string]string{envKeyID: "id", envSecret: "s3 cret"}, err: "AWS_SECRET_ACCESS_KEY holds what no key does"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ReadS3Keys(func(name string) string { return test.env[name] })
			switch {
			case test.err == "" && (err != nil || got != test.want):
				t.Errorf("%v", err)
			case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err) || strings.Contains(err.Error(), "cret")):
				t.Errorf("got %v, want %s", err, test.err)
			}
		})
	}
}

// GUARANTEES, G19.
func TestS3KeysAreNeverPrinted(t *testing.T) {
	o := S3Options{Bucket: "b", Keys: NewS3Keys("planted-id", "planted-secret", "planted-token")}
	asJSON, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{
		fmt.Sprint(o), fmt.Sprintf("%+v", o), fmt.Sprintf("%#v", o), fmt.Sprintf("%v", &o), fmt.Sprintf("%s %q %x", o.Keys, o.Keys, o.Keys), string(asJSON),
	} {
		if strings.Contains(s, "planted") || strings.Contains(s, fmt.Sprintf("%x", "planted")) {
			t.Error(s)
		}
	}
}

func FuzzParseS3(f *testing.F) {
	for _, s := range []string{"s3://results?region=eu-central-1", "s3://results?endpoint=http://127.0.0.1:1", "s3://a:b@c?x=%zz"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		o, err := ParseS3(s)
		if err != nil {
			return
		}
		text := "s3://" + o.Bucket + "?region=" + o.Region
		if o.Endpoint != "" {
			text += "&endpoint=" + o.Endpoint
		}
		if again, err := ParseS3(text); err != nil || fmt.Sprint(again) != fmt.Sprint(o) {
			t.Errorf("%q became %+v, then %+v, %v", s, o, again, err)
		}
	})
}
