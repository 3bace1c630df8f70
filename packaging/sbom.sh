#!/usr/bin/env bash
# Writes the bill of materials of a release. sbom.sh BINARY OUTPUT writes CycloneDX 1.5 (JSON) with
# the contents of BINARY.
#
# cargo-cyclonedx writes it from cargo's metadata. This script adds the binary's hash and SQLite,
# removes crates that only tests enable and the path of this machine, and compares the result with
# the dependency tree. ring's C and assembly have no version of their own, so ring's entry covers
# them. The same sources give the same bytes.
set -euo pipefail
binary=$(realpath "$1")
output=$(realpath "$2")
cd "$(dirname "$0")/.."

# This also proves that Cargo.lock is current, which cargo-cyclonedx does not check.
tree=$(cargo tree --locked --package terminal-secrets --edges normal --prefix none --format '{p}' | awk '{print $1 "@" substr($2, 2)}' | sort -u)
own=$(cargo pkgid --locked --package terminal-secrets | sed 's/.*[#@]//')
expected=$(grep -vx "terminal-secrets@$own" <<<"$tree")

sqlite_sources=$(cargo metadata --locked --format-version 1 --filter-platform "$(rustc -vV | sed -n 's/^host: //p')" |
    jq -r '.packages[] | select(.name == "libsqlite3-sys").manifest_path | rtrimstr("/Cargo.toml")')
sqlite=$(sed -n 's/^#define SQLITE_VERSION  *"\(.*\)"/\1/p' "$sqlite_sources/sqlite3/sqlite3.h")

# cargo-cyclonedx writes one file for each program of the workspace, also for those of the tests.
raw=secrets_bin.cdx.json
trap 'rm -f "$raw" tests/*/*_bin.cdx.json' EXIT
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)} \
    cargo cyclonedx --quiet --format json --describe binaries --no-build-deps --spec-version 1.5

jq --arg hash "$(sha256sum "$binary" | cut -d' ' -f1)" --arg sqlite "$sqlite" --arg expected "$expected" '
    ($expected | split("\n")) as $names
    | [.components[] | select("\(.name)@\(.version)" | IN($names[]) | not)."bom-ref"] as $surplus
    | .metadata.component.hashes = [{alg: "SHA-256", content: $hash}]
    | .components |= map(select(."bom-ref" | IN($surplus[]) | not))
    | .dependencies |= map(select(.ref | IN($surplus[]) | not) | if .dependsOn then .dependsOn -= $surplus else . end)
    | .components += [{type: "library", "bom-ref": "sqlite", name: "sqlite", version: $sqlite, scope: "required",
        purl: "pkg:generic/sqlite@\($sqlite)", licenses: [{expression: "blessing"}]}]
    | (.dependencies[] | select(.ref | contains("#libsqlite3-sys@"))).dependsOn += ["sqlite"]
    | .dependencies += [{ref: "sqlite"}]
    | walk(if type == "string" then sub("path\\+file://[^#]*"; "path+file:///source") else . end)
' "$raw" >"$output"

found=$(jq -r '.components[] | select(.name != "sqlite") | "\(.name)@\(.version)"' "$output" | sort -u)
if ! diff <(sort <<<"$expected") <(echo "$found"); then
    echo "the bill of materials does not match the crates in the binary" >&2
    exit 1
fi
# Every crate that is not ours must have the hash from Cargo.lock.
ours=$(cargo metadata --locked --no-deps --format-version 1 | jq -r '.packages[] | "\(.name)@\(.version)"')
foreign=$(grep -vxF "$ours" <<<"$expected")
locked=$(awk -F'"' '/^name/ {n = $2} /^version/ {v = $2} /^checksum/ {print n "@" v " " $2}' Cargo.lock | sort)
hashed=$(jq -r '.components[] | select(.hashes) | "\(.name)@\(.version) \(.hashes[0].content)"' "$output" | sort)
if [ "$(wc -l <<<"$hashed")" != "$(wc -l <<<"$foreign")" ] || [ -n "$(comm -13 <(echo "$locked") <(echo "$hashed"))" ]; then
    echo "the hashes in the bill of materials differ from Cargo.lock" >&2
    exit 1
fi
echo "$output: $(wc -l <<<"$expected") crates and SQLite $sqlite"
