#!/usr/bin/env bash
# The long runs of the tests that attack the service: thousands of steps where `make test` takes hundreds (an hour or two).
# Usage: scripts/adversary.sh [tenancy] [schemathesis] [kills]
set -euo pipefail
cd "$(dirname "$0")/.."
run() { .venv/bin/python -m pytest -q -s --show-capture=no "$@"; }
for what in "${@:-tenancy schemathesis kills}"; do
    for one in $what; do
        case $one in
        tenancy) MUNIMENT_TENANCY=10000 run tests/service/adversary/test_tenancy.py ;;
        schemathesis) MUNIMENT_SCHEMATHESIS=300 run tests/service/adversary/test_schemathesis.py ;;
        kills) MUNIMENT_KILLS=1000 run tests/service/adversary/test_kills.py ;;
        *) echo "unknown: $one" >&2; exit 2 ;;
        esac
    done
done
