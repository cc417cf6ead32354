package api

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"strings"
	"testing"
)

// everyRequest calls f with each path that is served, and some that are not, and every method.
func (g *rig) everyRequest(f func(method, path string)) {
	paths := map[string]bool{"/": true, "/v1": true, "/healthz": true, "/metrics": true, "/v1/nothing": true, "//openapi.json": true}
	for _, route := range g.routes() {
		_, path, _ := strings.Cut(route, " ")
		paths[concrete(path)] = true
	}
	for path := range paths {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"} {
			f(method, path)
		}
	}
}

// GUARANTEES G23: a foreign Host (421) and a foreign Origin (403) are refused on every
// route and for every method, with a token, without one, and where none is needed; and nothing is done.
func TestForeignHostAndOriginEverywhere(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.seller("s")
	commits := g.store.commits
	g.everyRequest(func(method, path string) {
		for _, auth := range []string{"Bearer " + token, "", "Bearer wrong"} {
			for _, foreign := range []struct {
				header string
				status int
			}{
				{"Host: evil.example", 421}, {"Host: localhost.evil.example:8080", 421}, {"Host: 192.0.2.1", 421},
				{"Origin: https://evil.example", 403}, {"Origin: null", 403}, {"Origin: http://localhost:1", 403},
			} {
				a := g.do(method, path, "", "Authorization: "+auth, foreign.header)
				if a.status != foreign.status {
					t.Errorf("%s %s with %q and %q: %d", method, path, auth, foreign.header, a.status)
				}
				for _, said := range []string{"Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "Location", "Set-Cookie"} {
					if v := a.header.Get(said); v != "" {
						t.Errorf("%s %s: %s: %s", method, path, said, v)
					}
				}
			}
		}
	})
	if g.store.commits != commits || len(g.scheduler.dueOnly) != 0 || len(g.scheduler.deleted) != 0 || len(g.store.sellers) != 1 || g.store.sellers["s"].Paused || len(g.store.released) != 0 {
		t.Error("something was done")
	}
}

// GUARANTEES G23: the same without a token, on every route and for every method: only the document is given.
func TestNothingWithoutAToken(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.everyRequest(func(method, path string) {
		want := 401
		if path == documentPath && (method == "GET" || method == "HEAD") {
			want = 200
		}
		if a := g.do(method, path, "", "Authorization: "); a.status != want {
			t.Errorf("%s %s: %d", method, path, a.status)
		}
	})
}

// GUARANTEES G23: the time that a wrong token takes tells nothing of a right one. What authorised does with a token
// is read here, since a clock says little: it makes a digest of it, compares that in constant time with every
// valid one, and nothing else looks at it, at the digest or at what has matched until all have been compared.
func TestTokensAreComparedInConstantTime(t *testing.T) {
	t.Parallel()
	fset := gotoken.NewFileSet()
	file, err := parser.ParseFile(fset, "guard.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var authorised *ast.FuncDecl
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == "authorised" {
			authorised = f
		}
	}
	if authorised == nil {
		t.Fatal("no func authorised in guard.go")
	}
	var loops, comparisons int
	uses := map[string][]string{} // of token and digest: what takes them
	ast.Inspect(authorised.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.RangeStmt:
			loops++
			ast.Inspect(n.Body, func(n ast.Node) bool {
				switch n.(type) {
				case *ast.IfStmt, *ast.SwitchStmt, *ast.BranchStmt, *ast.ReturnStmt, *ast.BinaryExpr:
					t.Errorf("%s: the loop over the tokens takes different ways", fset.Position(n.Pos()))
				}
				return true
			})
		case *ast.CallExpr:
			name := callee(n)
			if name == "subtle.ConstantTimeCompare" {
				comparisons++
			}
			for _, arg := range n.Args {
				if s, ok := arg.(*ast.SliceExpr); ok {
					arg = s.X
				}
				if id, ok := arg.(*ast.Ident); ok {
					uses[id.Name] = append(uses[id.Name], name)
				}
			}
		case *ast.BinaryExpr:
			for _, side := range []ast.Expr{n.X, n.Y} {
				if id, ok := side.(*ast.Ident); ok && (id.Name == "token" || id.Name == "digest" || id.Name == "valid") {
					t.Errorf("%s: %s is compared with an operator", fset.Position(n.Pos()), id.Name)
				}
			}
		}
		return true
	})
	if loops != 1 || comparisons != 1 {
		t.Errorf("%d loops over the tokens, %d comparisons", loops, comparisons)
	}
	for name, want := range map[string]string{"token": "strings.TrimSpace", "digest": "subtle.ConstantTimeCompare", "valid": "subtle.ConstantTimeCompare"} {
		if got := strings.Join(uses[name], " "); got != want {
			t.Errorf("%s goes to %q, not to %s alone", name, got, want)
		}
	}
}

// callee is the name of what is called.
func callee(c *ast.CallExpr) string {
	switch f := c.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		if x, ok := f.X.(*ast.Ident); ok {
			return x.Name + "." + f.Sel.Name
		}
	}
	return "?"
}

// Every valid token is as good as the others, wherever it stands among them, and the number of them may change.
func TestEachTokenIsTaken(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	for range 3 {
		for _, valid := range []string{"another", token} {
			g.do("GET", "/v1/status", "", "Authorization: Bearer "+valid).want(t, 200)
		}
	}
	for i := range token {
		g.do("GET", "/v1/status", "", "Authorization: Bearer "+token[:i]).want(t, 401)
		g.do("GET", "/v1/status", "", "Authorization: Bearer "+token[:i]+"~"+token[i+1:]).want(t, 401)
	}
}
