#!/usr/bin/env bash
# Tries `secrets mcp` with the official programs of the Model Context Protocol: the inspector, the conformance suite, and
# the clients of the SDKs for TypeScript and Python. They speak the versions of the protocol with a handshake, and the
# stateless one. The vault belongs to this test. No value of it may be in the output of the server or of a program.
# The programs and their versions are in tests/mcp/. Needs jq, npm and python3.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
binary=$(realpath "${SECRETS:-${CARGO_TARGET_DIR:-$root/target}/release/secrets}")
[ -x "$binary" ] || { echo "$binary does not exist; build it, or name it in SECRETS" >&2; exit 1; }
directory=$(mktemp -d)
bridge=
trap '[ -z "$bridge" ] || kill "$bridge" 2>/dev/null || true; rm -rf "$directory"' EXIT
trap 'exit 130' INT TERM

# --- the scenarios of the conformance suite

# Scenarios that must pass, for each version whose schema the messages must fit. The suite asks a server for 2025-11-25
# or 2026-07-28, and once for the version. It runs these scenarios with 2025-03-26 only if it has to. Its stable releases
# (0.1) have a part of the scenarios of 0.2, and do not know the schemas.
applicable='
2025-03-26 server-initialize ping tools-list
2025-06-18 server-initialize ping tools-list
2025-11-25 server-initialize ping tools-list dns-rebinding-protection
2026-07-28 server-stateless tools-list caching dns-rebinding-protection http-header-validation
2026-07-28 input-required-result-unsupported-methods
'
# Checks of these scenarios that do not apply, with the reason
inapplicable_checks='
server-stateless sep-2575-server-rejects-undeclared-capability           needs the tool test_missing_capability
server-stateless sep-2575-missing-capability-http-400                    needs the tool test_missing_capability
server-stateless sep-2575-http-server-no-independent-requests-on-stream  needs the tool test_streaming_elicitation
server-stateless sep-2575-server-no-log-without-loglevel                 needs the tool test_logging_tool
caching sep-2549-prompts-list-caching-hints                              needs prompts
caching sep-2549-resources-list-caching-hints                            needs resources
caching sep-2549-resources-templates-list-caching-hints                  needs resources
'
# Scenarios that do not apply, with the reason. A scenario in neither list is new, and fails.
inapplicable='
completion-complete                            needs completions
elicitation-sep1034-defaults                   needs elicitation
elicitation-sep1330-enums                      needs elicitation
http-custom-header-server-validation           needs a tool with x-mcp-header
input-required-result-basic-elicitation        needs elicitation
input-required-result-basic-list-roots         needs a tool that asks for roots
input-required-result-basic-sampling           needs sampling
input-required-result-capability-check         needs the tool test_input_required_result_capabilities
input-required-result-ignore-extra-params      needs elicitation
input-required-result-missing-input-response   needs elicitation
input-required-result-multi-round              needs elicitation
input-required-result-multiple-input-requests  needs elicitation and sampling
input-required-result-non-tool-request         needs prompts
input-required-result-request-state            needs elicitation
input-required-result-result-type              needs elicitation
input-required-result-tampered-state           needs the tool test_input_required_result_tampered_state
input-required-result-validate-input           needs elicitation
json-schema-2020-12                            needs the tool json_schema_2020_12_tool
logging-set-level                              needs log messages
prompts-get-embedded-resource                  needs prompts
prompts-get-simple                             needs prompts
prompts-get-with-args                          needs prompts
prompts-get-with-image                         needs prompts
prompts-list                                   needs prompts
resources-list                                 needs resources
resources-read-binary                          needs resources
resources-read-text                            needs resources
resources-subscribe                            needs resources
resources-templates-read                       needs resources
resources-unsubscribe                          needs resources
sep-2164-resource-not-found                    needs resources
sep-2640-skills-directory                      needs the extension for skills
sep-2640-skills-enumeration                    needs the extension for skills
sep-2640-skills-manifest                       needs the extension for skills
server-session-lifecycle                       tests sessions of HTTP
server-sse-multiple-streams                    tests streams of HTTP
server-sse-polling                             tests streams of HTTP
tasks-capability-negotiation                   needs the extension for tasks
tasks-dispatch-and-envelope                    needs the extension for tasks
tasks-lifecycle                                needs the extension for tasks
tasks-mrtr-composition                         needs the extension for tasks
tasks-mrtr-input                               needs the extension for tasks
tasks-request-headers                          needs the extension for tasks
tasks-request-state-removal                    needs the extension for tasks
tasks-required-task-error                      needs the extension for tasks
tasks-status-notifications                     needs the extension for tasks
tasks-wire-fields                              needs the extension for tasks
tools-call-audio                               needs the tool test_audio_content
tools-call-elicitation                         needs elicitation
tools-call-embedded-resource                   needs the tool test_embedded_resource
tools-call-error                               needs the tool test_error_handling
tools-call-image                               needs the tool test_image_content
tools-call-mixed-content                       needs the tool test_multiple_content_types
tools-call-sampling                            needs sampling
tools-call-simple-text                         needs the tool test_simple_text
tools-call-with-logging                        needs log messages
tools-call-with-progress                       needs progress
'

