#!/usr/bin/env bash
# Installs what "make check" uses beside Go, make and a C compiler, on Debian:
# promtool, which judges the names and types of the metrics.
set -euo pipefail
command -v promtool >/dev/null && exit 0
if ! command -v apt-get >/dev/null; then
  echo "promtool is missing: install Prometheus" >&2
  exit 1
fi
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -qq -y --no-install-recommends prometheus
