#!/usr/bin/env bash
# Measures how long connecting takes, beside the existing Go client. Arguments go to benches/connect.py (--help).
# HP_BIN may name another directory with hp-server and timed_connect than the one that is built here, HP_TOOLS one with
# what tests/interop/build.sh builds.
set -euo pipefail

if [ "$(id -u)" -ne 0 ]; then
    echo "bench: the laboratory's network namespaces need root" >&2
    exit 1
fi
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

if [ -z "${HP_BIN:-}" ]; then
    # A copy, so that a build meanwhile changes nothing in what is measured.
    mkdir "$scratch/bin" "$scratch/lib"
    cp -L "$root/build/bin/hp-server" "$scratch/bin/"
    cp -L "$root"/build/lib/libholepunch.so.* "$scratch/lib/"
    "${CC:-cc}" -std=c99 -O2 -I"$root/include" "$root/tests/c/timed_connect.c" -o "$scratch/bin/timed_connect" \
        -L"$root/build/lib" -lholepunch "-Wl,-rpath,$scratch/lib"
    if ! (cd "$root/benches/go" && go build -tags holepunch_local -o "$scratch/bin/timed_connect-go" .); then
        echo "bench: the Go binding is left out" >&2
    fi
    export HP_BIN=$scratch/bin
fi

if [ -z "${HP_TOOLS:-}" ]; then
    export HP_TOOLS=$scratch/tools
    if ! "$root/tests/interop/build.sh" "$HP_TOOLS" >"$scratch/build.log" 2>&1; then
        echo "bench: no Go client to compare with:" >&2
        cat "$scratch/build.log" >&2
    fi
fi

python3 "$root/benches/connect.py" "$@"
