//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
)

func TestServesUntilStandardInputEnds(t *testing.T) {
	stdin, stop := io.Pipe()
	stdout, lines := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run([]string{"-hosts", "2", "-dir", t.TempDir(), "-body", "{}"}, stdin, lines, io.Discard)
		lines.Close()
	}()
	out := json.NewDecoder(stdout)
	var first hello
	if err := out.Decode(&first); err != nil || len(first.URLs) != 2 {
		t.Fatalf("%v: %+v", err, first)
	}
	if pem, err := os.ReadFile(first.CAFile); err != nil || !bytes.Contains(pem, []byte("BEGIN CERTIFICATE")) {
		t.Errorf("the CA's file: %v", err)
	}
	if answer, err := http.Get(strings.Replace(first.URLs[0], "https", "http", 1)); err == nil {
		answer.Body.Close()
		t.Error("it speaks plain HTTP")
	}
	var last account
	for line, wrong := range map[string]bool{"": false, "reset": false, "behave * delay 1s": false, "behave *": true, "so far?": true} {
		if _, err := io.WriteString(stop, line+"\n"); err != nil {
			t.Fatal(err)
		}
		last = account{}
		if err := out.Decode(&last); err != nil || last.Connections != 1 || (last.Error != "") != wrong {
			t.Errorf("%q: %v: %+v", line, err, last)
		}
	}
	stop.Close()
	if err := out.Decode(&last); err != nil || last.Connections != 1 || last.CPUSeconds <= 0 {
		t.Errorf("%v: %+v", err, last)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestWrongFlagsAreRefused(t *testing.T) {
	if err := run([]string{"-hosts", "many"}, strings.NewReader(""), io.Discard, io.Discard); err == nil {
		t.Error("taken")
	}
}
