#!/bin/bash
# One step of gpu_check.sh, which sets the environment: gpu_steps.sh STEP. Its last line is the step's result; lines
# row|WHAT|RESULT are more of them. In a dry run each step does what needs no GPU.
set -uo pipefail
shopt -s extglob
bin=$TRINE_GPU_BIN work=$TRINE_GPU_WORK found=$TRINE_GPU_FOUND dry=$TRINE_GPU_DRY

fail() {
  echo "$*"
  exit 1
}

# Every library comes from the bundle, from Python's packages, or is the host's C and C++ runtime.
check_libraries() {
  local program where
  for program in "$TRINE_GPU_PROGRAMS"/* "$TRINE_GPU_ROOT"/usr/bin/orterun; do
    [ -x "$program" ] || continue
    LD_LIBRARY_PATH=$TRINE_GPU_LIBRARY_PATH ldd "$program" >"$work/ldd" || fail "ldd $program failed"
    ! grep 'not found' "$work/ldd" || fail "${program##*/} misses the libraries above"
    $dry || continue
    while read -r where; do
      case $where in
        "$TRINE_GPU_ROOT"/* | "$TRINE_GPU_SITE"/*) ;;
        */lib@(c|m|dl|rt|pthread|resolv|util|gcc_s|stdc++|gomp|crypt).so*) ;;
        *) fail "${program##*/} takes $where from this host: the bundle lacks it" ;;
      esac
    done < <(awk '$2 == "=>" { print $3 }' "$work/ldd")
  done
}

versions() {
  check_libraries
  $dry || nvidia-smi
  nvcc --version 2>/dev/null | tail -1
  python3 -c 'import torch; print("PyTorch", torch.__version__)' 2>/dev/null
  if [ -x "$bin/mpirun" ]; then "$bin/mpirun" --version | head -1 || fail "mpirun does not start"; fi
  "$bin/train_llama" --version || fail "train_llama does not start"
}

