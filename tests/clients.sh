#!/usr/bin/env bash
# Runs real clients under `secrets run --proxy` against origins on loopback. Each check shows that the origin got the
# value, that the client worked, and that the client never had the value: it is not in its environment, its arguments,
# its output and its files. The clients are in tests/clients/. A client that cannot be installed is skipped. With
# --strict it is a failure.
# shellcheck disable=SC2016 # single quotes hold scripts of clients, and filters of jq
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
clients=$root/tests/clients
target=${CARGO_TARGET_DIR:-$root/target}/release
binary=$(realpath "${SECRETS:-$target/secrets}")
server=$(realpath "${TEST_ORIGIN:-$target/test-origin}")
for program in "$binary" "$server"; do
    [ -x "$program" ] || { echo "$program does not exist; build it, or name it in SECRETS or TEST_ORIGIN" >&2; exit 1; }
done
strict=false
[ "${1:-}" != --strict ] || strict=true
directory=$(mktemp -d)
started=()
finish() {
    [ ${#started[@]} = 0 ] || kill "${started[@]}" 2>/dev/null || true
    rm -rf "$directory"
}
trap finish EXIT
trap 'exit 130' INT TERM

# A password has characters that each encoding escapes in its own way.
declare -A value=(
    [api-key]=sk_test_51Hx0aBcDeFgHiJkLmNoPq9Qz7
    [password]='p+4/s=s w%rd&"é\Zq9:u7#Lk2'
    [session]=c0ffee5e5510n0123456789abcdefVwXyZ
    [client-secret]='Jm3"k9\Tq7/Lw2+Zx5&Rb8'
    [stream-token]=st_Wq8RzT4vN1xY6bK3mP0dS7fG
    [npm-token]=npm_Ab3dEf6hIj9kLm2nOp5qRs8tUv1wXy4z
    [aws-access-key-id]=AKIAQ3EXAMPLE7TESTAB
    [aws-secret-access-key]=wJalrXUtnFEMI/K7MDENG/bPxRfiCY+EXAMPLEKEY
)
# Tags, places and variables
rules='
api-key                header:authorization  API_KEY
api-key                header:x-api-key      API_KEY
password               basic:password        PASSWORD
session                cookie:session        SESSION
client-secret          form:client_secret    CLIENT_SECRET
client-secret          json:/client_secret   CLIENT_SECRET
stream-token           ws:/token             STREAM_TOKEN
npm-token              header:authorization  NPM_TOKEN
'

# --- running clients

fail() { echo "$*" >&2; return 1; }

refused() { # COMMAND...: fails
    if "$@"; then fail "was not refused: $*"; fi
}

same() { # WHAT WANTED GOT
    [ "$2" = "$3" ] || fail "$1: wanted [$2], got [$3]"
}

needs() { # NAME [PATH]
    command -v "${2:-$1}" >/dev/null && return
    if $strict; then fail "$1 is not installed"; fi
    echo "$1 is not installed" >"$directory/skipped"
    exit 77
}

passed=0 failed=0 skipped=0
check() { # NAME FUNCTION, which runs in a directory of its own
    local status=0
    work=$directory/project/$2
    mkdir -p "$work/home" "$work/tmp"
    set +e
    (set -e; cd "$work"; "$2") >"$directory/log" 2>&1
    status=$?
    set -e
    case $status in
        0) echo "ok $1"; passed=$((passed + 1)) ;;
        77) echo "skipped: $1: $(cat "$directory/skipped")"; skipped=$((skipped + 1)) ;;
        *)
            echo "FAILED $1"; failed=$((failed + 1))
            sed 's/^/    /' "$directory/log"
            [ ! -e "$work/seen" ] || tail -n 40 "$work/seen" | cut -c -500 | sed 's/^/    seen: /'
            ;;
    esac
}

