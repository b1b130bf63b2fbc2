#!/usr/bin/env bash
# Measures, as ratios against references in the same run: how long connecting takes, beside the existing Go client, how much
# the relay forwards, beside a bare forwarder, how much a room carries, beside raw UDP sockets, a TCP connection made by attempts
# at addresses, beside a usual one, how much the server serves, beside a bare one and the Go server, and what it costs to meet across
# two servers that share a store.
#
#   scripts/bench.sh                 all six, the server in short
#   scripts/bench.sh server [ARG...] the server only, with a million clients; --help lists what benches/server.py takes
#   scripts/bench.sh store [ARG...]  two servers and a store; --help lists what benches/store.py takes
#   scripts/bench.sh soak [ARG...]   the server for 20 minutes; --help lists what benches/soak.py takes
#   scripts/bench.sh relay [ARG...]  the relay only; --help lists what benches/relay.py takes
#   scripts/bench.sh room [ARG...]   rooms only; --help lists what benches/room.rs takes
#   scripts/bench.sh conn [ARG...]   connections from addresses only; --help lists what benches/conn.rs takes
#   scripts/bench.sh ARG...          connecting only; --help lists what benches/connect.py takes
#
# HP_BIN may name another directory with hp-server, timed_connect, relay_load, forwarder, server_load and reflector than what is
# built here, HP_TOOLS one with what tests/interop/build.sh builds.
set -euo pipefail

if [ "$(id -u)" -ne 0 ]; then
    echo "bench: network namespaces and large socket buffers need root" >&2
    exit 1
fi
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
parts='connect relay room conn server store'
case ${1:-} in
    relay | room | conn | server | store | soak)
        parts=$1
        shift
        ;;
    ?*) parts=connect ;;
esac
measures() {
    local part
    for part; do
        if [[ " $parts " == *" $part "* ]]; then return 0; fi
    done
    return 1
}

if measures connect relay server store soak && [ -z "${HP_BIN:-}" ]; then
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
    compile "$root/benches/server_load.c"
    compile "$root/benches/reflector.c"
    if measures connect &&
        ! (cd "$root/benches/go" && go build -tags holepunch_local -o "$scratch/bin/timed_connect-go" .); then
        echo "bench: the Go binding is left out" >&2
    fi
    export HP_BIN=$scratch/bin
fi

if measures connect server && [ -z "${HP_TOOLS:-}" ]; then
    export HP_TOOLS=$scratch/tools
    if ! "$root/tests/interop/build.sh" "$HP_TOOLS" >"$scratch/build.log" 2>&1; then
        echo "bench: no Go client to compare with:" >&2
        cat "$scratch/build.log" >&2
    fi
fi

# Several words are allowed: CARGO='cargo +stable'.
read -ra cargo <<<"${CARGO:-cargo}"

if measures connect; then
    python3 "$root/benches/connect.py" "$@"
fi
if measures relay; then
    [ "$parts" = relay ] || echo
    python3 "$root/benches/relay.py" "$@"
fi
if measures room; then
    [ "$parts" = room ] || echo
    (cd "$root" && "${cargo[@]}" bench --quiet --locked --bench room -- "$@")
    if [ $# -eq 0 ]; then
        # The largest session there can be, of which all others reach one only. It takes two processors a minute or two to come up.
        cat >"$scratch/star.sh" <<'EOF'
ip link set lo up
nft 'table inet star { chain input { type filter hook input priority 0; ip saddr 127.1.0.0/16 ip daddr 127.1.0.0/16 drop; }; }'
exec "$@"
EOF
        (cd "$root" && unshare --net bash "$scratch/star.sh" \
            "${cargo[@]}" bench --quiet --locked --bench room -- --rounds 0 --members 2 --star 257)
    fi
fi
if measures conn; then
    [ "$parts" = conn ] || echo
    (cd "$root" && "${cargo[@]}" bench --quiet --locked --bench conn -- "$@")
fi
# Nothing outside sees or filters what a server and its clients send each other in a namespace of their own.
alone() { unshare --net sh -c 'ip link set lo up && exec "$@"' sh "$@"; }
if measures server; then
    if [ "$parts" != server ]; then
        echo
        set -- --rounds 3 --ms 200 --many 100000
    fi
    alone python3 "$root/benches/server.py" "$@"
fi
if measures store; then
    [ "$parts" = store ] || echo
    alone python3 "$root/benches/store.py" "$@"
fi
if measures soak; then
    alone python3 "$root/benches/soak.py" "$@"
fi
