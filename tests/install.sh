#!/usr/bin/env bash
# Tests `make install` and `make uninstall` as packagers and users of the library do: with DESTDIR and without it, then
# builds examples/c/connect.c outside the tree against what was installed, with pkg-config and with CMake, and runs it.
# Needs make, cc, readelf, pkg-config, cmake, Go and a static C library; HP_ALLOW_MISSING_TOOLS=1 skips what needs a missing
# one of the last four.
# shellcheck disable=SC2317 # Functions are called by way of `check`.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
passed=0 failed=0 skipped=0
ok() { passed=$((passed + 1)); echo "ok - $1"; }
not_ok() { failed=$((failed + 1)); echo "not ok - $1"; }
skip() { skipped=$((skipped + 1)); echo "skipped: $1"; }

# What the surroundings set must not get in: neither an outer make's variables nor another installed libholepunch.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL DESTDIR PREFIX LIBDIR INCLUDEDIR BINDIR STRIP
unset PKG_CONFIG_PATH PKG_CONFIG_LIBDIR PKG_CONFIG_SYSROOT_DIR LD_LIBRARY_PATH LIBRARY_PATH CPATH C_INCLUDE_PATH
unset CMAKE_PREFIX_PATH CMAKE_GENERATOR CFLAGS LDFLAGS holepunch_DIR holepunch_ROOT
CC=${CC:-cc}

tmp=$(cd "$(mktemp -d)" && pwd -P)
pids=()
finished=
# Ends a child: kindly, then by force; it fails if the child did.
kill_and_wait() {
    local i
    for ((i = 0; i < 100; i++)); do
        kill "$1" 2>/dev/null || break
        sleep 0.05
    done
    kill -KILL "$1" 2>/dev/null || true
    wait "$1"
}
cleanup() {
    [ -n "$finished" ] || echo "not ok - the test itself ended early"
    local pid
    for pid in "${pids[@]}"; do kill_and_wait "$pid" || true; done
    rm -rf -- "$tmp"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

# check WHAT COMMAND...: functions bound their time themselves, others have a minute; shows the output if it fails.
check() {
    local what=$1 status=0
    shift
    case $(type -t "$1") in
        function | builtin) "$@" >"$tmp/out" 2>&1 || status=$? ;;
        *) timeout -k 5 60 "$@" >"$tmp/out" 2>&1 || status=$? ;;
    esac
    if [ "$status" -eq 0 ]; then
        ok "$what"
    else
        not_ok "$what (status $status)"
        sed 's/^/    /' "$tmp/out"
    fi
}

finish() {
    finished=1
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ] || exit 1
    exit 0
}

# missing TOOL: a failure, or allowed.
missing() {
    if [ "${HP_ALLOW_MISSING_TOOLS-}" = 1 ]; then
        skip "$1 is missing"
    else
        not_ok "$1 is missing; install it, or set HP_ALLOW_MISSING_TOOLS=1 to skip what needs it"
    fi
}

# The first build may take minutes.
make_in_tree() { timeout -k 5 900 make --no-print-directory -C "$root" "$@"; }
make_fast() { make_in_tree CARGO=true "$@"; }

version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -1)
abi=$(sed -n 's/^#define HP_ABI_VERSION \([0-9]*\)$/\1/p' "$root/include/holepunch.h")

# All that is installed, with mode or link target, relative to the prefix.
expected() {
    local doc
    {
        echo "bin/hp 755"
        echo "bin/hp-server 755"
        echo "include/holepunch.h 644"
        echo "lib/cmake/holepunch/holepunch-config-version.cmake 644"
        echo "lib/cmake/holepunch/holepunch-config.cmake 644"
        echo "lib/libholepunch.a 644"
        echo "lib/libholepunch.so -> libholepunch.so.$abi"
        echo "lib/libholepunch.so.$abi -> libholepunch.so.$version"
        echo "lib/libholepunch.so.$version 755"
        echo "lib/pkgconfig/holepunch.pc 644"
        for doc in README.md LICENSE-MIT LICENSE-APACHE; do
            [ ! -f "$root/$doc" ] || echo "share/doc/holepunch/$doc 644"
        done
        echo "share/man/man8/hp-server.8 644"
    } | LC_ALL=C sort
}
listing() { find "$1" \( -type l -printf '%P -> %l\n' -o ! -type d -printf '%P %m\n' \) | LC_ALL=C sort; }
same_files() { diff <(expected) <(listing "$1"); }
dirs_open() { [ -z "$(find "$1" -mindepth 1 -type d ! -perm 755)" ]; }

