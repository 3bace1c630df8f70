#!/usr/bin/env bash
# Shares a vault between two machines and a CI job, each in a network namespace with a home of its own. The
# database is in a fourth one, where its disk fills up at the end. Needs root, `ip`, `openssl` and
# PostgreSQL; without them, it is skipped. With --strict, that is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
secrets=$(realpath "${SECRETS:-${CARGO_TARGET_DIR:-target}/release/secrets}")

missing() {
    echo "skipped: $1" >&2
    [ "${strict:-}" != --strict ] || exit 1
    exit 0
}

strict=${1:-}
[ "$(id -u)" = 0 ] || missing "network namespaces need root"
for program in ip openssl runuser; do
    command -v "$program" >/dev/null || missing "$program is not installed"
done
postgres=$(find /usr/lib/postgresql -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -1)
[ -x "$postgres/initdb" ] || missing "PostgreSQL is not installed"

directory=$(mktemp -d /tmp/machines.XXXXXX)
prefix=s$$
hosts="db laptop desktop ci"

end() {
    runuser -u postgres -- "$postgres/pg_ctl" -D "$directory/db/data" -m immediate stop >/dev/null 2>&1 || true
    for host in $hosts; do
        ip netns pids "$prefix-$host" 2>/dev/null | xargs -r kill 2>/dev/null || true
        ip netns delete "$prefix-$host" 2>/dev/null || true
    done
    umount "$directory/db/space" 2>/dev/null || true
    rm -rf "$directory"
}
trap end EXIT

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# Four hosts on one switch, which is in the database's namespace.
number=1
for host in $hosts; do
    ip netns add "$prefix-$host" 2>/dev/null || missing "this system has no network namespaces"
    ip -n "$prefix-$host" link set lo up
    mkdir -m 700 "$directory/$host"
    if [ "$host" = db ]; then
        ip -n "$prefix-db" link add switch type bridge || missing "this system has no bridges"
        ip -n "$prefix-db" address add 10.77.0.1/24 dev switch
        ip -n "$prefix-db" link set switch up
    else
        number=$((number + 1))
        ip -n "$prefix-db" link add "$host" type veth peer name net0 netns "$prefix-$host"
        ip -n "$prefix-db" link set "$host" master switch up
        ip -n "$prefix-$host" address add "10.77.0.$number/24" dev net0
        ip -n "$prefix-$host" link set net0 up
    fi
done
chmod 711 "$directory" "$directory/db"

# The certificates of an authority and of the server.
(
    umask 022
    cd "$directory/db"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=authority" \
        -addext "basicConstraints=critical,CA:TRUE" -keyout ca.key -out ca.pem 2>/dev/null
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=db" \
        -keyout server.key -out server.csr 2>/dev/null
    printf 'subjectAltName=IP:10.77.0.1\n' >extensions
    openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions \
        -out server.pem 2>/dev/null
    chmod 600 server.key
    mkdir -m 700 data
    chown postgres: server.key data .
)

# A small disk. The server sees only what is mounted before it starts.
mkdir "$directory/db/space"
mount -t tmpfs -o size=8m small "$directory/db/space" || missing "this system has no tmpfs"
chown postgres: "$directory/db/space"

echo administrator >"$directory/db/pwfile"
runuser -u postgres -- "$postgres/initdb" -D "$directory/db/data" -A scram-sha-256 -U postgres \
    --pwfile="$directory/db/pwfile" --no-sync >/dev/null
cat >>"$directory/db/data/postgresql.conf" <<EOF
listen_addresses = '10.77.0.1'
unix_socket_directories = '$directory/db'
ssl = on
ssl_cert_file = '$directory/db/server.pem'
ssl_key_file = '$directory/db/server.key'
EOF
echo "hostssl all all 10.77.0.0/24 scram-sha-256" >>"$directory/db/data/pg_hba.conf"
ip netns exec "$prefix-db" runuser -u postgres -- "$postgres/pg_ctl" -D "$directory/db/data" -w \
    -l "$directory/db/log" start >/dev/null

# The roles of docs/operators.md, with passwords.
sql() { PGPASSWORD=administrator psql -qAtX -v ON_ERROR_STOP=1 -h "$directory/db" -U postgres "$@"; }
awk '/^```sql$/ { inside = 1; next } /^```$/ { inside = 0 } inside' docs/operators.md >"$directory/roles.sql"
sql -d postgres -f "$directory/roles.sql"
for role in ana bo ci; do sql -d secrets -c "ALTER ROLE $role PASSWORD '$role-password'"; done

# Runs a program on a host, with the home of the host and nothing else in its environment.
on() {
    local host=$1 passphrase=()
    shift
    [ "$host" = ci ] || passphrase=("SECRETS_PASSPHRASE_FILE=$directory/$host/passphrase")
    ip netns exec "$prefix-$host" env -i HOME="$directory/$host" PATH="$PATH" "${passphrase[@]}" "$@"
}

url() { echo "postgres://$1@10.77.0.1/secrets?sslrootcert=$directory/db/ca.pem"; }
expect() { [ "$2" = "$3" ] || fail "$1: '$2' instead of '$3'"; }
cheap='--kdf-memory=19 --kdf-iterations=1 --kdf-parallelism=1'
for host in laptop desktop; do
    (umask 077 && echo "a passphrase of the $host" >"$directory/$host/passphrase")