# Runs a client's script. Its output is in the file `seen` afterwards, as the client wrote it: masking would hide a
# value. The shell shows the environment and the arguments of all commands.
client() { # TAGS SCRIPT
    local status=0
    from=$(($(wc -l <"$directory/$origin.log") + 1))
    env -i PATH="$directory/bin:$directory/venv/bin:$PATH" HOME="$work/home" TMPDIR="$work/tmp" LANG=C.UTF-8 \
        PYTHONDONTWRITEBYTECODE=1 CLIENTS="$clients" ORIGIN="https://$host:${port[$origin]}" PORT="${port[$origin]}" \
        SECRETS_VAULT="$SECRETS_VAULT" SECRETS_PASSPHRASE_FILE="$SECRETS_PASSPHRASE_FILE" \
        XDG_RUNTIME_DIR="$XDG_RUNTIME_DIR" XDG_STATE_HOME="$XDG_STATE_HOME" \
        SSL_CERT_FILE="$directory/$origin.pem" HTTPS_PROXY="$upstream" \
        secrets run --proxy --no-mask --only "$1" -- bash -euxc "env; $2" >seen 2>&1 </dev/null || status=$?
    "$python" "$clients/leaks.py" "$directory/values" "$work" || fail "the client had a value"
    refused grep -q '‹' seen
    same 'the exit code' 0 $status

    # The origin writes its log from time to time, in order.
    local _ end=/end-of-${PWD##*/}
    curl -sS --noproxy '*' --cacert "$directory/$origin.pem" -o tmp/end "https://localhost:${port[$origin]}$end"
    for _ in {1..500}; do
        ! grep -qF "\"$end\"" "$directory/$origin.log" || return 0
        sleep 0.01
    done
    fail 'the origin writes no log'
}

saw() { # TEXT...: the client's output has each of them
    local text
    for text; do grep -qF -- "$text" seen || fail "the client did not see: $text"; done
}

placeholder() { sed -n "s/^$1=//p" seen | head -n 1; } # VARIABLE

requests() { tail -n "+$from" "$directory/$origin.log" | grep -v '"/end-of-'; } # those of the last client

# Shows that the origin got requests that fit FILTER, and that all of them have the value of TAG, or another text, as
# PLACE says. Both are filters of jq, and $v is that value.
received() { # TAG|TEXT PLACE FILTER
    requests | jq -se --arg v "${value[$1]-$1}" "map(select($3)) | length > 0 and all(.[]; $2)" >/dev/null && return
    requests | jq -c '[.version, .method, .target, .headers, .body[:300]]' >&2
    fail "the origin did not get $1 where $3"
}

bearer='.headers.authorization == ["Bearer " + $v]'
basic='.headers.authorization == ["Basic " + ("ci:" + $v | @base64)]'
basic_of() { printf 'Basic %s' "$(printf 'ci:%s' "$1" | base64 -w 0)"; } # PASSWORD

# --- curl

curl_1() {
    client api-key 'curl -sSi --http1.1 -H "Authorization: Bearer $API_KEY" "$ORIGIN/echo"'
    saw 'HTTP/1.1 200 OK' "authorization: Bearer $(placeholder API_KEY)" "x-reflected: Bearer $(placeholder API_KEY)"
    received api-key "$bearer" '.target == "/echo"'
}

curl_2() {
    # Requests in parallel share a connection. The file is longer than a window.
    client api-key 'seq 200000 >numbers
        curl -sSi --http2 --oauth2-bearer "$API_KEY" "$ORIGIN/echo"
        curl -sS --http2 --oauth2-bearer "$API_KEY" --parallel -w "%{http_version} %{http_code} %{size_download}\n" \
            -o one "$ORIGIN/echo?[1-20]" -o two "$ORIGIN/bytes/5000000"
        curl -sS --http2 --oauth2-bearer "$API_KEY" -T numbers -o back "$ORIGIN/body"
        cmp numbers back'
    saw 'HTTP/2 200' "authorization: Bearer $(placeholder API_KEY)" '2 200 5000000'
    same 'the number of requests' 23 "$(requests | wc -l)"
    received api-key "$bearer and .version == \"HTTP/2.0\"" true
}

curl_expect() {
    # curl waits for `100 Continue` before it sends a long body.
    client api-key 'seq 200000 >numbers
        curl -sSv --http1.1 -H "Authorization: Bearer $API_KEY" --data-binary @numbers -o back "$ORIGIN/body"
        cmp numbers back'
    saw 'Expect: 100-continue' 'HTTP/1.1 100 Continue' 'HTTP/1.1 200 OK'
    received api-key "$bearer" '.target == "/body"'
}

curl_netrc() {
    client password 'printf "machine localhost login ci password %s\n" "$PASSWORD" >"$HOME/.netrc"
        curl -sSv --netrc "$ORIGIN/echo"
        curl -sS --netrc --compressed "$ORIGIN/gzip"'
    saw 'GET /echo' "authorization: $(basic_of "$(placeholder PASSWORD)")"
    received password "$basic" '.method == "GET"'
}

curl_old() {
    origin=old
    client api-key 'curl -sSi --http2 -H "Authorization: Bearer $API_KEY" "$ORIGIN/echo" "$ORIGIN/trailers"'
    saw 'HTTP/1.1 200 OK' "authorization: Bearer $(placeholder API_KEY)" hello
    received api-key "$bearer and .version == \"HTTP/1.1\"" '.target == "/echo"'
}

# --- Python

python_requests() {
    needs 'a Python module' "$modules"
    client api-key,session,password 'python3 "$CLIENTS/with_requests.py"'
    saw 'echo 200' 'gzip 200' 'chunked/300000 200 300000' 'body 200 300000' \
        "authorization: Bearer $(placeholder API_KEY)" "session=$(placeholder SESSION)" \
        "authorization: $(basic_of "$(placeholder PASSWORD)")"
    received api-key "$bearer" '.target == "/echo" or .target == "/gzip" or .target == "/body"'
    received session '.headers.cookie == ["theme=dark; session=" + $v]' '.target == "/echo?cookies"'
    received password "$basic" '.target == "/echo?basic"'
}

httpx() { # VERSION
    needs 'a Python module' "$modules"
    client api-key,client-secret "python3 \"\$CLIENTS/with_httpx.py\" ${1%.*}"
    saw "HTTP/$1 200" "x-api-key: $(placeholder API_KEY)" 'events 20 data: {"token":"hello"' \
        "client_secret=$(placeholder CLIENT_SECRET)"
    received api-key '.headers["x-api-key"] == [$v]' '.method == "GET"'
    received client-secret '.body == "grant_type=client_credentials&client_secret=" + ($v | @uri)' '.method == "POST"'
}
python_httpx_1() { httpx 1.1; }
python_httpx_2() { httpx 2; }

python_urllib() {
    client api-key 'python3 "$CLIENTS/with_urllib.py"'
    saw '200 HTTP/' "authorization: Bearer $(placeholder API_KEY)"
    received api-key "$bearer" '.target == "/echo"'
}

python_websockets() {
    needs 'a Python module' "$modules"
    client api-key,stream-token 'python3 "$CLIENTS/with_websockets.py"'
    saw "hello auth: Bearer $(placeholder API_KEY)" \
        "answer {\"type\": \"hello\", \"token\": \"$(placeholder STREAM_TOKEN)\"}" \
        'bytes 40000' 'pong True' 'close 1000'
    received api-key "$bearer" '.target == "/ws"'
    received stream-token '(.body | fromjson) == {type: "hello", token: $v}' '.method == "FRAME" and (.body[:1] == "{")'
}

signed() { # CHECKSUMS
    needs 'a Python module' "$modules"
    client aws-access-key-id,aws-secret-access-key \
        "AWS_ENDPOINT_URL_S3=\$ORIGIN/files AWS_DEFAULT_REGION=eu-central-1 python3 \"\$CLIENTS/with_boto3.py\" $1"
    saw 'put 200' 'get 200'
    received aws-access-key-id '(.headers.authorization[0] | contains("Credential=" + $v + "/"))' true
    same 'the number of valid signatures' 4 \
        "$(requests | SIGNING_KEY=${value[aws-secret-access-key]} "$python" "$clients/signature.py")"
}
python_boto3() { signed when_required; }
python_boto3_chunks() {
    signed when_supported
    received STREAMING-UNSIGNED-PAYLOAD-TRAILER '.headers["x-amz-content-sha256"] == [$v]' '.method == "PUT"'
}

# --- Node and npm

node_fetch() {
    needs 'a Node that uses proxies' "$node"
    client api-key,client-secret,stream-token "\"$node\" \"\$CLIENTS/fetch.mjs\""
    saw 'get 200' 'post 200' "authorization: Bearer $(placeholder API_KEY)" \
        "{\"client_secret\":\"$(placeholder CLIENT_SECRET)\",\"scope\":\"all\"}" \
        "message {\"token\":\"$(placeholder STREAM_TOKEN)\"}"
    received api-key "$bearer" '.method == "GET" and .target != "/ws"'
    received client-secret '(.body | fromjson) == {client_secret: $v, scope: "all"}' '.method == "POST"'
    received stream-token '(.body | fromjson) == {token: $v}' '.method == "FRAME" and (.body[:1] == "{")'
}

npm_project() { # the registry's address is in the client's script
    needs npm
    printf '%s\n' 'registry=${ORIGIN}/files/npm/' '//localhost:${PORT}/files/npm/:_authToken=${NPM_TOKEN}' \
        'update-notifier=false' 'audit=false' >.npmrc
}

npm_install() {
    npm_project
    client npm-token 'npm install --loglevel http @acme/greeting
        node -p "require(\"@acme/greeting\")"'
    saw 'added 1 package' 'hello from npm'
    received npm-token "$bearer" true
    same requests 2 "$(requests | wc -l)"
}

npm_publish() {
    npm_project
    echo '{"name": "@acme/other", "version": "1.2.3"}' >package.json
    client npm-token 'npm publish --loglevel http'
    saw '+ @acme/other@1.2.3'
    received npm-token "$bearer and (.body | fromjson | .name) == \"@acme/other\"" '.method == "PUT"'
}

# --- pip

pip_install() {
    needs pip "$directory/venv/bin/pip"
    client password 'PIP_INDEX_URL="https://ci:$PASSWORD@localhost:$PORT/files/simple/" \
        python3 -m pip install -vvv --disable-pip-version-check --target lib greeting
        PYTHONPATH=lib python3 -c "import greeting; print(greeting.text)"'
    saw 'Successfully installed greeting-1.0' 'hello from pip'
    received password "$basic" '.headers.authorization'
}

# --- git

trace='export GIT_TRACE_CURL=1 GIT_TRACE_REDACT=0 GIT_TERMINAL_PROMPT=0 GIT_CONFIG_NOSYSTEM=1'
git_basic='.headers.authorization == ["Basic " + ("secrets:" + $v | @base64)]'

git_push() {
    client password "$trace"'
        git clone -q "$ORIGIN/git/project.git" && cd project
        git log --format=%s
        head -c 3000000 /dev/urandom >large
        git add large
        git -c user.name=test -c user.email=test@example.org commit -qm "a large file"
        git push -q origin HEAD
        git fetch
        git rev-parse HEAD'
    saw 'hello from git' "Basic $(printf 'secrets:%s' "$(placeholder PASSWORD)" | base64 -w 0)"
    same 'the commit' "$(git -C project rev-parse HEAD)" "$(git -C "$directory/files/git/project.git" rev-parse main)"
    received password "$git_basic" '.method == "POST"'
}

git_dumb() {
    # In the URL, as many CI jobs write it.
    client password "$trace"'
        git -c credential.helper= clone "https://ci:$PASSWORD@localhost:$PORT/files/git/project.git" copy
        git -C copy log --format=%s'
    saw 'hello from git'
    received password "$basic" '.headers.authorization'
}

# --- Go

go_http() { # SETTING VERSION
    needs go "$go_client"
    # Go never sends `localhost` through a proxy. A company's proxy knows the other name, so no file of this machine
    # has to.
    host=origin.test
    upstream=http://127.0.0.1:${port[upstream]}
    client api-key "GODEBUG=$1 go-client"
    saw "$2 200" "authorization: Bearer $(placeholder API_KEY)"
    received api-key "$bearer" true
    grep -q "^CONNECT origin.test:${port[$origin]} " "$directory/upstream.log" || fail "the upstream proxy was not used"
}
go_http_1() { go_http http2client=0 HTTP/1.1; }
go_http_2() { go_http http2client=1 HTTP/2.0; }

go_localhost() {
    needs go "$go_client"
    client api-key go-client
    received "$(placeholder API_KEY)" "$bearer" true
}

# --- the search itself

search() {
    local text form
    leaks() { "$python" "$clients/leaks.py" "$directory/values" "$work" >/dev/null; }
    leaks
    for text in "${value[@]}"; do
        for form in '$v' '"user:" + $v | @base64' '$v | @uri' '$v | @json' '[$v, "more"] | join(" ") | @base64'; do
            jq -rn --arg v "$text" "$form" >found
            refused leaks "$form"
            gzip -f found
            refused leaks "$form, gzip"
            rm found.gz
        done
    done
    leaks
}

# --- installing clients

install_modules() {
    { [ -x "$directory/venv/bin/pip" ] || python3 -m venv "$directory/venv"; } &&
        "$directory/venv/bin/python3" -m pip install --quiet -r "$clients/requirements.txt" &&
        ln -s python3 "$modules"
}

# Node uses a proxy of its environment in 22.21 and from 24 on.
uses_proxies() {
    "$1" -e 'const [a, b] = process.versions.node.split("."); process.exit(a >= 24 || (a == 22 && b >= 21) ? 0 : 1)'
}

install_node() {
    npm install --loglevel error --no-audit --no-fund --prefix "$directory/node" node@24.9.0 >/dev/null
}

build_go() {
    GOCACHE=$directory/go GO111MODULE=off go build -o "$go_client" "$clients/client.go"
}

for name in $(compgen -e | grep -E '^(SECRETS|GIT|XDG)_' || true); do unset "$name"; done
mkdir -m 700 "$directory/bin" "$directory/run" "$directory/project"
python=$(python3 -c 'import sys; print(sys.executable)')
modules=$directory/venv/bin/python-with-modules node=$(command -v node || true) go_client=$directory/bin/go-client
# A registry may refuse a request now and then.
{ install_modules || install_modules || echo 'the Python modules are not installed' >&2; } &
installing=$!
if [ -z "$node" ] || ! uses_proxies "$node"; then
    install_node || install_node || echo 'Node 24 is not installed' >&2
    node=$directory/node/node_modules/.bin/node
fi
if command -v go >/dev/null; then build_go || echo 'the Go client is not built' >&2; fi
wait $installing

# --- what the origins serve

hash_of() { openssl dgst -sha512 -binary "$1" | base64 -w 0; } # FILE

serve_npm() { # PORT
    local package=$directory/files/npm/@acme/greeting url=https://localhost:$1/files/npm
    mkdir -p "$package/-" "$directory/package"
    echo '{"name": "@acme/greeting", "version": "1.0.0"}' >"$directory/package/package.json"
    echo 'module.exports = "hello from npm";' >"$directory/package/index.js"
    tar -czf "$package/-/greeting-1.0.0.tgz" -C "$directory" package
    jq -n --arg tarball "$url/@acme/greeting/-/greeting-1.0.0.tgz" \
        --arg integrity "sha512-$(hash_of "$package/-/greeting-1.0.0.tgz")" '{name: "@acme/greeting",
            "dist-tags": {latest: "1.0.0"},
            versions: {"1.0.0": {name: "@acme/greeting", version: "1.0.0", dist: {$tarball, $integrity}}}}' \
        >"$package/index.json"
}

