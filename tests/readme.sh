#!/usr/bin/env bash
# Compiles the C and Go snippets of the README and docs (the Rust ones are documentation tests), and follows their links.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
verdict() {
    if [ "$2" -eq 0 ]; then echo "ok - $1"; else echo "not ok - $1"; failed=1; fi
}

# Makes a program of a fragment: what pages take for granted is declared around it, and a connection may stay unused.
go_program_around() {
    cat <<'EOF'
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/netip"

	"holepunch.example/holepunch"
)

var (
	_ = errors.As
	_ = fmt.Println
	_ = log.Fatal
	_ holepunch.Peer

	ctx      = context.Background()
	server   string
	id       []byte
	exchange func([]netip.AddrPort) ([]netip.AddrPort, error)
)

func fragment() error {
EOF
    cat "$1"
    if grep -q '^conn, err := ' "$1"; then echo "_ = conn"; fi
    cat <<'EOF'
	return nil
}

func main() {
	if err := fragment(); err != nil {
		log.Fatal(err)
	}
}
EOF
}

number=0
for page in README.md docs/*.md; do
    awk -v out="$work/$(basename "$page" .md)" '
        /^```c$/ { n++; inside = 1; next }
        /^```$/ { inside = 0 }
        inside { print > (out "-" n ".c") }' "$page"
    awk -v out="$work/$(basename "$page" .md)" '
        /^```go$/ { n++; inside = 1; next }
        /^```$/ { inside = 0 }
        inside { print > (out "-" n ".go") }' "$page"
    while read -r target; do
        [ -e "$(dirname "$page")/$target" ]
        verdict "$page links to $target" $?
    done < <(grep -oE '\]\([^)#]+' "$page" | sed 's/^](//' | grep -vE '^https?:' | sort -u)
done
for snippet in "$work"/*.c; do
    number=$((number + 1))
    name=$(basename "$snippet" .c)
    cc -std=c99 -D_POSIX_C_SOURCE=200809L -Wall -Wextra -pedantic -Werror -Iinclude -c "$snippet" -o "$work/snippet.o"
    verdict "C snippet $name" $?
done
[ "$number" -gt 0 ]
verdict "the README has C snippets" $?
if command -v go >/dev/null 2>&1; then
    export GOWORK=off
    mkdir "$work/module"
    (cd "$work/module" && go mod init snippets && go mod edit -require=holepunch.example/holepunch@v0.0.0 \
        -replace="holepunch.example/holepunch=$OLDPWD/bindings/go") >/dev/null 2>&1
    number=0
    for snippet in "$work"/*.go; do
        number=$((number + 1))
        name=$(basename "$snippet" .go)
        if grep -q '^package ' "$snippet"; then
            cp "$snippet" "$work/module/main.go"
        else
            go_program_around "$snippet" >"$work/module/main.go"
        fi
        (cd "$work/module" && go vet -tags holepunch_local . && go build -tags holepunch_local -o "$work/program" .)
        verdict "Go snippet $name" $?
    done
    [ "$number" -gt 1 ]
    verdict "the README and docs have Go snippets" $?
else
    echo "skipped: Go snippets (no Go)"
fi
exit "$failed"
