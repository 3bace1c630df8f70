#!/usr/bin/env bash
# Fills in the recipes for Homebrew and the AUR for the tarballs of a release.
#
# Usage: recipes.sh ADDRESS SHA256SUMS FOLDER, where ADDRESS is the repository's and SHA256SUMS the list of hashes
set -euo pipefail
cd "$(dirname "$0")/.."

address=$1 sums=$(realpath "$2") folder=$(realpath -m "$3")
version=$(cargo pkgid --locked | sed 's/.*[#@]//')
mkdir -p "$folder"
for recipe in packaging/recipes/*; do
    text=$(sed -e "s|@ADDRESS@|$address|g" -e "s|@VERSION@|$version|g" "$recipe")
    while [[ $text =~ @SHA256:([^@]*)@ ]]; do
        target=${BASH_REMATCH[1]}
        hash=$(awk -v name="terminal-secrets-$version-$target.tar.gz" '$2 == name { print $1 }' "$sums")
        [ -n "$hash" ] || { echo "$sums has no tarball for $target" >&2; exit 1; }
        text=${text//"@SHA256:$target@"/$hash}
    done
    printf '%s\n' "$text" >"$folder/$(basename "$recipe")"
done
