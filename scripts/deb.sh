#!/usr/bin/env bash
# `deb.sh PROGRAM DIRECTORY` makes the Debian package hp-server of that program, and prints its path. Called by `make deb`.
#
# The same program gives the same package, byte by byte: all times in it are SOURCE_DATE_EPOCH, or the last commit's.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
die() {
    echo "deb: $*" >&2
    exit 1
}

[ $# -eq 2 ] || { echo "usage: deb.sh PROGRAM DIRECTORY" >&2; exit 2; }
program=$1 directory=$2
[ -x "$program" ] || die "there is no program '$program'; run make build"
for tool in dpkg-deb dpkg readelf gzip; do
    command -v "$tool" >/dev/null 2>&1 || die "$tool not found (Debian: dpkg, binutils, gzip)"
done
epoch=${SOURCE_DATE_EPOCH-}
[ -n "$epoch" ] || epoch=$(git -C "$root" log -1 --format=%ct 2>/dev/null) || die "set SOURCE_DATE_EPOCH"
export SOURCE_DATE_EPOCH=$epoch

version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -1)-1
architecture=$(dpkg --print-architecture)
stage=$(mktemp -d)
trap 'rm -rf -- "$stage"' EXIT
umask 022
tree=$stage/tree
doc=$tree/usr/share/doc/hp-server
mkdir -p "$tree"/{DEBIAN,etc,usr/bin,usr/lib/systemd/system,usr/share/man/man8} "$doc"

install -m 755 "$program" "$tree/usr/bin/hp-server"
"${STRIP:-strip}" --strip-unneeded "$tree/usr/bin/hp-server" || die "cannot strip the program (Debian: binutils)"
install -m 644 "$root"/packaging/hp-server.{service,socket} "$tree/usr/lib/systemd/system"
install -m 644 "$root/packaging/hp-server.toml" "$tree/etc"
gzip -9n <"$root/docs/man/hp-server.8" >"$tree/usr/share/man/man8/hp-server.8.gz"
gzip -9n <"$root/CHANGELOG.md" >"$doc/changelog.gz"
gzip -9n >"$doc/changelog.Debian.gz" <<EOF
hp-server ($version) unstable; urgency=medium

  * See changelog.gz.

 -- $(sed -n 's/^Maintainer: //p' "$root/packaging/debian/control.in")  $(date -uRd "@$epoch")
EOF
# Empty lines would end the paragraph.
mit=$(sed 's/^$/./; s/^/ /' "$root/LICENSE-MIT")
copyright=$(<"$root/packaging/debian/copyright")
printf '%s\n' "${copyright//@MIT@/"$mit"}" >"$doc/copyright"

# What the program is linked with, in Debian's words.
depends=()
while read -r library; do
    case $library in
        libc.so.6)
            libc=$(readelf -VW "$program" | grep -oE 'GLIBC_[0-9.]+' | sed 's/GLIBC_//' | sort -uV | tail -n 1)
            depends+=("libc6 (>= $libc)")
            ;;
        libm.so.6 | ld-linux*) ;;
        libgcc_s.so.1) depends+=(libgcc-s1) ;;
        *) die "the program needs $library, whose package is not known here" ;;
    esac
done < <(readelf -dW "$program" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
[ ${#depends[@]} -gt 0 ] || die "the program is linked with nothing that is known here"

control=$(<"$root/packaging/debian/control.in")
control=${control//@VERSION@/"$version"}
control=${control//@ARCHITECTURE@/"$architecture"}
control=${control//@DEPENDS@/"$(printf '%s, ' "${depends[@]}" | sed 's/, $//')"}
control=${control//@SIZE@/"$(find "$tree" -type f -printf '%s\n' | awk '{ kib += int(($1 + 1023) / 1024) } END { print kib }')"}
printf '%s\n' "$control" >"$tree/DEBIAN/control"
echo /etc/hp-server.toml >"$tree/DEBIAN/conffiles"
install -m 755 "$root"/packaging/debian/{postinst,prerm,postrm} "$tree/DEBIAN"
(cd "$tree" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 md5sum) >"$tree/DEBIAN/md5sums"
find "$tree" -exec touch -hd "@$epoch" {} +

mkdir -p "$directory"
package=$directory/hp-server_${version}_$architecture.deb
# One thread: how the work is split shows in the result.
dpkg-deb --root-owner-group --threads-max=1 -Zxz --build "$tree" "$package" >&2
echo "$package"
