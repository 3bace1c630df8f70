#!/usr/bin/env bash
# docs/migrate.md with the real programs: a store of pass (with gpg), a database of KeePassXC, a file of dotenvx. Each value that
# the program prints is compared with what `secrets` stored. dotenvx is installed into target/migrate/. A program that
# is missing is skipped. With --strict it is a failure.
#
# Usage: tests/migrate.sh [--strict]; SECRETS is the binary to try [default: target/debug/secrets]
# shellcheck disable=SC2016 # values contain `$`
set -euo pipefail
cd "$(dirname "$0")/.."

strict=${1:-}
binary=$(realpath "${SECRETS:-target/debug/secrets}")
tools=$PWD/target/migrate
directory=$(mktemp -d)
export HOME=$directory SECRETS_VAULT=$directory/vault.db XDG_STATE_HOME=$directory/state XDG_RUNTIME_DIR=$directory/runtime
export GNUPGHOME=$directory/gnupg PASSWORD_STORE_DIR=$directory/store
mkdir -m 700 "$XDG_RUNTIME_DIR" "$GNUPGHOME"
printf 'correct horse battery staple' >"$directory/passphrase"
chmod 600 "$directory/passphrase"
trap '"$binary" lock --all -q; gpgconf --kill all 2>/dev/null; rm -rf "$directory"' EXIT

secrets() { "$binary" --passphrase-file "$directory/passphrase" "$@"; }
value() { secrets -p "$1" render -e "{{ secrets.$2 }}"; }
tags() { secrets -p "$1" list -q | cut -f1; }
fail() { echo "FAILED: $*" >&2; exit 1; }
is() { [ "$(value "$1" "$2"; echo .)" = "$3." ] || fail "$1/$2 is not what the program has"; }
skipped() {
    [ "$strict" != --strict ] || fail "$1 is not installed"
    echo "skipped: $1 is not installed" >&2
}

secrets init -q --kdf-memory 19 --kdf-iterations 1 --kdf-parallelism 1
secrets unlock -q
cd "$directory"

if command -v pass >/dev/null && command -v gpg >/dev/null; then
    echo "== pass"
    gpg --batch --quiet --passphrase '' --quick-generate-key 'Sample <sample@example.test>' future-default default never 2>/dev/null
    pass init sample@example.test >/dev/null
    store() { pass insert -m "$1" >/dev/null; }
    printf 'pa$$word "quoted" \n' | store github
    printf 'hunter2\nlogin: bob\nurl: https://example.test/?a=1\notpauth://totp/Example:bob?secret=JBSWY3DPEHPK3PXP\n' | store web/example.test
    printf 'beside a folder of the same name' | store web
    printf -- '-----BEGIN PRIVATE KEY-----\nbm90IGEga2V5\n-----END PRIVATE KEY-----\n' | store servers/ssh.key
    printf 'pässwörd-日本\n' | store 'work stuff/Café'
    printf '\000\001\377 \n' | store binary
    secrets -p pass import --from pass
    is pass github 'pa$$word "quoted" '
    is pass web-example-test hunter2
    is pass web-example-test-totp 'otpauth://totp/Example:bob?secret=JBSWY3DPEHPK3PXP'
    is pass web 'beside a folder of the same name'
    is pass work-stuff-cafe 'pässwörd-日本'
    pass show servers/ssh.key >expected
    value pass servers-ssh-key | cmp - expected
    pass show binary >expected
    value pass binary | cmp - expected
    [[ $(secrets -p pass get web-example-test --json) == *"user: bob"* ]] || fail "the user name is lost"
    secrets -p pass code web-example-test-totp >/dev/null
    [ "$(secrets -p pass list -q | wc -l)" = 7 ] || fail "pass has other entries"
    secrets -p folder import --from pass work\ stuff
    [ "$(tags folder)" = cafe ] || fail "the folder has other entries"
    GNUPGHOME=$directory/none secrets -p none import --from pass 2>/dev/null && fail "without a key"
    secrets -p none list -q | grep . && fail "something was stored without a key"
else
    skipped pass
fi

if command -v keepassxc-cli >/dev/null; then
    echo "== KeePassXC"
    word=database-password
    keepass() { command=$1; shift; printf '%s\n' "$word" | keepassxc-cli "$command" -q "$@"; }
    printf '%s\n%s\n' $word $word | keepassxc-cli db-create -q -p -t 100 all.kdbx
    keepass mkdir all.kdbx servers
    printf '%s\npa$$word "x"\n' $word | keepassxc-cli add -q -p all.kdbx servers/db -u app --url https://db.example.test
    printf '%s\nwill be deleted\n' $word | keepassxc-cli add -q -p all.kdbx old
    keepass rm all.kdbx old
    printf '%s\n' $word | secrets -p keepass import all.kdbx
    is keepass db 'pa$$word "x"'
    [ "$(tags keepass)" = db ] || fail "the recycle bin was imported"
    echo wrong | secrets -p wrong import all.kdbx 2>/dev/null && fail "with a wrong password"
    expected=$(keepass export -f xml all.kdbx | secrets -p pipe import - --dry-run)
    [[ $expected == *"-> pipe/db" ]] || fail "the pipe of the page"
else
    skipped keepassxc-cli
fi

dotenvx=$tools/node_modules/.bin/dotenvx
install() { npm install --loglevel error --no-audit --no-fund --ignore-scripts --prefix "$tools" @dotenvx/dotenvx@2 >/dev/null; }
# A registry may refuse a request now and then.
if command -v npm >/dev/null && { [ -x "$dotenvx" ] || install || install; } && [ -x "$dotenvx" ]; then
    echo "== dotenvx"
    mkdir repo
    cd repo
    printf '%s\n' 'PLAIN=hunter2' "DOLLAR='pa\$\$word-\${PLAIN}-\$(touch ran)'" 'UNICODE="pässwörd 日本"' >.env.production
    "$dotenvx" encrypt -q -f .env.production >/dev/null
    grep -q '^PLAIN="\?encrypted:' .env.production || fail "dotenvx encrypted nothing"
    secrets -p dotenvx import .env.production
    is dotenvx plain hunter2
    is dotenvx dollar 'pa$$word-${PLAIN}-$(touch ran)'
    is dotenvx unicode 'pässwörd 日本'
    [ ! -e ran ] || fail "a command in a value was run"
else
    skipped dotenvx
fi

echo "all imports are what the programs have"
