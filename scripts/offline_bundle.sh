#!/bin/bash
# Gathers what a GPU host without network lacks, so that scripts/gpu_check.sh builds and runs there: Debian packages
# (libraries, headers, Open MPI's programs) that need no root, because they are unpacked beside the build. The host
# needs a C++20 compiler, CMake, ninja, dpkg-deb and, to build for its GPU, the CUDA toolkit; or no compiler at all with
# --with-build, which adds the stripped programs and tests of a build folder.
# Usage: scripts/offline_bundle.sh [--with-build FOLDER] [OUT]      (OUT: offline)
set -euo pipefail
cd "$(dirname "$0")/.."

limit_mib=64
# What is built against; compilers and the C library stay the host's.
packages=(libfmt-dev nlohmann-json3-dev libcli11-dev libdnnl-dev libopenmpi-dev openmpi-bin libsentencepiece-dev
  libxxhash-dev libpcre2-dev zlib1g-dev libhdf5-dev libgtest-dev libgmock-dev)
# Never gathered, nor what only they need: every host has these or must not get Debian's. Open MPI's plugins for
# networks that one host does not use are left out as well.
host_has='^(libc6.*|libc-.*|linux-libc-dev|libcrypt.*|gcc.*|g\+\+.*|cpp.*|libgcc.*|libstdc\+\+.*|libgomp.*|libatomic.*|binutils.*|perl.*|python.*|libpython.*|dpkg.*|debconf.*|libdebconf.*|gfortran.*|libgfortran.*|libquadmath.*|libjs-.*|libucx.*|libfabric.*|libpsm.*|ocl-icd.*|opencl.*|libcurl.*dev|libssl.*|openssl.*|openssh.*|adduser|passwd|media-types|mime-support|libibmad.*|libibumad.*|tar|sed|grep|coreutils|make.*|autotools.*|libtool.*|cmake.*|googletest-tools|ca-certificates|krb5.*|libaec-dev|libjpeg.*-dev)$'

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

mapfile -t all < <(closure "${packages[@]}")
mkdir -p "$out/debs"
rm -f "$out"/debs/*.deb
(cd "$out/debs" && apt-get download -q -o APT::Sandbox::User=root "${all[@]}" >/dev/null)
scripts/cudnn_frontend.sh "$out/cudnn-frontend" || true  # it says what follows from that
if [ -n "$build" ]; then
  rm -rf "$out/build"
  mkdir -p "$out/build/bin"
  for program in train_llama generate_llama prepare_data test_kernels test_runtime gpu_bench; do
    [ -x "$build/bin/$program" ] || continue
    strip -o "$out/build/bin/$program" "$build/bin/$program"
  done
fi

size_mib=$((($(du -sb "$out" | cut -f1) + 1048575) / 1048576))
echo "[bundle] $out: ${#all[@]} packages$([ -n "$build" ] && echo ", build"), $size_mib MiB"
if [ "$size_mib" -gt $limit_mib ]; then
  echo "[bundle] that is more than $limit_mib MiB: these are the largest" >&2
  du -ab "$out" | sort -rn | sed -n 2,12p >&2
  exit 1
fi
echo "[bundle] copy it beside the sources as offline/, then run scripts/gpu_check.sh there"
