#!/bin/bash
# All that can be said of Trine on this machine's GPU: builds, runs every CUDA test, compares training with the CPU's and
# with several ranks on the one GPU, measures steps beside PyTorch, prints one table, and adds its rows to
# docs/gpu-results.md.
# Usage: scripts/gpu_check.sh [--tests] [--bench] [--no-results]       (neither --tests nor --bench: both)
# Without network it uses offline/ (scripts/offline_bundle.sh). exit 0: everything passed; 1: something did not;
# 2: no GPU, or nothing to build with.
# shellcheck disable=SC2317  # functions that pass() calls
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

tests=false
bench=false
results=docs/gpu-results.md
for argument; do
  case $argument in
    --tests) tests=true ;;
    --bench) bench=true ;;
    --no-results) results=/dev/null ;;
    *)
      echo "[gpu] $argument is none of: --tests --bench --no-results" >&2
      exit 2
      ;;
  esac
done
$tests || $bench || { tests=true; bench=true; }

if ! gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -1) || [ -z "$gpu" ]; then
  echo "[gpu] no GPU: nvidia-smi finds none" >&2
  exit 2
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# What the host lacks, unpacked beside the build.
if [ -d offline/debs ]; then
  root=$PWD/build-gpu-root
  if [ ! -e "$root/done" ]; then
    mkdir -p "$root"
    for deb in offline/debs/*.deb; do dpkg-deb -x "$deb" "$root" || exit 2; done
    for program in mpicc mpirun mpiexec; do ln -sf $program.openmpi "$root/usr/bin/$program"; done  # Debian's alternatives
    touch "$root/done"
  fi
  libraries=$root/usr/lib/x86_64-linux-gnu
  export PATH=$root/usr/bin:$PATH
  export CMAKE_PREFIX_PATH=$root/usr${CMAKE_PREFIX_PATH:+:$CMAKE_PREFIX_PATH}
  export PKG_CONFIG_PATH=$libraries/pkgconfig:$root/usr/share/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root
  export LIBRARY_PATH=$libraries:$libraries/openmpi/lib:$libraries/hdf5/serial
  export LD_LIBRARY_PATH=$LIBRARY_PATH:$root/lib/x86_64-linux-gnu${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  export CPATH=$root/usr/include
  export OPAL_PREFIX=$root/usr OPAL_LIBDIR=$libraries OPAL_PKGLIBDIR=$libraries/openmpi/lib/openmpi3 MPI_HOME=$libraries/openmpi
fi
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_btl=self,vader OMPI_MCA_pml=ob1 OMPI_MCA_btl_vader_single_copy_mechanism=none

if command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ]; then
  bin=build-gpu/bin
  { cmake -S . -B build-gpu -G Ninja -DTRINE_TESTS=ON &&
    cmake --build build-gpu --target train_llama generate_llama prepare_data test_kernels test_runtime; } \
    >"$scratch/build" 2>&1 || { tail -40 "$scratch/build" >&2; exit 2; }
elif [ -d offline/build/bin ]; then
  bin="offline/build/bin"
else
  echo "[gpu] neither nvcc nor offline/build is here: nothing to run" >&2
  exit 2
fi

failed=0
commit=$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
table=$scratch/table
say() {  # WHAT RESULT
  echo "| $(date +%F) | $commit | $gpu | $1 | $2 |" | tee -a "$table"
}
pass() {  # WHAT COMMAND...: passes if the command does; its last line is the figure
  local what=$1
  shift
  if "$@" >"$scratch/out" 2>&1; then
    say "$what" "passed: $(tail -1 "$scratch/out")"
  else
    failed=1
    say "$what" "FAILED: $(tail -1 "$scratch/out")"
    tail -30 "$scratch/out" >&2
  fi
}
gtest() {  # PROGRAM FILTER: a skipped test has not passed
  local program=$1
  shift
  "$@" "$bin/$program" --gtest_filter="$filter" --gtest_brief=1 >"$scratch/gtest" 2>&1
  local code=$?
  cat "$scratch/gtest"
  ! grep -q SKIPPED "$scratch/gtest" || { echo "tests were skipped"; return 1; }
  grep -E 'tests? ran' "$scratch/gtest" | tail -1
  return "$code"
}

if $tests; then
  filter='*Cuda*'
  for program in test_kernels test_runtime; do pass "$program" gtest $program; done
  if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck; do
      pass "compute-sanitizer $tool, test_kernels" gtest test_kernels compute-sanitizer --tool $tool --error-exitcode 9
    done
  else
    say "compute-sanitizer" "not installed"
  fi

  cat README.md CONTRIBUTING.md docs/*.md >"$scratch/text.txt"
  "$bin/prepare_data" "$scratch/text.txt" --out "$scratch/text" >/dev/null || exit 2
  train() {  # NAME FLAG...
    local name=$1
    shift
    "$bin/train_llama" --model tiny --steps 50 --lr 3e-4 --warmup 20 --quiet --data "$scratch/text-train" \
      --out "$scratch/$name" "$@" || { echo "train_llama $* failed"; return 1; }
  }
  near() {  # NAME NAME TOLERANCE
    python3 scripts/gpu_table.py compare "$scratch/$1/metrics.jsonl" "$scratch/$2/metrics.jsonl" "$3"
  }
  both() {  # A B TOLERANCE FLAGS_OF_A -- FLAGS_OF_B
    local a=$1 b=$2 tolerance=$3 flags=()
    shift 3
    while [ "$1" != -- ]; do flags+=("$1"); shift; done
    shift
    [ -e "$scratch/$a/metrics.jsonl" ] || train "$a" "${flags[@]}" || return 1
    train "$b" "$@" && near "$a" "$b" "$tolerance"
  }
  pass "50 steps of tiny, f32, CPU and GPU (1e-4)" both cpu-f32 gpu-f32 1e-4 --dtype f32 -- --dtype f32 --device cuda
  pass "50 steps of tiny, bf16, CPU and GPU (2e-3)" both cpu-bf16 gpu-bf16 2e-3 -- --device cuda
  pass "tp 2 x pp 2 on one GPU as threads, one rank (f32, 1e-4)" both gpu-f32 four-threads 1e-4 -- --dtype f32 --device cuda \
    --tp 2 --pp 2 --local-ranks 4
  if command -v mpirun >/dev/null; then
    mpi() { mpirun -np 4 "$bin/train_llama" --model tiny --steps 50 --lr 3e-4 --warmup 20 --quiet --dtype f32 --device cuda \
      --tp 2 --pp 2 --data "$scratch/text-train" --out "$scratch/four-mpi" && near gpu-f32 four-mpi 1e-4; }
    pass "tp 2 x pp 2 on one GPU under mpirun, one rank (f32, 1e-4)" mpi
  fi
  resume() {
    train saved --dtype bf16 --device cuda --save-interval 25 && near gpu-bf16 saved 0 &&
      "$bin/generate_llama" --model "$scratch/saved" --device cuda --prompt "The plan" --max-tokens 8 --greedy
  }
  pass "checkpoints and text from the GPU; a second run has the same bits" resume
fi

if $bench; then
  python3 scripts/gpu_table.py bench --bin "$bin" --scratch "$scratch" >"$scratch/bench" 2>"$scratch/bench-errors" || {
    failed=1
    tail -20 "$scratch/bench-errors" >&2
  }
  cat "$scratch/bench"
  while IFS='|' read -r what result; do [ -z "$what" ] || say "$what" "$result"; done < <(grep '^row|' "$scratch/bench" | cut -d'|' -f2-)
fi

if [ "$results" != /dev/null ] && [ -s "$table" ]; then cat "$table" >>"$results"; fi
exit $failed
