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
    cc -std=c99 -D_POSIX_C_SOURCE=200809L -Wall -Wextra -pedantic -Werror -Iinclude -c "$snippet" -o "$work/snippet.o"
    verdict "C snippet $(basename "$snippet" .c)" $?
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
        cp "$snippet" "$work/module/main.go"
        (cd "$work/module" && go vet -tags holepunch_local . && go build -tags holepunch_local -o "$work/program" .)
        verdict "Go snippet $(basename "$snippet" .go)" $?
    done
    [ "$number" -gt 1 ]
    verdict "the README and docs have Go snippets" $?
else
    echo "skipped: Go snippets (no Go)"
fi
exit "$failed"
