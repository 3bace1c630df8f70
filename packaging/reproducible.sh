#!/usr/bin/env bash
# Builds the release twice and compares the two binaries. Sources, target directory and cargo's home
# have different paths of different lengths. It needs no network if the first build needed none.
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
# Both builds use the user's own cargo settings.
if [ -f "$cargo_home/config.toml" ]; then cp "$cargo_home/config.toml" "$elsewhere/cargo"; fi
second=$(CARGO_NET_OFFLINE=true CARGO_HOME="$elsewhere/cargo" "$copy/packaging/build.sh" "$elsewhere/t")

sha256sum "$first" "$second"
if ! cmp "$first" "$second"; then
    echo "two builds of the same source differ" >&2
    exit 1
fi
# Even equal binaries may contain a path of this machine, which no other machine would reproduce.
for path in "$PWD" "$cargo_home" "${CARGO_TARGET_DIR:-$PWD}"; do
    if grep -qaF -- "$path" "$first"; then
        echo "the binary contains a path of this machine: $path" >&2
        exit 1
    fi
done
