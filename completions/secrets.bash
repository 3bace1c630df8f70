
_clap_complete_secrets() {
    local IFS=$'\013'
    local _CLAP_COMPLETE_INDEX=${COMP_CWORD}
    local _CLAP_COMPLETE_COMP_TYPE=${COMP_TYPE}
    if compopt +o nospace 2> /dev/null; then
        local _CLAP_COMPLETE_SPACE=false
    else
        local _CLAP_COMPLETE_SPACE=true
    fi
    local words=() word part index=0 joins=false
    for ((word = 0; word <= COMP_CWORD; word++)); do
        part="${COMP_WORDS[word]}"
        if [[ $word == "$COMP_CWORD" && $part != "=" && ${BASH_VERSINFO[0]} -ge 4 ]]; then
            part="$2"
        fi
        if ((word > 0)) && { [[ $part == "=" ]] || $joins; }; then
            words[index]+="$part"
        else
            index=${#words[@]}
            words[index]="$part"
        fi
        [[ $part == "=" ]] && joins=true || joins=false
    done
    _CLAP_COMPLETE_INDEX=$index
    local before=""
    [[ $COMP_WORDBREAKS == *=* && ${words[index]} == *=* ]] && before="${words[index]%=*}="
    COMPREPLY=( $( \
        _CLAP_IFS="$IFS" \
        _CLAP_COMPLETE_INDEX="$_CLAP_COMPLETE_INDEX" \
        _CLAP_COMPLETE_COMP_TYPE="$_CLAP_COMPLETE_COMP_TYPE" \
        _CLAP_COMPLETE_SPACE="$_CLAP_COMPLETE_SPACE" \
        COMPLETE="bash" \
        "secrets" -- "${words[@]}" \
    ) )
    local status=$?
    COMPREPLY=("${COMPREPLY[@]#"$before"}")
    if [[ $status != 0 ]]; then
        unset COMPREPLY
    elif [[ $_CLAP_COMPLETE_SPACE == false ]] && [[ "${COMPREPLY-}" =~ [=/:]$ ]]; then
        compopt -o nospace
    fi
}
if [[ "${BASH_VERSINFO[0]}" -eq 4 && "${BASH_VERSINFO[1]}" -ge 4 || "${BASH_VERSINFO[0]}" -gt 4 ]]; then
    complete -o nospace -o bashdefault -o nosort -F _clap_complete_secrets secrets
else
    complete -o nospace -o bashdefault -F _clap_complete_secrets secrets
fi

