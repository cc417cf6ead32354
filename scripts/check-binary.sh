#!/usr/bin/env bash
# Keeps the binary small and static: scripts/check-binary.sh BINARY
set -euo pipefail
binary=$1
limit=$((25 * 1000 * 1000))

# One dependency that calls reflect.Method with a name it makes up at run time
# switches off the linker's pruning of methods for the whole binary.
culprits=$(CGO_ENABLED=0 go build -ldflags=-dumpdep -o /dev/null ./cmd/poller 2>&1 | grep '<ReflectMethod>' || true)
if [ -n "$culprits" ]; then
  echo "the linker can't prune methods any more, because of:"
  echo "$culprits"
  exit 1
fi

size=$(wc -c <"$binary")
if [ "$size" -gt "$limit" ]; then
  echo "$binary has $size bytes, more than $limit"
  exit 1
fi
if [ "$(go version -m "$binary" | awk '$2 ~ /^CGO_ENABLED=/ {print $2}')" != CGO_ENABLED=0 ]; then
  echo "$binary is not static: build it with CGO_ENABLED=0"
  exit 1
fi
echo "$binary: $size bytes, static, methods pruned"
