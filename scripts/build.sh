#!/usr/bin/env bash
# Builds what `make build` and `make install` deliver, in release: hp-server, then the C library.
#
# The C library is built by itself, because Cargo links nothing across crates where a Rust library is made at the same time,
# and for size: programs carry it along. The programs are built for speed.
set -euo pipefail

cd "$(dirname "$0")/.."
# Several words are allowed: CARGO='cargo +stable'.
read -ra cargo <<<"${CARGO:-cargo}"
"${cargo[@]}" build --release --locked
"${cargo[@]}" rustc --release --locked --lib --crate-type cdylib,staticlib -- -C opt-level=z
