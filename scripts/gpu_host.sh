#!/bin/bash
# Sourced by gpu_check.sh: finds or unpacks what the programs need on a host that may have CUDA's libraries only as Python
# packages and none of Debian's.

# The folders nvidia/*/$1 of python3's packages (cu13, cudnn, nccl).
nvidia_folders() {  # include|lib
  local folder
  python3 -c 'import nvidia; print(*nvidia.__path__, sep="\n")' 2>/dev/null | while read -r folder; do
    find -L "$folder" -mindepth 2 -maxdepth 2 -type d -name "$1" | sort
  done
}

# Unpacks OFFLINE's packages to ROOT, unless these are there.
unpack() {  # OFFLINE ROOT
  local deb stamp
  stamp=$(cd "$1" && find . -name '*.deb' -printf '%p %s %T@\n' | sort | cksum)
  [ "$(cat "$2/done" 2>/dev/null)" != "$stamp" ] || return 0
  rm -rf "$2"
  mkdir -p "$2"
  for deb in "$1"/debs/*.deb "$1"/build.deb; do
    [ -e "$deb" ] || continue
    dpkg-deb -x "$deb" "$2" || return 1
  done
  for program in mpicc mpirun mpiexec; do  # Debian's alternatives
    [ -e "$2/usr/bin/$program.openmpi" ] && ln -sf $program.openmpi "$2/usr/bin/$program"
  done
  echo "$stamp" >"$2/done"
}

# The library folders of ROOT and of the Python packages, in the order of search.
library_folders() {  # ROOT
  local base=$1/usr/lib/x86_64-linux-gnu folder
  for folder in "$base" "$base/openmpi/lib" "$base/hdf5/serial" "$1/lib/x86_64-linux-gnu"; do
    [ -d "$folder" ] && echo "$folder"
  done
  nvidia_folders lib
}

# Open MPI and PMIx look for their own files where they were built for, unless told.
mpi_environment() {  # ROOT
  local base=$1/usr/lib/x86_64-linux-gnu
  [ -d "$base/openmpi" ] || return 0
  echo "OPAL_PREFIX=$1/usr OPAL_LIBDIR=$base OPAL_PKGLIBDIR=$base/openmpi/lib/openmpi3 MPI_HOME=$base/openmpi"
  echo "PMIX_INSTALL_PREFIX=$1/usr PMIX_LIBDIR=$base PMIX_PKGLIBDIR=$base/pmix2/lib/pmix"
}

# A folder of the programs that sets for each, and for nothing else on the host, where its libraries are.
wrap_programs() {  # FOLDER ROOT LIBRARY_PATH PROGRAM...
  local folder=$1 root=$2 path=$3 program
  shift 3
  mkdir -p "$folder"
  for program; do
    printf '#!/bin/sh\nexec env LD_LIBRARY_PATH="%s%s" %s "%s" "$@"\n' "$path" "${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" \
      "$(mpi_environment "$root" | tr '\n' ' ')" "$program" >"$folder/${program##*/}"
    chmod +x "$folder/${program##*/}"
  done
}

# Builds what the check runs into build-gpu/, with what ROOT has.
build_here() {  # ROOT LIBRARY_PATH
  local root=$1 libraries=$1/usr/lib/x86_64-linux-gnu
  if [ -d "$root/usr" ]; then
    export PATH=$root/usr/bin:$PATH CPATH=$root/usr/include LIBRARY_PATH=$2
    export CMAKE_PREFIX_PATH=$root/usr${CMAKE_PREFIX_PATH:+:$CMAKE_PREFIX_PATH}
    export PKG_CONFIG_PATH=$libraries/pkgconfig:$root/usr/share/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root
    local LD_LIBRARY_PATH=$2${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    export LD_LIBRARY_PATH
    # shellcheck disable=SC2046  # words
    export $(mpi_environment "$root")
  fi
  cmake -S . -B build-gpu -G Ninja -DTRINE_TESTS=ON &&
    cmake --build build-gpu --target train_llama generate_llama prepare_data test_kernels test_runtime gpu_probe
}

# A bare machine's stand-in, for a dry run: PATH without Debian's packages that the bundle brings, and Python packages of
# NVIDIA that are links into the installed toolkit. 1: there is no toolkit.
make_bare_host() {  # FOLDER
  local host=$1 cuda=${CUDA_HOME:-/usr/local/cuda} library package
  mkdir -p "$host/bin" "$host"/site/nvidia/{cu13,cudnn,nccl}/{include,lib}
  ln -s /usr/bin/* "$host/bin/" 2>/dev/null
  ln -sf "$(command -v python3)" "$host/bin/python3"
  (cd "$host/bin" && rm -f mpi* orte* ompi* opal* prte* pkg-config pkgconf cmake ninja h5* nvidia-smi)
  for library in "$cuda"/lib64/*.so* /usr/lib/x86_64-linux-gnu/libcudnn*.so* /usr/lib/x86_64-linux-gnu/libnccl*.so*; do
    case ${library##*/} in
      libcudnn*) package=cudnn ;;
      libnccl*) package=nccl ;;
      lib*) package=cu13 ;;
    esac
    [ -e "$library" ] && ln -sf "$library" "$host/site/nvidia/$package/lib/"
  done
  [ -e "$host/site/nvidia/cudnn/lib/libcudnn.so.9" ] && [ -e "$host/site/nvidia/nccl/lib/libnccl.so.2" ] || return 1
  ln -s "$cuda"/include/* "$host/site/nvidia/cu13/include/"
}