# --- checks

fail() { echo "$*" >&2; return 1; }

same() { # WHAT WANTED GOT
    [ "$2" = "$3" ] || fail "$1: wanted [$2], got [$3]"
}

passed=0 failed=0
check() { # NAME COMMAND..., which runs in a directory of its own
    local status=0
    work=$directory/output/$((passed + failed))
    mkdir "$work"
    set +e
    (set -e; cd "$work"; "${@:2}") >"$work/log" 2>&1
    status=$?
    set -e
    if [ $status = 0 ]; then
        echo "ok $1"
        passed=$((passed + 1))
    else
        echo "FAILED $1"
        failed=$((failed + 1))
        head -n 60 "$work/log" | cut -c -1000 | sed 's/^/    /'
    fi
}

# --- programs

install_programs() {
    npm install --loglevel error --no-audit --no-fund --prefix "$programs" >/dev/null &&
        python3 -m venv "$directory/venv" &&
        "$directory/venv/bin/python3" -m pip install --quiet --disable-pip-version-check -r "$programs/requirements.txt"
}

programs=$directory/programs
cp -r "$root/tests/mcp" "$programs"
# A registry may refuse a request now and then.
install_programs || install_programs || { echo 'the programs cannot be installed' >&2; exit 1; }
node=$programs/node_modules/.bin/node
inspector=$programs/node_modules/.bin/inspector
suite=$programs/node_modules/.bin/conformance

# --- the vault, the project and the server

for name in $(compgen -e | grep -E '^(SECRETS|XDG)_' || true); do unset "$name"; done
mkdir "$directory/home" "$directory/project" "$directory/output"
mkdir -m 700 "$directory/run"
export HOME=$directory/home NO_COLOR=1
(umask 077 && echo 'correct horse battery staple' >"$directory/passphrase")
secrets() { SECRETS_PASSPHRASE_FILE=$directory/passphrase "$binary" --quiet "$@"; }

values=('sk_test_51Hx0aBcDeFgHiJkLmNoPq9Qz7' 'p+4/s=s w%rd&"é\Zq9:u7#Lk2')
printf '%s\n' "${values[@]}" >"$directory/values"
cd "$directory/project"
secrets init --kdf-memory 19 --kdf-iterations 1 --kdf-parallelism 1 2> >(grep -v '^warning: ' >&2)
printf %s "${values[0]}" | secrets create stripe-key
printf %s "${values[1]}" | secrets create password
secrets token create agent --level use --output "$directory/token"
printf '[secrets.stripe-key]\n[secrets.password]\n[secrets.absent-key]\noptional = true\n' >.secrets.toml
echo 'key: {{ secrets.stripe-key }}' >app.yaml
manifest=$(secrets trust --show --json | jq -r .sha256)

pause=$directory/pause
cat >"$pause" <<SCRIPT
#!/bin/sh
echo \$\$ >"$pause.pid"
exec sleep 60
SCRIPT

# Clients start this program. It keeps the input, the output and the exit code of the server.
server=$directory/server
cat >"$server" <<SCRIPT
#!/usr/bin/env bash
cd "$directory/project"
tee -a "$directory/requests" |
    XDG_RUNTIME_DIR="$directory/run" "$binary" mcp --token-file "$directory/token" --trust-manifest "$manifest" \
        --allow-run 'printenv STRIPE_KEY' --allow-run "$pause" 2>>"$directory/output/errors" |
    tee -a "$directory/output/answers"
