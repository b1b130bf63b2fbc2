#!/usr/bin/env bash
# Compiles the assembly, its tests and the examples with Mono's compiler: bindings/csharp/build.sh OUTDIR
#
# Mono has what .NET Standard 2.1 has. With a .NET SDK, `dotnet build bindings/csharp/HolePunch.csproj` builds the same
# sources.
set -euo pipefail

if [ $# -ne 1 ]; then
    echo "usage: $0 OUTDIR" >&2
    exit 2
fi
mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$(dirname "$0")/../.."

compile() { mcs -nologo -debug -langversion:7.2 -warn:4 -warnaserror -out:"$out/$1" "${@:2}"; }

compile HolePunch.dll -target:library -unsafe -d:NETSTANDARD2_1_OR_GREATER -doc:"$out/HolePunch.xml" \
    bindings/csharp/src/*.cs
cp bindings/csharp/HolePunch.dll.config "$out/"
compile Tests.exe -r:"$out/HolePunch.dll" bindings/csharp/tests/*.cs
for example in examples/csharp/*/; do
    name=$(basename "$example")
    compile "$name.exe" -r:"$out/HolePunch.dll" "$example"*.cs
done
