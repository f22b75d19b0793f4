#!/bin/bash
# Configures and builds. Programs are in build/bin/ afterwards.
# Usage: scripts/build.sh [--sanitize | --sanitize-threads | --mpich | --clang] [--bench] [--programs] [TARGET...]
#   --sanitize  AddressSanitizer and UndefinedBehaviorSanitizer, in build-asan/ instead of build/
#   --sanitize-threads  ThreadSanitizer and no OpenMP, in build-tsan/
#   --mpich     with MPICH instead of the machine's default MPI, in build-mpich/
#   --clang     with clang++-14, warnings as errors, in build-clang/
#   --bench     the benchmarks too
#   --programs  train_llama, generate_llama, prepare_data and checkpoint_tool; a new build folder is set up without
#               tests and benchmarks, which need more packages
#   TARGET      all by default
# JOBS=N compiles N files at once; by default as many as cores and free memory allow.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=build
options=(-DTRINE_TESTS=ON)
targets=()
for argument; do
  case $argument in
    --sanitize)
      folder=build-asan
      options+=(-DTRINE_SANITIZE=ON -DTRINE_CUDA=OFF)
      ;;
    --sanitize-threads)
      folder=build-tsan
      options+=(-DTRINE_SANITIZE=thread -DTRINE_CUDA=OFF)
      ;;
    --mpich)
      folder=build-mpich
      options+=(-DMPI_C_COMPILER=mpicc.mpich "-DMPIEXEC_EXECUTABLE=$(command -v mpiexec.mpich)" -DTRINE_CUDA=OFF)
      ;;
    --clang)
      folder=build-clang
      options+=(-DCMAKE_CXX_COMPILER=clang++-14 -DCMAKE_C_COMPILER=clang-14 -DTRINE_WERROR=ON -DTRINE_CUDA=OFF)
      ;;
    --bench) options+=(-DTRINE_BENCH=ON) ;;
    --programs)
      [ -f build/CMakeCache.txt ] && options=() || options=(-DTRINE_TESTS=OFF)
      targets+=(programs)
      ;;
    -*)
      echo "[build] $argument is none of: --sanitize --sanitize-threads --mpich --clang --bench --programs" >&2
      exit 2
      ;;
    *) targets+=("$argument") ;;
  esac
done

# A compiler of ours needs up to 2 GiB; where memory is scarce, fewer run at once.
jobs_for_this_machine() {
  local free_kib by_memory cores
  cores=$(env -u OMP_NUM_THREADS nproc)  # nproc heeds it
  free_kib=$(awk '/^MemAvailable:/ {print $2}' /proc/meminfo)
  local limit
  limit=$(cat /sys/fs/cgroup/memory.max 2>/dev/null || echo max)
  if [ "$limit" != max ] && [ $((limit / 1024)) -lt "$free_kib" ]; then free_kib=$((limit / 1024)); fi
  by_memory=$((free_kib / (2 * 1024 * 1024)))
  if [ "$by_memory" -lt 1 ]; then by_memory=1; fi
  echo $((cores < by_memory ? cores : by_memory))
}

if ! cmake -S . -B "$folder" -G Ninja -DCMAKE_BUILD_TYPE=Release "${options[@]}"; then
  echo "[build] cmake could not configure $folder. If it misses a package: scripts/install_packages.sh" >&2
  exit 1
fi
cmake --build "$folder" -j "${JOBS:-$(jobs_for_this_machine)}" ${targets[0]+--target "${targets[@]}"}
