#!/usr/bin/env bash
# Builds and tests every file of a release. release.sh [FOLDER] writes the files to FOLDER, with
# checksums. It publishes nothing. .github/workflows/release.yml does that (docs/release.md).
set -euo pipefail
cd "$(dirname "$0")/.."

own=$(realpath -m "${CARGO_TARGET_DIR:-target}/release-files")
folder=$(realpath -m "${1:-$own}")
if [ "$folder" = "$own" ]; then rm -rf "$own"; fi
mkdir -p "$folder"
[ -z "$(ls -A "$folder")" ] || { echo "$folder is not empty" >&2; exit 1; }
name=terminal-secrets-$(cargo pkgid --locked | sed 's/.*[#@]//')-$(rustc -vV | sed -n 's/^host: //p')

packaging/reproducible.sh
binary=$(packaging/build.sh)
install -m 755 "$binary" "$folder/$name"
packaging/sbom.sh "$folder/$name" "$folder/$name.cdx.json"
packaging/deb.sh "$folder"

# A rebuild needs the same compilers. cc compiles SQLite, ring's C and assembly, and a few lines of
# signal-hook.
{
    echo "source $(git rev-parse HEAD)"
    rustc -vV
    cc --version | head -n 1
    ld --version | head -n 1
    sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' /etc/os-release
} >"$folder/$name.built-with.txt"

cd "$folder"
sha256sum -- * >SHA256SUMS
cat SHA256SUMS