serve_pip() {
    local index=$directory/files/simple/greeting file=greeting-1.0-py3-none-any.whl
    mkdir -p "$index"
    echo "<a href='$file'>$file</a>" >"$index/index.html"
    "$python" - "$index/$file" <<'PYTHON'
import sys
import zipfile

info = "greeting-1.0.dist-info"
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    wheel.writestr("greeting.py", "text = 'hello from pip'\n")
    wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n")
    wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(f"{info}/RECORD", "greeting.py,,\n")
PYTHON
}

serve_git() {
    local bare=$directory/files/git/project.git
    git init -q --bare -b main "$bare"
    tree=$(git -C "$bare" write-tree)
    git -C "$bare" update-ref refs/heads/main "$(git -C "$bare" -c user.name=test -c user.email=test@example.org \
        commit-tree -m 'hello from git' "$tree")"
    git -C "$bare" update-server-info
}

# --- the origins and the vault

declare -A port
serve() { # NAME COMMAND..., which prints its port
    local output
    exec {output}< <(exec env HOME="$directory" GIT_CONFIG_NOSYSTEM=1 "${@:2}" 2>"$directory/$1.errors")
    started+=($!)
    read -r "port[$1]" <&"$output" || { cat "$directory/$1.errors" >&2; return 1; }
}

