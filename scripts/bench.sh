#!/usr/bin/env bash
# Measures, as ratios against references in the same run: how long connecting takes, beside the existing Go client, and how
# much the relay forwards, beside a bare forwarder.
#
#   scripts/bench.sh                 both
#   scripts/bench.sh relay [ARG...]  the relay only; --help lists what benches/relay.py takes
#   scripts/bench.sh ARG...          connecting only; --help lists what benches/connect.py takes
#
# HP_BIN may name another directory with hp-server, timed_connect, relay_load and forwarder than what is built here, HP_TOOLS
# one with what tests/interop/build.sh builds.
set -euo pipefail

if [ "$(id -u)" -ne 0 ]; then
    echo "bench: network namespaces and large socket buffers need root" >&2
    exit 1
fi
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
connect=1 relay=1
if [ "${1:-}" = relay ]; then
    connect=0
    shift
elif [ $# -gt 0 ]; then
    relay=0
fi

if [ -z "${HP_BIN:-}" ]; then
    # A copy, so that a build meanwhile changes nothing in what is measured.
    mkdir "$scratch/bin" "$scratch/lib"
    cp -L "$root/build/bin/hp-server" "$scratch/bin/"
    cp -L "$root"/build/lib/libholepunch.so.* "$scratch/lib/"
    compile() {
        "${CC:-cc}" -std=c99 -O2 -pthread -I"$root/include" "$1" -o "$scratch/bin/$(basename "$1" .c)" \
            -L"$root/build/lib" -lholepunch "-Wl,-rpath,$scratch/lib"
    }
    compile "$root/tests/c/timed_connect.c"
    compile "$root/benches/relay_load.c"
    compile "$root/benches/forwarder.c"
    if [ $connect = 1 ] &&
        ! (cd "$root/benches/go" && go build -tags holepunch_local -o "$scratch/bin/timed_connect-go" .); then
        echo "bench: the Go binding is left out" >&2
    fi
    export HP_BIN=$scratch/bin
fi

if [ $connect = 1 ] && [ -z "${HP_TOOLS:-}" ]; then
    export HP_TOOLS=$scratch/tools
    if ! "$root/tests/interop/build.sh" "$HP_TOOLS" >"$scratch/build.log" 2>&1; then
        echo "bench: no Go client to compare with:" >&2
        cat "$scratch/build.log" >&2
    fi
fi

if [ $connect = 1 ]; then
    python3 "$root/benches/connect.py" "$@"
    [ $relay = 0 ] || echo
fi
if [ $relay = 1 ]; then
    python3 "$root/benches/relay.py" "$@"
fi
