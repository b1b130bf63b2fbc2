#!/usr/bin/env bash
# Builds the programs for the interoperability tests into OUTDIR, and says for each where it comes from:
#   standin-client, standin-server   always, from goplain/
#   dropin-client, dropin-server     from dropin/, written for the Go module and built against our compat packages, with
#                                    nothing but the import path changed; needs `make build`
#   real-client, real-server         if they can be had: built from the Go module, or copied from $HP_GO_TOOLS
#   switched-client, switched-server if the Go module can be had: its own programs, built like the drop-ins
#   standin-hopconn                  always, from hopconn/, which drives another Go module or, here, what stands in for it
#   real-hopconn                     if it can be had: the same with that module, or copied from $HP_GO_TOOLS
set -euo pipefail

module=github.com/4kills/hole-punching/go
hopconn=github.com/yottta/hopconn
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
rm -f "$out/standin-hopconn" "$out/real-hopconn"

for role in client server; do
    (cd "$here/goplain" && CGO_ENABLED=0 go build -trimpath -o "$out/standin-$role" "./cmd/$role")
    echo "standin-$role: built from tests/interop/goplain/cmd/$role"
done
(cd "$here/hopconn" && CGO_ENABLED=0 go build -trimpath -o "$out/standin-hopconn" ./cmd/driver)
echo "standin-hopconn: built from tests/interop/hopconn"

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

# bounded DIR COMMAND...: runs it in DIR. All calls for one module together get the time that one may take, so that an
# unreachable module holds nobody up for long.
bounded() {
    local dir=$1 left=$((seconds_for_module - SECONDS))
    shift
    if [ "$left" -le 0 ]; then
        echo "not finished within $seconds_for_module s" >&2
        return 124
    fi
    local status=0
    (cd "$dir" && timeout -k 5 "$left" "$@") || status=$?
    if [ "$status" -eq 124 ]; then
        echo "not finished within $seconds_for_module s" >&2
    fi
    return "$status"
}

# fetch DIR MODULE: adds the module to the one in DIR. Sets `version` to what was got; if it is empty, `reason` says why.
fetch() {
    local dir=$1 wanted=$2
    SECONDS=0
    version='' reason=''
    if ! command -v timeout >/dev/null; then
        reason="no 'timeout' program to bound the download with"
    elif ! { bounded "$dir" go get "$wanted@latest" &&
        bounded "$dir" go list -m -f '{{.Version}}' "$wanted" >"$scratch/version"; } >"$scratch/log" 2>&1; then
        reason=$(last_line "$scratch/log")
    else
        version=$(cat "$scratch/version")
    fi
}

# take_given NAME: copies what $HP_GO_TOOLS has by that name, after the module could not be had for `reason`.
take_given() {
    local name=$1 given=${HP_GO_TOOLS:+$HP_GO_TOOLS/$1}
    if [ -z "$given" ]; then
        echo "real-$name: not available: $reason; HP_GO_TOOLS is not set"
    elif [ ! -f "$given" ]; then
        echo "real-$name: not available: $reason; there is no file $given"
    elif [ ! -x "$given" ]; then
        echo "real-$name: not available: $reason; $given is not executable"
    else
        cp "$given" "$out/real-$name"
        echo "real-$name: copied from $given"
    fi
}

(cd "$scratch/module" && go mod init interop) >"$scratch/log" 2>&1
fetch "$scratch/module" "$module"
module_reason=$reason
for role in client server; do
    if [ -n "$version" ]; then
        if bounded "$scratch/module" go build -mod=mod -trimpath -o "$out/real-$role" "$module/cmd/$role" \
            >"$scratch/log" 2>&1; then
            echo "real-$role: built from $module $version"
            continue
        fi
        reason=$(last_line "$scratch/log")
    fi
    take_given "$role"
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

# The constructor's name is not the same in all versions of the module.
build_real_hopconn() {
    local constructor
    for constructor in New NewConn; do
        sed -i -E "s#hopconn\.New(Conn)?\(#hopconn.$constructor(#" "$scratch/hopconn/cmd/driver/main.go"
        if bounded "$scratch/hopconn" go build -mod=mod -trimpath -o "$out/real-hopconn" ./cmd/driver \
            >"$scratch/log" 2>&1; then
            return
        fi
    done
    return 1
}

cp -r "$here/hopconn" "$scratch/hopconn"
rm -r "$scratch/hopconn/hopconn"
sed -i "s#\"hopdriver/hopconn\"#\"$hopconn\"#" "$scratch/hopconn/cmd/driver/main.go"
fetch "$scratch/hopconn" "$hopconn"
if [ -n "$version" ] && build_real_hopconn; then
    echo "real-hopconn: built from tests/interop/hopconn/cmd/driver with $hopconn $version"
else
    reason=${reason:-$(last_line "$scratch/log")}
    take_given hopconn
fi
