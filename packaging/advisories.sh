#!/usr/bin/env bash
# Asks the RustSec database about every crate of the lock file. Never fetches: `cargo deny --locked fetch db` does, where
# there is a network; ADVISORY_DB names a folder that was filled so elsewhere. Without a database it fails and says so:
# nothing checked is not nothing found. That is why it is no part of `just check`, which passes without a network.
set -euo pipefail
cd "$(dirname "$0")/.."

# Cargo-deny's own name for "fetched none", which it tells in a less friendly way.
folder=${ADVISORY_DB:-${CARGO_HOME:-$HOME/.cargo}/advisory-dbs}
found=("$folder"/advisory-db-*)
if [ ! -d "${found[0]}/.git" ]; then
    cat >&2 <<TEXT
no advisory was checked: there is no database in $folder
with a network:    cargo deny --locked fetch db
without:           ADVISORY_DB=FOLDER just advisories, with a folder that was filled so on another machine
TEXT
    exit 1
fi
cargo fetch --locked --quiet
cargo deny --locked --offline check advisories
