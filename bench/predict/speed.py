#!/usr/bin/env python3
"""How long a prediction takes, and how much memory: train_llama --dry-run --cluster from start to end, with the plan, the
simulation and everything that --json says of it, on one thread: the step alone (--what-if off), and with what would
shorten it, which are some 30 simulations more. The least of several runs.

Usage: bench/predict/speed.py [--bin build/bin] [--runs 3]
"""
import argparse
import json
import os
import subprocess
import time

COMMON = ["--model", "llama2-70b", "--seq", "4096", "--micro-batch", "1", "--vpp", "5", "--schedule", "interleaved",
          "--recompute", "full", "--dry-run", "--json"]
CASES = [  # name, flags, goal of seconds
    ("2,048 devices, tp 8 pp 16, 64 microbatches", ["--ranks", "2048", "--tp", "8", "--pp", "16", "--global-batch", "1024",
                                                    "--cluster", "a100-80-sxm"], 1),
    ("2,048 devices, tp 2 pp 16, 64 microbatches", ["--ranks", "2048", "--tp", "2", "--pp", "16", "--global-batch", "4096",
                                                    "--cluster", "rtx4090"], 5),
    ("16,384 devices, tp 8 pp 16, 64 microbatches", ["--ranks", "16384", "--tp", "8", "--pp", "16", "--global-batch", "8192",
                                                     "--cluster", "h100-sxm"], 5),
]


def run(command):
    """Seconds of the wall and of the CPU, and bytes at the most."""
    begin = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=dict(os.environ, OMP_NUM_THREADS="1"))
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {status}")
    return time.monotonic() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, json.loads(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default="build/bin")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    print("| plan | detail | the step alone: seconds | MB | with what would shorten it: seconds | MB | predicted step | goal |")
    print("|---|---|---|---|---|---|---|---|")
    for name, flags, goal in CASES:
        for detail in ("action", "node"):
            cells = []
            for what_if in ("off", "all"):
                runs = [run([f"{options.bin}/train_llama", *COMMON, *flags, "--detail", detail, "--what-if", what_if])
                        for _ in range(options.runs)]
                wall, cpu, memory = (min(one[i] for one in runs) for i in range(3))
                cells += [f"{wall:.2f} (CPU {cpu:.2f})", f"{memory / 1e6:.0f}"]
            print(f"| {name} | {detail} | {' | '.join(cells)} | {runs[0][3]['predicted']['step_s']:.3f} s | "
                  f"{f'< {goal} s' if detail == 'action' else ''} |", flush=True)


if __name__ == "__main__":
    main()
