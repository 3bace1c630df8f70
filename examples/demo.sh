#!/bin/sh
# Shows the main job from end to end, on a vault that is removed afterwards. It stores three
# secrets, renders a template that uses them, and runs a program whose output is masked. If SECRETS
# does not name a program, it builds one first.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
if [ -z "${SECRETS:-}" ]; then
    SECRETS="${CARGO_TARGET_DIR:-$here/../target}/release/secrets"
    [ -x "$SECRETS" ] || echo "building secrets, which takes up to ten minutes on two cores the first time" >&2
    cargo build --quiet --release --locked --manifest-path "$here/../Cargo.toml"
fi

directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
trap 'exit 130' HUP INT TERM
cp "$here/app.env.tmpl" "$directory"
cd "$directory"

# The demo does not touch the real home directory, and the environment does not change its output.
export HOME="$directory" XDG_STATE_HOME="$directory/state" XDG_RUNTIME_DIR="$directory/run" SECRETS_PROJECT=demo
export SECRETS_VAULT="$directory/vault.db" SECRETS_PASSPHRASE_FILE="$directory/passphrase"
unset SECRETS_PASSPHRASE XDG_DATA_HOME

# Nobody needs to remember this passphrase. Your own vault asks you for one.
(umask 077 && head -c 24 /dev/urandom | base64 >passphrase)

# Prints a command, then runs it.
show() {
    printf '$'
    for word in "$@"; do
        case $word in
            *[!A-Za-z0-9._/=-]*) printf " '%s'" "$word" ;;
            *) printf ' %s' "$word" ;;
        esac
    done
    echo
    if [ "$1" = secrets ]; then
        shift
        "$SECRETS" "$@"
    else
        "$@"
    fi
}

show secrets init --quiet
echo "$ secrets create db-password                  (and two more, with each value from a pipe)"
printf 's3cret/with:odd characters' | "$SECRETS" create --tag db-password
printf 'sk_test_51Hx0aBcDeFgHiJkLmNoPq' | "$SECRETS" create --tag stripe-key
printf 'line one\nline "two"' | "$SECRETS" create --tag token
show secrets list
show cat app.env.tmpl
show secrets render app.env.tmpl -o .env
show cat .env
# shellcheck disable=SC2016 # the shell that is run expands the variable, not this one
show secrets run --only stripe-key -- sh -c 'echo "charging with $STRIPE_KEY"'
