#!/usr/bin/env bash
# Checks the recipes that cannot be tried on this machine: each is read by the language's own program. Homebrew, the AUR and
# Nix themselves are not run.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
version=$(cargo pkgid --locked | sed 's/.*[#@]//')
hash=$(printf x | sha256sum | cut -d' ' -f1)
for target in {x86_64,aarch64}-unknown-linux-musl {x86_64,aarch64}-apple-darwin; do
    echo "$hash  terminal-secrets-$version-$target.tar.gz"
done >"$work/SHA256SUMS"
packaging/recipes.sh https://git.example.org/secrets "$work/SHA256SUMS" "$work/recipes"
! grep -n '@[A-Z]' "$work"/recipes/* || { echo "a recipe is not filled in" >&2; exit 1; }

ruby -c "$work/recipes/secrets.rb" >/dev/null
shellcheck "$work/recipes/PKGBUILD"
# makepkg refuses to run as root.
cp "$work/recipes/PKGBUILD" "$work/PKGBUILD"
chmod -R a+rwX "$work"
as_nobody() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; else "$@"; fi; }
(cd "$work" && as_nobody env HOME="$work" PACMAN=true makepkg --printsrcinfo) >"$work/SRCINFO"
grep -qx "pkgbase = terminal-secrets-bin" "$work/SRCINFO"
[ "$(grep -c "sha256sums_.* = $hash" "$work/SRCINFO")" = 2 ]
nix-instantiate --parse flake.nix >/dev/null
echo "the recipes are well-formed; Homebrew, the AUR and Nix were not tried"
