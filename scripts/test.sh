#!/usr/bin/env bash
# Every test in every language. Ends with a line `N passed, N failed, N skipped`; exits 1 if one failed.
#
# HP_ALLOW_MISSING_TOOLS=1 turns what cannot run here (no root, no Go, no valgrind) from a failure into a skip.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

if [ "$(id -u)" -ne 0 ]; then
    echo "test: not root, so what needs network namespaces is skipped" >&2
    export HP_ALLOW_MISSING_TOOLS=1
fi
log=$(mktemp -d)
: >"$log/totals"
# The command that runs in this shell, and the lanes beside it.
running='' lanes=''
end_all() {
    # shellcheck disable=SC2086 # numbers, or nothing
    kill $running $lanes 2>/dev/null
    wait
    exit 1
}
trap end_all INT TERM
trap 'rm -rf "$log"' EXIT

count() { echo "$1 $2 $3" >>"$log/totals"; }
# What a lane says comes out in one piece.
say() { flock "$log/totals" cat; }
skip() { echo "skipped: $1" | say; count 0 0 1; }

# Runs a part, shows its output, and adds up what `counter` finds in it. A part that fails without naming a failed test
# counts as one.
part() {
    local name=$1 counter=$2 bound=$3
    shift 3
    local start=$SECONDS p=0 f=0 s=0 status out
    out=$(mktemp "$log/out.XXXXXX")
    # In the background, so that a signal is heeded at once; without the trap it would have to ignore SIGINT.
    (trap - INT && exec timeout --kill-after=10 "$bound" "$@") >"$out" 2>&1 &
    running=$!
    wait "$running"
    status=$?
    running=
    read -r p f s < <("$counter" <"$out")
    if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then f=1; fi
    {
        echo "=== $name"
        if [ "$status" -eq 124 ]; then echo "$name: ended after $bound s"; fi
        if [ "$f" -ne 0 ]; then cat "$out"; else grep -iE '^skipped|skipped=|^ok - .*# skip|not available|KB|[0-9]+ of [0-9]+' "$out" | head -40; fi
        echo "--- $name: $p passed, $f failed, $s skipped in $((SECONDS - start)) s"
    } | say
    count "$p" "$f" "$s"
}

# Runs each function in a lane of its own: their parts go on side by side, since most of the time they wait.
side_by_side() {
    local lane
    for lane; do
        in_lane "$lane" &
        lanes="$lanes $!"
    done
    wait
    lanes=
}
in_lane() {
    lanes=
    trap end_all TERM
    "$1"
}

count_cargo() {
    awk '/^test result:/ { for (i = 1; i <= NF; i++) { if ($(i+1) ~ /^passed/) p += $i; if ($(i+1) ~ /^failed/) f += $i; if ($(i+1) ~ /^ignored/) s += $i } }
         /^skipped: / { s++ } END { print p + 0, f + 0, s + 0 }'
}
count_unittest() {
    awk '/^Ran [0-9]+ test/ { n += $2 }
         /^FAILED|^OK/ { if (match($0, /failures=[0-9]+/)) f += substr($0, RSTART + 9, RLENGTH - 9)
                         if (match($0, /errors=[0-9]+/)) f += substr($0, RSTART + 7, RLENGTH - 7)
                         if (match($0, /skipped=[0-9]+/)) s += substr($0, RSTART + 8, RLENGTH - 8) }
         END { print n - f - s + 0, f + 0, s + 0 }'
}
count_go() { awk '/^ *--- PASS/ { p++ } /^ *--- FAIL/ { f++ } /^ *--- SKIP/ { s++ } END { print p + 0, f + 0, s + 0 }'; }
count_nothing() { echo 0 0 0; }
count_ok() { awk '/^ok - / { p++ } /^not ok - / { f++ } /^skipped: / { s++ } END { print p + 0, f + 0, s + 0 }'; }

# Whether a module needs a newer Go than there is and can be fetched.
needs_newer_go() { ! (cd "$1" && timeout 120 go list -m >/dev/null 2>&1); }

# What is built is built first, because the tests feel it less if nothing else needs the processors.
build() {
    part "build" count_nothing 900 make --no-print-directory build
    # The examples portmap and room are among what the tests are built with.
    part "build of the tests" count_nothing 600 cargo test --locked --features test-panic --no-run
    part "build of the tests of the lean library" count_nothing 300 cargo test --locked --no-default-features --lib --no-run
}

rust_and_csharp() {
    part "Rust and C (cargo test)" count_cargo 600 cargo test --locked --features test-panic --lib --bins --tests -- --show-output
    part "Rust documentation examples" count_cargo 120 cargo test --locked --features test-panic --doc
    part "lean library (no default features)" count_cargo 300 cargo test --locked --no-default-features --lib
    part "C# binding" count_ok 360 bindings/csharp/test.sh
    part "README's snippets" count_ok 120 tests/readme.sh
    part "hp chat on the screen" count_unittest 300 env HP_BIN=build/bin python3 -m unittest discover -s tests/tui
    part "the server's page in a browser" count_unittest 180 env HP_BIN=build/bin python3 -m unittest discover -s tests/status
}

