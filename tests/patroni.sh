#!/usr/bin/env bash
# Kills the primary of a Patroni cluster under eight writers, KILLS times (200), and checks that nothing that
# was acknowledged is lost. Needs Patroni, etcd, PostgreSQL, and root, which runs them as user `postgres`.
#
#   tests/patroni.sh [KILLS]
set -euo pipefail
cd "$(dirname "$0")/.."
kills=${1:-200}
writers=8
secrets=$(realpath "${SECRETS:-${CARGO_TARGET_DIR:-target}/release/secrets}")
postgres=$(find /usr/lib/postgresql -maxdepth 2 -name bin | sort -V | tail -1)
directory=$(mktemp -d /tmp/patroni.XXXXXX)
chmod 755 "$directory"
# Ports below those of outgoing connections.
base=$((20000 + $$ % 10000))
etcd=$base nodes="1 2 3"
declare -A patronis=()

as_postgres() { setsid runuser -u postgres -- "$@"; }

end() {
    touch "$directory/over"
    for node in $nodes; do kill -9 "${patronis[$node]:-0}" 2>/dev/null || true; done
    pkill -9 -u postgres -f "$directory" 2>/dev/null || true
    wait 2>/dev/null || true
    if [ -n "${PATRONI_KEEP:-}" ]; then
        rm -rf "$directory"/data*
    else
        rm -rf "$directory"
    fi
}
trap end EXIT

mkdir "$directory/etcd"
chown postgres: "$directory/etcd" "$directory"
as_postgres etcd --data-dir "$directory/etcd" --listen-client-urls "http://127.0.0.1:$etcd" \
    --advertise-client-urls "http://127.0.0.1:$etcd" --listen-peer-urls "http://127.0.0.1:$((etcd + 1))" \
    >"$directory/etcd.log" 2>&1 &

for node in $nodes; do
    cat >"$directory/node$node.yml" <<EOF
scope: vault
name: node$node
restapi: { listen: "127.0.0.1:$((base + 10 + node))", connect_address: "127.0.0.1:$((base + 10 + node))" }
etcd3: { host: "127.0.0.1:$etcd" }
bootstrap:
  dcs:
    ttl: 20
    loop_wait: 1
    retry_timeout: 3
    master_start_timeout: 0
    synchronous_mode: true
    synchronous_mode_strict: true
    postgresql: { use_pg_rewind: true, parameters: { wal_log_hints: "on", max_connections: 100 } }
  initdb: [encoding: UTF8, locale: C, no-sync]
  pg_hba:
    - local all postgres trust
    - host replication replicator 127.0.0.1/32 trust
    - host all postgres 127.0.0.1/32 trust
    - host all ana 127.0.0.1/32 scram-sha-256
postgresql:
  listen: "127.0.0.1:$((base + 20 + node))"
  connect_address: "127.0.0.1:$((base + 20 + node))"
  data_dir: "$directory/data$node"
  bin_dir: "$postgres"
  pgpass: "$directory/pgpass$node"
  authentication: { superuser: { username: postgres }, replication: { username: replicator } }
  parameters: { unix_socket_directories: "$directory", password_encryption: scram-sha-256 }
EOF
done

start() {
    as_postgres patroni "$directory/node$1.yml" >>"$directory/patroni$1.log" 2>&1 &
    patronis[$1]=$!
}

role() { curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$((base + 10 + $1))/$2" 2>/dev/null || true; }

# Prints the node that is the primary and has a synchronous standby.
primary() {
    local node other
    for _ in $(seq 600); do
        for node in $nodes; do
            [ "$(role "$node" primary)" = 200 ] || continue
            for other in $nodes; do
                [ "$(role "$other" sync)" != 200 ] || { echo "$node"; return; }
            done
        done
        sleep 0.2
    done
    echo "no primary with a standby after two minutes" >&2
    tail -5 "$directory"/patroni*.log >&2
    exit 1
}

for node in $nodes; do start "$node"; done
first=$(primary)
on() { psql -qAtX -h 127.0.0.1 -p "$((base + 20 + $1))" -U postgres "${@:2}"; }
on "$first" -c "CREATE ROLE ana LOGIN PASSWORD 'ana-password'" -c "CREATE DATABASE secrets OWNER ana"
for node in $nodes; do
    until on "$node" -d secrets -c "SELECT 1" >/dev/null 2>&1; do sleep 0.2; done
done

hosts=$(for node in $nodes; do printf '127.0.0.1:%s,' "$((base + 20 + node))"; done)
url="postgres://ana@${hosts%,}/secrets?sslmode=disable&connect_timeout=5"
machine() { # HOME COMMAND…
    local home=$directory/$1
    shift
    env -i PATH="$PATH" HOME="$home" SECRETS_PASSPHRASE_FILE="$directory/passphrase" \
        PGPASSWORD=ana-password "$secrets" -q "$@"
}
(umask 077 && echo "a passphrase for every machine" >"$directory/passphrase")
cheap=(--kdf-memory=19 --kdf-iterations=1 --kdf-parallelism=1)
mkdir "$directory/machine0"
machine machine0 remote init "$url" "${cheap[@]}"
for writer in $(seq "$writers"); do
    mkdir "$directory/machine$writer"
    machine machine0 remote ticket >"$directory/ticket"
    machine "machine$writer" remote join - "${cheap[@]}" <"$directory/ticket"
done

write() {
    local number=0 code
    while [ ! -e "$directory/over" ]; do
        number=$((number + 1))
        code=0
        echo -n value | machine "machine$1" create "tag-$1-$number" -p "web-$((number / 100))" \
            2>"$directory/error$1" || code=$?
        case $code in
        0) echo "tag-$1-$number" >>"$directory/acknowledged" ;;
        1) cat "$directory/error$1" >>"$directory/errors" ;;
        *) { echo "$(date +%T) machine$1: exit $code"; cat "$directory/error$1"; } >>"$directory/wrong" ;;
        esac
    done
}
touch "$directory/acknowledged"
for writer in $(seq "$writers"); do write "$writer" & done

for kill in $(seq "$kills"); do
    node=$(primary)
    sleep "0.$((RANDOM % 10))"
    before=$(wc -l <"$directory/acknowledged")
    postmaster=$(head -1 "$directory/data$node/postmaster.pid")
    # A stopped postmaster restarts nothing, so its children die with it.
    kill -STOP "$postmaster"
    pkill -KILL -P "$postmaster" || true
    kill -KILL "$postmaster"
    if [ $((kill % 10)) = 0 ]; then
        # Sometimes the whole host is gone for a while.
        pkill -KILL -f "patroni $directory/node$node.yml" || true
        sleep 1
        start "$node"
    fi
    for _ in $(seq 300); do
        sleep 0.2
        [ "$(wc -l <"$directory/acknowledged")" -le $((before + 3)) ] || break
    done
    echo "$(date +%T) kill $kill of node $node, which had $before acknowledged" >>"$directory/kills"
    [ $((kill % 20)) != 0 ] || echo "$kill kills, $(wc -l <"$directory/acknowledged") acknowledged"
done

touch "$directory/over"
sleep 2
primary >/dev/null
mkdir "$directory/fresh"
machine machine0 remote ticket >"$directory/ticket"
machine fresh remote join - "${cheap[@]}" <"$directory/ticket"
machine fresh list --all --all-projects --json | grep -o '"tag": *"[^"]*"' | sed 's/.*"\(tag-.*\)"/\1/' | sort >"$directory/found"
sort "$directory/acknowledged" >"$directory/expected"
lost=$(comm -23 "$directory/expected" "$directory/found")
[ -z "$lost" ] || { echo "LOST: $lost" >&2; exit 1; }
if [ -e "$directory/wrong" ]; then
    cat "$directory/wrong" >&2
    exit 1
fi
machine fresh verify >/dev/null
for writer in $(seq "$writers"); do machine "machine$writer" list --all-projects >/dev/null; done
echo "$kills kills: all $(wc -l <"$directory/expected") acknowledged changes are there"