names_no_build_path() {
    local -a paths=(-e "$root" -e "$tmp")
    case ${CARGO_TARGET_DIR-} in /*) paths+=(-e "$CARGO_TARGET_DIR") ;; esac
    ! grep -rF "${paths[@]}" "$1/lib/pkgconfig" "$1/lib/cmake"
}
has_soname() { readelf -d "$1" | grep -F "Library soname: [libholepunch.so.$abi]"; }
is_stripped() { ! readelf -SW "$1" | grep -E '\.(symtab|debug_)'; }
only_c_symbols() {
    ! readelf --dyn-syms -W "$1" | awk '$5 ~ /GLOBAL|WEAK/ && $7 != "UND" { print $8 }' | grep -v '^hp_'
}

# Where the library is found at run time.
resolves() {
    local lines
    lines=$(LD_LIBRARY_PATH=$2 ldd "$1")
    echo "$lines"
    [[ $lines != *"not found"* ]] && grep -F "libholepunch.so.$abi => $2/libholepunch.so.$abi " <<<"$lines"
}
needs_no_library() { ! readelf -d "$1" | grep -F libholepunch; }

# Against a port where nobody listens.
reports_error() {
    local status=0
    LD_LIBRARY_PATH=${2-} timeout -k 1 30 "$1" 127.0.0.1:9 "install test" >"$tmp/run" 2>&1 || status=$?
    cat "$tmp/run"
    [ "$status" -eq 1 ] && grep -Eq '^HP_STATUS_SERVER_(PORT_CLOSED|UNREACHABLE|SILENT): ' "$tmp/run"
}

# Two copies meet by way of the installed server.
says_hello() {
    local id="install test $RANDOM $1" first status=0
    LD_LIBRARY_PATH=${2-} timeout -k 1 30 "$1" "$server" "$id" >"$tmp/first" 2>&1 &
    first=$!
    pids+=("$first")
    LD_LIBRARY_PATH=${2-} timeout -k 1 30 "$1" "$server" "$id" >"$tmp/second" 2>&1 || status=$?
    wait "$first" || status=$?
    unset 'pids[-1]'
    tail "$tmp/first" "$tmp/second"
    [ "$status" -eq 0 ] && [ "$(cat "$tmp/first")" = hello ] && [ "$(cat "$tmp/second")" = hello ]
}

# works WHAT PROGRAM [LIBDIR]: with LIBDIR the program must find the shared library there, else it must not need it.
works() {
    if [ ! -x "$2" ]; then
        not_ok "$1: there is no program to run"
        return
    fi
    if [ $# -eq 3 ]; then
        check "$1: ldd finds the installed library" resolves "$2" "$3"
    else
        check "$1: needs no libholepunch.so" needs_no_library "$2"
    fi
    check "$1: reports a server that is not there" reports_error "$2" "${3-}"
    if [ -n "$server" ]; then check "$1: two copies say hello" says_hello "$2" "${3-}"; fi
}

# start_server PROGRAM: sets $server to its address.
start_server() {
    local i
    server=
    : >"$tmp/server.log"
    HP_SERVER_DIALECT=auto RUST_LOG='' "$1" 127.0.0.1:0 --workers 1 --log info >"$tmp/server.log" 2>&1 &
    server_pid=$!
    pids+=("$server_pid")
    for ((i = 0; i < 100; i++)); do
        server=$(sed -n 's/.*listening on \(127\.0\.0\.1:[0-9]*\) .*/\1/p' "$tmp/server.log")
        [ -z "$server" ] || break
        sleep 0.05
    done
    if [ -n "$server" ]; then
        ok "the installed hp-server listens"
    else
        not_ok "the installed hp-server listens"
        sed 's/^/    /' "$tmp/server.log"
    fi
}
stop_server() {
    unset 'pids[-1]'
    kill_and_wait "$server_pid"
}

# compile OUT SOURCE FLAG...
compile() {
    local out=$1 source=$2
    shift 2
    timeout -k 5 60 "$CC" -std=c99 -D_POSIX_C_SOURCE=200809L -Wall -Wextra -pedantic -Werror "$source" "$@" -o "$out"
}

# pkg_flags LIBDIR OPTION...: sets $flags. pkg-config escapes what the shell would split.
pkg_flags() {
    local text
    text=$(PKG_CONFIG_LIBDIR=$1/pkgconfig pkg-config "${@:2}" holepunch) || not_ok "pkg-config ${*:2} holepunch"
    eval "flags=($text)"
}

