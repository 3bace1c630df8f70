# What is checked before a commit is what .ci/run checks.

# fmt, clippy, tests, docs, licences, vectors, man pages: everything but the long runs
check: fmt lint test doc deny vectors man shell

fmt:
    cargo fmt --check
    cargo fmt --check --manifest-path fuzz/Cargo.toml

lint:
    cargo clippy --locked --all-targets -- -D warnings

# the README's second command
test:
    cargo test

# tests that take minutes: every byte flipped, 1,000 kills, 100,000 templates
test-long:
    cargo test --locked --test suite -- --ignored --skip a_fault_at_every_call

# a fault at every call of every command that writes: a quarter of an hour
test-faults:
    cargo test --locked --test suite -- --ignored a_fault_at_every_call

# every target of fuzz/, two and a half minutes altogether
fuzz:
    fuzz/run

# the same for an hour
fuzz-long:
    fuzz/run --seconds 3600

doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

# licences, bans and sources: what needs no database, and no network once the crates are there
deny:
    cargo deny --locked check licenses bans sources
    cargo deny --locked --manifest-path fuzz/Cargo.toml check licenses bans sources

# small changes of the code that no test notices: core and templates; hours
mutants *options:
    cargo mutants --no-shuffle --in-place --file 'src/crypto/**' --file 'src/vault/**' --file 'src/template/**' {{options}} -- --lib --test suite

# known weaknesses, where a database is at hand: `cargo deny --locked fetch db`, or ADVISORY_DB=FOLDER
advisories:
    packaging/advisories.sh

# the second implementation of docs/format.md recomputes every known answer
vectors:
    python3 tests/vectors/check.py

# man pages under a linter
man:
    for page in man/*.1; do mandoc -T lint -W warning "$page" || exit 1; done

shell:
    shellcheck .ci/run fuzz/run packaging/*.sh examples/demo.sh benches/whole-process.sh tests/completions.sh tests/integrations.sh

# writes man pages, completions and the JSON Schema anew
generate:
    SECRETS_GENERATE=1 cargo test --locked generated

# every example of docs/integrations.md with the real program
integrations:
    cargo build --locked --release
    tests/integrations.sh

# what a release is made of, tried: the binary, its bill of materials, the Debian package on a clean Debian
package:
    packaging/sbom.sh "$(packaging/build.sh)" "${CARGO_TARGET_DIR:-target}/secrets.cdx.json"
    packaging/deb.sh

# all of a release: the binary built twice as well, and checksums
release:
    packaging/release.sh

# CPU time of two binaries in turn
paired old new:
    benches/paired.py {{old}} {{new}}

# figures of docs/performance.md
bench:
    benches/whole-process.sh
