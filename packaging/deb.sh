#!/usr/bin/env bash
# Builds and tests the Debian package. It runs lintian, then installs the package in a Debian that
# has only the essential packages, uses it as a person would, and checks that removing it leaves
# nothing. deb.sh [FOLDER] writes it to FOLDER.
#
# Only the clean Debian (a chroot) needs root. SUITE selects a release of Debian. The default is the
# oldest supported one.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
folder=$(realpath -m "${1:-$target/debian}")
suite=${SUITE:-bookworm}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
work=$(mktemp -d)
root=$work/root

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
trap 'as_root rm -rf --one-file-system "$work"' EXIT
fail() { echo "$*" >&2; exit 1; }

# Package the reproducible binary. --no-build alone would fall back to a stale one.
binary=$(packaging/build.sh)
make() {
    CARGO_TARGET_DIR=$(dirname "$(dirname "$binary")") \
        cargo deb --locked --offline --quiet --no-build --no-strip --output "$1"
}
mkdir -p "$folder" "$work/again"
package=$(make "$folder")
cmp "$package" "$(make "$work/again")" || fail "two packages of the same binary differ"
contents=$work/contents
dpkg-deb --fsys-tarfile "$package" | tar -C "$(mkdir "$contents" && echo "$contents")" -xf -
cmp "$binary" "$contents/usr/bin/secrets" || fail "the package has another binary"

# Warnings count as failures. Intended ones are in packaging/debian/lintian-overrides, with the
# reason.
lintian --fail-on error,warning --allow-root "$package"

# Run debootstrap once and keep the result for the next time.
clean=$target/clean-$suite.tar
if [ ! -f "$clean" ]; then
    as_root debootstrap --variant=minbase "$suite" "$work/new" >"$work/log" || fail "$(tail "$work/log")"
    as_root tar -C "$work/new" --numeric-owner -cf - . >"$clean.part"
    mv "$clean.part" "$clean"
fi
mkdir "$root"
as_root tar -C "$root" --numeric-owner -xpf "$clean"

# Uses a separate PID namespace, so that processes that are left running end with it.
inside() {
    as_root unshare --mount --pid --fork --kill-child --mount-proc="$root/proc" \
        chroot "$@"
}
admin() { inside "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 "$@"; }
person() { inside --userspec=1000:1000 "$root" /usr/bin/env -i HOME=/home/you PATH=/usr/bin:/bin LC_ALL=C.UTF-8 "$@"; }
# Lists every file except dpkg's own records, logs, and the files of the person.
listing() {
    as_root find "$root" -xdev ! -path "$root/var/lib/dpkg/*" ! -path "$root/var/log/*" ! -path "$root/home/you/*" | sort
}

admin useradd --uid 1000 --user-group --create-home --shell /bin/bash you
listing >"$work/before"
as_root cp "$package" "$root/package.deb"

echo "-- refused next to GNOME's secrets"
mkdir -p "$work/other/DEBIAN"
printf '%s\n' 'Package: secrets' 'Version: 1' 'Architecture: all' 'Maintainer: x <x@example.org>' 'Description: x' \
    >"$work/other/DEBIAN/control"
dpkg-deb --build --root-owner-group "$work/other" "$work/other.deb" >/dev/null
as_root cp "$work/other.deb" "$root/other.deb"
admin dpkg -i /other.deb >/dev/null
if admin dpkg -i /package.deb >"$work/refused" 2>&1; then fail "it was installed next to the package secrets"; fi
grep -q 'terminal-secrets conflicts with secrets' "$work/refused" || fail "$(cat "$work/refused")"
admin dpkg -P secrets >/dev/null

echo "-- installed"
admin dpkg -i /package.deb >"$work/installed" 2>&1 || fail "$(cat "$work/installed")"
depends=$(dpkg-deb -f "$package" Depends)
for library in $(readelf -d "$binary" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
    owner=$(admin dpkg -S "*/$library" | sed 's/:.*//' | sort -u)
    case ", $depends," in
        *", $owner,"*|*", $owner ("*) ;;
        *) fail "$library belongs to $owner, which is not in Depends: $depends" ;;
    esac
done
person secrets --version

