#!/bin/sh
# Tests the checked-in completions in real shells. Each shell must offer `render` for `secrets re`, `--escape` for
# `secrets render --esc`, a file's name for `secrets render some`, and programs and files after `run --`. With an
# unlocked agent it must offer projects, and tags in any spelling. With a locked vault it must silently offer neither.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
binary=${SECRETS:-${CARGO_TARGET_DIR:-$root/target}/release/secrets}
PATH=$(dirname "$binary"):$PATH
export PATH
directory=$(mktemp -d)
trap 'secrets lock --all --quiet; rm -rf "$directory"' EXIT
cd "$directory"
touch some.tmpl
mkdir programs
ln -s /bin/true programs/some-program
PATH=$PATH:$directory/programs

# This test has its own vault and agent.
mkdir -m 700 run
export HOME="$directory" XDG_RUNTIME_DIR="$directory/run" SECRETS_VAULT="$directory/vault.db"
unset SECRETS_PASSPHRASE_FILE SECRETS_PROJECT SECRETS_ENVIRONMENT
(
    export SECRETS_PASSPHRASE='correct horse battery staple'
    secrets init --quiet --kdf-memory 19 --kdf-iterations 1 2>/dev/null
    secrets create --quiet --tag stripe-key --generate
    secrets create --quiet --tag session-key --generate --project staging
    secrets unlock --quiet
)
unset SECRETS_PASSPHRASE

expect() { # SHELL WHAT CANDIDATES
    case $3 in
        *"$2"*) echo "ok $1: $2" ;;
        *) echo "$1 does not offer $2: $3" >&2; exit 1 ;;
    esac
}

expect_nothing() { # SHELL CANDIDATES
    case $2 in
        *-key*|*staging*|*rror*) echo "$1 offers names of a locked vault: $2" >&2; exit 1 ;;
        *) echo "ok $1: nothing from a locked vault" ;;
    esac
}

# Readline splits `A=str`, so the words are passed as Readline would pass them.
bash_offers() {
    bash --norc -c '
        source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_TYPE=9
        last=${!#}; [[ $last == = ]] && last=
        _clap_complete_secrets secrets "$last"; printf "%s\n" "${COMPREPLY[@]}"
    ' "$root/completions/secrets.bash" "$@"
}

fish_offers() { fish --no-config -c "source $root/completions/secrets.fish; complete -C '$*'"; }

# zsh completes only at a prompt, so it gets its own pseudo-terminal. Ctrl-X lists the candidates there.
cat >zsh-prompt <<'END'
zmodload zsh/zpty
zpty prompt zsh -f -i
zpty -w prompt "PS1=; autoload -Uz compinit; compinit -u -d ./zcompdump; source $1; bindkey '^X' list-choices"
zpty -w prompt "stty cols 200; LISTMAX=1000; print -r REA''DY"
while zpty -r prompt line; do [[ $line = *READY* ]] && break; done
zpty -n -w prompt "$2"$'\x18'
sleep 1
while zpty -rt prompt line; do print -r -- $line; done
END
zsh_offers() { zsh -f ./zsh-prompt "$root/completions/_secrets" "$*"; }

for shell in bash fish zsh; do
    command -v $shell >/dev/null || { echo "$shell is not installed" >&2; exit 1; }
    case $shell in
        bash)
            expect bash render "$(bash_offers secrets re)"
            expect bash --escape "$(bash_offers secrets render --esc)"
            expect bash some.tmpl "$(bash_offers secrets render some)"
            expect bash stripe-key "$(bash_offers secrets get str)"
            expect bash session-key "$(bash_offers secrets -p staging run --only ses)"
            expect bash staging "$(bash_offers secrets list -p st)"
            expect bash STRIPE_KEY "$(bash_offers secrets get STR)"
            expect bash some-program "$(bash_offers secrets run -- some-p)"
            expect bash some.tmpl "$(bash_offers secrets run -- sh some.t)"
            expect bash stripe-key "$(bash_offers secrets run --file A = str)" ;;
        fish)
            expect fish render "$(fish_offers secrets re)"
            expect fish --escape "$(fish_offers secrets render --esc)"
            expect fish some.tmpl "$(fish_offers secrets render some)"
            expect fish stripe-key "$(fish_offers secrets get str)"
            expect fish session-key "$(fish_offers secrets -p staging run --only ses)"
            expect fish staging "$(fish_offers secrets list -p st)"
            expect fish STRIPE_KEY "$(fish_offers secrets get STR)"
            expect fish some-program "$(fish_offers secrets run -- some-p)"
            expect fish some.tmpl "$(fish_offers secrets run -- sh some.t)"
            expect fish stripe-key "$(fish_offers secrets run --file A=str)" ;;
        zsh)
            expect zsh "init" "$(zsh_offers 'secrets ')"
            expect zsh --escape "$(zsh_offers 'secrets render --')"
            expect zsh some.tmpl "$(zsh_offers 'secrets render s')"
            expect zsh stripe-key "$(zsh_offers 'secrets get s')"
            expect zsh session-key "$(zsh_offers 'secrets -p staging run --only s')"
            expect zsh staging "$(zsh_offers 'secrets project delete s')"
            expect zsh some-program "$(zsh_offers 'secrets run -- some-')"
            expect zsh some.tmpl "$(zsh_offers 'secrets run -- sh some')" ;;
    esac
done

secrets lock --quiet
expect_nothing bash "$(bash_offers secrets get str 2>&1)"
expect_nothing fish "$(fish_offers secrets get str 2>&1)"
expect_nothing zsh "$(zsh_offers 'secrets get s' 2>&1)"
