#!/usr/bin/env bash
# Sends generated requests to `secrets serve`, on vaults that belong to this test, and compares the responses with two
# descriptions: ours, from which nothing may differ, and that of Cortex, from which three kinds of differences are known.
# Installs schemathesis if it is missing (tests/api/requirements.txt). EXAMPLES is the number of requests of each kind.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
binary=$(realpath "${SECRETS:-${CARGO_TARGET_DIR:-$root/target}/release/secrets}")
directory=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$directory"' EXIT
if ! command -v st >/dev/null; then
    python3 -m venv "$directory/venv"
    "$directory/venv/bin/pip" install --quiet --disable-pip-version-check -r "$root/tests/api/requirements.txt"
    PATH=$directory/venv/bin:$PATH
fi

for name in $(compgen -e | grep -E '^(SECRETS|XDG)' || true); do unset "$name"; done
export HOME=$directory SECRETS_PASSPHRASE_FILE=$directory/passphrase
(umask 077 && echo 'correct horse battery staple' >"$SECRETS_PASSPHRASE_FILE")

passed=0 failed=0
check() { # NAME DESCRIPTION KNOWN: fails for a difference that KNOWN does not match
    local name=$1 vault=$directory/$1.db token url differences served
    secrets() { "$binary" --vault "$vault" --quiet "$@"; }
    secrets init --kdf-memory 19 --kdf-iterations 1 --kdf-parallelism 1
    echo value | secrets create first
    token=$(secrets token create api --level manage)
    env -u SECRETS_PASSPHRASE_FILE "$binary" --vault "$vault" serve --listen 127.0.0.1:0 --rate 1000000/s \
        >"$directory/url" 2>"$directory/log" &
    server=$!
    for _ in $(seq 100); do
        [ ! -s "$directory/url" ] || break
        sleep 0.1
    done

    url=$(cat "$directory/url")
    (cd "$directory" && PYTHONPATH=$root/tests/api SCHEMATHESIS_HOOKS=hooks st run "${2:-$url/api/v1/openapi.json}" \
        --url "$url" -H "Authorization: Bearer $token" --phases=examples,coverage,fuzzing,stateful \
        --max-examples "${EXAMPLES:-100}" --continue-on-failure >"$name.txt" 2>&1) || true
    kill "$server"
    wait "$server" || true
    server=

    # Only responses to valid requests show that the operations were tried at all.
    served=$(grep -c '^200 ' "$directory/log" || true)
    differences=$(sed -n 's/^- \(ST\)/\1/p; s/^    \(Received: \)/\1/p' "$directory/$name.txt" | sort | uniq -c)
    echo "$name: $(sed -n 's/^  *\([0-9]* generated\).*/\1/p' "$directory/$name.txt"), $served of them answered with 200"
    if [ "$served" -ge 50 ] && grep -q 'Tested: 5' "$directory/$name.txt" &&
        ! printf '%s' "$differences" | grep -vE "$3"; then
        [ -z "$differences" ] || printf '%s\n' "$differences"
        echo "ok $name"
        passed=$((passed + 1))
    else
        cat "$directory/$name.txt"
        echo "FAILED $name"
        failed=$((failed + 1))
    fi
}

check ours '' '^$'
# It has no 401. It allows every tag, name and value. It demands `page` and `pageSize`, and says their defaults.
check cortex "$root/tests/api/cortex.json" \
    '(ST103 Undocumented status code|Received: 401|ST202 Schema-valid request rejected|ST201 Schema-violating request accepted)$'

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
