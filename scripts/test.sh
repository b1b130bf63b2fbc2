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
passed=0 failed=0 skipped=0
log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT

# Runs a part, shows its output, and adds up what `count` finds in it. A part that fails without naming a failed test
# counts as one.
part() {
    local name=$1 count=$2 bound=$3
    shift 3
    local start=$SECONDS p=0 f=0 s=0 status
    echo "=== $name"
    timeout --kill-after=10 "$bound" "$@" >"$log/out" 2>&1
    status=$?
    "$count" <"$log/out" >"$log/counts"
    read -r p f s <"$log/counts"
    if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then f=1; fi
    if [ "$status" -eq 124 ]; then echo "$name: ended after $bound s"; fi
    if [ "$f" -ne 0 ]; then cat "$log/out"; else grep -iE '^skipped|skipped=|^ok - .*# skip|not available|KB|[0-9]+ of [0-9]+' "$log/out" | head -40; fi
    echo "--- $name: $p passed, $f failed, $s skipped in $((SECONDS - start)) s"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
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
count_ok() { awk '/^ok - / { p++ } /^not ok - / { f++ } /^skipped: / { s++ } END { print p + 0, f + 0, s + 0 }'; }

# Whether a module needs a newer Go than there is and can be fetched.
needs_newer_go() { ! (cd "$1" && timeout 120 go list -m >/dev/null 2>&1); }

part "Rust and C (cargo test)" count_cargo 600 cargo test --locked --features test-panic -- --show-output
part "Rust documentation examples" count_cargo 120 cargo test --locked --doc
part "lean library (no default features)" count_cargo 300 cargo test --locked --no-default-features --lib

make --no-print-directory build >"$log/build" 2>&1 || { cat "$log/build"; failed=$((failed + 1)); }

if command -v go >/dev/null 2>&1; then
    # A workspace around the checkout would hide its modules.
    export GOWORK=off
    part "Go: plain-dialect stand-ins" count_go 120 env -C tests/interop/goplain go test -v ./...
    race=-race
    if ! (cd tests/interop/goplain && go build -race -o "$log/race" ./cmd/client) >/dev/null 2>&1; then
        race=
        echo "skipped: the race detector of this Go does not work"; skipped=$((skipped + 1))
    fi
    # shellcheck disable=SC2086 # empty or one option
    part "Go binding" count_go 240 env -C bindings/go go test -v -tags holepunch_local $race ./...
    part "Go binding, checking pointers and collecting all the time" count_go 240 env -C bindings/go \
        GODEBUG=cgocheck=1 GOGC=1 go test -v -tags holepunch_local .
    part "Go binding, static library" count_go 120 env -C bindings/go go test -v -tags holepunch_static -run 'Dial' .
    oldest=go1.19.13
    if go version | grep -qF 'go1.19' || GOTOOLCHAIN=$oldest timeout 120 go version >"$log/oldest" 2>&1; then
        part "Go binding with Go 1.19" count_go 240 env -C bindings/go GOTOOLCHAIN=$oldest \
            go test -v -tags holepunch_local ./...
    else
        echo "skipped: Go 1.19 cannot be had: $(tail -n 1 "$log/oldest")"; skipped=$((skipped + 1))
    fi
    part "Go chat example" count_go 120 env -C examples/go/chat go test -v -tags holepunch_local ./...
    if needs_newer_go examples/go/quic; then
        echo "skipped: the QUIC example needs a newer Go"; skipped=$((skipped + 1))
    else
        part "Go QUIC example" count_go 240 env -C examples/go/quic go test -v -tags holepunch_local ./...
    fi
else
    echo "skipped: Go is missing"; skipped=$((skipped + 1))
fi

part "C# binding" count_ok 360 bindings/csharp/test.sh
part "install" count_ok 300 tests/install.sh
part "README's snippets" count_ok 120 tests/readme.sh

if [ "$(id -u)" -eq 0 ]; then
    part "NAT lab's own tests" count_unittest 180 python3 -m unittest discover -s tests/natlab -p 'selftest.py'
    tests/interop/build.sh "$log/tools" | tee "$log/origins"
    mkdir -p "$log/bin"
    cp build/bin/* "$log/bin/"
    cc -std=c99 -D_POSIX_C_SOURCE=200809L -O2 -Iinclude tests/c/timed_connect.c -o "$log/bin/timed_connect" \
        -Lbuild/lib -lholepunch
    cp -L build/lib/libholepunch.so.* "$log/bin/"
    # With UPnP, which the library itself is built without, and therefore apart from it.
    if cargo build --locked --quiet --example portmap; then
        cp "${CARGO_TARGET_DIR:-target}/debug/examples/portmap" "$log/bin/"
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
        python3 -m unittest discover -v -s tests/lab -p 'test_*.py'
    part "make demo" count_ok 120 sh -c 'scripts/demo.sh && echo "ok - demo"'
else
    echo "skipped: the NAT lab needs root"; skipped=$((skipped + 1))
    part "make demo on loopback" count_ok 120 sh -c 'scripts/demo.sh && echo "ok - demo"'
fi

echo
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
