#!/usr/bin/env python3
"""Two cores as two ranks (dp 2, tp 2, pp 2) against two threads of one rank, 16 ranks against one, and what
recomputation costs.

Runs train_llama, several times in turn, and compares the median step; says from metrics.jsonl where the time went.
Usage: bench/parallel.py [--model bench-s] [--micro-batch 1] [--steps 8] [--rounds 3] [--ranks16 | --recompute]
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

PROGRAM = pathlib.Path(__file__).resolve().parent.parent / "build/bin/train_llama"
LAYOUTS = {  # name: (ranks, flags)
    "1 rank, 2 threads": (1, ["--threads", "2"]),
    "1 rank, 1 thread": (1, ["--threads", "1"]),
    "dp 2": (2, []),
    "tp 2": (2, ["--tp", "2"]),
    "pp 2": (2, ["--pp", "2"]),
    "pp 2, zero-bubble": (2, ["--pp", "2", "--schedule", "zero-bubble"]),
}
SIXTEEN = {
    "1 rank, 2 threads": (1, ["--threads", "2"]),
    "tp 2 pp 8, mpi": (16, ["--tp", "2", "--pp", "8"]),
    "tp 4 pp 2 dp 2, mpi": (16, ["--tp", "4", "--pp", "2"]),
    "tp 2 pp 8, threads": (1, ["--tp", "2", "--pp", "8", "--local-ranks", "16"]),
}
RECOMPUTE = {
    "1 rank, 2 threads": (1, ["--threads", "2"]),
    "selective": (1, ["--threads", "2", "--recompute", "selective"]),
    "full": (1, ["--threads", "2", "--recompute", "full"]),
}


def run(program, ranks, flags, steps):
    """The metrics of one run, its first step left out."""
    with tempfile.TemporaryDirectory() as folder:
        launch = ["mpirun", "--oversubscribe", "-np", str(ranks)] if ranks > 1 else []
        environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
        command = [*launch, str(program), *flags, "--steps", str(steps), "--quiet", "--out", f"{folder}/run"]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        lines = [json.loads(line) for line in open(f"{folder}/run/metrics.jsonl")]
    return [line for line in lines if line.get("step", 0) > 1 and "step_s" in line]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=PROGRAM)
    parser.add_argument("--model", default="bench-s")
    parser.add_argument("--micro-batch", default="1")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ranks16", action="store_true", help="16 ranks on these cores, preset tiny")
    parser.add_argument("--recompute", action="store_true", help="recomputation on one rank")
    args = parser.parse_args()

    layouts = SIXTEEN if args.ranks16 else RECOMPUTE if args.recompute else LAYOUTS
    common = ["--model", "tiny" if args.ranks16 else args.model, "--micro-batch", args.micro_batch]
    steps = {name: [] for name in layouts}
    for _ in range(args.rounds):  # in turn, so that a slow minute hits all
        for name, (ranks, flags) in layouts.items():
            steps[name] += run(args.program, ranks, common + flags, args.steps)

    base = statistics.median(s["step_s"] for s in steps["1 rank, 2 threads"])
    print(f"{'':<20} {'step':>9}  {'speed':>6}   where the time went (exposed)")
    for name, list_of_steps in steps.items():
        step = statistics.median(s["step_s"] for s in list_of_steps)
        total = sum(s["step_s"] for s in list_of_steps)
        shares = {k[:-2]: sum(s[k] for s in list_of_steps) / total for k in list_of_steps[0]
                  if k.endswith("_s") and k not in ("step_s", "tokens_per_s")}
        parts = sorted(((v, k) for k, v in shares.items() if v >= 0.005), reverse=True)
        print(f"{name:<20} {step:>7.3f} s  {base / step:>6.2f}   " + ", ".join(f"{k} {v:.1%}" for v, k in parts))


if __name__ == "__main__":
    sys.exit(main())
