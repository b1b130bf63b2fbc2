#!/usr/bin/env bash
# Builds what `make build` and `make install` deliver: the programs in target/release, the C library in target/c-abi.
#
# The C library is built by itself, because Cargo links nothing across crates where a Rust library is made at the same time,
# and for size: programs carry it along. The programs are built for speed. Each has a profile of its own, so that neither
# build undoes the other, and both go on side by side.
set -euo pipefail

cd "$(dirname "$0")/.."
# Several words are allowed: CARGO='cargo +stable'.
read -ra cargo <<<"${CARGO:-cargo}"
said=$(mktemp)
library=
trap '[ -z "$library" ] || kill "$library" 2>/dev/null || true; rm -f "$said"' EXIT
trap 'exit 1' INT TERM

# Without what only the programs need.
"${cargo[@]}" rustc --profile c-abi --locked --lib --crate-type cdylib,staticlib --no-default-features --features upnp \
    >"$said" 2>&1 &
library=$!
failed=0
"${cargo[@]}" build --release --locked --bins || failed=1
wait "$library" || failed=1
library=
cat "$said" >&2
exit "$failed"
