#!/bin/bash
# Formats all C++ files with clang-format 14, or with --check fails where one is not formatted.
# Other versions break lines elsewhere, so they are refused. CLANG_FORMAT=PATH names the program.
set -euo pipefail
cd "$(dirname "$0")/.."

program=${CLANG_FORMAT:-clang-format-14}
if ! command -v "$program" >/dev/null; then
  echo "[format] there is no $program. Install Debian's clang-format-14, or set CLANG_FORMAT." >&2
  exit 1
fi
version=$("$program" --version)
case $version in
  *"clang-format version 14."*) ;;
  *)
    echo "[format] $program says: $version. It must be version 14, as in Debian 12." >&2
    exit 1
    ;;
esac
case ${1:-} in
  "") options=(-i) ;;
  --check) options=(--dry-run --Werror) ;;
  *)
    echo "[format] $1 is not --check" >&2
    exit 2
    ;;
esac
find . \( -path './build*' -o -path './.git' -o -path './runs' -o -path './offline' \) -prune -o \
  \( -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' \) -print0 |
  xargs -0 "$program" "${options[@]}"