# The repository's own words. What is trained on must be there on any machine.
text() {
  [ ! -e "$work/text-train.idx" ] || return 0
  cat README.md CONTRIBUTING.md docs/*.md >"$work/text.txt"
  "$bin/prepare_data" "$work/text.txt" --out "$work/text" >"$work/prepare" 2>&1 || fail "prepare_data: $(tail -1 "$work/prepare")"
}
training=(--model tiny --lr 3e-4 --warmup 4 --log-interval 1 --valid-batches 0)
train() {  # NAME FLAG...: nothing if it was there already
  local name=$1
  shift
  [ ! -e "$work/$name/metrics.jsonl" ] || return 0
  text
  "$bin/train_llama" "${training[@]}" --data "$work/text-train" --out "$work/$name" "$@" || fail "train_llama $* failed"
  cp "$work/$name/metrics.jsonl" "$found/$name.jsonl"
}
near() {  # NAME NAME TOLERANCE
  python3 scripts/gpu_table.py compare "$work/$1/metrics.jsonl" "$work/$2/metrics.jsonl" "$3"
}
plan() {  # FLAG...: that the flags of a run are right
  "$bin/train_llama" "${training[@]}" --dry-run "$@" >"$work/plan" || fail "train_llama --dry-run $* failed"
  echo "planned: $*"
}
cpu_and_gpu() {  # DTYPE TOLERANCE
  if $dry; then plan --steps 5 --dtype "$1" --device cuda; return; fi
  train "cpu-$1" --steps 5 --dtype "$1"
  train "gpu-$1" --steps 5 --dtype "$1" --device cuda
  near "cpu-$1" "gpu-$1" "$2"
}

probe() {  # PART
  local flags=()
  ! $dry || flags=(--dry-run)
  "$bin/gpu_probe" "${flags[@]}" "$1" | tee "$work/probe"
  local code=${PIPESTATUS[0]} strangers
  if $dry && strangers=$(grep ' is /' "$work/probe" | grep -v " is $TRINE_GPU_SITE/"); then
    fail "not of the Python packages: $strangers"
  fi
  [ "$code" -eq 0 ] || fail "a question had no answer"
  echo "$(grep -c '^row|' "$work/probe") answers"
}

tests() {  # PROGRAM FILTER [COMMAND...]: a skipped test has not passed
  local program=$1 filter=$2
  shift 2
  if $dry; then
    local count
    count=$("$bin/$program" --gtest_list_tests --gtest_filter="$filter" | grep -c '^  ')
    [ "$count" -gt 0 ] || fail "no test of $program is $filter"
    echo "$count tests"
    return
  fi
  LD_LIBRARY_PATH=$TRINE_GPU_LIBRARY_PATH${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} \
    "$@" "$TRINE_GPU_PROGRAMS/$program" --gtest_filter="$filter" --gtest_brief=1 2>&1 | tee "$work/tests"
  local code=${PIPESTATUS[0]}
  ! grep -q SKIPPED "$work/tests" || fail "tests were skipped"
  grep -E 'tests? ran' "$work/tests" | tail -1
  return "$code"
}
attention='*Cuda*ttention*'

bench() {
  if $dry; then
    python3 scripts/gpu_table.py plans --bin "$bin"
    return
  fi
  local free
  free=$(nvidia-smi --query-gpu=memory.free --format=csv,noheader,nounits | head -1)
  python3 scripts/gpu_table.py bench --bin "$bin" --out "$work" --free-mib "$free"
  local code=$?
  cp "$work/bench/metrics.jsonl" "$found/bench.jsonl"
  gzip -c "$work/bench/trace/rank-0000.json" >"$found/bench-trace.json.gz"
  [ "$code" -eq 0 ] || return $code
  echo "tables by op and scope are in the log"
}
torch() {
  if $dry; then
    python3 -c 'import ast, sys; [ast.parse(open(f).read()) for f in sys.argv[1:]]' bench/peers/torch_{cuda,llama}.py &&
      echo "PyTorch's half is Python"
    return
  fi
  python3 scripts/gpu_table.py torch --out "$work" && echo "beside it"
}

# Losses of two runs that differ in one thing alone, and how long their steps took.
faster() {  # NAME NAME WHAT
  python3 scripts/gpu_table.py faster "$work/$1/metrics.jsonl" "$work/$2/metrics.jsonl" "$3"
}
graphs() {
  local flags=(--steps 40 --dtype bf16 --device cuda --deterministic on --micro-batch 1 --global-batch 8)
  if $dry; then plan "${flags[@]}" --cuda-graphs on; return; fi
  train graphs-off "${flags[@]}" --cuda-graphs off
  train graphs-on "${flags[@]}" --cuda-graphs on
  faster graphs-off graphs-on "tiny, 1 sequence at a time: CUDA graphs off, on"
  near graphs-off graphs-on 0
}
# Without cuDNN, products are all that --deterministic changes.
trials() {
  local flags=(--model small --layers 4 --seq 512 --micro-batch 4 --global-batch 8 --steps 15 --dtype bf16 --device cuda
    --attention plain --cuda-graphs off)
  if $dry; then plan "${flags[@]}"; return; fi
  export XDG_CACHE_HOME=$work/cache
  local run
  for run in timed known; do
    (train "$run" "${flags[@]}") >"$work/$run.log" 2>&1 || fail "$(cat "$work/$run.log")"
    grep 'products timed' "$work/$run.log" || fail "no product was timed"
  done
  grep -q ' 0 products timed' "$work/known.log" || fail "the second run knows not what the first has found"
  near timed known 0 || fail "the same choices give other losses"
  train proposed "${flags[@]}" --deterministic on
  faster proposed timed "4 layers of small: products as cuBLASLt proposes, as timed"
  near proposed timed 2e-3
}

four_ranks=(--steps 20 --dtype f32 --device cuda --tp 2 --pp 2)
four() {  # NAME COMMAND... : of the program, without its flags
  local name=$1
  shift
  train one --steps 20 --dtype f32 --device cuda
  text
  "$@" "${training[@]}" "${four_ranks[@]}" --data "$work/text-train" --out "$work/$name" || fail "the four ranks failed"
  cp "$work/$name/metrics.jsonl" "$found/$name.jsonl"
  near one "$name" 1e-4
}
ranks_threads() {
  if $dry; then plan "${four_ranks[@]}" --ranks 4; return; fi
  four four-threads "$bin/train_llama" --local-ranks 4
}
ranks_mpi() {
  [ -x "$bin/mpirun" ] || fail "there is no mpirun"
  if $dry; then  # that it starts ranks: on the CPU
    text
    "$bin/mpirun" -np 2 "$bin/train_llama" "${training[@]}" --warmup 0 --steps 1 --tp 2 --threads 1 --seq 16 \
      --global-batch 4 --data "$work/text-train" --out "$work/two" || fail "mpirun starts no ranks"
    echo "two ranks under mpirun, on the CPU"
    return
  fi
  four four-mpi "$bin/mpirun" -np 4 "$bin/train_llama"
}

resume() {
  local flags=(--steps 10 --dtype bf16 --device cuda --deterministic on)
  if $dry; then plan "${flags[@]}" --save-interval 5; return; fi
  train first "${flags[@]}"
  train second "${flags[@]}" --save-interval 5
  near first second 0 || fail "a second run has other losses"
  rm -rf "$work/second/checkpoints/step-000010"
  "$bin/train_llama" "${training[@]}" --data "$work/text-train" "${flags[@]}" --out "$work/second" --resume latest ||
    fail "it does not resume"
  near first second 0 || fail "the resumed run has other losses"
  "$bin/generate_llama" --model "$work/second" --device cuda --prompt "The plan" --max-tokens 8 --greedy
}

# Products and cuDNN's attention are not ours.
sanitize() {  # TOOL
  local filter="*Cuda*:-*ttention*:*inear*" only=()
  if $dry || ! command -v compute-sanitizer >/dev/null; then
    tests test_kernels "$filter"
    $dry || fail "compute-sanitizer is not installed"
    return
  fi
  if compute-sanitizer --help | grep -q -e --kernel-regex; then only=(--kernel-regex kns=trine); fi
  tests test_kernels "$filter" compute-sanitizer --tool "$1" "${only[@]}" --error-exitcode 9
}

case $1 in
  versions) versions ;;
  tiny-f32) cpu_and_gpu f32 1e-4 ;;
  tiny-bf16) cpu_and_gpu bf16 2e-3 ;;
  probe-*) probe "${1#probe-}" ;;
  kernels) tests test_kernels "*Cuda*:-$attention" ;;
  kernels-attention) tests test_kernels "$attention" ;;
  training) tests test_runtime '*Cuda*' ;;
  bench) bench ;;
  torch) torch ;;
  graphs) graphs ;;
  trials) trials ;;
  ranks-threads) ranks_threads ;;
  ranks-mpi) ranks_mpi ;;
  resume) resume ;;
  memcheck | racecheck) sanitize "$1" ;;
  *) fail "$1 is no step" ;;
esac
