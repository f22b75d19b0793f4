#!/bin/bash
# All that can be learnt of Trine on this machine's GPU in eight minutes, alone and on a bare machine: the steps below,
# most telling first (what each does: gpu_steps.sh). Each has its own timeout, and after each all results and logs are in
# OUT/gpu_check.tar.gz (and, unpacked, in OUT/gpu_check/), so that nothing learnt is lost if the machine goes away.
# Usage: scripts/gpu_check.sh [--out DIR] [--only REGEX] [--budget SECONDS] [--offline DIR] [--no-results] [--dry-run]
#   --out DIR       where the archive goes (default: the environment's OUT, else build-gpu/check)
#   --only REGEX    the steps whose name matches
#   --budget N      seconds for all (default: 480); what does not fit is not run
#   --offline DIR   what scripts/offline_bundle.sh has gathered (default: offline). With programs in it, nothing is built
#   --no-results    adds no rows to docs/gpu-results.md
#   --dry-run       all but the GPU: finds, unpacks, links, plans; on a stand-in for a bare machine
# exit 0: everything passed; 1: something did not; 2: no GPU, or nothing to run with.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2
SECONDS=0

out=${OUT:-build-gpu/check} only=. budget=480 offline=offline results=docs/gpu-results.md dry=false
while [ $# -gt 0 ]; do
  case $1 in
    --out | --only | --budget | --offline)
      [ $# -ge 2 ] || { echo "[gpu] $1 needs a value" >&2; exit 2; }
      declare "${1#--}=$2"
      shift
      ;;
    --no-results) results= ;;
    --dry-run) dry=true results= ;;
    *)
      echo "[gpu] $1 is none of: --out --only --budget --offline --no-results --dry-run" >&2
      exit 2
      ;;
  esac
  shift
done

# name, seconds, what the table calls it
steps=(
  "versions 15 versions and libraries"
  "tiny-f32 20 5 steps of tiny, f32, CPU and GPU (1e-4)"
  "tiny-bf16 15 5 steps of tiny, bf16, CPU and GPU (2e-3)"
  "probe-copies 10 copies"
  "probe-nccl 20 NCCL with one rank"
  "probe-attention 25 fused attention"
  "probe-products 25 products"
  "kernels 30 kernel tests but attention"
  "kernels-attention 20 kernel tests of attention"
  "training 45 training tests"
  "bench 55 steps of a model that fits"
  "torch 65 the same in PyTorch"
  "graphs 20 short kernels with and without CUDA graphs (the same bits)"
  "trials 15 products as timed at the start, as known, and as cuBLASLt proposes (2e-3)"
  "ranks-threads 15 tp 2 x pp 2 on one GPU as threads, one rank (f32, 1e-4)"
  "ranks-mpi 20 tp 2 x pp 2 on one GPU under mpirun, one rank (f32, 1e-4)"
  "resume 20 a second run and a resumed one have the same bits; text from the checkpoint"
  "memcheck 25 compute-sanitizer memcheck, our kernels"
  "racecheck 20 compute-sanitizer racecheck, our kernels"
)

. scripts/gpu_host.sh
scratch=$(mktemp -d)
if $dry; then
  gpu="no GPU (dry run)"
  make_bare_host "$scratch/host" || { echo "[gpu] a dry run needs the CUDA toolkit with cuDNN and NCCL" >&2; exit 2; }
  export PATH=$scratch/host/bin PYTHONPATH=$scratch/host/site TRINE_GPU_SITE=$scratch/host/site
elif ! gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -1) || [ -z "$gpu" ]; then
  echo "[gpu] no GPU: nvidia-smi finds none" >&2
  exit 2
fi

mkdir -p "$out" || exit 2
out=$(cd "$out" && pwd)
found=$out/gpu_check
rm -rf "$found"
mkdir -p "$found/log"
table=$found/table.md
pack() {
  tar -czf "$out/.gpu_check.new" -C "$out" gpu_check && mv "$out/.gpu_check.new" "$out/gpu_check.tar.gz"
}
trap 'pack; rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM HUP

