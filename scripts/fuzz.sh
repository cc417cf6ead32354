#!/usr/bin/env bash
# Runs each fuzz target of the module for a while: scripts/fuzz.sh [TIME]
set -euo pipefail
time=${1:-10s}
found=0
for package in $(go list ./...); do
  # Packages without tests list nothing.
  targets=$(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true)
  for target in $targets; do
    found=$((found + 1))
    echo "fuzzing $package $target for $time"
    # Minimising what is merely interesting would take up the whole time of a short run.
    go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 10x "$package"
  done
done
echo "$found fuzz targets"
[ "$found" -gt 0 ]
