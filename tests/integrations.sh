#!/usr/bin/env bash
# Runs every example of docs/integrations.md with the real program: `tests/integrations.sh [PATH OF SECRETS]`. A program that is not
# installed is skipped; with --strict that is a failure.
# shellcheck disable=SC2016 # what stands in single quotes is for other shells
set -euo pipefail
cd "$(dirname "$0")/.."
strict=
if [ "${1:-}" = --strict ]; then strict=1 && shift; fi
binary=$(realpath "${1:-${CARGO_TARGET_DIR:-target}/debug/secrets}")
page=$PWD/docs/integrations.md
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -m 700 "$work/bin" "$work/home" "$work/web" "$work/home/run"
ln -s "$binary" "$work/bin/secrets"

export HOME=$work/home XDG_RUNTIME_DIR=$work/home/run XDG_DATA_HOME=$work/home/data PATH=$work/bin:$PATH
export SECRETS_VAULT=$work/vault.db SECRETS_PASSPHRASE='correct horse battery staple'
export GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@example.org GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@example.org
unset SECRETS_PROJECT SECRETS_PASSPHRASE_FILE
passed=0 failed=0
# What most readers get wrong: `$`, `#`, blanks, backslashes.
value='postgres://app:pa$$w0rd$HOME#x \n@db/dev'

good() { passed=$((passed + 1)) && echo "ok       $1"; }
bad() { failed=$((failed + 1)) && echo "FAILED   $1"; }
test_that() { local what=$1 && shift && if "$@"; then good "$what"; else bad "$what"; fi; }
has() {
    command -v "$1" >/dev/null && return
    if [ -n "$strict" ]; then bad "$1 is not installed"; else echo "skipped  $1 is not installed"; fi
    return 1
}

