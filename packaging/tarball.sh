#!/usr/bin/env bash
# Packs the program, its man pages and its completions into terminal-secrets-VERSION-TARGET.tar.gz, and uses what it
# packed. tarball.sh [FOLDER [TARGET]] writes it to FOLDER. TARGET is one of Rust's, such as x86_64-unknown-linux-musl
# [default: this machine's]. The same program gives the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."

host=$(rustc -vV | sed -n 's/^host: //p')
folder=$(realpath -m "${1:-${CARGO_TARGET_DIR:-target}/tarballs}")
target=${2:-$host}
version=$(cargo pkgid --locked | sed 's/.*[#@]//')
name=terminal-secrets-$version-$target
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "$*" >&2; exit 1; }

if [ "$target" = "$host" ]; then triple=; else triple=$target; fi
binary=$(packaging/build.sh "" "$triple")
install -D -m 755 "$binary" "$work/$name/secrets"
install -D -m 644 -t "$work/$name/man" man/*.1
install -D -m 644 -t "$work/$name/completions" completions/*
install -m 644 -t "$work/$name" README.md SECURITY.md CHANGELOG.md LICENSE LICENSE-APACHE LICENSE-MIT

mkdir -p "$folder"
pack() {
    tar -C "$work" --sort=name --mtime="@$(git log -1 --format=%ct)" --owner=0 --group=0 --numeric-owner \
        --mode=go=rX,u+rw --format=ustar -cf - "$name" | gzip -n9
}
pack >"$folder/$name.tar.gz"
pack | cmp - "$folder/$name.tar.gz" || fail "two tarballs of the same program differ"

# A static program needs nothing of the system that it is copied to.
case $target in
    *-musl) ! readelf -d "$binary" | grep -q NEEDED || fail "the program is not static" ;;
esac

mkdir "$work/elsewhere"
tar -C "$work/elsewhere" -xzf "$folder/$name.tar.gz"
if [ "${target%%-*}" = "${host%%-*}" ]; then
    unpacked=$work/elsewhere/$name/secrets
    [ "$("$unpacked" --version)" = "secrets $version" ] || fail "the unpacked program has another version"
    (
        umask 077
        export HOME=$work/home SECRETS_PASSPHRASE_FILE=$work/pass
        mkdir "$HOME"
        cd "$HOME"
        echo "correct horse battery staple" >"$SECRETS_PASSPHRASE_FILE"
        "$unpacked" init --quiet
        printf sk_test_51Hx0aBcDeFgHiJkLmNoPq | "$unpacked" create --quiet --tag stripe-key
        [ "$("$unpacked" render -e 'KEY={{ secrets.stripe-key }}')" = KEY=sk_test_51Hx0aBcDeFgHiJkLmNoPq ]
    ) || fail "the unpacked program does not work"
fi

echo "$folder/$name.tar.gz"
