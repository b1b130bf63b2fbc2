#!/usr/bin/env bash
# `install.sh install` puts header, libraries, pkg-config and CMake files, hp-server, hp, manual page and licences below $DESTDIR;
# `install.sh uninstall` with the same variables removes them. Called by `make install` and `make uninstall`.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
action=${1-}

die() {
    echo "$action: $*" >&2
    exit 1
}

if [ "$action" != install ] && [ "$action" != uninstall ] || [ $# -ne 1 ]; then
    echo "usage: install.sh install|uninstall, by way of make" >&2
    exit 2
fi
for name in PREFIX LIBDIR INCLUDEDIR BINDIR VERSION ABI; do
    # An empty PREFIX is the root directory.
    [ -n "${!name-}" ] || [ "$name${PREFIX+ is set}" = "PREFIX is set" ] || die "$name is not set; use make $action"
done
PREFIX=${PREFIX:-/}
cargo=${CARGO:-cargo}
strip=${STRIP:-strip}

# Makes the directory in the variable $1 absolute, and its spelling unique.
normalise() {
    local path=${!1}
    case $path in
        /*) ;;
        *) [ "$1" = DESTDIR ] || die "$1 must be an absolute path, not '$path'"; path=$PWD/$path ;;
    esac
    while [[ $path == *//* ]]; do path=${path//\/\//\/}; done
    while [[ $path == */./* ]]; do path=${path//\/.\//\/}; done
    path=${path%/.}
    case $path/ in
        */../*) [ "$1" = DESTDIR ] || die "$1 must not contain '..': '$path'" ;;
    esac
    printf -v "$1" %s "${path%/}"
}
DESTDIR=${DESTDIR-}
[ -z "$DESTDIR" ] || normalise DESTDIR
for name in PREFIX LIBDIR INCLUDEDIR BINDIR; do normalise "$name"; done

docdir=$PREFIX/share/doc/holepunch
mandir=$PREFIX/share/man/man8
pkgconfigdir=$LIBDIR/pkgconfig
cmakedir=$LIBDIR/cmake/holepunch
docs=(README.md LICENSE-MIT LICENSE-APACHE)

# The library that the link for this ABI leads to, if that is another release of it.
other_release() {
    local link=$DESTDIR$LIBDIR/libholepunch.so.$ABI name
    [ -L "$link" ] || return 0
    name=$(readlink "$link")
    [[ $name =~ ^libholepunch\.so\.[0-9]+\.[0-9]+\.[0-9][^/]*$ && $name != "libholepunch.so.$VERSION" ]] || return 0
    printf %s "$name"
}

# Says early, and in one line, that a directory cannot be written to.
check_writable() {
    local dir=$DESTDIR$1
    while [ ! -e "$dir" ] && [ ! -L "$dir" ]; do dir=${dir%/*}; dir=${dir:-/}; done
    [ -d "$dir" ] || die "cannot write to '$DESTDIR$1': '$dir' is not a directory"
    if [ ! -w "$dir" ] || [ ! -x "$dir" ]; then die "cannot write to '$DESTDIR$1': no permission for '$dir'"; fi
}

make_dir() {
    mkdir -p -- "$DESTDIR$1" || die "cannot make the directory '$DESTDIR$1'"
}

# put MODE FILE DEST: replaces DEST in one step, so that a program that runs from it is not disturbed.
put() {
    local dest=$DESTDIR$3
    [ ! -d "$dest" ] || die "cannot write '$dest': it is a directory"
    unfinished=$dest.new.$$
    if ! { cp -- "$2" "$unfinished" && chmod "$1" "$unfinished" && mv -f -- "$unfinished" "$dest"; }; then
        die "cannot write '$dest'"
    fi
    unfinished=
}

# put_link TARGET DEST
put_link() {
    local dest=$DESTDIR$2
    [ ! -d "$dest" ] || die "cannot write '$dest': it is a directory"
    ln -sf -- "$1" "$dest" || die "cannot write '$dest'"
}

remove() {
    [ ! -e "$DESTDIR$1" ] && [ ! -L "$DESTDIR$1" ] || rm -f -- "$DESTDIR$1" || die "cannot remove '$DESTDIR$1'"
}

# remove_dir DIR: only if nothing is in it.
remove_dir() {
    rmdir -- "$DESTDIR$1" 2>/dev/null || true
}

# below DIR PATH: prints PATH relative to DIR, and fails if it is not below it.
below() {
    [[ $2/ == "$1"/* ]] || return 1
    local rest=${2#"$1"}
    printf %s "${rest#/}"
}

# up RELATIVE: prints as many "/.." as RELATIVE has parts.
up() {
    local parts
    IFS=/ read -ra parts <<<"$1"
    [ ${#parts[@]} -eq 0 ] || printf '/..%.0s' "${parts[@]}"
}

# fill TEMPLATE NAME=VALUE...: prints packaging/TEMPLATE with each @NAME@ replaced.
fill() {
    local text pair
    text=$(<"$root/packaging/$1")
    shift
    for pair; do text=${text//"@${pair%%=*}@"/"${pair#*=}"}; done
    printf '%s\n' "$text"
}

build() {
    local out=${CARGO_TARGET_DIR:-target}${CARGO_BUILD_TARGET:+/$CARGO_BUILD_TARGET} file
    case $out in /*) ;; *) out=$root/$out ;; esac
    # Several words are allowed: CARGO='cargo +stable'.
    local -a command
    read -ra command <<<"$cargo"
    if command -v "${command[0]}" >/dev/null 2>&1; then
        CARGO=$cargo "$root/scripts/build.sh" >&2 || die "the build failed"
    elif [ -e "$out/c-abi/libholepunch.so" ]; then
        # `make build`, then `sudo make install`, where root has no cargo.
        echo "install: $cargo not found; installing what has been built" >&2
    else
        die "$cargo not found; run 'make build' first, or set CARGO"
    fi
    for file in c-abi/libholepunch.so c-abi/libholepunch.a release/hp-server release/hp; do
        [ -f "$out/$file" ] || die "the build made no '$out/$file'"
    done
    built=$out
}

install_all() {
    local dir doc former lib_rel include_rel pc_prefix pc_libdir pc_includedir cmake_includedir size
    for dir in "$INCLUDEDIR" "$pkgconfigdir" "$cmakedir" "$BINDIR" "$docdir" "$mandir"; do check_writable "$dir"; done
    command -v "$strip" >/dev/null 2>&1 || die "$strip not found (Debian: binutils); STRIP=true installs unstripped"
    build

    stage=$(mktemp -d)
    umask 022
    cp -- "$built/c-abi/libholepunch.so" "$built/c-abi/libholepunch.a" "$stage"
    "$strip" --strip-unneeded "$stage/libholepunch.so" || die "cannot strip the shared library"
    "$strip" --strip-debug "$stage/libholepunch.a" || die "cannot strip the static library"
    # A byte of the ELF header: 1 for 32 bit, 2 for 64 bit.
    size=$(($(od -An -tu1 -j4 -N1 "$stage/libholepunch.so") * 4))

    # All that lies below PREFIX is found relative to the file that names it, so the tree can be moved.
    pc_prefix=$PREFIX pc_libdir=$LIBDIR pc_includedir=$INCLUDEDIR cmake_includedir=$INCLUDEDIR
    if lib_rel=$(below "$PREFIX" "$LIBDIR"); then
        # shellcheck disable=SC2016 # for pkg-config, CMake
        pc_prefix='${pcfiledir}/..'$(up "$lib_rel") pc_libdir='${prefix}'${lib_rel:+/$lib_rel}
        if include_rel=$(below "$PREFIX" "$INCLUDEDIR"); then
            # shellcheck disable=SC2016
            pc_includedir='${prefix}'${include_rel:+/$include_rel}
            # shellcheck disable=SC2016
            cmake_includedir='${_holepunch_libdir}'$(up "$lib_rel")${include_rel:+/$include_rel}
        fi
    fi
    # What `rustc --print native-static-libs` names, without what every compiler adds by itself.
    local -a libs=(-lutil -lrt -lpthread -lm -ldl)
    # pkgconf escapes spaces in ${pcfiledir} by itself, but not those that stand here.
    fill holepunch.pc.in "PREFIX=${pc_prefix// /\\ }" "LIBDIR=${pc_libdir// /\\ }" \
        "INCLUDEDIR=${pc_includedir// /\\ }" "VERSION=$VERSION" \
        "DESCRIPTION=$(sed -n 's/^description = "\(.*\)"/\1/p' "$root/Cargo.toml")" \
        "STATIC_LIBS=${libs[*]}" >"$stage/holepunch.pc"
    fill holepunch-config.cmake.in "INCLUDEDIR=$cmake_includedir" "VERSION=$VERSION" "ABI=$ABI" \
        "STATIC_LIBS=$(IFS=';' && echo "${libs[*]}")" >"$stage/holepunch-config.cmake"
    fill holepunch-config-version.cmake.in "VERSION=$VERSION" "POINTER_SIZE=$size" "POINTER_BITS=$((size * 8))" \
        >"$stage/holepunch-config-version.cmake"

    former=$(other_release)
    for dir in "$INCLUDEDIR" "$LIBDIR" "$pkgconfigdir" "$cmakedir" "$BINDIR" "$docdir" "$mandir"; do make_dir "$dir"; done
    put 644 "$root/include/holepunch.h" "$INCLUDEDIR/holepunch.h"
    put 755 "$stage/libholepunch.so" "$LIBDIR/libholepunch.so.$VERSION"
    put_link "libholepunch.so.$VERSION" "$LIBDIR/libholepunch.so.$ABI"
    put_link "libholepunch.so.$ABI" "$LIBDIR/libholepunch.so"
    put 644 "$stage/libholepunch.a" "$LIBDIR/libholepunch.a"
    put 644 "$stage/holepunch.pc" "$pkgconfigdir/holepunch.pc"
    put 644 "$stage/holepunch-config.cmake" "$cmakedir/holepunch-config.cmake"
    put 644 "$stage/holepunch-config-version.cmake" "$cmakedir/holepunch-config-version.cmake"
    put 755 "$built/release/hp-server" "$BINDIR/hp-server"
    put 755 "$built/release/hp" "$BINDIR/hp"
    put 644 "$root/docs/man/hp-server.8" "$mandir/hp-server.8"
    for doc in "${docs[@]}"; do
        [ ! -f "$root/$doc" ] || put 644 "$root/$doc" "$docdir/$doc"
    done
    # The release that this one replaces.
    [ -z "$former" ] || remove "$LIBDIR/$former"
    echo "installed holepunch $VERSION below '$DESTDIR${PREFIX:-/}'"
    [ -n "$DESTDIR" ] || echo "If programs do not find libholepunch.so.$ABI: run ldconfig as root, or set LD_LIBRARY_PATH='$LIBDIR'."
}

uninstall_all() {
    local doc former
    former=$(other_release)
    [ -z "$former" ] || remove "$LIBDIR/$former"
    remove "$INCLUDEDIR/holepunch.h"
    remove "$LIBDIR/libholepunch.so"
    remove "$LIBDIR/libholepunch.so.$ABI"
    remove "$LIBDIR/libholepunch.so.$VERSION"
    remove "$LIBDIR/libholepunch.a"
    remove "$pkgconfigdir/holepunch.pc"
    remove "$cmakedir/holepunch-config.cmake"
    remove "$cmakedir/holepunch-config-version.cmake"
    remove "$BINDIR/hp-server"
    remove "$BINDIR/hp"
    remove "$mandir/hp-server.8"
    for doc in "${docs[@]}"; do remove "$docdir/$doc"; done
    remove_dir "$cmakedir"
    remove_dir "$docdir"
    echo "uninstalled holepunch from '$DESTDIR${PREFIX:-/}'"
}

built='' stage='' unfinished=''
cleanup() {
    [ -z "$stage" ] || rm -rf -- "$stage"
    [ -z "$unfinished" ] || rm -f -- "$unfinished"
}
trap cleanup EXIT
"${action}_all"
