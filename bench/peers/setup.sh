#!/usr/bin/env bash
# Makes the virtual environment with PyTorch that only the benchmarks against it need.
#   bench/peers/setup.sh [FOLDER]        default: build/torch-venv
# About 5.5 GB on disk, a few minutes: PyTorch's wheel links CUDA's libraries even where it computes on the CPU.
set -euo pipefail
venv=${1:-$(dirname "$0")/../../build/torch-venv}

fail() { echo "[setup] $*" >&2; exit 1; }
python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
  fail "python3 is older than 3.10. Install Python 3.10 or newer."
python3 -c 'import ensurepip' 2>/dev/null ||
  fail "python3 cannot make virtual environments. Run: apt-get install python3-venv"
python3 - <<'PY' || fail "torch.compile needs Python.h and g++. Run: apt-get install g++ python3-dev"
import os, shutil, sys, sysconfig
sys.exit(not (shutil.which("g++") and os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h"))))
PY

[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet torch==2.15.0 numpy==2.4.6 safetensors==0.8.0
"$venv/bin/python" -c 'import torch; print("PyTorch", torch.__version__, torch.backends.cpu.get_cpu_capability())'
