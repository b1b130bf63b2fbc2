#!/usr/bin/env bash
# Compiles the C snippets of the README and docs (the Rust ones are documentation tests), and follows their links.
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
exit "$failed"
