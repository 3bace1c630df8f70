#!/usr/bin/env bash
# Runs every block of docs/integrations.md with the real programs, on a vault and projects that belong to this test. A
# program that is not installed is skipped. With --strict, a missing direnv, git, just or make is a failure.
# shellcheck disable=SC2016 # single quotes hold text for other programs, or for the page
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
page=$root/docs/integrations.md
binary=${SECRETS:-${CARGO_TARGET_DIR:-$root/target}/release/secrets}
strict=false
[ "${1:-}" != --strict ] || strict=true
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT

# The caller's files are neither read nor written, except Docker's plugins.
export DOCKER_CONFIG=${DOCKER_CONFIG:-$HOME/.docker}
for name in $(compgen -e | grep -E '^(SECRETS|GIT|DIRENV|COMPOSE|XDG|MAKE|MFLAGS|JUST|PRE_COMMIT)' || true); do unset "$name"; done
mkdir -m 700 "$directory/home" "$directory/run" "$directory/bin"
export HOME=$directory/home XDG_RUNTIME_DIR=$directory/run GIT_CONFIG_NOSYSTEM=1
export PATH=$directory/bin:$PATH SECRETS_VAULT=$directory/vault.db SECRETS_PASSPHRASE_FILE=$directory/passphrase
ln -s "$(realpath "$binary")" "$directory/bin/secrets"
cheap='--kdf-memory 19 --kdf-iterations 1 --kdf-parallelism 1'
stripe=sk_test_51Hx0aBcDeFgHiJkLmNoPq9Qz7
# A single-quoted line can hold everything except a quote, a newline and a trailing backslash.
password="p\$\$w\$HOME#1 \"x\" \\n \`id\` {{x}} %d;&"
(umask 077 && echo 'correct horse battery staple' >"$SECRETS_PASSPHRASE_FILE")

