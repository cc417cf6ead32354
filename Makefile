# make, or make help: what there is.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
BINARY := bin/poller
LINT := go tool -modfile=tools/go.mod golangci-lint
FUZZTIME ?= 10s
BENCH ?= -mode sweep
BENCHTIME ?= 1x
TORTURE ?= 20

# The race detector needs cgo and a C compiler; the binary itself has neither.
RACE := $(shell [ "$$(go env CGO_ENABLED)" = 1 ] && command -v "$$(go env CC)" >/dev/null && echo -race)

.PHONY: help build run demo test check drill torture bench gobench fuzz lint fmt

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 16

build: ## build the static binary bin/poller
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o $(BINARY) ./cmd/poller

run: build ## run the daemon with config.yaml
	$(BINARY) serve

demo: build ## show all of it on this machine, in half a minute
	$(BINARY) demo

test: ## run the tests, under the race detector where there is a C compiler
	@echo "race detector: $(if $(RACE),on,off: it needs cgo and a C compiler)"
	go test $(RACE) $(if $(TAGS),-tags $(TAGS)) ./...

lint: ## vet, and golangci-lint with the rules of .golangci.yml
	go vet ./...
	$(LINT) run ./...

fmt: ## format the code as lint wants it
	$(LINT) fmt ./...

fuzz: ## fuzz each target for FUZZTIME (10s)
	scripts/fuzz.sh $(FUZZTIME)

drill: ## 10,000 ends with a platform that refuses half, 100,000 with one that is down; 15 minutes (docs/drill.md)
	POLLER_DRILL=10000 POLLER_DRILL_DOWN=100000 go test $(RACE) -v -count=1 -parallel 1 -timeout 90m \
		-run 'TestDrill|TestPlatformDown' ./internal/e2e

torture: ## the long form of the crash, disk, stranger and model tests; as root, after scripts/install-ci.sh, an hour (TORTURE=20 times as many)
	POLLER_TORTURE=$(TORTURE) go test $(RACE) -tags ci -v -count=1 -p 1 -parallel 2 -timeout 6h ./internal/... ./cmd/poller

bench: ## measure the daemon beside a bare net/http loop; BENCH="-mode files" and the like, BENCH=-help
	go run ./internal/bench $(BENCH)

gobench: ## run the benchmarks of single packages, each for BENCHTIME (1x)
	go test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./...

check: ## everything that CI asks for
	@test -z "$$(gofmt -l .)" || { echo "not gofmt-ed:"; gofmt -l .; exit 1; }
	$(MAKE) build lint
	$(MAKE) test TAGS=ci # with what needs programs that scripts/install-ci.sh installs
	scripts/check-binary.sh $(BINARY)
	$(BINARY) --config config.yaml check-config
	$(MAKE) demo
	$(MAKE) fuzz FUZZTIME=2000x # a count: a time that runs out on a busy machine is now and then taken for a failure
