#!/bin/sh
# The main job, end to end, on a vault that is thrown away: store three secrets, render a template that uses them.
# Builds the program first where SECRETS does not name one.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
if [ -z "${SECRETS:-}" ]; then
    cargo build --quiet --release --locked --manifest-path "$here/../Cargo.toml"
    SECRETS="${CARGO_TARGET_DIR:-$here/../target}/release/secrets"
fi
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cp "$here/app.env.tmpl" "$directory"
cd "$directory"
secrets() { "$SECRETS" "$@"; }

# A passphrase that nobody needs to remember; a vault of your own asks you for one.
head -c 24 /dev/urandom | base64 >passphrase
export SECRETS_VAULT="$directory/vault.db" SECRETS_PASSPHRASE_FILE="$directory/passphrase" SECRETS_PROJECT=demo
chmod 600 passphrase

echo '$ secrets init'
secrets init --quiet
echo "$ secrets create --tag db-password          (and two more, each from a pipe)"
printf 's3cret/with:odd characters' | secrets create --tag db-password
printf 'sk_test_51Hx0aBcDeFgHiJkLmNoPq' | secrets create --tag stripe-key
printf 'line one\nline "two"' | secrets create --tag token
echo '$ secrets list'
secrets list
echo '$ secrets render app.env.tmpl -o .env'
secrets render app.env.tmpl -o .env
echo '$ cat .env'
cat .env