echo "\${PIPESTATUS[1]}" >>"$directory/codes"
SCRIPT
chmod +x "$pause" "$server"

began() { truncate -s 0 "$directory/requests" "$directory/codes"; }

# Shows that the client spoke the versions of $era, and that the server ended with the code 0 when the client closed.
ended() {
    local handshakes _
    for _ in {1..40}; do
        [ ! -s "$directory/codes" ] || break
        sleep 0.05
    done

    handshakes=$(grep -c '"method":"initialize"' "$directory/requests" || true)
    [ "$era" = stateless ] || handshakes=$((handshakes - 1))
    same 'unexpected handshakes' 0 "$handshakes"
    same 'the exit code of the server' 0 "$(cat "$directory/codes")"
}

# --- the inspector

declare -A inspector_era=([handshake]=legacy [stateless]=modern)

inspect() { # EXIT-CODE FILTER OPTIONS..., and the result fits FILTER
    local status=0
    began
    "$node" "$inspector" --cli --format json --protocol-era "${inspector_era[$era]}" "${@:3}" "$server" \
        >result 2>error || status=$?
    cat result error
    same 'the exit code of the inspector' "$1" $status
    jq -se "$2" result error >/dev/null || fail "the result does not fit: $2"
    ended
}

inspect_call() { # EXIT-CODE FILTER TOOL ARGUMENTS, and its structured content fits FILTER
    local is_error=false
    [ "$1" = 0 ] || is_error=true
    inspect "$1" ".[0].result | .isError == $is_error and (.content[0].text | fromjson) == .structuredContent
        and (.structuredContent | $2)" --method tools/call --tool-name "$3" --tool-args-json "$4"
}