with_pkg_config() {
    local prefix=$1 what=$2 work=$3 found
    local -a flags
    found=$(PKG_CONFIG_LIBDIR=$prefix/lib/pkgconfig pkg-config --modversion holepunch 2>&1 || true)
    check "$what: pkg-config tells version $version" [ "$found" = "$version" ]
    pkg_flags "$prefix/lib" --cflags --libs
    check "$what, pkg-config: compiles against the shared library" \
        compile "$work/shared" "$work/connect.c" "${flags[@]}"
    works "$what, pkg-config" "$work/shared" "$prefix/lib"
    if [ -z "$static" ]; then return; fi
    pkg_flags "$prefix/lib" --static --cflags --libs
    # With the C library's own warning that name look-up is never quite static.
    check "$what, pkg-config --static: links all statically" \
        compile "$work/static" "$work/connect.c" -static "${flags[@]}"
    works "$what, pkg-config --static" "$work/static"
}

# The Go binding without build tags finds what is installed by way of pkg-config.
with_go() {
    local prefix=$1 what=$2 work=$3/go
    mkdir "$work"
    cat >"$work/main.go" <<END
package main

import (
	"context"
	"fmt"
	"os"

	"holepunch.example/holepunch"
)

func main() {
	conn, err := holepunch.Dial(context.Background(), os.Args[1], []byte(os.Args[2]))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	defer conn.Close()
	fmt.Fprint(conn, "hello")
	buffer := make([]byte, 1500)
	n, err := conn.Read(buffer)
	fmt.Println(string(buffer[:n]))
	if err != nil {
		os.Exit(1)
	}
}
END
    cat >"$work/go.mod" <<END
module consumer

go 1.19

require holepunch.example/holepunch v0.0.0

replace holepunch.example/holepunch => ./binding
END
    # A copy, since Go's build cache knows nothing of what pkg-config said the last time.
    cp -r "$root/bindings/go" "$work/binding"
    check "$what, Go: builds with pkg-config" timeout -k 5 120 env -C "$work" GOWORK=off GOFLAGS=-mod=mod \
        "PKG_CONFIG_LIBDIR=$prefix/lib/pkgconfig" go build -o "$work/program" .
    if [ ! -x "$work/program" ]; then return; fi
    check "$what, Go: ldd finds the installed library" resolves "$work/program" "$prefix/lib"
    check "$what, Go: two copies say hello" says_hello "$work/program" "$prefix/lib"
}

cmake_version_fits() {
    printf 'set(PACKAGE_FIND_VERSION "%s")\ninclude("%s")\nif(NOT PACKAGE_VERSION_COMPATIBLE)\n%s\nendif()\n' \
        "$2" "$1/lib/cmake/holepunch/holepunch-config-version.cmake" 'message(FATAL_ERROR "refused")' >"$tmp/version.cmake"
    timeout -k 5 30 cmake -P "$tmp/version.cmake"
}
cmake_version_refused() { refused refused cmake_version_fits "$@"; }

with_cmake() {
    local prefix=$1 what=$2 work=$3
    cat >"$work/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.10)
project(consumer C)
find_package(holepunch ${version%.*} REQUIRED)
find_package(holepunch REQUIRED) # A second time does no harm.
if(NOT holepunch_VERSION VERSION_EQUAL "$version")
    message(FATAL_ERROR "found version \${holepunch_VERSION}")
endif()
set(CMAKE_C_FLAGS "-Wall -Wextra -Werror")
add_executable(with-shared connect.c)
target_link_libraries(with-shared PRIVATE holepunch::holepunch)
add_executable(with-static connect.c)
target_link_libraries(with-static PRIVATE holepunch::static)
END
    check "$what, CMake: find_package" timeout -k 5 60 \
        cmake -S "$work" -B "$work/build" "-DCMAKE_PREFIX_PATH=$prefix" "-DCMAKE_C_COMPILER=$CC"
    check "$what, CMake: found below the prefix" \
        grep -Fx "holepunch_DIR:PATH=$prefix/lib/cmake/holepunch" "$work/build/CMakeCache.txt"
    check "$what, CMake: builds with both targets" timeout -k 5 60 cmake --build "$work/build"
    works "$what, CMake, holepunch::holepunch" "$work/build/with-shared" "$prefix/lib"
    works "$what, CMake, holepunch::static" "$work/build/with-static"
}

