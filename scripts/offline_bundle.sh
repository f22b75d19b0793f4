#!/bin/bash
# Gathers what a GPU host without network lacks, so that scripts/gpu_check.sh runs there: Debian packages that need no
# root, because they are unpacked beside the build. With --with-build: the stripped programs and GPU tests of a build
# folder and the packages they run with; the host needs dpkg-deb and no compiler. Without: what a build needs (headers,
# pkg-config); the host needs a C++20 compiler, CMake, ninja, dpkg-deb and the CUDA toolkit.
# Usage: scripts/offline_bundle.sh [--with-build FOLDER] [OUT]      (OUT: offline)
set -euo pipefail
cd "$(dirname "$0")/.."

limit_mib=60
# What is built against, and what a carried build runs with; compilers and the C library stay the host's. Debian's oneDNN
# needs libOpenCL when a program starts.
build_packages=(pkg-config libfmt-dev nlohmann-json3-dev libcli11-dev libdnnl-dev libopenmpi-dev openmpi-bin
  libsentencepiece-dev libxxhash-dev libpcre2-dev zlib1g-dev libhdf5-dev libgtest-dev libgmock-dev ocl-icd-libopencl1)
run_packages=(libfmt9 libdnnl2 libopenmpi3 openmpi-bin libsentencepiece0 libxxhash0 libpcre2-8-0 zlib1g libhdf5-103-1
  ocl-icd-libopencl1)
programs=(train_llama generate_llama prepare_data test_kernels test_runtime gpu_probe)
# Never gathered, nor what only they need: every host has these or must not get Debian's. Open MPI's plugins for
# networks that one host does not use are left out as well.
host_has='^(libc6.*|libc-.*|linux-libc-dev|libcrypt.*|gcc.*|g\+\+.*|cpp.*|libgcc.*|libstdc\+\+.*|libgomp.*|libatomic.*|binutils.*|perl.*|python.*|libpython.*|dpkg.*|debconf.*|libdebconf.*|gfortran.*|libgfortran.*|libquadmath.*|libjs-.*|libucx.*|libfabric.*|libpsm.*|libhwloc-plugins|ocl-icd-.*dev|opencl.*|libcurl.*dev|libssl-dev|openssl.*|openssh.*|adduser|passwd|media-types|mime-support|libibmad.*|libibumad.*|tar|sed|grep|coreutils|make.*|autotools.*|libtool.*|cmake.*|googletest-tools|ca-certificates|krb5.*|libaec-dev|libjpeg.*-dev)$'

build=
out=offline
while [ $# -gt 0 ]; do
  case $1 in
    --with-build)
      [ $# -ge 2 ] || { echo "[bundle] --with-build needs a folder" >&2; exit 2; }
      build=$2
      shift
      ;;
    -*)
      echo "[bundle] $1 is none of: --with-build" >&2
      exit 2
      ;;
    *) out=$1 ;;
  esac
  shift
done
for program in apt-get apt-cache dpkg-deb; do
  command -v $program >/dev/null || { echo "[bundle] $program is missing: run this on a Debian host" >&2; exit 1; }
done

# Packages and all that they depend on, but what the host has.
closure() {
  local wave=("$@") name
  declare -A seen
  while [ ${#wave[@]} -gt 0 ]; do
    local new=()
    for name in "${wave[@]}"; do
      if [ -n "${seen[$name]:-}" ] || [[ $name =~ $host_has ]]; then continue; fi
      seen[$name]=1
      new+=("$name")
    done
    [ ${#new[@]} -gt 0 ] || break
    # The first of several that would do is taken; virtual packages, in <>, have none.
    mapfile -t wave < <(apt-cache depends --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
      --no-enhances "${new[@]}" |
      awk '/^ +\|?(Depends|PreDepends):/ { if (!either && $2 !~ /[<>]/) print $2; either = /\|/ }')
  done
  printf '%s\n' "${!seen[@]}" | sort
}

packages=("${build_packages[@]}")
[ -z "$build" ] || packages=("${run_packages[@]}")
mapfile -t all < <(closure "${packages[@]}")
mkdir -p "$out/debs"
rm -f "$out"/debs/*.deb
(cd "$out/debs" && apt-get download -q -o APT::Sandbox::User=root "${all[@]}" >/dev/null)
rm -rf "$out/build.deb" "$out/cudnn-frontend"
if [ -n "$build" ]; then
  # A package like the others: programs share most of what they have, and xz finds it.
  root=$(mktemp -d)
  trap 'rm -rf "$root"' EXIT
  mkdir -p "$root/DEBIAN" "$root/trine/bin"
  printf 'Package: trine-gpu-check\nVersion: 1\nArchitecture: amd64\nMaintainer: Trine\nDescription: programs of Trine\n' \
    >"$root/DEBIAN/control"
  for program in "${programs[@]}"; do
    [ -x "$build/bin/$program" ] || { echo "[bundle] $build/bin/$program is missing: build it first" >&2; exit 1; }
    strip -o "$root/trine/bin/$program" "$build/bin/$program"
  done
  dpkg-deb --root-owner-group -Zxz -b "$root" "$out/build.deb" >/dev/null
else
  scripts/cudnn_frontend.sh "$out/cudnn-frontend" || true  # it says what follows from that
fi

git rev-parse --short=12 HEAD >"$out/commit" 2>/dev/null || true
size_mib=$((($(du -sb "$out" | cut -f1) + 1048575) / 1048576))
echo "[bundle] $out: ${#all[@]} packages$([ -n "$build" ] && echo ", build"), $size_mib MiB"
if [ "$size_mib" -gt $limit_mib ]; then
  echo "[bundle] that is more than $limit_mib MiB: these are the largest" >&2
  du -ab "$out" | sort -rn | sed -n 2,12p >&2
  exit 1
fi
echo "[bundle] copy it beside the sources as offline/, then run scripts/gpu_check.sh there"
