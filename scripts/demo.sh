#!/usr/bin/env bash
# Shows the library at work: two programs behind two NATs find each other and talk. HP_BIN may name another directory
# with hp-server and chat than build/bin.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
HP_BIN=${HP_BIN:-$root/build/bin} exec python3 "$root/tests/lab/demo.py"
