#!/usr/bin/env bash
# Compares crates/project/src/dotenv/dialects.rs with the real readers of dotenv files: bash, node, the npm packages dotenv,
# dotenv-expand and @next/env, and python-dotenv. They are installed into target/readers/. A program that cannot be
# installed is skipped. With --strict it is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

directory=target/readers
mkdir -p "$directory"

install_npm() {
    [ -d "$directory/node_modules/@next/env" ] ||
        npm install --loglevel error --no-audit --no-fund --ignore-scripts --prefix "$directory" \
            dotenv@18 dotenv-expand@1000 @next/env@16
}

install_python() {
    [ -x "$directory/venv/bin/python3" ] || python3 -m venv "$directory/venv"
    "$directory/venv/bin/python3" -c 'import dotenv' 2>/dev/null ||
        "$directory/venv/bin/python3" -m pip install --quiet 'python-dotenv==1.2.*'
}

# A registry may refuse a request now and then.
install_npm || install_npm || echo "the npm packages are not installed" >&2
install_python || echo "python-dotenv is not installed" >&2

if [ "${1:-}" = --strict ]; then export SECRETS_READERS_STRICT=1; fi
cargo test --locked --test suite -- --ignored --exact readers::the_real_readers_agree
