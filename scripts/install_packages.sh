#!/bin/bash
# Installs what Trine needs and this machine lacks. Nothing happens, and no network is used, where nothing is missing.
# Usage: scripts/install_packages.sh [--check] [build] [test] [text] [bench] [clang] [mpich] [browser]    (no set named:
# the first three)
#   build    compiler, build tools, libraries        test    what scripts/test.sh uses on top
#   bench    what scripts/build.sh --bench uses on top of both
#   clang    another compiler, for scripts/build.sh --clang
#   mpich    a second MPI, for scripts/test_mpich.sh
#   browser  Chromium, with which a test opens the page of trace_report --html; without it that test is skipped
#   text     the text that train_llama reads when no --data is given
#   --check  only say what is missing: exit 0 if nothing is, else 1
set -euo pipefail

build_packages=(g++ cmake ninja-build ccache pkg-config
  libfmt-dev nlohmann-json3-dev libcli11-dev libdnnl-dev libopenmpi-dev openmpi-bin
  libsentencepiece-dev libxxhash-dev libpcre2-dev zlib1g-dev libhdf5-dev)
test_packages=(libgtest-dev libgmock-dev python3 python3-h5py binutils clang-format-14 valgrind)
bench_packages=(libbenchmark-dev)
clang_packages=(clang-14 libomp-14-dev)
mpich_packages=(mpich libmpich-dev)
browser_packages=(chromium)

fail() {
  printf '%s\n' "$@" >&2
  exit 1
}

# Sets `privilege` to what runs a command as root: nothing or sudo. Ends with the command to run where there is neither.
require_root() {  # WHAT_FOR COMMAND
  privilege=()
  [ "$(id -u)" -eq 0 ] && return
  if command -v sudo >/dev/null; then
    privilege=(sudo)
    return
  fi
  fail "[install] $1 needs root, and there is no sudo. Run as root, then start again:" "  $2"
}

missing_packages() {  # PACKAGE...
  local package
  for package; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
  done
}

install_packages() {  # PACKAGE...
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    fail "[install] this machine has no apt-get: Trine's packages are named for Debian 12. Install what these stand for," \
      "then run scripts/build.sh and build/bin/train_llama:" "  $*"
  fi
  local missing
  mapfile -t missing < <(missing_packages "$@")
  [ ${#missing[@]} -eq 0 ] && return
  $check && fail "[install] missing: ${missing[*]}. Run scripts/install_packages.sh."
  local command="apt-get install -y --no-install-recommends ${missing[*]}"
  require_root "installing ${missing[*]}" "$command"
  echo "[install] ${missing[*]}"
  "${privilege[@]}" apt-get update -q || echo "[install] apt-get update failed; trying with the package lists at hand" >&2
  "${privilege[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" ||
    fail "[install] apt-get could not install: ${missing[*]}. Its message above says why. Install them, then start again."
}

# The package is unpacked, not installed: slim images drop all of /usr/share/doc, where its text lies.
# The places are those of data/default_text.h.
text_in_package=usr/share/doc/jargon-text/jargon.txt.gz

find_text() {
  local folder file
  for folder in "${TRINE_DATA_DIR:-}" "${HOME:+$HOME/.cache/trine}"; do
    [ -n "$folder" ] || continue
    for file in jargon.txt jargon.txt.gz "$text_in_package"; do
      [ -f "$folder/$file" ] && return 0
    done
  done
  [ -f "/$text_in_package" ]
}

# Leaves the package in the current folder.
download_text() {
  apt-get download -q -o APT::Sandbox::User=root jargon-text && return
  # Most often there are no package lists yet, as in a new container.
  local update=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || return 1
    update=(sudo)
  fi
  "${update[@]}" apt-get update -q && apt-get download -q -o APT::Sandbox::User=root jargon-text
}

install_text() {
  find_text && return
  $check && fail "[install] missing: the default text. Run scripts/install_packages.sh text."
  local folder=${TRINE_DATA_DIR:-${HOME:+$HOME/.cache/trine}}
  [ -n "$folder" ] || fail "[install] no place for the default text. Set TRINE_DATA_DIR to a folder."
  local instead="Give your own text instead: build/bin/prepare_data FILE.txt --out my, then train_llama --data my-train."
  if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    fail "[install] the default text is Debian's package jargon-text, and this machine has no apt-get and dpkg-deb." \
      "Put jargon.txt into $folder. $instead"
  fi
  local scratch
  scratch=$(mktemp -d)
  # shellcheck disable=SC2064  # the folder of now
  trap "rm -rf '$scratch'" EXIT
  if ! (cd "$scratch" && download_text) >"$scratch/log" 2>&1; then
    cat "$scratch/log" >&2
    fail "[install] the default text, Debian's package jargon-text, could not be downloaded (see above)." \
      "Unpack the package with dpkg-deb -x into $folder. $instead"
  fi
  mkdir -p "$folder"
  dpkg-deb -x "$scratch"/jargon-text_*.deb "$folder"
  find_text || fail "[install] jargon-text was unpacked into $folder, but has no $text_in_package. $instead"
  echo "[install] the default text is in $folder"
}

check=false
sets=()
for argument; do
  case $argument in
    --check) check=true ;;
    build | test | text | bench | clang | mpich | browser) sets+=("$argument") ;;
    *) fail "[install] $argument is none of: --check build test text bench clang mpich browser" ;;
  esac
done
[ ${#sets[@]} -gt 0 ] || sets=(build test text)

packages=()
text=false
for set in "${sets[@]}"; do
  case $set in
    build) packages+=("${build_packages[@]}") ;;
    test) packages+=("${test_packages[@]}") ;;
    bench) packages+=("${bench_packages[@]}") ;;
    clang) packages+=("${clang_packages[@]}") ;;
    mpich) packages+=("${mpich_packages[@]}") ;;
    browser) packages+=("${browser_packages[@]}") ;;
    text) text=true ;;
  esac
done
if [ ${#packages[@]} -gt 0 ]; then install_packages "${packages[@]}"; fi
if $text; then install_text; fi
