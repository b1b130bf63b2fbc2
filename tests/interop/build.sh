#!/usr/bin/env bash
# Builds the programs for the interoperability tests into OUTDIR, and says for each where it comes from:
#   standin-client, standin-server   always, from goplain/
#   dropin-client, dropin-server     from dropin/, written for the Go module and built against our compat packages, with
#                                    nothing but the import path changed; needs `make build`
#   real-client, real-server         if they can be had: built from the Go module, or copied from $HP_GO_TOOLS
#   switched-client, switched-server if the Go module can be had: its own programs, built like the drop-ins
set -euo pipefail

module=github.com/4kills/hole-punching/go
seconds_for_module=60

if [ $# -ne 1 ]; then
    echo "usage: $0 OUTDIR" >&2
    exit 2
fi
if ! command -v go >/dev/null; then
    echo "$0: the interoperability tests need Go 1.19 or newer, but there is no 'go' in PATH" >&2
    exit 1
fi

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
# A workspace around the checkout would hide both modules.
export GOWORK=off

# What an earlier run left behind must not pass for a result of this one.
for role in client server; do
    rm -f "$out/standin-$role" "$out/dropin-$role" "$out/real-$role" "$out/switched-$role"
done

for role in client server; do
    (cd "$here/goplain" && CGO_ENABLED=0 go build -trimpath -o "$out/standin-$role" "./cmd/$role")
    echo "standin-$role: built from tests/interop/goplain/cmd/$role"
done

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/module"
binding=$(cd "$here/../../bindings/go" && pwd)
binding_module=holepunch.example/holepunch

# The last line says why a step failed; the address in it is cut out, as a private proxy's may hold a password.
last_line() {
    grep -v '^[[:space:]]*$' "$1" | tail -n 1 | sed -E 's#^[[:space:]]+##; s#(reading )?[a-z]+://[^[:space:]]+ *##g'
}

# build_switched PREFIX DIR ORIGIN: builds the programs DIR/cmd/{client,server} with the import path of the Go library's
# packages changed to that of our compat packages.
build_switched() {
    local prefix=$1 dir=$2 origin=$3 role
    for role in client server; do
        if [ ! -e "$binding/../../build/lib/libholepunch.so" ]; then
            echo "$prefix-$role: not available: the library is not built (make build)"
        elif sed -i "s#\"$module/pkg/#\"$binding_module/compat/#" "$dir/cmd/$role/"*.go &&
            (cd "$dir" && go mod edit -require="$binding_module@v0.0.0" -replace="$binding_module=$binding" &&
                timeout -k 5 "$seconds_for_module" go build -mod=mod -tags holepunch_local -o "$out/$prefix-$role" \
                    "./cmd/$role") >"$scratch/log" 2>&1; then
            echo "$prefix-$role: built from $origin/cmd/$role with the import path changed"
        else
            echo "$prefix-$role: not available: $(last_line "$scratch/log")"
        fi
    done
}

cp -r "$here/dropin" "$scratch/dropin"
build_switched dropin "$scratch/dropin" tests/interop/dropin

# All calls together get the time that one may take, so that an unreachable module holds nobody up for long.
bounded() {
    local left=$((seconds_for_module - SECONDS))
    if [ "$left" -le 0 ]; then
        echo "not finished within $seconds_for_module s" >&2
        return 124
    fi
    local status=0
    (cd "$scratch/module" && timeout -k 5 "$left" "$@") || status=$?
    if [ "$status" -eq 124 ]; then
        echo "not finished within $seconds_for_module s" >&2
    fi
    return "$status"
}

SECONDS=0
version=
module_reason=
if ! command -v timeout >/dev/null; then
    module_reason="no 'timeout' program to bound the download with"
elif ! { bounded go mod init interop && bounded go get "$module@latest" &&
    bounded go list -m -f '{{.Version}}' "$module" >"$scratch/version"; } >"$scratch/log" 2>&1; then
    module_reason=$(last_line "$scratch/log")
else
    version=$(cat "$scratch/version")
fi

for role in client server; do
    reason=$module_reason
    if [ -n "$version" ]; then
        if bounded go build -mod=mod -trimpath -o "$out/real-$role" "$module/cmd/$role" >"$scratch/log" 2>&1; then
            echo "real-$role: built from $module $version"
            continue
        fi
        reason=$(last_line "$scratch/log")
    fi

    given=${HP_GO_TOOLS:+$HP_GO_TOOLS/$role}
    if [ -z "$given" ]; then
        reason="$reason; HP_GO_TOOLS is not set"
    elif [ ! -f "$given" ]; then
        reason="$reason; there is no file $given"
    elif [ ! -x "$given" ]; then
        reason="$reason; $given is not executable"
    else
        cp "$given" "$out/real-$role"
        echo "real-$role: copied from $given"
        continue
    fi
    echo "real-$role: not available: $reason"
done

if [ -n "$version" ]; then
    cp -r "$(cd "$scratch/module" && go list -m -f '{{.Dir}}' "$module")" "$scratch/switched"
    chmod -R u+w "$scratch/switched"
    build_switched switched "$scratch/switched" "$module $version"
else
    for role in client server; do
        echo "switched-$role: not available: $module_reason"
    done
fi
