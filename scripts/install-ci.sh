#!/usr/bin/env bash
# Installs what "make check" uses beside Go, make and a C compiler, on Debian:
# promtool, which judges the names and types of the metrics, python3, in which one example of a webhook's receiver is
# written, strace, which kills poller at single system calls and fails others, what makes file systems and power cuts
# (XFS, ext4, loop devices), what makes a network of its own and counts its packets (iproute2, nftables), and versitygw,
# the S3 server of the tests (into bin/, since it is only for them; nothing of it is linked).
set -euo pipefail
cd "$(dirname "$0")/.."

versitygw=github.com/versity/versitygw
version=v1.8.0
if ! go version -m bin/versitygw 2>/dev/null | awk '$1 == "mod" {print $2, $3}' | grep -qxF "$versitygw $version"; then
  CGO_ENABLED=0 GOFLAGS=-trimpath GOBIN="$PWD/bin" go install -ldflags="-s -w" "$versitygw/cmd/versitygw@$version"
fi

missing=()
command -v promtool >/dev/null || missing+=(prometheus)
command -v python3 >/dev/null || missing+=(python3)
command -v strace >/dev/null || missing+=(strace)
command -v mkfs.xfs >/dev/null || missing+=(xfsprogs)
command -v mkfs.ext4 >/dev/null || missing+=(e2fsprogs)
command -v losetup >/dev/null || missing+=(mount)
command -v fsfreeze >/dev/null || missing+=(util-linux)
command -v ip >/dev/null || missing+=(iproute2)
command -v nft >/dev/null || missing+=(nftables)
[ "${#missing[@]}" -gt 0 ] || exit 0
if ! command -v apt-get >/dev/null; then
  echo "install what is missing: ${missing[*]}" >&2
  exit 1
fi
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -qq -y --no-install-recommends "${missing[@]}"