done

echo "== the owner's laptop creates the vault"
# shellcheck disable=SC2086 # options
on laptop PGPASSWORD=ana-password "$secrets" -q remote init "$(url ana)" $cheap
echo -n first-value | on laptop "$secrets" -q create api-key -p shop
echo -n other-value | on laptop "$secrets" -q create dsn -p shop

echo "== her desktop joins with a ticket"
on laptop "$secrets" -q remote ticket >"$directory/ticket"
# shellcheck disable=SC2086
on desktop PGPASSWORD=ana-password "$secrets" -q remote join - $cheap <"$directory/ticket"
reveal='{{ secrets.api-key }}'
expect desktop "$(on desktop "$secrets" render -p shop -e "$reveal" --reveal)" first-value
echo -n second-value | on desktop "$secrets" -q update api-key -p shop
expect laptop "$(on laptop "$secrets" render -p shop -e "$reveal" --reveal)" second-value

echo "== a job has a token, a role that reads, and no file"
on laptop "$secrets" -q token create ci --level use -p shop --only api-key >"$directory/ci.token"
job() {
    on ci SECRETS_VAULT="$(url ci)" PGPASSWORD=ci-password SECRETS_TOKEN="$(cat "$directory/ci.token")" \
        "$secrets" "$@"
}
expect job "$(job render -p shop -e "$reveal" --reveal)" second-value
# shellcheck disable=SC2016 # the job's shell expands this
expect job "$(job run -p shop -- sh -c 'echo "${#API_KEY}"')" 12
code=0
job render -p shop -e '{{ secrets.dsn }}' --reveal >/dev/null 2>&1 || code=$?
expect "a secret that the token does not open" "$code" 3

echo "== the desktop loses its network"
ip -n "$prefix-db" link set desktop down
expect offline "$(on desktop "$secrets" --offline render -p shop -e "$reveal" --reveal 2>"$directory/warning")" second-value
grep -q 'using what this machine saw' "$directory/warning" || fail "no warning: $(cat "$directory/warning")"
on laptop PGPASSWORD=ana-password "$secrets" -q remote status >/dev/null
echo -n third-value | on laptop "$secrets" -q update api-key -p shop
ip -n "$prefix-db" link set desktop up
expect "back online" "$(on desktop "$secrets" render -p shop -e "$reveal" --reveal)" third-value

echo "== a colleague changes the vault with a token"
on laptop "$secrets" -q token create bo --level manage -p shop >"$directory/bo.token"
echo -n fourth-value | on ci SECRETS_VAULT="$(url bo)" PGPASSWORD=bo-password \
    SECRETS_TOKEN="$(cat "$directory/bo.token")" "$secrets" -q update api-key -p shop
for host in laptop desktop; do
    expect "$host" "$(on "$host" "$secrets" render -p shop -e "$reveal" --reveal)" fourth-value
    on "$host" "$secrets" -q verify >/dev/null
done
on laptop "$secrets" -q token revoke ci --yes
code=0
job render -p shop -e "$reveal" --reveal >/dev/null 2>&1 || code=$?
expect "a revoked token" "$code" 5

echo "== the server's disk is full"
sql -d secrets -c "CREATE TABLESPACE small LOCATION '$directory/db/space'"
for table in records vals audit buckets; do
    sql -d secrets -c "ALTER TABLE secrets.$table SET TABLESPACE small"
done
sql -d secrets -c "CREATE TABLE filler (bytes bytea) TABLESPACE small" \
    -c "ALTER TABLE filler ALTER bytes SET STORAGE EXTERNAL, SET (autovacuum_enabled = off)"
while sql -d secrets -c "INSERT INTO filler SELECT decode(repeat('55', 4000), 'hex') FROM generate_series(1, 20)"; do
    :
done 2>"$directory/filling"
grep -q 'No space left on device' "$directory/filling" || fail "the disk is not full: $(cat "$directory/filling")"

stored=0 refused=0
for number in $(seq 40); do
    if head -c 3000 /dev/urandom | base64 | on laptop "$secrets" -q create "large-$number" -p shop 2>"$directory/full"; then
        stored=$((stored + 1))
    else
        grep -q 'no space left' "$directory/full" || fail "another error: $(cat "$directory/full")"
        refused=$((refused + 1))
    fi
    [ "$refused" -lt 3 ] || break
done
[ "$refused" = 3 ] || fail "the vault found room on a full disk"
on laptop "$secrets" -q verify >/dev/null
sql -d secrets -c "DROP TABLE filler"
echo -n after | on laptop "$secrets" -q create after -p shop
for host in laptop desktop; do
    count=$(on "$host" "$secrets" list -p shop --all --json | grep -o '"tag"' | wc -l)
    expect "secrets on $host" "$count" $((stored + 3))
    on "$host" "$secrets" -q verify >/dev/null
done

echo "== the server's files hold no value and no name"
if grep -arq -e fourth-value -e api-key "$directory/db/data"; then
    fail "the server's files hold a value or a name"
fi
echo "two machines and a job share a vault"
