#!/usr/bin/env bash
# Installs what tests and demo need beside Rust: as root on Debian it does so, otherwise it says what is missing.
set -euo pipefail

missing=()
# Daemons lie where a plain user's PATH does not lead.
PATH=$PATH:/usr/sbin:/sbin
need() { command -v "$1" >/dev/null 2>&1 || missing+=("$2"); }
need gcc gcc
need g++ g++
need make make
need python3 python3
need pkg-config pkg-config
need cmake cmake
need valgrind valgrind
need ip iproute2
need nft nftables
# The daemon alone: the package `miniupnpd` would run it as a service.
need miniupnpd miniupnpd-nftables
need nm binutils
# `hp chat` is tested in terminals of its own.
need tmux tmux
# So is the server's page in a browser.
need chromium chromium
need chromedriver chromium-driver
need shellcheck shellcheck
# Redis itself, which its own package would run as a service, is what checks its files, by another name.
need redis-check-rdb redis-tools
# C#'s compiler and runtime; the runtime's package brings the few assemblies that are needed.
need mcs mono-mcs
need mono mono-runtime
# Any Go from 1.19 on; the interop tests build small programs with it.
need go golang-go

if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "setup: missing ${missing[*]}; install them, or run as root on Debian. What needs them is skipped." >&2
    exit 0
fi
echo "setup: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