go_and_install() {
    go_parts
    part "install" count_ok 300 tests/install.sh
    part "packaging" count_ok 120 tests/packaging.sh
    if [ "$(id -u)" -eq 0 ]; then
        part "faults around the server" count_unittest 180 env HP_BIN=build/bin python3 -m unittest discover -s tests/faults
    else
        skip "the faults around the server need root"
    fi
}

go_parts() {
    if ! command -v go >/dev/null 2>&1; then
        skip "Go is missing"
        return
    fi
    # A workspace around the checkout would hide its modules. Go would take results from its cache, for all it knows of the
    # library: hence -count=1.
    export GOWORK=off
    part "Go: plain-dialect stand-ins" count_go 120 env -C tests/interop/goplain go test -count=1 -v ./...
    local race=-race oldest=go1.19.13
    if ! (cd tests/interop/goplain && go build -race -o "$log/race" ./cmd/client) >/dev/null 2>&1; then
        race=
        skip "the race detector of this Go does not work"
    fi
    # shellcheck disable=SC2086 # empty or one option
    part "Go binding" count_go 240 env -C bindings/go go test -count=1 -v -tags holepunch_local $race ./...
    part "Go binding, checking pointers and collecting all the time" count_go 240 env -C bindings/go \
        GODEBUG=cgocheck=1 GOGC=1 go test -count=1 -v -tags holepunch_local .
    part "Go binding, static library" count_go 120 env -C bindings/go go test -count=1 -v -tags holepunch_static -run 'Dial' .
    if go version | grep -qF 'go1.19' || GOTOOLCHAIN=$oldest timeout 120 go version >"$log/oldest" 2>&1; then
        part "Go binding with Go 1.19" count_go 240 env -C bindings/go GOTOOLCHAIN=$oldest \
            go test -count=1 -v -tags holepunch_local ./...
    else
        skip "Go 1.19 cannot be had: $(tail -n 1 "$log/oldest")"
    fi
    part "Go chat example" count_go 120 env -C examples/go/chat go test -count=1 -v -tags holepunch_local ./...
    part "Go room example" count_go 120 env -C examples/go/room go test -count=1 -v -tags holepunch_local ./...
    part "Go addresses example" count_go 120 env -C examples/go/addresses go test -count=1 -v -tags holepunch_local ./...
    if needs_newer_go examples/go/quic; then
        skip "the QUIC example needs a newer Go"
    else
        part "Go QUIC example" count_go 240 env -C examples/go/quic go test -count=1 -v -tags holepunch_local ./...
    fi
}

build
side_by_side rust_and_csharp go_and_install

if [ "$(id -u)" -eq 0 ]; then
    part "NAT lab's own tests" count_unittest 180 python3 -m unittest discover -s tests/natlab -p 'selftest.py'
    tests/interop/build.sh "$log/tools" | tee "$log/origins"
    mkdir -p "$log/bin"
    cp build/bin/* "$log/bin/"
    cc -std=c99 -D_POSIX_C_SOURCE=200809L -O2 -Iinclude tests/c/timed_connect.c -o "$log/bin/timed_connect" \
        -Lbuild/lib -lholepunch
    cp -L build/lib/libholepunch.so.* "$log/bin/"
    if cargo build --locked --quiet --features test-panic --example portmap --example room; then
        cp "${CARGO_TARGET_DIR:-target}"/debug/examples/{portmap,room} "$log/bin/"
    fi
    excused=
    if command -v go >/dev/null 2>&1; then
        for example in chat quic; do
            if needs_newer_go "examples/go/$example"; then
                excused="$excused go-$example"
            else
                (cd "examples/go/$example" && go build -tags holepunch_local -o "$log/bin/go-$example" .)
            fi
        done
    fi
    if [ -e build/csharp/Chat.exe ]; then
        cp build/csharp/* "$log/bin/"
        # shellcheck disable=SC2016 # for the script that is written
        printf '#!/bin/sh\nexec mono "$(dirname "$0")/Chat.exe" "$@"\n' >"$log/bin/cs-chat"
        chmod +x "$log/bin/cs-chat"
    fi
    part "NAT lab: C, Go, C# and the server on real NATs" count_unittest 540 \
        env HP_BIN="$log/bin" HP_TOOLS="$log/tools" HP_EXCUSED="$excused" LD_LIBRARY_PATH="$log/bin" \
        python3 tests/lab/run.py
    part "make demo" count_ok 120 sh -c 'scripts/demo.sh && echo "ok - demo"'
else
    skip "the NAT lab needs root"
    part "make demo on loopback" count_ok 120 sh -c 'scripts/demo.sh && echo "ok - demo"'
fi

read -r passed failed skipped < <(awk '{ p += $1; f += $2; s += $3 } END { print p, f, s }' "$log/totals")
echo
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
