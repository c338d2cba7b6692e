#!/usr/bin/env bash
# Runs the official conformance suite of IPFS gateways, unmodified, against this gateway with the suite's own fixtures loaded.
# The suite: https://github.com/ipfs/gateway-conformance (a Go program, which needs Go when it runs as well).
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v gateway-conformance >/dev/null 2>&1; then
    echo "conformance: there is no gateway-conformance on PATH; get it with Go:" >&2
    echo "  go install github.com/ipfs/gateway-conformance/cmd/gateway-conformance@latest" >&2
    exit 1
fi

folder=$(mktemp -d)
server=""
finish() {
    if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
    rm -rf "$folder"
}
trap finish EXIT

mkdir "$folder/fixtures"
gateway-conformance extract-fixtures --directory "$folder/fixtures" >/dev/null
mapfile -t links < <(.venv/bin/python scripts/conformance.py load "$folder/fixtures" "$folder/store" "$folder/records")
.venv/bin/muniment gateway --json --store "$folder/store" --port 0 --subdomains example.com --subdomains localhost \
    --ipns-records "$folder/records" --http-proxy "${links[@]}" >"$folder/server.log" 2>&1 &
server=$!
for _ in $(seq 100); do
    if grep -q '"url"' "$folder/server.log"; then break; fi
    if ! kill -0 "$server" 2>/dev/null; then cat "$folder/server.log" >&2; exit 1; fi
    sleep 0.1
done
url=$(sed -n 's/.*"url": "\([^"]*\)".*/\1/p' "$folder/server.log")

gateway-conformance test --gateway-url "$url" --subdomain-url "http://example.com:${url##*:}" --json "$folder/report.json" \
    --specs trustless-gateway,path-gateway,subdomain-gateway,dnslink-gateway,redirects-file,proxy-gateway \
    -- -timeout 5m >"$folder/suite.log" 2>&1 || true
.venv/bin/python scripts/conformance.py count "$folder/report.json"