commit=$(git rev-parse --short=12 HEAD 2>/dev/null || cat "$offline/commit" 2>/dev/null || echo unknown)
say() {  # WHAT RESULT
  echo "| $(date +%F) | $commit | $gpu | $1 | $2 |" | tee -a "$table"
}
give_up() {  # WHAT LOG
  say "$1" "FAILED: $(tail -1 "$2")"
  tail -30 "$2" >&2
  exit 2
}

root=$PWD/build-gpu-root
$dry && root=$scratch/root
if [ -d "$offline" ]; then
  unpack "$offline" "$root" >"$found/log/00-unpack.txt" 2>&1 || give_up "unpacking" "$found/log/00-unpack.txt"
fi
library_path=$(library_folders "$root" | paste -sd:)
programs=$root/trine/bin
if [ ! -d "$programs" ]; then
  if $dry; then
    echo "[gpu] $offline/build.deb is not there: scripts/offline_bundle.sh --with-build FOLDER" >&2
    exit 2
  elif ! command -v nvcc >/dev/null && [ ! -x /usr/local/cuda/bin/nvcc ]; then
    echo "[gpu] neither nvcc nor $offline/build.deb is here: nothing to run" >&2
    exit 2
  fi
  export -f build_here mpi_environment
  timeout -k 5 300 bash -c 'build_here "$@"' - "$root" "$library_path" >"$found/log/00-build.txt" 2>&1 ||
    give_up "building" "$found/log/00-build.txt"
  programs=$PWD/build-gpu/bin
fi
mpirun=$root/usr/bin/mpirun
[ -x "$mpirun" ] || mpirun=$(command -v mpirun)
wrap_programs "$scratch/bin" "$root" "$library_path" "$programs"/{train_llama,generate_llama,prepare_data} \
  "$programs"/{test_kernels,test_runtime,gpu_probe} ${mpirun:+"$mpirun"}

export TRINE_GPU_BIN=$scratch/bin TRINE_GPU_PROGRAMS=$programs TRINE_GPU_ROOT=$root TRINE_GPU_WORK=$scratch/work
export TRINE_GPU_FOUND=$found TRINE_GPU_LIBRARY_PATH=$library_path TRINE_GPU_DRY=$dry
export TRINE_TEST_DATA=${TRINE_TEST_DATA:-$PWD/tests/data}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_btl=self,vader OMPI_MCA_pml=ob1 OMPI_MCA_btl_vader_single_copy_mechanism=none
mkdir -p "$scratch/work"

patience=1
! $dry || patience=4  # a busy machine's dry run says nothing of time
failed=0
number=0
run_step() {  # NAME SECONDS WHAT
  local name=$1 limit=$2 what=$3 log left=$((patience * budget - SECONDS)) code
  number=$((number + 1))
  [[ $name =~ $only ]] || return
  log=$(printf '%s/log/%02d-%s.txt' "$found" "$number" "$name")
  if [ "$left" -lt 5 ]; then
    failed=1
    say "$what" "not run: the $budget s are over"
    return
  fi
  limit=$((patience * limit))
  timeout -k 5 $((limit < left ? limit : left)) bash scripts/gpu_steps.sh "$name" >"$log" 2>&1
  code=$?
  while IFS='|' read -r _ asked answer; do say "$asked" "$answer"; done < <(grep -a '^row|' "$log")
  case $code in
    0) say "$what" "passed: $(grep -av '^row|' "$log" | tail -1)" ;;
    124 | 137) say "$what" "TIMED OUT: $(tail -1 "$log")" ;;
    *) say "$what" "FAILED: $(tail -1 "$log")" ;;
  esac
  [ "$code" -eq 0 ] || { failed=1; tail -30 "$log" >&2; }
  pack
}

total=0
for step in "${steps[@]}"; do
  read -r name limit what <<<"$step"
  total=$((total + limit))
done
echo "[gpu] ${#steps[@]} steps of at most $total s, $budget s for all; results in $out/gpu_check.tar.gz"
for step in "${steps[@]}"; do
  read -r name limit what <<<"$step"
  run_step "$name" "$limit" "$what"
done
[ -z "$results" ] || [ ! -s "$table" ] || cat "$table" >>"$results"
exit $failed