inspect_tools() {
    local names='["list", "check", "refs", "render", "request", "ask", "run"]'
    inspect 0 ".[0].result.tools | map(.name) == ($names | map(\"secrets_\" + .))
        and all(.inputSchema.type == \"object\" and (.description | length > 0))" --method tools/list --strict
    same 'complaints about schemas' '' "$(cat error)"
}

inspect_ask() {
    inspect_call 0 '.exists == true and .command == null' secrets_ask '{"tag": "stripe-key"}'
    inspect_call 0 '.exists == false and .command == "secrets create absent-key"' secrets_ask '{"tag": "absent-key"}'
}

# The inspector looks for the tool in the list itself. The SDKs do not.
inspect_unknown() {
    inspect 5 '.[0].error.code == "tool_not_found"' --method tools/call --tool-name nothing --tool-args-json '{}'
}

# --- the conformance suite

run_suite() { # VERSION OPTIONS...
    # It fails for scenarios that do not apply.
    "$node" "$suite" server --url "$url" --spec-version "$1" -o "$directory/output/$1" "${@:2}" \
        >>"$directory/output/$1.log" 2>&1 || true
}

# Shows that a check of the scenario passes, and that those that fail are the ones that do not apply.
scenario_passes() { # VERSION SCENARIO
    local results=("$directory/output/$1/server-$2-"[0-9]*/checks.json)
    [ -e "${results[0]}" ] || { tail -n 20 "$directory/output/$1.log"; fail 'the suite has no result'; }
    jq '.[] | select(.status == "FAILURE" or .status == "WARNING") | {id, status, errorMessage, details}' \
        "${results[0]}" | tee bad
    jq -e 'any(.[]; .status == "SUCCESS")' "${results[0]}" >/dev/null || fail 'no check passes'
    same 'failures' "$(sed -n "s/^$2 \([^ ]*\) .*/\1/p" <<<"$inapplicable_checks" | sort)" "$(jq -r .id bad | sort -u)"
}

# Shows that all messages fit the schema of a version, also those of scenarios that do not apply.
messages_fit() { # VERSION
    jq -s 'add | map(select(.id | startswith("wire-schema-")))' "$directory/output/$1"/*/checks.json >checks
    jq '.[] | select(.status != "SUCCESS")' checks
    jq -e 'length > 20 and all(.status == "SUCCESS")' checks >/dev/null || fail 'messages do not fit the schema'
}

scenarios_are_known() {
    local known
    known=$(awk '{ $1 = ""; print }' <<<"$applicable" | xargs -n 1; awk '{ print $1 }' <<<"$inapplicable")
    same 'scenarios that only the suite has, or only this script' '' "$(comm -3 <(grep . <<<"$known" | sort -u) \
        <("$node" "$suite" list --server | sed -n 's/^  - \([^ ]*\) .*/\1/p' | sort))"
}

start_bridge() {
    began
    "$node" "$programs/bridge.mjs" "$server" >"$directory/url" 2>"$directory/output/bridge" &
    bridge=$!
    for _ in {1..100}; do
        [ ! -s "$directory/url" ] || break
        sleep 0.1
    done
    url=$(cat "$directory/url")
}

stop_bridge() {
    kill "$bridge" || true
    bridge_code=0
    wait "$bridge" || bridge_code=$?
    bridge=
}

bridge_ended() {
    cat "$directory/output/bridge"
    same 'the exit code of the bridge' 0 "$bridge_code"
    same 'the exit code of the server' 0 "$(cat "$directory/codes")"
}

# --- the clients

with_client() { # COMMAND...
    local status=0
    began
    "$@" "$era" "$server" "$pause" || status=$?
    if [ $status != 0 ]; then cut -c -500 "$directory/requests" | tail -n 20; fi
    same 'the exit code of the client' 0 $status
    ended
}

# --- everything that the server has printed

lines_are_messages() {
    jq -c 'select(.jsonrpc != "2.0" or .id == null)' "$directory/output/answers" | tee bad
    [ ! -s bad ] || fail 'these lines are not responses'
}

no_value_is_shown() {
    # Masked output shows that the server had a value to mask.
    grep -q '‹stripe-key›' "$directory/output/answers" || fail 'no value is masked'
    python3 "$root/tests/clients/leaks.py" "$directory/values" "$directory/output"
    cp "$directory/values" "$directory/output/planted"
    if python3 "$root/tests/clients/leaks.py" "$directory/values" "$directory/output"; then fail 'nothing is found'; fi
}

for era in handshake stateless; do
    check "inspector, $era: list the tools" inspect_tools
    check "inspector, $era: secrets_list" inspect_call 0 \
        '.secrets | map(.tag) == ["stripe-key"]' secrets_list '{"filter": "stripe"}'
    check "inspector, $era: secrets_ask" inspect_ask
    check "inspector, $era: secrets_refs" inspect_call 0 \
        '.references | map(.file) == [".secrets.toml", "app.yaml"]' secrets_refs '{"tag": "stripe-key"}'
    check "inspector, $era: secrets_check" inspect_call 0 \
        '.missing == [] and (.optional | map(.tag) == ["absent-key"])' secrets_check '{}'
    check "inspector, $era: secrets_run" inspect_call 0 \
        '.exitCode == 0 and .stdout == "‹stripe-key›\n"' secrets_run '{"command": "printenv STRIPE_KEY"}'
    check "inspector, $era: a call that fails" inspect_call 5 \
        '.message | test("arguments do not fit")' secrets_ask '{"tag": 1}'
    check "inspector, $era: an unknown tool" inspect_unknown
    check "TypeScript SDK, $era" with_client "$node" "$programs/client.mjs"
    check "Python SDK, $era" with_client "$directory/venv/bin/python3" "$programs/client.py"
done

start_bridge
for scenario in server-initialize ping tools-list; do run_suite 2025-03-26 --scenario "$scenario" --force; done
for version in 2025-06-18 2025-11-25 2026-07-28; do run_suite "$version" --suite all; done
stop_bridge
check 'conformance: all scenarios are known' scenarios_are_known
while read -r version scenarios; do
    for scenario in $scenarios; do
        check "conformance, $version: $scenario" scenario_passes "$version" "$scenario"
    done
done < <(grep . <<<"$applicable")
for version in 2025-06-18 2025-11-25 2026-07-28; do
    check "conformance, $version: messages fit the schema" messages_fit "$version"
done
check 'conformance: the server ends with its client' bridge_ended
check 'each line of the server is a response' lines_are_messages
check 'no value of the vault is shown' no_value_is_shown

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
