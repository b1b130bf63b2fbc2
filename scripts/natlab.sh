#!/usr/bin/env bash
# Tries every pair of NAT kinds with our client and, in the same laboratories, with what stands in for the existing Go
# client. Without Go, ours alone is tried.
#
#   scripts/natlab.sh [OPTION...]    options of tests/natlab/matrix.py, which --help lists
#
# HP_BIN may name another directory with hp-server and chat than build/bin, HP_TOOLS one with what
# tests/interop/build.sh has built.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export HP_BIN=${HP_BIN:-$root/build/bin}

if [ -z "${HP_TOOLS:-}" ]; then
    if ! command -v go >/dev/null 2>&1; then
        echo "natlab: there is no Go, so the stand-in for the Go client is not tried beside ours" >&2
    # The stand-ins need no module, so nobody is asked for one.
    elif GOPROXY=off "$root/tests/interop/build.sh" "$root/build/interop" >&2; then
        HP_TOOLS=$root/build/interop
    else
        echo "natlab: the stand-in for the Go client cannot be built, so it is not tried beside ours" >&2
    fi
fi

beside=()
if [ -n "${HP_TOOLS:-}" ]; then
    export HP_TOOLS
    name='Go stand-in (same wire behaviour as the existing Go client)'
    beside=(--beside "$name={standin-client} -timeout {timeout_s}s {server} {session} 1"
        --beside-server '{standin-server} {address}:{port}')
fi
exec python3 "$root/tests/natlab/matrix.py" "${beside[@]}" "$@"