keys=("${value[password]}" "${value[npm-token]}" "${value[aws-access-key-id]}")
serve main "$server" "$directory/main.pem" "$directory/main.log" 0 any "$directory/files" origin.test "${keys[@]}"
serve old "$server" "$directory/old.pem" "$directory/old.log" 0 http/1.1
serve upstream "$python" "$clients/upstream.py" "${port[main]}" "$directory/upstream.log"
serve_npm "${port[main]}"
serve_pip
serve_git

export SECRETS_VAULT=$directory/vault.db SECRETS_PASSPHRASE_FILE=$directory/passphrase XDG_RUNTIME_DIR=$directory/run
export XDG_STATE_HOME=$directory/state HOME=$directory PATH=$directory/bin:$PATH
ln -s "$binary" "$directory/bin/secrets"
(umask 077 && echo 'correct horse battery staple' >"$SECRETS_PASSPHRASE_FILE")
printf '%s\n' "${value[@]}" >"$directory/values"
cd "$directory/project"
secrets init -q --kdf-memory 19 --kdf-iterations 1 --kdf-parallelism 1 2> >(grep -v '^warning: ' >&2)
for tag in "${!value[@]}"; do printf %s "${value[$tag]}" | secrets create -q "$tag"; done

allow() { # TAG ORIGIN PLACE
    secrets allow -q "$1" --to "$2" --in "$3"
}
origins=("https://localhost:${port[main]}" "https://localhost:${port[old]}" "https://origin.test:${port[main]}")
while read -r tag place variable; do
    [ -n "$tag" ] || continue
    for to in "${origins[@]}"; do
        allow "$tag" "$to" "$place"
        printf '[[proxy.rule]]\nsecret = "%s"\nto = "%s"\nin = "%s"\nenv = "%s"\n' "$tag" "$to" "$place" "$variable"
    done