example() { # KEY: the block below that marker
    local marker="<!-- test: $1 -->"
    awk -v marker="$marker" '
        $0 == marker { found = 1; next }
        found && /^```/ { if (inside) exit; inside = 1; next }
        inside { print }
    ' "$page" | grep '' || { echo "the page has no $marker" >&2; return 1; }
}

same() { # WHAT WANTED GOT
    [ "$2" = "$3" ] || { printf '%s: wanted [%s], got [%s]\n' "$1" "$2" "$3" >&2; return 1; }
}

refused() { # COMMAND...: fails
    if "$@"; then echo "was not refused: $*" >&2; return 1; fi
}

skip() { echo "$*" >"$directory/skipped"; exit 77; }

needs() { # PROGRAM
    command -v "$1" >/dev/null && return
    case $strict,$1 in
        true,direnv | true,git | true,just | true,make) echo "$1 is not installed" >&2; exit 1 ;;
        *) skip "$1 is not installed" ;;
    esac
}

passed=0 failed=0
check() { # NAME FUNCTION, which runs in a copy of the project and of the vault
    local status=0 work=$directory/work/$2
    mkdir -p "$work/web"
    if [ -d "$directory/web" ]; then
        cp -R "$directory/web" "$work"
        cp -p "$directory/vault.db" "$work"
        SECRETS_VAULT=$work/vault.db
        # Each copy gets its own directory.
        secrets trust -q "$work/web" >/dev/null
    fi
    set +e
    (set -e; cd "$work/web"; "$2") >"$directory/log" 2>&1
    status=$?
    set -e
    case $status in
        0) echo "ok $1"; passed=$((passed + 1)) ;;
        77) echo "skipped: $1: $(cat "$directory/skipped")" ;;
        *) echo "FAILED $1"; sed 's/^/    /' "$directory/log"; failed=$((failed + 1)) ;;
    esac
}

# The first Python that reads YAML, and therefore JSON.
python=
for name in python3 /usr/bin/python3; do
    if [ -z "$python" ] && "$name" -c 'import yaml' 2>/dev/null; then python=$name; fi
done
yaml() { # FILE EXPRESSION of d
    "$python" -c 'import sys, yaml; d = yaml.safe_load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$1" "$2"
}

# --- the project

project() {
    git config --global user.name test
    git config --global user.email test@example.org
    git config --global init.defaultBranch main
    example 'project .secrets.toml' >.secrets.toml
    example 'project app.env.tmpl' >app.env.tmpl
    git init -q
    # shellcheck disable=SC2086 # options
    secrets init -q $cheap
    # Nothing works before the manifest is trusted.
    refused secrets setup --yes
    example 'project commands' | grep -v '^secrets setup$' | sh
    printf %s "$stripe" | secrets create -q --tag stripe-key
    example 'project commands' | grep '^secrets setup$' | sed 's/$/ --yes/' | sh
    same 'mode of .env' 600 "$(stat -c %a .env)"
    same .gitignore .env "$(sed 's,^/,,' .gitignore)"
    printf %s "$password" | secrets update -q db-password
    secrets render --stale
    secrets check
    printf '#!/bin/sh\nprintf "%%s\\n" "$STRIPE_KEY" "$DB_PASSWORD" >seen\n' >server
    chmod +x server
    git add . && git commit -qm first
    cp -R . "$directory/web"
}

quotes() {
    # shellcheck disable=SC1091
    same sh "$password" "$(. ./.env; printf %s "$DB_PASSWORD")"
    secrets run --env-file app.env.tmpl -- ./server
    same --env-file "$(printf '%s\n' "$stripe" "$password")" "$(cat seen)"
    if command -v direnv >/dev/null; then
        same 'direnv dotenv' "$password" "$(eval "$(direnv dotenv bash .env)"; printf %s "$DB_PASSWORD")"
    fi
}

# --- direnv

direnv_values() {
    needs direnv
    needs python3
    example 'direnv .envrc' >.envrc
    direnv allow
    direnv exec . ./server
    same 'in direnv' "$(printf '%s\n' "$stripe" "$password")" "$(cat seen)"
    # The next load picks up a changed value, and DIRENV_DIFF holds it, as the page says.
    printf 'another value of it' | secrets update -q db-password
    direnv exec . ./server
    same 'after an update' 'another value of it' "$(sed -n 2p seen)"
    (
        eval "$(direnv export bash)"
        python3 -c 'import base64, os, zlib; print(zlib.decompress(base64.urlsafe_b64decode(os.environ["DIRENV_DIFF"])))'
    ) >unpacked
    grep -q "$stripe" unpacked
    # A locked vault gives no value.
    same locked '' "$(SECRETS_PASSPHRASE_FILE='' setsid -w direnv exec . printenv STRIPE_KEY </dev/null || true)"
}

# A stranger's branch has another manifest and template. The same shell loads the same `.envrc` on it.
direnv_hostile_branch() {
    needs direnv
    printf 'a production password' | secrets -p prod create -q --tag db-password
    example 'direnv .envrc' >.envrc
    direnv allow
    git checkout -q -b theirs
    printf '%s\n' 'project = "prod"' '[[render]]' 'template = "app.env.tmpl"' 'output = "public/leak"' 'mode = "644"' >.secrets.toml
    printf '%s\n' "LD_PRELOAD=./x.so" "DB_PASSWORD='{{ secrets.db-password }}'" >app.env.tmpl
    git add . && git commit -qm theirs
    direnv exec . ./server
    same 'on their branch' "$(printf '%s\n' "$stripe" "$password")" "$(cat seen)"
    same 'not preloaded' '' "$(direnv exec . printenv LD_PRELOAD || true)"
    # The recipe that our page recommended before and the other recipes leak nothing either.
    for recipe in 'secrets render --stale -q' 'secrets render --all' 'secrets run -- ./server' 'secrets setup --yes'; do
        refused setsid -w sh -c "$recipe" </dev/null
    done
    [ ! -e public ]
    refused grep -rq 'a production password' .
}

direnv_placeholders() {
    needs direnv
    example 'direnv placeholders .envrc' >.envrc
    direnv allow
    same 'in the shell' '{{ secrets.stripe-key }}' "$(SECRETS_VAULT=/nowhere direnv exec . printenv STRIPE_KEY)"
    grep -qF '`secrets run -- ./server`' "$page"
    direnv exec . secrets run -- ./server
    same 'in the program' "$stripe" "$(sed -n 1p seen)"
    # A variable with another name is expanded only if it is named.
    echo "export OTHER_KEY='{{ secrets.stripe-key }}'" >>.envrc
    direnv allow
    same 'another name' '{{ secrets.stripe-key }}' "$(direnv exec . secrets run --no-mask -- printenv OTHER_KEY)"
    same 'named' "$stripe" "$(direnv exec . secrets run --no-mask --expand-env OTHER_KEY -- printenv OTHER_KEY)"
}

# --- Docker Compose

compose_needed() {
    [ -n "$python" ] || skip 'no Python that reads YAML'
    if docker compose version >/dev/null 2>&1; then return; fi
    command -v docker-compose >/dev/null || skip 'docker compose is not installed'
    printf '#!/bin/sh\nshift\nexec docker-compose "$@"\n' >"$directory/bin/docker"
    chmod +x "$directory/bin/docker"
}

resolved() { # NAME: of the service's environment, from what Compose says it made of all files; `$` stands doubled there
    docker compose config >config.yaml
    yaml config.yaml "d['services']['web']['environment']['$1'].replace('\$\$', '\$')"
}

compose_environment() {
    compose_needed
    example 'compose environment compose.yaml' >compose.yaml
    # Without a daemon, this shows what `up` would get.
    example 'compose environment run' | sed 's/compose up$/compose config/' >run
    sed 's/run --/run --no-mask --/' run | sh >config.yaml
    same 'STRIPE_KEY' "$stripe" "$(yaml config.yaml "d['services']['web']['environment']['STRIPE_KEY']")"
    same 'DB_PASSWORD' "$password" \
        "$(yaml config.yaml "d['services']['web']['environment']['DB_PASSWORD'].replace('\$\$', '\$')")"
    sh run >masked
    grep -q '‹stripe-key›' masked
    refused grep -q "$stripe" masked
}

compose_env_file() {
    compose_needed
    example 'compose env_file compose.yaml' >compose.yaml
    same 'DB_PASSWORD' "$password" "$(resolved DB_PASSWORD)"
    same 'STRIPE_KEY' "$stripe" "$(resolved STRIPE_KEY)"
    # `${…}` needs the quotes, which Compose 1 ignores. The filter `shell` cannot write a quote for Compose.
    printf 'a${HOME}b' | secrets update -q db-password
    secrets render --stale
    case $(docker compose version --short) in
        1.*) ;;
        *) same 'with quotes' 'a${HOME}b' "$(resolved DB_PASSWORD)" ;;
    esac
    sed -i "s/'//g" app.env.tmpl
    secrets render --stale
    same 'without quotes' "a${HOME}b" "$(resolved DB_PASSWORD)"
    printf "it's" | secrets update -q db-password
    echo 'DB_PASSWORD={{ secrets.db-password | shell }}' >app.env.tmpl
    secrets trust -q
    secrets render --stale
    refused same 'the filter shell' "it's" "$(resolved DB_PASSWORD)"
}

compose_raw() {
    compose_needed
    local version
    version=$(docker compose version --short)
    [ "$(printf '%s\n' 2.30 "${version#v}" | sort -V | head -n 1)" = 2.30 ] || skip "needs Compose 2.30, found $version"
    grep -qF '`env_file: [{path: .env, format: raw}]`' "$page"
    example 'compose env_file compose.yaml' | sed 's/env_file:.*/env_file: [{path: .env, format: raw}]/' >compose.yaml
    sed -i "s/'//g" app.env.tmpl
    printf "it's \"\$HOME\" \\" | secrets update -q db-password
    secrets render --stale
    same 'DB_PASSWORD' "it's \"\$HOME\" \\" "$(resolved DB_PASSWORD)"
}

compose_secrets() {
    compose_needed
    example 'compose secrets compose.yaml' >compose.yaml
    example 'compose secrets template' >template
    sh template
    docker compose config >config.yaml
    same 'the file' "$PWD/run/db-password" "$(realpath "$(yaml config.yaml "d['secrets']['db-password']['file']")")"
    same 'its mode' 600 "$(stat -c %a run/db-password)"
    printf %s "$password" | cmp - run/db-password
    git check-ignore -q run/db-password
    refused grep -qF 'p$$w' config.yaml
}

# --- systemd

# Replaces the paths in the unit with those of this test.
here() {
    printf '#!/bin/sh\ncat "$2"\n' >"$PWD/web-server"
    chmod +x "$PWD/web-server"
    sed -e "s,/usr/local/bin/secrets,$directory/bin/secrets,; s,/usr/local/bin/web,$PWD/web-server," \
        -e "s,/srv/web,$PWD,; s,/etc/secrets/passphrase,$SECRETS_PASSPHRASE_FILE,; s,/var/lib/secrets/vault.db,$SECRETS_VAULT," \
        "$1"
}

verified() { # UNIT: systemd knows every key and finds every program
    local said
    said=$(systemd-analyze verify --man=no "$1" 2>&1 | grep -F "$(basename "$1")" || true)
    same 'systemd-analyze verify' '' "$said"
}

# A running manager starts the unit itself. The user's own manager is left alone, because this test has its own home.
started() { # UNIT OUTPUT
    [ "$(id -u)" = 0 ] && [ -d /run/systemd/system ] || return 0
    local unit=secrets-test-$$.service
    sed "/^ExecStart=/i Type=oneshot\nStandardOutput=file:$PWD/seen" "$1" >"/run/systemd/system/$unit"
    systemctl daemon-reload
    local status=0
    systemctl start "$unit" || status=$?
    rm -f "/run/systemd/system/$unit"
    systemctl daemon-reload
    same 'the unit started' 0 "$status"
    cmp seen "$2"
    echo yes >"$directory/managed"
}

systemd_file() {
    needs systemd-analyze
    example 'systemd web.service' >unit
    # The unit's dynamic user has no access to this test's directory.
    here unit | sed '/^DynamicUser=/d' >web.service
    verified "$PWD/web.service"
    started web.service .env
}

systemd_rendering() {
    needs systemd-analyze
    example 'systemd rendering web.service' >unit
    here unit >web.service
    verified "$PWD/web.service"
    started web.service .env
    # Does what the manager would do: sets the environment, then runs both programs.
    mkdir -p credentials "$directory/run/web"
    chmod 700 credentials
    cp "$SECRETS_PASSPHRASE_FILE" credentials/vault-passphrase
    chmod 400 credentials/vault-passphrase
    sed -e "s,%d,$PWD/credentials,g; s,%t,$directory/run,g" -n -e 's/^Environment=/export /p' -e 's/^ExecStart\(Pre\)\?=//p' \
        web.service >steps
    env -u SECRETS_VAULT -u SECRETS_PASSPHRASE_FILE bash -e steps >seen
    cmp seen .env
    same 'its mode' 600 "$(stat -c %a "$directory/run/web/app.env")"
}

systemd_manager() {
    needs systemd-analyze
    [ -e "$directory/managed" ] || skip 'no systemd manager is running: the units were verified but not started'
}

# --- git

commits() { # one commit is accepted, one refused
    echo 'nothing of note' >note
    git add note && git commit -qm accepted
    echo "key = $stripe" >note
    git add note && refused git commit -qm refused
    same 'the last commit' accepted "$(git log -1 --format=%s)"
}

git_hook() {
    needs git
    mkdir -p .git/hooks
    example 'git pre-commit' >.git/hooks/pre-commit
    chmod +x .git/hooks/pre-commit
    commits
    git rm -qf --cached note
    echo harmless >other
    git add other
    refused env -u SECRETS_PASSPHRASE_FILE setsid -w git commit -qm locked </dev/null
    git commit -qm unlocked
}

# Runs the entry as git's own hook, as the program pre-commit would.
git_entry() {
    needs git
    example 'git .pre-commit-config.yaml' >.pre-commit-config.yaml
    if [ -n "$python" ]; then
        same 'what is passed' 'False True' "$(yaml .pre-commit-config.yaml \
            "'{pass_filenames} {always_run}'.format(**d['repos'][0]['hooks'][0])")"
    fi
    mkdir -p .git/hooks
    { echo '#!/bin/sh'; sed -n 's/^ *entry: //p' .pre-commit-config.yaml; } >.git/hooks/pre-commit
    chmod +x .git/hooks/pre-commit
    commits
}

git_pre_commit() {
    needs git
    needs pre-commit
    example 'git .pre-commit-config.yaml' >.pre-commit-config.yaml
    git add .pre-commit-config.yaml
    pre-commit install
    commits
}

# --- GitHub Actions

actions() {
    needs python3
    mkdir -p .github/workflows
    local workflow=.github/workflows/secrets.yml
    example 'actions .github/workflows/secrets.yml' >$workflow
    [ -z "$python" ] || same 'steps' 4 "$(yaml $workflow "len(d['jobs']['check']['steps'])")"
    # GitHub's placeholders are not touched.
    secrets render $workflow | cmp - $workflow
    [ "$(grep -cF '${{' $workflow)" = 3 ]
    refused grep VAULT_PASSPHRASE <(secrets refs)

    # Creates the vault. A file gives the values that would be typed, and the environment gives the passphrase.
    printf '%s\n' "STRIPE_KEY=$stripe" >given
    example 'actions vault' | sed "s/^secrets init/& $cheap/; s/^secrets setup/& --yes --from given/" >vault
    unset SECRETS_PASSPHRASE_FILE SECRETS_VAULT
    SECRETS_PASSPHRASE=generated-for-ci-alone bash -e vault
    rm given
    local manifest
    manifest=$(secrets trust --show | sed -n 's/^sha256 *//p')
    git add . && git commit -qm ci

    # Simulates a checkout, with the passphrase from GitHub. Runs every step except building this program.
    git clone -q . ../checkout
    cd ../checkout
    grep -q '^ *SECRETS_VAULT: ci/vault.db$' $workflow
    sed -n 's/^ *- run: //p' $workflow | grep -v '^cargo install' >steps
    same 'the number of steps' 2 "$(wc -l <steps)"
    sed -n 1p steps >step
    bash -e step >refs.json
    sed -n 2p steps >step
    export SECRETS_VAULT=ci/vault.db SECRETS_PASSPHRASE=generated-for-ci-alone
    refused bash -e step
    SECRETS_TRUST_MANIFEST=$manifest bash -e step >check.json
    python3 - <<'END'
import json
references = json.load(open("refs.json"))["references"]
assert {"stripe-key", "db-password"} == {reference["tag"] for reference in references}, references
found = json.load(open("check.json"))
assert found["exit"] == 0 and found["missing"] == [], found
END
    refused grep -q "$stripe" refs.json check.json
    # A missing secret fails the job.
    echo 'NEW={{ secrets.new-key }}' >>app.env.tmpl
    refused env SECRETS_TRUST_MANIFEST="$manifest" bash -e step
    manifest=$(secrets trust --show | sed -n 's/^sha256 *//p')
    refused env SECRETS_TRUST_MANIFEST="$manifest" bash -e step
}

# --- make, just

makefile() {
    needs make
    example 'make Makefile' >Makefile
    printf '\nbuilt: .env\n\techo built >>$@\n' >>Makefile
    rm .env
    make start
    same 'the program' "$(printf '%s\n' "$stripe" "$password")" "$(cat seen)"
    make built && make built
    same 'built, once' 1 "$(wc -l <built)"
    sleep 0.1
    printf 'another value of it' | secrets update -q db-password
    make built
    same 'built, twice' 2 "$(wc -l <built)"
    grep -q 'another value of it' .env
}

justfile() {
    needs just
    example 'just justfile' >justfile
    printf '#!/bin/sh\nprintf %%s "$PGPASSWORD" >queried\n' >query
    chmod +x query
    rm .env
    just start
    same 'the program' "$(printf '%s\n' "$stripe" "$password")" "$(cat seen)"
    [ -f .env ]
    just query
    same 'the query' "$password" "$(cat queried)"
}

duplicate() {
    example 'duplicate' >steps
    bash -e steps
    cd ../staging
    grep -q '^project = "web-staging"$' .secrets.toml
    grep -qF "STRIPE_KEY='$stripe'" .env
    refused grep -qF "$password" .env
    # The first project is unchanged.
    cd ../web
    secrets check
}

unproven() {
    same 'the blocks with a marker' "$(grep -c '^```' "$page")" "$((2 * $(grep -c '^<!-- test: ' "$page")))"
    local key
    sed -n 's/^<!-- test: \(.*\) -->$/\1/p' "$page" | sort >markers
    same 'markers that stand twice' '' "$(uniq -d markers)"
    while read -r key; do
        grep -qF "example '$key'" "$root/tests/integrations.sh" || { echo "nothing tests: $key" >&2; return 1; }
    done <markers
}

needs git
check 'project' project
[ "$failed" = 0 ] || { echo "$passed passed, $failed failed"; exit 1; }
check 'quotes, sh and run --env-file' quotes
check 'direnv, values' direnv_values
check 'direnv, a hostile branch' direnv_hostile_branch
check 'direnv, placeholders' direnv_placeholders
check 'compose, environment' compose_environment
check 'compose, env_file' compose_env_file
check 'compose, env_file raw' compose_raw
check 'compose, secrets' compose_secrets
check 'systemd, a rendered file' systemd_file
check 'systemd, rendering' systemd_rendering
check 'systemd, a manager' systemd_manager
check 'git, hook' git_hook
check 'git, the entry for pre-commit' git_entry
check 'git, pre-commit' git_pre_commit
check 'GitHub Actions' actions
check 'make' makefile
check 'just' justfile
check 'duplicate' duplicate
check 'every block has a marker and a test' unproven
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
