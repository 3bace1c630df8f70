#!/usr/bin/env bash
# Times commands on a vault on a server, through a relay that delays each trip, next to `psql` through the
# same relay. Prints medians in milliseconds, and the ratio to the trip. Needs PostgreSQL.
#
#   cargo build --release --locked && benches/remote.sh [RUNS]
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-15}
secrets=$PWD/target/release/secrets
cargo run --release --quiet --locked -p secrets-test-postgres --bin bench-cluster -- "$secrets" "$runs"
