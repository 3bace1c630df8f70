#!/usr/bin/env bash
# The binary of a release: the same bytes wherever it is built from the same sources by the same compilers.
#
# What a build takes in besides them is named here: paths of this machine are replaced, and of the environment only what
# finds the tools is let through. Writes nothing outside of the target directory; prints the path of the binary.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${1:-${CARGO_TARGET_DIR:-target}/dist}
mkdir -p "$target"
target=$(realpath "$target")
source=$(realpath .)
cargo_home=$(realpath "${CARGO_HOME:-$HOME/.cargo}")
sysroot=$(rustc --print sysroot)
compiler=$(rustc -vV | sed -n 's/^commit-hash: //p')

# The registry's folder has the name of the mirror in it: fetched first, so that it is there to be asked.
cargo fetch --locked --quiet
map=("--remap-path-prefix=$source=/source" "--remap-path-prefix=$target=/target")
for registry in "$cargo_home"/registry/src/*; do
    map+=("--remap-path-prefix=$registry=/registry")
done
# Where the standard library's sources are installed, the compiler names them by their place on this machine.
map+=("--remap-path-prefix=$sysroot/lib/rustlib/src/rust=/rustc/$compiler")
flags=$(printf '%s\x1f' "${map[@]}")

# CFLAGS, RUSTFLAGS, LIBSQLITE3_FLAGS, CARGO_PROFILE_*: all of them would change the binary.
env -i PATH="$PATH" HOME="$HOME" CARGO_HOME="$cargo_home" RUSTUP_HOME="${RUSTUP_HOME:-$HOME/.rustup}" \
    ${RUSTUP_TOOLCHAIN:+RUSTUP_TOOLCHAIN="$RUSTUP_TOOLCHAIN"} LC_ALL=C CARGO_ENCODED_RUSTFLAGS="${flags%$'\x1f'}" \
    cargo build --quiet --release --locked --offline --bin secrets --target-dir "$target"
echo "$target/release/secrets"
