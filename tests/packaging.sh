#!/usr/bin/env bash
# Builds the Debian package of build/bin/hp-server, installs and removes it below a directory of its own, and looks at the units,
# the Dockerfile and the Compose file: nothing here can run systemd or Docker, but the program itself reads the flags that they give.
# shellcheck disable=SC2317 # Functions are called by way of `check`.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
failed=0
# check WHAT COMMAND...: shows the output if it fails. A function fails at its first command that does.
check() {
    local what=$1 status
    shift
    set +e
    (
        set -e
        "$@"
    ) >"$tmp/out" 2>&1
    status=$?
    set -e
    if [ "$status" -eq 0 ]; then
        echo "ok - $what"
    else
        failed=1
        echo "not ok - $what (status $status)"
        sed 's/^/    /' "$tmp/out"
    fi
}
# What the surroundings set must not get in.
for name in $(compgen -e HP_SERVER_ || true) RUST_LOG LISTEN_FDS LISTEN_PID NOTIFY_SOCKET JOURNAL_STREAM; do unset "$name"; done

program=$root/build/bin/hp-server
tmp=$(mktemp -d)
trap 'rm -rf -- "$tmp"' EXIT
if [ ! -x "$program" ]; then
    echo "not ok - there is no $program; run make build"
    exit 1
fi

# --- The units.

# value UNIT KEY: all that the unit says of it.
value() { sed -n "s/^$2=//p" "packaging/$1"; }
# The unit's command, with the files where they are here.
unit_command_is_understood() {
    local command
    command=$(value hp-server.service ExecStart)
    [ "$command" = "/usr/bin/hp-server --config /etc/hp-server.toml" ] || { echo "$command"; return 1; }
    timeout 20 "$program" --config packaging/hp-server.toml --check-config
}
sockets_are_on_the_default_port() {
    local wanted
    wanted=$(timeout 20 "$program" --check-config | sed -n 's/^address = "\(:[0-9]*\)".*/\1/p')
    [ "$(value hp-server.socket ListenDatagram | sort -u)" = "[::]$wanted" ]
    [ "$(value hp-server.socket ReusePort)" = yes ]
}
units_are_sound() {
    local units=$tmp/units
    mkdir -p "$units"
    # Where the program is, so that nothing is missing; the manual page is not installed.
    sed "s|^ExecStart=/usr/bin/hp-server|ExecStart=$program|; /^Documentation=/d" packaging/hp-server.service >"$units/hp-server.service"
    sed '/^Documentation=/d' packaging/hp-server.socket >"$units/hp-server.socket"
    systemd-analyze verify --recursive-errors=no "$units/hp-server.service" "$units/hp-server.socket" >"$tmp/verify" 2>&1 ||
        { cat "$tmp/verify"; return 1; }
    # What it cannot make sense of, it only says.
    ! grep -E 'hp-server\.(service|socket)' "$tmp/verify"
}
service_is_hardened() {
    # Tenths; 10 would be all that a service can do.
    systemd-analyze security --offline=true --threshold=15 packaging/hp-server.service
}
check "the service's command is understood" unit_command_is_understood
check "the socket unit listens where the server does" sockets_are_on_the_default_port
if command -v systemd-analyze >/dev/null 2>&1; then
    check "systemd understands the units" units_are_sound
    check "the service may do little" service_is_hardened
else
    echo "skipped: systemd-analyze is missing"
fi

# --- The container.

