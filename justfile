# Run `just check` before a commit. CI runs .ci/run, which does the same and more.

# run everything except the long tests: fmt, clippy, tests, docs, licences, vectors, man pages
check: fmt lint test doc deny vectors man shell

fmt:
    cargo fmt --check
    cargo fmt --check --manifest-path fuzz/Cargo.toml

lint:
    cargo clippy --locked --workspace --all-targets -- -D warnings

# run the tests: the README's second command
test:
    cargo test

# run tests that take minutes: random frames, memory searched for secrets, a fault at one call in nineteen
test-long:
    cargo test --locked --test suite -- --ignored --skip a_fault_at_every_call --skip kill --skip ten_gigabytes --skip flipped

# kill processes and servers at any moment, flip every byte of a vault, and mask 10 GB; CI does this at night
test-night:
    cargo test --locked --test suite -- --ignored kill ten_gigabytes flipped
    cargo test --locked -p secrets-store-postgres --test server -- --ignored --nocapture

# inject a fault at every call of every command that writes; takes a quarter of an hour
test-faults:
    cargo test --locked --test suite -- --ignored a_fault_at_every_call

# fuzz every target for two and a half minutes in total
fuzz:
    fuzz/run

# fuzz every target for an hour in total
fuzz-long:
    fuzz/run --seconds 3600

doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items

# check licences, bans and sources; needs no database, and no network after a first build
deny:
    cargo deny --locked check licenses bans sources
    cargo deny --locked --manifest-path fuzz/Cargo.toml check licenses bans sources

# change the code in small ways and report what no test notices; takes hours
mutants *options:
    cargo mutants --no-shuffle --in-place --file 'crates/core/src/crypto/**' --file 'crates/core/src/vault/**' --file 'crates/project/src/template/**' {{options}} -- --workspace --lib --test suite

# look for known vulnerabilities; needs `cargo deny --locked fetch db` or ADVISORY_DB=FOLDER
advisories:
    packaging/advisories.sh

# recompute every known answer with the second implementation of docs/format.md
vectors:
    python3 tests/vectors/check.py

# lint the man pages
man:
    for page in man/*.1; do mandoc -T lint -W warning "$page" || exit 1; done

shell:
    shellcheck .ci/run fuzz/run packaging/*.sh examples/demo.sh benches/*.sh tests/*.sh

# regenerate man pages, completions and the JSON Schema
generate:
    SECRETS_GENERATE=1 cargo test --locked generated

# test every example of docs/integrations.md with the real program
integrations:
    cargo build --locked --release
    tests/integrations.sh

# try `copy` with X11 and Wayland, and `keychain` with GNOME Keyring; .ci/run installs what it needs
desktop:
    cargo build --locked --release
    tests/desktop.sh

# import from pass, KeePassXC and dotenvx; needs pass, gnupg, keepassxc and npm
migrate:
    cargo build --locked
    tests/migrate.sh

# run real clients behind the proxy, and tools that know HTTP APIs and MCP; they install what they need
clients:
    cargo build --locked --release
    cargo build --locked --release -p secrets-test-origin
    tests/clients.sh
    tests/api.sh
    tests/mcp.sh

# build and test the parts of a release: binary, bill of materials, Debian package
package:
    packaging/sbom.sh "$(packaging/build.sh)" "${CARGO_TARGET_DIR:-target}/secrets.cdx.json"
    packaging/deb.sh
    packaging/tarball.sh
    packaging/lint.sh

# make all files of a release, with checksums; also builds the binary twice
release:
    packaging/release.sh

# compare the CPU time of two binaries
paired old new:
    benches/paired.py {{old}} {{new}}

# measure the figures of docs/performance.md
bench:
    benches/whole-process.sh
