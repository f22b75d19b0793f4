#!/bin/bash
# From a fresh Debian 12 to a trained model: installs what is missing, builds the programs, trains the preset `tiny` on
# 1.7 MB of English text with four ranks (tensor parallel 2 x pipeline parallel 2), shows where the time went, lists the
# run's checkpoints, lets the model write, and says where to look at the rest.
# Usage: [RANKS=4] scripts/quickstart.sh [FLAG...]     flags go to train_llama; see build/bin/train_llama --help
set -euo pipefail
cd "$(dirname "$0")/.."

own_data=false
own_config=false
out=
previous=
for argument; do
  case $argument in
    --data | --data=*) own_data=true ;;
    --config | --config=*) own_config=true ;;
    --out=*) out=${argument#--out=} ;;
  esac
  [ "$previous" = --out ] && out=$argument
  previous=$argument
done

sets=(build)
$own_data || sets+=(text)
scripts/install_packages.sh "${sets[@]}"
scripts/build.sh --programs

ranks=${RANKS:-4}
defaults=(--model tiny --steps 200 --save-interval 100 --trace 10:12)
[ "$ranks" = 4 ] && defaults+=(--tp 2 --pp 2)
if $own_config; then
  defaults=()
  ranks=${RANKS:-1}
fi
if [ -z "$out" ]; then
  out=runs/quickstart-$(date +%Y%m%d-%H%M%S)
  defaults+=(--out "$out")
fi
launch=()
if [ "$ranks" != 1 ]; then
  launch=(mpirun --oversubscribe -np "$ranks")  # more ranks than cores are welcome
  if [ "$(id -u)" = 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
fi
echo
echo "${launch[*]} build/bin/train_llama ${defaults[*]} $*"
code=0
"${launch[@]}" build/bin/train_llama "${defaults[@]}" "$@" || code=$?
# 8: stopped on request; what the run folder holds is good.
if [ $code -ne 0 ] && [ $code -ne 8 ]; then exit $code; fi

# Where the folder existed, the run is in the next free one: $out-2, $out-3 ...
for folder in "$out"-[0-9]*; do
  if [ -f "$folder/config.json" ] && [ "$folder/config.json" -nt "$out/config.json" ]; then out=$folder; fi
done
[ -f "$out/metrics.jsonl" ] || exit $code  # nothing was trained, as with --print-graph

# Where the time of the traced steps went: all of it in a file, the answer here. Shorter runs end before the traced
# steps.
if [ -d "$out/trace" ] && build/bin/trace_report "$out" --html "$out/report.html" > "$out/report.txt"; then
  echo
  echo "\$ build/bin/trace_report $out"
  sed '/^$/q' "$out/report.txt"
fi

show() {
  echo
  echo "\$ $*"
  "$@"
}
if [ -d "$out/checkpoints" ]; then
  show build/bin/checkpoint_tool ls "$out"
  # Other data may have no tokenizer that the run knows of.
  if ! $own_data && ! $own_config; then
    show build/bin/generate_llama --model "$out" --prompt Hackers --max-tokens 120 --temperature 0.7
  fi
fi
cat <<END

The run is in $out:
  metrics.jsonl          one line per step: loss, tokens per second, and where the time went
  tb/                    the same for TensorBoard: tensorboard --logdir runs
  report.txt             what made the traced steps long: which rank, link and operation, and what to change; by
                         build/bin/trace_report $out
  report.html            the same as a page, with a timeline to look into: open it in a browser
  trace/rank-*.json.gz   every operation of a few steps, with a row for each lane of a rank (compute, tp, pp, dp); open
                         one in https://ui.perfetto.dev (nothing is uploaded)
  config.json            all that was chosen; train again with --config $out/config.json
  log.txt                what the terminal showed
  checkpoints/           what it learned; go on with --resume --steps 400 --out $out
What runs node by node, where every byte lives, who works when, and what a layout costs before it runs:
  build/bin/train_llama --tp 2 --pp 2 --local-ranks 4 --print-graph      (or --print-memory, --print-schedule)
  build/bin/train_llama --model llama2-70b --tp 8 --pp 16 --ranks 2048 --dry-run
Which layout trains fastest on a cluster, and what would change it:
  build/bin/plan_llama --model llama2-70b --cluster rtx4090 --devices 2048 --global-batch 1024 --seq 4096 --tokens 2e12
Why consumer cards stall, in three commands on these cores: docs/lesson.md
How it works: docs/walkthrough.md, docs/parallelism.md
END
exit $code