# words TEXT: the strings of a list in JSON, one a line.
words() { grep -oE '"[^"]*"' <<<"$1" | tr -d '"'; }
dockerfile_is_understood() {
    local variable source
    local -a environment=()
    while read -r variable; do environment+=("$variable"); done < <(sed -n 's/^ENV //p' packaging/Dockerfile)
    [ ${#environment[@]} -gt 0 ]
    env "${environment[@]}" timeout 20 "$program" --check-config
    # The health check asks where the page is.
    [ "$(sed -n 's/^ENV HP_SERVER_HTTP=//p' packaging/Dockerfile)" = "$(words "$(grep -o 'CMD \[.*' packaging/Dockerfile)" | tail -n 1)" ]
    [ "$(words "$(grep -o 'CMD \[.*' packaging/Dockerfile)" | sed -n 2p)" = --health ]
    [ "$(words "$(grep '^ENTRYPOINT' packaging/Dockerfile)")" = "$(sed -n 's/^COPY --from=build .* //p' packaging/Dockerfile)" ]
    while read -r source; do
        [ -e "$source" ] || { echo "no $source"; return 1; }
    done < <(sed -n '/--from/d; s/^COPY \(.*\) .*/\1/p' packaging/Dockerfile | tr ' ' '\n')
    grep -qE '^FROM .*nonroot$' packaging/Dockerfile
}
# Nothing of what Docker is told to leave out is needed to build the program.
ignored_is_not_needed() {
    local ignored
    while read -r ignored; do
        [ -z "$(git ls-files "$ignored")" ] || { echo "$ignored is part of the tree"; return 1; }
    done <packaging/Dockerfile.dockerignore
}
compose_is_understood() {
    local file=packaging/compose.yaml
    local -a environment=() command=()
    while read -r variable; do environment+=("$variable"); done < \
        <(sed -n 's/^ *\(HP_SERVER_[A-Z_]*\): "\(.*\)"$/\1=\2/p' "$file" | sed 's/\${[A-Z_]*:-}$//')
    while read -r word; do command+=("$word"); done < <(words "$(grep -m 1 '^ *command:' "$file")")
    echo "${environment[*]} ${command[*]}"
    [ ${#environment[@]} -eq 3 ]
    [ ${#command[@]} -gt 0 ]
    env "${environment[@]}" timeout 20 "$program" --check-config "${command[@]}"
    [ -e "packaging/$(sed -n 's/^ *context: //p' "$file")/$(sed -n 's/^ *dockerfile: //p' "$file")" ]
    if python3 -c 'import yaml' 2>/dev/null; then python3 -c 'import sys, yaml; yaml.safe_load(open(sys.argv[1]))' "$file"; fi
}
check "the Dockerfile's variables, files and health check are right" dockerfile_is_understood
check "Docker leaves out nothing that is committed" ignored_is_not_needed
check "the Compose file's flags and variables are understood" compose_is_understood

# --- The package.

if ! command -v dpkg-deb >/dev/null 2>&1; then
    echo "skipped: dpkg-deb is missing"
    exit "$failed"
fi
make_package() { scripts/deb.sh "$program" "$tmp/$1" >"$tmp/$1.path"; }
check "the package is built" make_package one
check "it is built again" make_package two
package=$(<"$tmp/one.path")
if [ ! -f "$package" ]; then exit 1; fi
check "both are the same, byte by byte" cmp "$package" "$(<"$tmp/two.path")"

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
expected() {
    printf '%s\n' ./etc/hp-server.toml ./usr/bin/hp-server ./usr/lib/systemd/system/hp-server.service \
        ./usr/lib/systemd/system/hp-server.socket ./usr/share/doc/hp-server/changelog.Debian.gz \
        ./usr/share/doc/hp-server/changelog.gz ./usr/share/doc/hp-server/copyright ./usr/share/man/man8/hp-server.8.gz
}
files_are_right() { diff <(expected) <(dpkg-deb -c "$package" | awk '$1 !~ /^d/ { print $6 }' | LC_ALL=C sort); }
owner_is_root() { ! dpkg-deb -c "$package" | awk '$2 != "root/root" { print; found = 1 } END { exit !found }'; }
control_is_right() {
    [ "$(dpkg-deb -f "$package" Version)" = "$version-1" ]
    [ "$(dpkg-deb -f "$package" Architecture)" = "$(dpkg --print-architecture)" ]
    dpkg-deb -f "$package" Depends | grep -E 'libc6 \(>= 2\.[0-9]+\)'
}
names_no_place() { ! dpkg-deb --fsys-tarfile "$package" | grep -aF -e "$root" -e "$tmp"; }
scripts_are_shell() {
    local script
    for script in packaging/debian/{postinst,prerm,postrm}; do sh -n "$script"; done
    # Without a systemd that runs they do nothing.
    [ -d /run/systemd/system ] || for script in packaging/debian/{postinst,prerm,postrm}; do sh "$script" configure; done
}
check "the package holds what it should" files_are_right
check "all of it is root's" owner_is_root
check "its control file is right" control_is_right
check "it names no place of this machine" names_no_place
check "its scripts run" scripts_are_shell

# On a system that has nothing else, as far as dpkg knows.
system=$tmp/system
database=$system/var/lib/dpkg
# Daemons' tools lie where a plain user's PATH may not lead.
PATH=$PATH:/usr/sbin:/sbin
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(fakeroot)
in_system() {
    timeout 60 "${as_root[@]}" dpkg --root="$system" --force-script-chrootless --force-depends --force-not-root --no-triggers "$@"
}
installed_program_reads_its_file() {
    timeout 20 "$system/usr/bin/hp-server" --config "$system/etc/hp-server.toml" --check-config >"$tmp/effective"
    # All as if there were no file.
    diff "$tmp/effective" <("$system/usr/bin/hp-server" --check-config)
}
left() { diff <(printf '%s\n' "$@") <(cd "$system" && find etc usr -type f | LC_ALL=C sort); }
nothing_is_left() { [ -z "$(find "$system/etc" "$system/usr" -type f 2>/dev/null)" ]; }
keeps_changes() { grep -qx 'max-memory = 64' "$system/etc/hp-server.toml"; }
if [ "$(id -u)" -ne 0 ] && ! command -v fakeroot >/dev/null 2>&1; then
    echo "skipped: installing needs root or fakeroot"
else
    mkdir -p "$database"/{info,updates,triggers}
    touch "$database"/{status,available}
    check "it is installed" in_system --install "$package"
    check "the installed hp-server tells version $version" grep -qF "$version" <("$system/usr/bin/hp-server" --version)
    check "it understands the settings that came with it" installed_program_reads_its_file
    echo 'max-memory = 64' >>"$system/etc/hp-server.toml"
    check "it is installed once more" in_system --install "$package"
    check "changed settings stay" keeps_changes
    check "it is removed" in_system --remove hp-server
    check "the settings alone are left" left etc/hp-server.toml
    check "it is purged" in_system --purge hp-server
    check "nothing is left" nothing_is_left
fi
exit "$failed"
