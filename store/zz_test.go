package store

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestZZFlip(t *testing.T) {
	if d := os.Getenv("ZZ"); d != "" {
		s, err := Open(t.Context(), testOptions(d))
		if err != nil {
			fmt.Println("REFUSED", err)
			os.Exit(3)
		}
		fmt.Println("OPENED")
		useAll(t, s)
		_ = s.Close()
		return
	}
	dir := t.TempDir()
	s := mustOpen(t, testOptions(dir))
	putSeller(t, s, "a")
	l := submit(t, s, "a", ids("o", 3000)...)
	for i := 0; i < 500; i++ {
		record(t, s, complete(l[i*5].Ref))
	}
	must(t, s.Close())
	b, _ := os.ReadFile(testOptions(dir).Path)
	res := map[string]int{}
	for i := range 300 {
		here := t.TempDir()
		x := append([]byte(nil), b...)
		pages := len(x) / 4096
		off := 8192 + rand.IntN(len(x)-8192)
		if i%2 == 0 { // headers
			off = (2+rand.IntN(pages-2))*4096 + rand.IntN(100)
		}
		x[off] ^= 1 << rand.IntN(8)
		os.WriteFile(filepath.Join(here, "poller.db"), x, 0o600)
		copyFile(t, testOptions(dir).KeyFile, testOptions(here).KeyFile)
		c := exec.Command(os.Args[0], "-test.run", "TestZZFlip")
		c.Env = append(os.Environ(), "ZZ="+here)
		out, err := c.CombinedOutput()
		k := "ok"
		if err != nil {
			k = err.Error()
			if c.ProcessState.ExitCode() == 2 {
				n := min(len(out), 9000)
				res["crash"]++
				if res["crash"] < 6 {
					t.Log(string(out[:n]))
				}
			}
		}
		res[k]++
	}
	t.Log(res)
}
