#!/usr/bin/env bash
# Builds everything with Mono and runs the tests against the library in build/lib (`make build`):
# bindings/csharp/test.sh [OUTDIR [WORD]], where only tests whose names contain the word are run.
#
# Prints a line "ok - ...", "not ok - ..." or "skipped: ..." for each test; exits 1 if one has failed.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
out=${1:-$root/build/csharp}
for tool in mcs mono; do
    if ! command -v "$tool" >/dev/null; then
        echo "skipped: C#: there is no $tool (Debian: mono-mcs and mono-runtime)"
        exit 0
    fi
done
if [ ! -e "$root/build/lib/libholepunch.so.1" ]; then
    echo "not ok - C#: the library is not built: run \`make build\`"
    exit 1
fi
"$root/bindings/csharp/build.sh" "$out"
export LD_LIBRARY_PATH="$root/build/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
exec timeout --kill-after=10 300 mono --debug "$out/Tests.exe" "$root" "${@:2}"