# Prints the block behind a marker of the page.
block() {
    awk -v marker="<!-- $1 -->" '
        $0 == marker { found = 1; next }
        found && /^```/ { if (inside) exit; inside = 1; next }
        inside { print }' "$page"
}
# Writes the file of that name from the page.
file() { mkdir -p "$(dirname "${2:-$1}")" && block "$1" >"${2:-$1}" && [ -s "${2:-$1}" ]; }

secrets init --quiet --kdf-memory 19 --kdf-iterations 1 --kdf-parallelism 1 2>/dev/null
cd "$work/web"
git init --quiet .
for name in .secrets.toml .env.tmpl env.sh.tmpl database-url.tmpl; do file "$name"; done
printf %s "$value" | secrets create --quiet --tag database-url
test_that "setup of the page's project" secrets setup --yes --quiet
key=$(sed -n 's/^SESSION_KEY=//p' .env)
before=$(stat -c '%n %y' .env env.sh run/database-url .gitignore)
secrets setup --quiet
test_that "a second one changes nothing" [ "$before" = "$(stat -c '%n %y' .env env.sh run/database-url .gitignore)" ]
test_that "a shell takes env.sh" sh -c '. ./env.sh; [ "$DATABASE_URL" = "$1" ]' sh "$value"

if has direnv; then
    file .envrc
    direnv allow .
    test_that "direnv" [ "$(direnv exec . sh -c 'printf %s "$DATABASE_URL"' 2>/dev/null)" = "$value" ]
fi

# `docker compose` is the same program as a plug-in; either says what it would start without a daemon.
compose=(docker compose)
docker compose version >/dev/null 2>&1 || compose=(docker-compose)
if has "${compose[0]}"; then
    file docker-compose.yml
    # Printed as a compose file is read, where `$` is written twice.
    twice='$$'
    printed="DATABASE_URL: ${value//'$'/$twice}"
    found=$("${compose[@]}" config 2>/dev/null)
    test_that "compose: env_file" grep -qF "$printed" <<<"$found"
    test_that "compose: secrets" grep -qE 'file: .*/run/database-url$' <<<"$found"
    test_that "compose: the file" [ "$(cat run/database-url)" = "$value" ]
    test_that "compose: the file is private" [ "$(stat -c %a run/database-url)" = 600 ]
    sed -i 's/env_file: .env/environment: [DATABASE_URL]/' docker-compose.yml
    line=$(block 'run: compose-run' | sed "s/docker compose up/${compose[*]} config/; s/secrets run/secrets run --no-mask/")
    test_that "compose: by name" grep -qF "$printed" <<<"$(sh -c "$line" 2>/dev/null)"
fi

if has systemd-analyze; then
    mkdir -p units
    for unit in app-secrets.service app.service; do
        file "$unit" "units/$unit"
        sed -i "s,/usr/bin/secrets,$binary,; s,/usr/bin/app,/bin/true," "units/$unit"
    done
    test_that "systemd: the units" systemd-analyze verify --man=no units/app.service units/app-secrets.service
    # There is no manager here; what it would run, with its specifiers filled in.
    mkdir -m 700 credentials runtime runtime/app
    (umask 077 && echo "$SECRETS_PASSPHRASE" >credentials/passphrase)
    line=$(sed -n 's/^ExecStart=//p' units/app-secrets.service)
    line=${line//%d/$PWD/credentials} line=${line//%t/$PWD/runtime}
    line=${line//\/etc\/app\/vault.db/$SECRETS_VAULT} line=${line//\/etc\/app/$PWD}
    test_that "systemd: rendering" env -u SECRETS_PASSPHRASE setsid --wait sh -c "$line --quiet"
    line=$(sed -n "s/^ExecStart=.bin.sh -c '\(.*\)'\$/\1/p" units/app.service)
    line=${line/\/bin\/true/printenv DATABASE_URL}
    test_that "systemd: the program" [ "$(CREDENTIALS_DIRECTORY=$PWD/runtime/app sh -c "$line")" = "$value" ]
fi

if has git; then
    file pre-commit .git/hooks/pre-commit
    chmod +x .git/hooks/pre-commit
    git add .secrets.toml .env.tmpl .gitignore
    test_that "git: what holds no value is committed" sh -c 'git commit --quiet --message one 2>/dev/null'
    printf 'url: %s\n' "$value" >notes
    git add notes
    test_that "git: a value is refused" sh -c '! git commit --quiet --message two 2>/dev/null >&2'
    git reset --quiet
fi
if command -v pre-commit >/dev/null; then
    rm .git/hooks/pre-commit
    file .pre-commit-config.yaml
    git add .pre-commit-config.yaml
    test_that "pre-commit: nothing found" sh -c 'pre-commit run >/dev/null'
    git add notes
    test_that "pre-commit: a value is refused" sh -c '! pre-commit run >/dev/null'
    git reset --quiet
else
    echo "skipped  pre-commit is not installed"
fi

if has jq; then
    file .github/workflows/secrets.yml
    workflow=.github/workflows/secrets.yml
    line=$(sed -n 's/^ *run: \(secrets refs.*\)/\1/p' $workflow)
    test_that "actions: refs" [ "$(env -u SECRETS_PASSPHRASE -u SECRETS_VAULT sh -c "$line" | tr '\n' ' ')" = "database-url session-key " ]
    line=$(sed -n '/^ *run: |$/,$p' $workflow | sed 1d)
    # As git checks it out.
    mkdir ci
    install -m 644 "$SECRETS_VAULT" ci/vault.db
    rm .env
    test_that "actions: check" [ "$(SECRETS_VAULT=ci/vault.db sh -ec "$line" 2>/dev/null | jq -c .missing)" = "[]" ]
    test_that "actions: render" [ -s .env ]
    test_that "actions: its own placeholders stay" cmp -s $workflow <(secrets render $workflow)
fi

printf '#!/bin/sh\n[ "$DATABASE_URL" = "$EXPECTED" ] && [ -z "${SESSION_KEY-}" ]\n' >test.sh
chmod +x test.sh
for tool in make just; do
    if has $tool; then
        if [ $tool = make ]; then file Makefile; else file justfile; fi
        rm .env
        test_that "$tool" sh -c 'EXPECTED=$1 $2 test >/dev/null 2>&1' sh "$value" $tool
        test_that "$tool: .env is there" [ -s .env ]
    fi
done

block 'run: clone' >clone.sh
test_that "clone" sh -e clone.sh 2>/dev/null
test_that "clone: the other project's is rendered" sh -c '! grep -qF "$1" .env && grep -qF "$2" .env' sh "$value" "$key"
secrets render --all --quiet
test_that "clone: the first is as it was" grep -qF "$value" .env

echo "$passed passed, $failed failed"
[ $failed = 0 ]
