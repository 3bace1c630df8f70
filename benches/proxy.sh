#!/usr/bin/env bash
# Measures the proxy next to other proxies, in one run and in turns:
#
#   benches/proxy.sh [--quick] [--only SECTION]...
#
# It prints a table for each section, and then each goal with its figure. `--quick` takes small counts,
# to try the script. The sections are the functions `measure_*` of benches/proxy/measure.py.
#
# SECRETS and TEST_LOAD name the programs. The script builds those that are not set. It installs
# tinyproxy, mitmproxy and varlock into SECRETS_BENCH_CACHE, and leaves out those that cannot be
# installed. TINYPROXY, MITMDUMP and VARLOCK name programs that you have.
#
# Needs Linux, bash, python3 and curl, and npm and apt-get for the other proxies.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
if [ -z "${SECRETS:-}" ]; then
    cargo build --quiet --release --locked --bin secrets
    SECRETS=$target/release/secrets
fi
if [ -z "${TEST_LOAD:-}" ]; then
    cargo build --quiet --release --locked --package secrets-test-origin --bin test-load
    TEST_LOAD=$target/release/test-load
fi

cache=${SECRETS_BENCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/secrets-bench}
mkdir -p "$cache"
cache=$(realpath "$cache")

# Newer versions of mitmproxy need newer versions of Python.
install_mitmproxy() {
    local python
    for python in python3.14 python3.13 python3.12 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-9]*/bin/python3 python3; do
        rm -rf "$cache/mitmproxy"
        if "$python" -m venv "$cache/mitmproxy" && "$cache/mitmproxy/bin/pip" install --quiet mitmproxy; then return; fi
    done
    return 1
}

# The package is only unpacked, so this needs no rights and starts no service.
install_tinyproxy() {
    mkdir -p "$cache/tinyproxy"
    (
        cd "$cache/tinyproxy"
        apt-get download tinyproxy-bin || { apt-get update && apt-get download tinyproxy-bin; }
        dpkg -x tinyproxy-bin_*.deb .
    )
}

# varlock needs a newer Node than many systems have.
install_varlock() {
    npm install --no-audit --no-fund --prefix "$cache/varlock" varlock@latest node@24
}

# peer NAME PROGRAM VARIABLE: sets the variable to the program, after it was installed.
peer() {
    local name=$1 program=$2
    local -n variable=$3
    if [ -n "${variable:-}" ]; then return; fi
    if [ ! -x "$program" ] && ! "install_$name" >"$cache/$name.log" 2>&1; then
        echo "without $name: it could not be installed, see $cache/$name.log" >&2
        variable=
        return
    fi
    variable=$program
}

peer tinyproxy "$cache/tinyproxy/usr/bin/tinyproxy" TINYPROXY
peer mitmproxy "$cache/mitmproxy/bin/mitmdump" MITMDUMP
peer varlock "$cache/varlock/node_modules/varlock/bin/cli.js" VARLOCK
node=$cache/varlock/node_modules/.bin/node
if [ "$VARLOCK" = "$cache/varlock/node_modules/varlock/bin/cli.js" ]; then
    if "$node" --version >/dev/null 2>&1; then VARLOCK="$node $VARLOCK"; else VARLOCK="node $VARLOCK"; fi
fi

# A thousand connections are two thousand files in a proxy.
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
SECRETS=$(realpath "$SECRETS")
TEST_LOAD=$(realpath "$TEST_LOAD")
export SECRETS TEST_LOAD TINYPROXY MITMDUMP VARLOCK
PYTHONPATH=benches exec python3 benches/proxy/measure.py "$@"
