#!/bin/bash
# From a fresh Debian 12 to a trained model: installs what is missing, builds train_llama, trains the preset `tiny`
# for a minute on 1.7 MB of English text, and says where to look at the result.
# Usage: scripts/quickstart.sh [FLAG...]     flags go to train_llama; see build/bin/train_llama --help
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
scripts/build.sh --programs train_llama

defaults=(--model tiny --steps 300 --trace 10:12)
$own_config && defaults=()
if [ -z "$out" ]; then
  out=runs/quickstart-$(date +%Y%m%d-%H%M%S)
  defaults+=(--out "$out")
fi
echo
echo "build/bin/train_llama ${defaults[*]} $*"
code=0
build/bin/train_llama "${defaults[@]}" "$@" || code=$?
# 8: stopped on request; what the run folder holds is good.
if [ $code -ne 0 ] && [ $code -ne 8 ]; then exit $code; fi

# Where the folder existed, the run is in the next free one: $out-2, $out-3 ...
for folder in "$out"-[0-9]*; do
  if [ -f "$folder/config.json" ] && [ "$folder/config.json" -nt "$out/config.json" ]; then out=$folder; fi
done
[ -f "$out/metrics.jsonl" ] || exit $code  # nothing was trained, as with --print-graph
cat <<END

The run is in $out:
  metrics.jsonl          one line per step: loss, tokens per second, and where the time went
  trace/rank-0000.json   every operation of a few steps; open it in https://ui.perfetto.dev (nothing is uploaded)
  config.json            all that was chosen; train again with --config $out/config.json
  log.txt                what the terminal showed
What runs, node by node, and where every byte lives:
  build/bin/train_llama --model tiny --print-graph
  build/bin/train_llama --model tiny --print-memory
How it works: docs/walkthrough.md
END
exit $code
