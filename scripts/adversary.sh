#!/usr/bin/env bash
# The long runs of the tests that attack the service: thousands of steps where `make test` takes hundreds. CONTRIBUTING.md says what each shows.
# Usage: scripts/adversary.sh [tenancy] [timing] [schemathesis] [kills] [takeovers] [floods] [disk]
# ADVERSARY_MINUTES bounds each part (60); what everything said is kept in .cache/adversary/<part>.log.
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
logs=.cache/adversary
minutes=${ADVERSARY_MINUTES:-60}
summary=() failed=0

test_of() { python -m pytest -q -s --show-capture=no "$@"; }
part() {
    case $1 in
    tenancy) MUNIMENT_TENANCY=10000 test_of tests/service/adversary/test_tenancy.py ;;
    timing) python -W ignore -m tests.service.adversary.timing ;;
    schemathesis) MUNIMENT_SCHEMATHESIS=300 test_of tests/service/adversary/test_schemathesis.py ;;
    kills) MUNIMENT_KILLS=1000 MUNIMENT_KILLS_LEASE=9 test_of tests/service/adversary/test_kills.py ;;
    takeovers) MUNIMENT_TAKEOVERS=30 test_of tests/integration/test_jobs_kill.py -k usual_lease ;;
    floods) MUNIMENT_FLOODS=5 test_of tests/service/adversary/test_floods.py ;;
    disk) MUNIMENT_FULL_S=30 test_of tests/service/adversary/test_full_disk.py ;;
    *) echo "unknown: $1" >&2; return 2 ;;
    esac
}
export -f part test_of

mkdir -p "$logs"
[ $# -gt 0 ] || set -- tenancy timing schemathesis kills takeovers floods disk
for one in "$@"; do
    echo "== $one, at most $minutes minutes"
    began=$SECONDS
    timeout --kill-after=30 "${minutes}m" bash -c "part $one" 2>&1 | tee "$logs/$one.log"
    case ${PIPESTATUS[0]} in
    0) outcome=held ;;
    124 | 137) outcome="out of time" failed=1 ;;
    *) outcome="FAILED, see $logs/$one.log" failed=1 ;;
    esac
    summary+=("$one: $outcome, $((SECONDS - began)) s")
    while IFS= read -r line; do summary+=("    ${line#summary: }"); done < <(grep -aE '^summary: |^[0-9]+ requests|^[0-9]+ (passed|failed)' "$logs/$one.log")
done
printf '\n== summary\n'
printf '%s\n' "${summary[@]}"
exit "$failed"
