#!/usr/bin/env bash
# Sets up everything that Muniment needs on a bare Debian machine with Python 3.11 and make.
# Safe to run again: what is there already is left alone. System packages are installed only where they are
# missing, with apt-get, as root or through sudo.
#
#   scripts/setup.sh         what `make demo` needs
#   scripts/setup.sh test    and what `make test` needs: programs of others that the tests hold us against
set -euo pipefail
cd "$(dirname "$0")/.."

UV_VERSION=0.13.9
# program:package; a program that is found is not installed again.
RUN_PACKAGES=()
TEST_PACKAGES=(age:age openssl:openssl ssh-keygen:openssh-client git:git par2:par2)

missing=()
python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
wanted=("${RUN_PACKAGES[@]}")
if [ "${1:-}" = test ]; then wanted+=("${TEST_PACKAGES[@]}"); fi
for pair in "${wanted[@]}"; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing+=("${pair##*:}")
done
# Debian keeps the servers off the PATH. Tests start servers of their own, so the package must not start one for the machine.
CLUSTERS=/etc/postgresql-common/createcluster.d
no_cluster=""
if [ "${1:-}" = test ] && ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && ! command -v initdb >/dev/null 2>&1; then
    missing+=(postgresql)
    no_cluster="$CLUSTERS/muniment-setup.conf"
fi
if [ ${#missing[@]} -gt 0 ]; then
    sudo=""
    if [ "$(id -u)" != 0 ]; then sudo=sudo; fi
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "setup: please install: ${missing[*]}" >&2
        exit 1
    fi
    echo "setup: installing system packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # /usr/bin/env: sudo drops variables that are not named.
    $sudo apt-get update -qq
    if [ -n "$no_cluster" ]; then
        # Only while it is installed: a later version that somebody wants may well start a server.
        trap '$sudo rm -f "$no_cluster"; $sudo rmdir --ignore-fail-on-non-empty "$CLUSTERS" 2>/dev/null || true' EXIT
        $sudo mkdir -p "$CLUSTERS"
        echo "create_main_cluster = false" | $sudo tee "$no_cluster" >/dev/null
    fi
    $sudo /usr/bin/env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
fi

if [ ! -x .venv/bin/python ]; then
    python3 -m venv .venv
fi
if ! .venv/bin/uv --version 2>/dev/null | grep -qF " $UV_VERSION"; then
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$UV_VERSION"
fi
groups=(--no-default-groups)
if [ "${1:-}" = test ]; then groups=(); fi
# --inexact keeps uv itself in the environment; compiled bytecode makes every start faster by half a second.
UV_PROJECT_ENVIRONMENT=.venv .venv/bin/uv sync --frozen --inexact --compile-bytecode --quiet "${groups[@]}"
.venv/bin/python -m compileall -q src
if [ "${1:-}" = test ]; then
    .venv/bin/python -m muniment.testing.node tests/javascript
    .venv/bin/python -m muniment.testing.node tests/javascript-compliance
    .venv/bin/python -m muniment.testing.node tests/javascript-pinning
    .venv/bin/python -m muniment.testing.node tests/javascript-tus
fi
