#!/bin/sh
# The completions that are checked in, in real shells: each must offer `render` for `secrets re`, `--escape` for
# `secrets render --esc`, and a file's name for `secrets render some`.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
binary=${SECRETS:-${CARGO_TARGET_DIR:-$root/target}/release/secrets}
PATH=$(dirname "$binary"):$PATH
export PATH
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
touch some.tmpl

expect() { # SHELL WHAT CANDIDATES
    case $3 in
        *"$2"*) echo "ok $1: $2" ;;
        *) echo "$1 does not offer $2: $3" >&2; exit 1 ;;
    esac
}

bash_offers() {
    bash --norc -c '
        source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_TYPE=9
        _clap_complete_secrets secrets "${!#}"; printf "%s\n" "${COMPREPLY[@]}"
    ' "$root/completions/secrets.bash" "$@"
}

fish_offers() { fish --no-config -c "source $root/completions/secrets.fish; complete -C '$*'"; }

# zsh completes only at a prompt: on a pseudo-terminal of its own, where Ctrl-X lists the candidates.
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
            expect bash some.tmpl "$(bash_offers secrets render some)" ;;
        fish)
            expect fish render "$(fish_offers secrets re)"
            expect fish --escape "$(fish_offers secrets render --esc)"
            expect fish some.tmpl "$(fish_offers secrets render some)" ;;
        zsh)
            expect zsh "init" "$(zsh_offers 'secrets ')"
            expect zsh --escape "$(zsh_offers 'secrets render --')"
            expect zsh some.tmpl "$(zsh_offers 'secrets render s')" ;;
    esac
done
