#!/bin/bash
# What must hold of every change: format, layers, warnings, symbols, all tests. Installs what is missing.
# Usage: scripts/test.sh [--sanitizers] [--full]
#   --sanitizers  the libraries' tests again under AddressSanitizer and UndefinedBehaviorSanitizer, as CI runs them
#   --full        with sanitizers, and also the tests labelled "long", the programs under AddressSanitizer, ranks as
#                 threads under ThreadSanitizer, the benchmarks (built only), the kernels as clang 14 compiles them,
#                 and scripts/test_mpich.sh
set -euo pipefail
cd "$(dirname "$0")/.."

choose=(-LE long)
sanitize=false
full=false
for argument; do
  case $argument in
    --full)
      choose=()
      full=true
      sanitize=true
      ;;
    --sanitizers) sanitize=true ;;
    *)
      echo "[test] $argument is none of: --sanitizers --full" >&2
      exit 2
      ;;
  esac
done

# The tests run side by side, so each gets one thread; those that are about threads ask for theirs, and let others have
# the core while they wait (up to ten times faster). nproc heeds OMP_NUM_THREADS, so it is asked before.
cores=$(nproc)
# Tests start mpirun, in containers often as root, and on machines with fewer cores than ranks.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1

run_tests() {  # FOLDER [OPTION OF CTEST...]
  OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive ctest --test-dir "$@" --output-on-failure --no-tests=error -j "$cores" ${choose[0]+"${choose[@]}"}
}

scripts/install_packages.sh build test text
scripts/format.sh --check
scripts/check_layers.py
# Compiles cuDNN's attention too, where there is a compiler for it.
if command -v nvcc >/dev/null; then scripts/cudnn_frontend.sh || true; fi
scripts/build.sh
scripts/check_isa_symbols.sh build
run_tests build
if $sanitize; then
  targets=()
  if ! $full; then
    for folder in tests/*/; do
      folder=$(basename "$folder")
      if compgen -G "tests/$folder/*_test.cpp" >/dev/null && [[ $folder != programs && $folder != cuda_on_cpu ]]; then
        targets+=("test_$folder")
      fi
    done
    targets+=(comm_mpi_program)
  fi
  scripts/build.sh --sanitize ${targets[0]+"${targets[@]}"}
  export ASAN_OPTIONS=strict_string_checks=1:detect_stack_use_after_return=1
  # Suppressions of leaks need whole stacks of Open MPI's frames: ten times slower, for the programs alone.
  if $full; then ASAN_OPTIONS+=:fast_unwind_on_malloc=0; fi
  export UBSAN_OPTIONS=print_stacktrace=1
  export LSAN_OPTIONS=suppressions=$PWD/scripts/leak_suppressions.txt:print_suppressions=0
  run_tests build-asan -E _NOT_BUILT
fi
if $full; then
  scripts/build.sh --sanitize-threads train_llama prepare_data test_comm test_programs
  OMP_NUM_THREADS=1 TSAN_OPTIONS=suppressions=$PWD/tests/tsan.supp ctest --test-dir build-tsan --output-on-failure --no-tests=error \
    -R '^(Sizes/)?(Local|LaneThread|Clock)|DamagedData.OneLocalRank'
  scripts/install_packages.sh bench clang
  scripts/build.sh --bench
  scripts/build.sh --clang
  OMP_NUM_THREADS=1 ctest --test-dir build-clang --output-on-failure --no-tests=error -j "$cores" -R 'Parity|Simd|Local'
  scripts/test_mpich.sh
fi
