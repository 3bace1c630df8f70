#!/usr/bin/env bash
# Looks up every crate of the lock file in the RustSec database. It never downloads the database.
# With a network, `cargo deny --locked fetch db` does. Without one, ADVISORY_DB names a folder that
# was filled this way elsewhere. Without a database the script fails and says so, because an
# unchecked crate is not a safe one. So it is not part of `just check`, which passes without a
# network.
set -euo pipefail
cd "$(dirname "$0")/.."

# Check first, because cargo-deny's own error for a missing database is less clear.
folder=${ADVISORY_DB:-${CARGO_HOME:-$HOME/.cargo}/advisory-dbs}
found=("$folder"/advisory-db-*)
if [ ! -d "${found[0]}/.git" ]; then
    cat >&2 <<TEXT
no advisory was checked: no database in $folder
with a network:    cargo deny --locked fetch db
without:           ADVISORY_DB=FOLDER just advisories, with a folder that was filled this way on another machine
TEXT
    exit 1
fi
cargo fetch --locked --quiet
cargo deny --locked --offline check advisories
