#!/usr/bin/env bash
# Builds the release twice, in places that have nothing in common, and compares the two: sources, target directory and
# cargo's home are other paths of other lengths. Needs no network where the first build needed none.
set -euo pipefail
cd "$(dirname "$0")/.."

first=$(packaging/build.sh)

elsewhere=$(mktemp -d)
trap 'rm -rf "$elsewhere"' EXIT
copy="$elsewhere/a place with another name"
cargo_home=$(realpath "${CARGO_HOME:-$HOME/.cargo}")
mkdir -p "$copy" "$elsewhere/cargo/registry"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$copy"
cp -r "$cargo_home/registry/cache" "$cargo_home/registry/index" "$elsewhere/cargo/registry"
# Who has settings of cargo's own has them in both.
if [ -f "$cargo_home/config.toml" ]; then cp "$cargo_home/config.toml" "$elsewhere/cargo"; fi
second=$(CARGO_NET_OFFLINE=true CARGO_HOME="$elsewhere/cargo" "$copy/packaging/build.sh" "$elsewhere/t")

sha256sum "$first" "$second"
if ! cmp "$first" "$second"; then
    echo "two builds of one source differ" >&2
    exit 1
fi
# Equal, and of no machine: a path that is in both would be in nobody else's.
for path in "$PWD" "$cargo_home" "${CARGO_TARGET_DIR:-$PWD}"; do
    if grep -qaF -- "$path" "$first"; then
        echo "the binary has a path of this machine in it: $path" >&2
        exit 1
    fi
done
