# Everything that CI checks.
ci:
    .ci/run

# The tests that need nothing but Rust.
test:
    cargo test

# Real Dovecot and real mail programs; the Debian packages are in .ci/run.
interop:
    cargo test --test interop_transcripts --test interop_dovecot --test interop_clients --test interop_faults --test interop_upstream --test interop_unique_ids -- --include-ignored

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
