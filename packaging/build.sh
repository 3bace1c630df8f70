#!/usr/bin/env bash
# Builds the binary of a release. The same sources and compilers give the same bytes on every
# machine.
#
# The script removes all other inputs of a build. It replaces paths of this machine, and passes only
# the environment variables that locate the tools. It writes nothing outside of the target directory
# and prints the path of the binary.
#
# Usage: build.sh [FOLDER [TARGET]]; an empty FOLDER is the usual one
set -euo pipefail
cd "$(dirname "$0")/.."

target=${1:-${CARGO_TARGET_DIR:-target}/dist}
triple=${2:-}
mkdir -p "$target"
target=$(realpath "$target")
source=$(realpath .)
cargo_home=$(realpath "${CARGO_HOME:-$HOME/.cargo}")
sysroot=$(rustc --print sysroot)
compiler=$(rustc -vV | sed -n 's/^commit-hash: //p')

# The name of the registry's folder contains the mirror's name. Fetch first, so that the folder
# exists for the loop below.
cargo fetch --locked --quiet
map=("--remap-path-prefix=$source=/source" "--remap-path-prefix=$target=/target")
for registry in "$cargo_home"/registry/src/*; do
    map+=("--remap-path-prefix=$registry=/registry")
done
# If the standard library's sources are installed, the compiler refers to them by their path on this
# machine.
map+=("--remap-path-prefix=$sysroot/lib/rustlib/src/rust=/rustc/$compiler")
flags=$(printf '%s\x1f' "${map[@]}")

# CFLAGS, RUSTFLAGS, LIBSQLITE3_FLAGS and CARGO_PROFILE_* would change the binary, so start with an
# empty environment.
env -i PATH="$PATH" HOME="$HOME" CARGO_HOME="$cargo_home" RUSTUP_HOME="${RUSTUP_HOME:-$HOME/.rustup}" \
    ${RUSTUP_TOOLCHAIN:+RUSTUP_TOOLCHAIN="$RUSTUP_TOOLCHAIN"} LC_ALL=C CARGO_ENCODED_RUSTFLAGS="${flags%$'\x1f'}" \
    cargo build --quiet --release --locked --offline --bin secrets --target-dir "$target" \
    ${triple:+--target "$triple"}
echo "$target/${triple:+$triple/}release/secrets"
