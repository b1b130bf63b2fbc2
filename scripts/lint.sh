#!/usr/bin/env bash
# Formatting and lints of every language in the tree; exits 1 if anything is not clean.
set -euo pipefail
cd "$(dirname "$0")/.."

failed=0
check() {
    local what=$1
    shift
    if "$@" >/tmp/hp-lint.$$ 2>&1; then
        echo "ok - $what"
    else
        echo "not ok - $what"
        cat /tmp/hp-lint.$$
        failed=1
    fi
    rm -f /tmp/hp-lint.$$
}

# shellcheck disable=SC2317 # called by way of `check`
unformatted_go() {
    local found
    found=$(git ls-files -z '*.go' | xargs -0 gofmt -l)
    [ -z "$found" ] || { echo "$found"; return 1; }
}
# shellcheck disable=SC2317 # called by way of `check`
long_files() {
    local long
    long=$(git ls-files | grep -E '\.(rs|c|h|go|cs|py|sh)$' | grep -vE '\.g\.cs$|/holepunch\.h$' |
        xargs -r wc -l | awk '$2 != "total" && $1 > 600 { print }')
    [ -z "$long" ] || { echo "$long"; return 1; }
}

check "cargo fmt" cargo fmt --all --check
check "cargo clippy, all features" cargo clippy --locked --all-targets --all-features -- -D warnings
check "cargo clippy, no default features" cargo clippy --locked --lib --no-default-features -- -D warnings
check "cargo doc" env RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --lib
check "no file over 600 lines" long_files
if command -v go >/dev/null 2>&1; then
    check "gofmt" unformatted_go
    export GOWORK=off
    check "go vet, stand-ins" env -C tests/interop/goplain go vet ./...
    check "go vet, hopconn's driver and stand-in" env -C tests/interop/hopconn go vet ./...
    # The binding's C part is compiled against the library, which must be there.
    [ -e build/lib/libholepunch.so ] || check "make build" make --no-print-directory build
    for module in bindings/go examples/go/chat examples/go/room examples/go/addresses examples/go/quic benches/go; do
        if (cd "$module" && timeout 120 go list -m >/dev/null 2>&1); then
            check "go vet, $module" env -C "$module" go vet -tags holepunch_local ./...
        else
            echo "skipped: go vet of $module needs a newer Go"
        fi
    done
else
    echo "skipped: gofmt and go vet (no Go)"
fi
if command -v shellcheck >/dev/null 2>&1; then
    check "shellcheck" sh -c 'git ls-files -z "*.sh" .ci/run | xargs -0 shellcheck -x'
else
    echo "skipped: shellcheck is not installed"
fi
exit "$failed"