echo "-- manual"
for page in man/*.1; do
    as_root gzip -dc "$root/usr/share/man/man1/$(basename "$page").gz" | cmp - "$page"
done
shown=$(as_root gzip -dc "$root/usr/share/man/man1/secrets.1.gz" | mandoc -T ascii | col -b)
[[ $shown == *"EXIT STATUS"* ]] || fail "man secrets shows nothing"
[ -s "$root/usr/share/doc/terminal-secrets/copyright" ] || fail "no licences"
for page in README.md SECURITY.md format.md changelog.gz changelog.Debian.gz; do
    [ -s "$root/usr/share/doc/terminal-secrets/$page" ] || fail "no $page"
done

echo "-- completions"
cmp completions/_secrets "$root/usr/share/zsh/vendor-completions/_secrets"
cmp completions/secrets.fish "$root/usr/share/fish/vendor_completions.d/secrets.fish"
# shellcheck disable=SC2016
offered=$(person bash --norc -c '
    source /usr/share/bash-completion/completions/secrets && complete -p secrets >/dev/null
    COMP_WORDS=(secrets rend); COMP_CWORD=1; COMP_TYPE=9
    _clap_complete_secrets secrets rend; echo "${COMPREPLY[@]}"')
[ "${offered% }" = render ] || fail "bash offers \`$offered\` for \`secrets rend\`"

echo "-- used"
# shellcheck disable=SC2016
person bash -euc '
    umask 077; cd; printf "correct horse battery staple\n" >pass
    export SECRETS_PASSPHRASE_FILE=$HOME/pass
    secrets init
    printf sk_test_51Hx0aBcDeFgHiJkLmNoPq | secrets create --tag stripe-key
    printf "KEY={{ secrets.stripe-key }}\n" >app.tmpl
    secrets render app.tmpl -o app.env
    test "$(cat app.env)" = KEY=sk_test_51Hx0aBcDeFgHiJkLmNoPq
    test "$(stat -c %a app.env)" = 600
    test "$(secrets run -- sh -c "echo \$STRIPE_KEY")" = "‹stripe-key›"
    secrets unlock --quiet; unset SECRETS_PASSPHRASE_FILE; secrets list; secrets lock --quiet'

# docs/install.md: from the package to the first rendered file with at most five typed commands, of which apt is the first.
echo "-- from the package to a rendered file"
# shellcheck disable=SC2016
commands=$(sed -n '/^```console/,/^```$/s/^\$ //p' docs/install.md | tail -n +2)
[ "$(wc -l <<<"$commands")" -le 4 ] || fail "docs/install.md has more than five commands"
# shellcheck disable=SC2016
{
    echo 'set -e; umask 077; export HOME=/home/you/fresh TERM=dumb; mkdir "$HOME"; cd'
    printf '%s\n' "$commands"
} | as_root tee "$root/home/you/session" >/dev/null
mkfifo "$work/answers"
: >"$work/session"
# The clean Debian has no pseudo-terminals of its own, so the session gets one from outside.
in_session="unshare --mount --pid --fork --kill-child --mount-proc=$root/proc chroot --userspec=1000:1000 $root \
    /usr/bin/env -i PATH=/usr/bin:/bin LC_ALL=C.UTF-8 bash /home/you/session"
as_root script -qec "$in_session" /dev/null <"$work/answers" >"$work/session" 2>&1 &
session=$!
exec 3>"$work/answers"
answer() { # QUESTION ANSWER: typed when the question is there
    for _ in $(seq 600); do
        if grep -q "$1" "$work/session"; then printf '%s\n' "$2" >&3; return; fi
        sleep 0.1
    done
    fail "no question \`$1\`: $(cat "$work/session")"
}
answer "Create one at" y
answer "New passphrase" "correct horse battery staple"
answer "Repeat passphrase" "correct horse battery staple"
answer "Value of stripe-key" sk_test_51Hx0aBcDeFgHiJkLmNoPq
answer "Passphrase for" "correct horse battery staple"
wait "$session" || fail "$(cat "$work/session")"
exec 3>&-
as_root cat "$root/home/you/fresh/.env" | grep -qx STRIPE_KEY=sk_test_51Hx0aBcDeFgHiJkLmNoPq || fail "$(cat "$work/session")"

echo "-- removed"
admin dpkg -P terminal-secrets >/dev/null
as_root rm "$root/package.deb" "$root/other.deb"
listing >"$work/after"
diff "$work/before" "$work/after" || fail "files were left behind"
echo "$package: installed, used and removed on a clean $suite"