# try PREFIX WHAT: all that a user does with what is installed there.
try() {
    local prefix=$1 what=$2 work
    work=$(mktemp -d "$tmp/work XXXXXX")
    cp "$root/examples/c/connect.c" "$work"
    check "$what: hp-server tells version $version" \
        grep -F "$version" <(timeout 10 "$prefix/bin/hp-server" --version 2>&1)
    start_server "$prefix/bin/hp-server"
    if [ -n "$pkg_config" ]; then with_pkg_config "$prefix" "$what" "$work"; fi
    if [ -n "$cmake" ]; then with_cmake "$prefix" "$what" "$work"; fi
    if [ -n "$pkg_config" ] && [ -n "$go" ]; then with_go "$prefix" "$what" "$work"; fi
    check "$what: hp-server ends when told to" stop_server
}

# check_tree PREFIX WHAT: what can be seen of the files.
check_tree() {
    local prefix=$1 what=$2 library=$1/lib/libholepunch.so.$version
    check "$what: exactly the expected files, modes and links" same_files "$prefix"
    check "$what: directories are open to all" dirs_open "$prefix"
    check "$what: the .pc and CMake files name no build path" names_no_build_path "$prefix"
    check "$what: the soname is libholepunch.so.$abi" has_soname "$library"
    check "$what: the shared library is stripped" is_stripped "$library"
    check "$what: the shared library exports hp_* only" only_c_symbols "$library"
}

nothing_left() {
    local left
    left=$(find "$1" ! -type d -o -name '*holepunch*')
    [ -z "$left" ] || { echo "$left"; return 1; }
}

# refused PATTERN COMMAND...: must fail and say so.
refused() {
    local pattern=$1 status=0
    shift
    "$@" >"$tmp/run" 2>&1 || status=$?
    cat "$tmp/run"
    [ "$status" -ne 0 ] && grep -Eq "$pattern" "$tmp/run"
}

install_script() {
    DESTDIR=${2-} PREFIX=$1 LIBDIR=$1/lib INCLUDEDIR=$1/include BINDIR=$1/bin VERSION=$version ABI=$abi CARGO=true \
        timeout -k 5 60 "${as[@]}" "$root/scripts/install.sh" install
}

for tool in make "$CC" readelf ldd; do
    if ! command -v "$tool" >/dev/null 2>&1; then
        not_ok "$tool is missing"
        finish
    fi
done
pkg_config=$(command -v pkg-config || true)
[ -n "$pkg_config" ] || missing pkg-config
go=$(command -v go || true)
[ -n "$go" ] || missing go
cmake=$(command -v cmake || true)
[ -n "$cmake" ] || missing cmake
static=
if echo 'int main(void) { return 0; }' | timeout 60 "$CC" -static -x c - -o "$tmp/probe" 2>/dev/null; then static=1; fi
[ -n "$static" ] || missing "the static C library (libc.a)"

# A staging directory, as packagers use it.
stage="$tmp/stage dir"
check "make install with DESTDIR" make_in_tree install "DESTDIR=$stage" PREFIX=/usr
if [ ! -d "$stage/usr" ]; then finish; fi
check_tree "$stage/usr" "DESTDIR"
check "DESTDIR: nothing beside PREFIX" [ "$(ls -A "$stage")" = usr ]
size=$(stat -c %s "$stage/usr/lib/libholepunch.so.$version")
check "the stripped shared library has at most 1400 KB: $size bytes" [ "$size" -le 1400000 ]
try "$stage/usr" "DESTDIR"

# Straight into a prefix, with a umask that hides new files.
prefix="$tmp/own prefix"
umask 077
check "make install into a prefix with a space" make_fast install "PREFIX=$prefix"
umask 022
check_tree "$prefix" "prefix"
try "$prefix" "prefix"

# Over itself, and over an older release; what others have put there stays.
before=$(stat -c %i "$prefix/lib/libholepunch.so.$version")
check "make install a second time" make_fast install "PREFIX=$prefix"
check "second time: same files" same_files "$prefix"
check "second time: a library in use is replaced, not overwritten" \
    [ "$(stat -c %i "$prefix/lib/libholepunch.so.$version")" != "$before" ]
old="$tmp/old"
check "make install of an older release" make_fast install "PREFIX=$old" VERSION=0.0.9
check "older release: installed under its version" [ -f "$old/lib/libholepunch.so.0.0.9" ]
check "make install over an older release" make_fast install "PREFIX=$old"
check "over an older release: nothing of it is left" same_files "$old"
mkdir -p "$old/share/doc/holepunch" "$old/lib/cmake/other"
touch "$old/lib/libholepunch.so.9" "$old/share/doc/holepunch/notes" "$old/bin/other"
others=$(printf '%s\n' bin/other lib/libholepunch.so.9 share/doc/holepunch/notes)
check "make uninstall beside others' files" make_fast uninstall "PREFIX=$old"
check "others' files are left" [ "$(cd "$old" && find . -type f -printf '%P\n' | LC_ALL=C sort)" = "$others" ]
check "others' empty directory is left" [ -d "$old/lib/cmake/other" ]

