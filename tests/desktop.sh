#!/usr/bin/env bash
# Tries `secrets copy` with real desktops: X11 under Xvfb, read by xclip and xsel, and Wayland in sway
# without a screen, read by wl-paste. Tries `secrets keychain` with GNOME Keyring. SECRETS names the binary.
set -euo pipefail
cd "$(dirname "$0")/.."

secrets=${SECRETS:-$PWD/target/release/secrets}
directory=$(mktemp -d)
export HOME=$directory/home XDG_RUNTIME_DIR=$directory/runtime SECRETS_PASSPHRASE='for this test only'
export SECRETS_VAULT=$HOME/vault.db
unset DISPLAY WAYLAND_DISPLAY XDG_DATA_HOME XDG_STATE_HOME XDG_CONFIG_HOME
mkdir -m 700 "$HOME" "$XDG_RUNTIME_DIR"
chmod 755 "$directory"
value='hunter2: on the clipboard'

finish() {
    # shellcheck disable=SC2046 # one id per word
    kill $(jobs -p) 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$directory"
}
trap finish EXIT

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# until COMMAND: waits up to ten seconds for it to succeed
until_true() {
    for _ in $(seq 100); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.1
    done
    fail "never: $*"
}

# same WHAT EXPECTED COMMAND...
same() {
    local what=$1 expected=$2 found
    shift 2
    found=$("$@" 2>/dev/null) || true
    [ "$found" = "$expected" ] || fail "$what: ${found:-nothing}"
}

# desktop NAME PASTE TYPES COPY: the commands that read the clipboard, list its types, and copy stdin
desktop() {
    local name=$1 paste=$2 types=$3 copy=$4
    "$secrets" copy -q mail --clear-after 2s
    same "$name: the value" "$value" bash -c "$paste"
    bash -c "$types" | grep -qx x-kde-passwordManagerHint || fail "$name: it is not marked"
    pgrep -f "[s]ecrets offer" | while read -r pid; do
        ! grep -qaF "$value" "/proc/$pid/cmdline" "/proc/$pid/environ" || fail "$name: an argument"
    done
    sleep 2.5
    same "$name: nothing after the time" '' bash -c "$paste"

    "$secrets" copy -q mail --clear-after 1s
    printf other | bash -c "$copy"
    sleep 1.5
    same "$name: what was copied afterwards" other bash -c "$paste"

    # The later of two copies lasts as long as it was told.
    "$secrets" copy -q mail --clear-after 1s
    "$secrets" copy -q pin --clear-after 30s
    sleep 1.5
    same "$name: the later copy" 4711 bash -c "$paste"
    echo "$name: ok"
}

"$secrets" init -q --kdf-memory 19 --kdf-iterations 1 --kdf-parallelism 1 2>/dev/null
printf %s "$value" | "$secrets" create -q mail
printf 4711 | "$secrets" create -q pin

Xvfb -displayfd 3 -screen 0 64x64x24 -nolisten tcp 3>"$directory/display" >/dev/null 2>&1 &
until_true test -s "$directory/display"
DISPLAY=:$(cat "$directory/display")
export DISPLAY
desktop X11 'xclip -o -selection clipboard' 'xclip -o -selection clipboard -t TARGETS' 'xclip -i -selection clipboard'
same 'X11, read by xsel' 4711 xsel -b -o
unset DISPLAY

# sway refuses to run as root.
user=()
if [ "$(id -u)" = 0 ]; then
    user=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    chown 65534:65534 "$XDG_RUNTIME_DIR"
fi
: >"$directory/sway.conf"
chmod 644 "$directory/sway.conf"
WLR_BACKENDS=headless WLR_LIBINPUT_NO_DEVICES=1 WLR_RENDERER=pixman \
    "${user[@]}" sway -c "$directory/sway.conf" >/dev/null 2>&1 &
wayland() { compgen -G "$XDG_RUNTIME_DIR/wayland-?"; }
until_true wayland
WAYLAND_DISPLAY=$(basename "$(wayland)")
export WAYLAND_DISPLAY
desktop Wayland 'timeout 5 wl-paste -n' 'timeout 5 wl-paste -l' 'timeout 5 wl-copy'
unset WAYLAND_DISPLAY

# keychain: the vault opens without a passphrase while the keychain is open, and only then
keychain() {
    local passphrase=$SECRETS_PASSPHRASE
    unset SECRETS_PASSPHRASE
    printf login | gnome-keyring-daemon --unlock --components=secrets >/dev/null 2>&1
    ! "$secrets" list </dev/null >/dev/null 2>&1 || fail "keychain: open before it has a key"
    SECRETS_PASSPHRASE=$passphrase "$secrets" keychain add -q
    "$secrets" verify | grep -q 'keychain of one machine' || fail "keychain: verify does not show it"
    same "keychain: a value" 4711 "$secrets" render -e '{{ secrets.pin }}'
    "$secrets" unlock -q </dev/null && "$secrets" lock -q
    ! "$secrets" passwd --generate </dev/null >/dev/null 2>&1 || fail "keychain: it is enough for passwd"
    ! "$secrets" keychain remove </dev/null >/dev/null 2>&1 || fail "keychain: it removes itself"
    ! "$secrets" rekey -y -p default </dev/null >/dev/null 2>&1 || fail "keychain: it is enough for rekey"

    # A new key replaces the old one.
    SECRETS_PASSPHRASE=$passphrase "$secrets" keychain add -q
    "$secrets" verify | grep -q 'keychain of one machine' || fail "keychain: the old key is still there"

    # A vault that needs a key file does not need it for the keychain.
    SECRETS_PASSPHRASE=$passphrase "$secrets" key-file create -q "$directory/key" 2>/dev/null
    same "keychain: without the key file" 4711 "$secrets" render -e '{{ secrets.pin }}' </dev/null
    SECRETS_PASSPHRASE=$passphrase "$secrets" --key-file "$directory/key" key-file remove -q

    env -u DBUS_SESSION_BUS_ADDRESS "$secrets" list </dev/null 2>"$directory/errors" && fail "keychain: open without a bus"
    grep -q 'there is no keychain in this session' "$directory/errors" || fail "keychain: $(cat "$directory/errors")"

    SECRETS_PASSPHRASE=$passphrase "$secrets" keychain remove -q
    ! "$secrets" list </dev/null >/dev/null 2>&1 || fail "keychain: open after remove"
    ! secret-tool lookup service secrets >/dev/null || fail "keychain: the key is still stored"

    SECRETS_PASSPHRASE=$passphrase "$secrets" keychain add -q
    SECRETS_PASSPHRASE=$passphrase "$secrets" rekey -y 2>&1 | grep -q 'secrets keychain add' || fail "keychain: rekey is silent"
    ! "$secrets" list </dev/null >/dev/null 2>&1 || fail "keychain: open after rekey"
    pkill -u "$(id -u)" -f '[g]nome-keyring-daemon --unlock' || true
    echo "keychain: ok"
}
export secrets directory
export -f keychain same fail
dbus-run-session -- bash -euo pipefail -c keychain 2>"$directory/session" || fail "$(cat "$directory/session")"
