#!/usr/bin/env python3
"""Looks at what nvcc makes of the kernels that move whole rows: in their variant for aligned rows every store to global
memory is of 16 bytes, and none divides 64-bit numbers for each element. Needs nvcc, no GPU.
Usage: scripts/check_ptx.py [NVCC]     exit 0: so it is; 1: it is not, with the kernels that differ; 2: nvcc failed"""

import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCES = ("rope", "rows", "elementwise")
OPTIONS = ("-std=c++20", "-arch=compute_89", "--expt-relaxed-constexpr", "--fmad=false", "-ptx")
ALIGNED = "Lb1E"  # <..., true> in a mangled name
ONCE = "count_non_finite"  # divides once for a thread, outside its loop


def kernels(ptx):
    """Name and body of each entry."""
    return re.findall(r"\.entry (\w+)\((.*?)\n}", ptx, re.DOTALL)


def complaints(ptx):
    for name, body in kernels(ptx):
        stores = set(re.findall(r"\bst\.global[\w.:]*", body))
        narrow = sorted(store for store in stores if ".v4." not in store or not store.endswith("32"))
        if ALIGNED in name and narrow:
            yield f"{name} stores less than 16 bytes at once: {', '.join(narrow)}"
        if ONCE not in name and re.search(r"\b(div|rem)\.[su]64\b", body):
            yield f"{name} divides 64-bit numbers"


def main():
    nvcc = sys.argv[1] if len(sys.argv) > 1 else "nvcc"
    found, seen = [], 0
    with tempfile.TemporaryDirectory() as folder:
        for source in SOURCES:
            ptx = pathlib.Path(folder) / f"{source}.ptx"
            command = [nvcc, *OPTIONS, "-I", ROOT, ROOT / f"kernels/cuda/device/{source}.cu", "-o", ptx]
            if subprocess.run(command, check=False).returncode != 0:
                return 2
            text = ptx.read_text()
            seen += sum(ALIGNED in name for name, _ in kernels(text))
            found += complaints(text)
    if seen == 0:
        found.append("no kernel for aligned rows was found: have their names changed?")
    print("\n".join(found) or f"{seen} kernels of aligned rows store 16 bytes at once")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
