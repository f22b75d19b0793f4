#!/bin/bash
# Brings the headers of NVIDIA's cuDNN frontend (PyPI package nvidia-cudnn-frontend) to offline/cudnn-frontend/, where the
# build looks for them (kernels/CMakeLists.txt). With them attention on GPUs is cuDNN's. Nothing happens where they are,
# if of this version.
# Usage: scripts/cudnn_frontend.sh [FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
version=1.32.0  # what kernels/cuda/sdpa.cpp is written against: another one is a change to be tested
out=${1:-offline/cudnn-frontend}
here=$(sed -nE 's/^#define CUDNN_FRONTEND_(MAJOR|MINOR|PATCH)_VERSION ([0-9]+)$/\2/p' "$out/include/cudnn_frontend_version.h" 2>/dev/null |
  paste -sd.) || true  # there are none
[ "$here" != "$version" ] || exit 0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
if ! python3 -m pip download -q --no-deps -d "$scratch" "nvidia-cudnn-frontend==$version" >"$scratch/log" 2>&1; then
  tail -3 "$scratch/log" >&2
  echo "[cudnn] nvidia-cudnn-frontend $version cannot be had: attention on GPUs will run on plain kernels" >&2
  exit 1
fi
python3 -m zipfile -e "$scratch"/nvidia_cudnn_frontend-*.whl "$scratch/all"
mkdir -p "$out"
rm -rf "$out/include"
mv "$scratch/all/include" "$out/include"