# Libraries elsewhere: then paths are absolute.
apart="$tmp/apart"
check "make install with LIBDIR elsewhere" make_fast install "PREFIX=$apart/usr" "LIBDIR=$apart/my libs"
check "LIBDIR elsewhere: CMake files name the header's directory" \
    grep -F "\"$apart/usr/include\"" "$apart/my libs/cmake/holepunch/holepunch-config.cmake"
cp "$root/examples/c/connect.c" "$apart"
if [ -n "$pkg_config" ]; then
    pkg_flags "$apart/my libs" --cflags --libs
    check "LIBDIR elsewhere: compiles with pkg-config" compile "$apart/program" "$apart/connect.c" "${flags[@]}"
    rm -f "$apart/program"
fi
rm -f "$apart/connect.c"
check "make uninstall with LIBDIR elsewhere" make_fast uninstall "PREFIX=$apart/usr" "LIBDIR=$apart/my libs"
check "LIBDIR elsewhere: uninstall leaves nothing" nothing_left "$apart"

if [ -n "$cmake" ]; then
    series=${version%.*}
    check "version $version fits $series" cmake_version_fits "$prefix" "$series"
    check "version $version does not fit its successor" cmake_version_refused "$prefix" "$series.$((${version##*.} + 1))"
    check "version $version does not fit 99" cmake_version_refused "$prefix" 99
    check "make install of 0.4.2" make_fast install "DESTDIR=$tmp/v0" PREFIX= VERSION=0.4.2
    check "make install of 2.4.2" make_fast install "DESTDIR=$tmp/v2" PREFIX=/ VERSION=2.4.2
    for asked in 0 0.4 0.4.1 0.4.2; do check "0.4.2 fits $asked" cmake_version_fits "$tmp/v0" "$asked"; done
    for asked in 0.3 0.5 0.4.3 1 2; do check "0.4.2 does not fit $asked" cmake_version_refused "$tmp/v0" "$asked"; done
    for asked in 2 2.0 2.3 2.4.2; do check "2.4.2 fits $asked" cmake_version_fits "$tmp/v2" "$asked"; done
    for asked in 0 0.4 1 1.4 2.5 3; do check "2.4.2 does not fit $asked" cmake_version_refused "$tmp/v2" "$asked"; done
fi

# What cannot work is refused in clear words, before anything is written.
as=(env)
touch "$tmp/file"
check "a file in the way is named" refused "cannot write to .*file' is not a directory" install_script "$tmp/file/usr"
check "a relative PREFIX is refused" refused "PREFIX must be an absolute path" install_script usr
check "a PREFIX with .. is refused" refused "must not contain '\.\.'" install_script /usr/../opt
mkdir -m 555 "$tmp/read-only"
# Root may write anywhere, unless it gives that up.
[ "$(id -u)" -ne 0 ] || as=(setpriv --inh-caps=-dac_override --bounding-set=-dac_override)
if "${as[@]}" test ! -w "$tmp/read-only" 2>/dev/null; then
    check "an unwritable PREFIX is refused" \
        refused "cannot write to .*: no permission for '$tmp/read-only'" install_script "$tmp/read-only/usr"
    check "unwritable PREFIX: make fails" refused "no permission" "${as[@]}" \
        make --no-print-directory -C "$root" install CARGO=true "PREFIX=$tmp/read-only/usr"
else
    skip "an unwritable PREFIX, since this user may write everywhere"
fi
mkdir -p "$tmp/occupied/include/holepunch.h"
as=(env)
check "a directory in a file's place is named" refused "holepunch.h': it is a directory" install_script "$tmp/occupied"
check "that leaves no unfinished file" [ -z "$(find "$tmp/occupied" ! -type d -name '*.new.*')" ]
check "a failing build is reported" refused "the build failed" make_in_tree install CARGO=false "PREFIX=$tmp/none"
check "failing build: nothing was installed" [ ! -e "$tmp/none" ]

check "make uninstall with DESTDIR" make_fast uninstall "DESTDIR=$stage" PREFIX=/usr
check "DESTDIR: uninstall leaves nothing" nothing_left "$stage"
check "make uninstall from the prefix" make_fast uninstall "PREFIX=$prefix"
check "prefix: uninstall leaves nothing" nothing_left "$prefix"
check "make uninstall a second time does no harm" make_fast uninstall "PREFIX=$prefix"

finish