done <<<"$rules" >.secrets.toml
for tag in aws-access-key-id aws-secret-access-key; do allow "$tag" "${origins[0]}" sigv4; done
cat >>.secrets.toml <<TOML
[[proxy.rule]]
sign = "sigv4"
key-id = "aws-access-key-id"
secret = "aws-secret-access-key"
to = "${origins[0]}"
env = "AWS_SECRET_ACCESS_KEY"
TOML
secrets trust -q >/dev/null

origin=main host=localhost upstream=
check 'the search finds values in all forms' search
check 'curl, HTTP/1.1' curl_1
check 'curl, HTTP/2, in parallel' curl_2
check 'curl, Expect: 100-continue' curl_expect
check 'curl, .netrc' curl_netrc
check 'curl, an origin without HTTP/2' curl_old
check 'Python, urllib' python_urllib
check 'Python, requests' python_requests
check 'Python, httpx, HTTP/1.1' python_httpx_1
check 'Python, httpx, HTTP/2' python_httpx_2
check 'Python, websockets' python_websockets
check 'Python, boto3, signatures' python_boto3
check 'Python, boto3, signatures of chunks with a checksum' python_boto3_chunks
check 'Node, fetch and WebSocket' node_fetch
check 'npm install' npm_install
check 'npm publish' npm_publish
check 'pip install' pip_install
check 'git clone, push and fetch' git_push
check 'git clone, a server of files' git_dumb
check 'Go, net/http, HTTP/1.1' go_http_1
check 'Go, net/http, HTTP/2' go_http_2
check 'Go, net/http, localhost is reached with a placeholder only' go_localhost
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
