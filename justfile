# Everything that CI checks.
ci:
    .ci/run

# The tests that need nothing but Rust.
test:
    cargo test

# Real Dovecot and real mail programs; the Debian packages are in .ci/run.
interop:
    cargo test --test 'interop_*' -- --include-ignored

# Formatting and lints.
lint:
    cargo fmt --all
    cargo clippy --workspace --all-targets -- -D warnings

# A bridge with sample mail.
demo:
    cargo run --release --example demo

# Peak memory with many clients and big messages; needs Dovecot.
bench-memory:
    benches/memory.sh

# Beside Dovecot over imapc on the same mail: `just bench-peers quick` for a short run.
bench-peers *arguments:
    benches/peers.sh {{arguments}}

# What a session costs popbridge itself; `just bench-profile --callgrind FOLDER` tells where it goes.
bench-profile *arguments:
    cargo bench --bench profile -- {{arguments}}

# Single steps: dot-stuffing, rows of listings, commands. `just bench-micro rows` for some of them.
bench-micro *arguments:
    cargo bench --bench micro -- {{arguments}}
