#!/usr/bin/env python3
"""Rehearsals beside simulations of the same plans: train_llama --device rehearsal and --dry-run, on the same cluster.

Per row: the rehearsed and the simulated step and how far they are apart; how far each category of the step's time is, in
points of the step; cores' time that all ranks of the rehearsal used, of one core's. Ranks are threads of one process. The
step is the quickest behind the first: others on the machine only ever make one longer.

Goals: the step within 2 %, categories within 1 point.

Usage: bench/predict/rehearsals.py [--bin build/bin] [--only TEXT] [--seconds 12] [--json FILE]
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

CATEGORIES = {"compute": ("compute_s", "recompute_s", "optimizer_s"), "tp": ("comm_tp_s",), "pp": ("comm_pp_s",),
              "dp": ("comm_dp_s",), "bubble": ("bubble_s",), "wait": ("wait_s", "idle_s", "host_s", "data_s")}
LARGE = "--set device.memory_gib=200"
ROWS = [  # name, ranks, flags
    ("13B, tp 2 pp 16", 32, "--model llama2-13b --tp 2 --pp 16 --global-batch 32 --cluster rtx4090"),
    ("7B, tp 2 pp 4 dp 4", 32, f"--model llama2-7b --tp 2 --pp 4 --global-batch 64 --cluster rtx4090 {LARGE}"),
    ("7B, tp 8", 8, f"--model llama2-7b --tp 8 --global-batch 8 --cluster rtx4090 {LARGE}"),
    ("7B, dp 8", 8, f"--model llama2-7b --global-batch 16 --cluster rtx4090 {LARGE}"),
    ("7B, pp 4, gpipe", 4, f"--model llama2-7b --pp 4 --schedule gpipe --global-batch 16 --cluster rtx4090 {LARGE}"),
    ("7B, pp 4, interleaved", 4, "--model llama2-7b --pp 4 --schedule interleaved --vpp 4 --global-batch 16 --cluster "
                                 f"rtx4090 {LARGE}"),
    ("7B, pp 4, zero-bubble", 4, f"--model llama2-7b --pp 4 --schedule zero-bubble --global-batch 16 --cluster rtx4090 {LARGE}"),
    ("7B, tp 4 pp 2, recompute", 8, f"--model llama2-7b --tp 4 --pp 2 --recompute full --global-batch 16 --cluster rtx4090 {LARGE}"),
    ("7B, tp 4 pp 2, NVLink", 8, "--model llama2-7b --tp 4 --pp 2 --global-batch 16 --cluster a100-80-sxm"),
    ("70B, tp 2 pp 16", 32, f"--model llama2-70b --tp 2 --pp 16 --global-batch 32 --seq 2048 --cluster rtx4090 {LARGE}"),
    ("70B, tp 4 pp 8", 32, "--model llama2-70b --tp 4 --pp 8 --global-batch 32 --seq 2048 --cluster h100-sxm"),
]


def cpu_seconds():
    own = os.times()
    return own.children_user + own.children_system


def rehearse(program, ranks, flags, steps):
    with tempfile.TemporaryDirectory() as folder:
        command = [program, *flags, "--device", "rehearsal", "--local-ranks", str(ranks), "--steps", str(steps), "--warmup", "1",
                   "--quiet", "--trace", "off", "--tensorboard", "off", "--log-interval", "1", "--out", f"{folder}/run"]
        before, begin = cpu_seconds(), time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)}\n{done.stderr}{done.stdout}")
        cpu = (cpu_seconds() - before) / (time.monotonic() - begin)
        lines = [json.loads(line) for line in open(f"{folder}/run/metrics.jsonl")]
    return [line for line in lines if line.get("step", 0) > 1 and "step_s" in line], cpu


def compare(program, name, ranks, flags, seconds):
    flags = [*flags.split(), "--threads", "1"]
    done = subprocess.run([program, *flags, "--ranks", str(ranks), "--dry-run", "--json", "--what-if", "off"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{name}: {done.stderr}")
    predicted = json.loads(done.stdout)["predicted"]
    steps = 1 + max(2, min(20, int(seconds / predicted["step_s"])))
    lines, cpu = rehearse(program, ranks, flags, steps)
    quickest = min(lines, key=lambda line: line["step_s"])
    points = {category: 100 * (sum(quickest[key] for key in keys) / quickest["step_s"] -
                               sum(predicted["mean"][key] for key in keys) / predicted["step_s"])
              for category, keys in CATEGORIES.items()}
    return {"name": name, "ranks": ranks, "rehearsed_s": quickest["step_s"], "simulated_s": predicted["step_s"],
            "error": quickest["step_s"] / predicted["step_s"] - 1, "points": points, "cpu": cpu}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default="build/bin")
    parser.add_argument("--only", default="", help="rows with this text in their name")
    parser.add_argument("--seconds", type=float, default=12, help="of rehearsal, a row")
    parser.add_argument("--json", help="the rows, to this file")
    options = parser.parse_args()
    program = str(pathlib.Path(options.bin).resolve() / "train_llama")
    print(f"| plan | ranks | rehearsed, s | simulated, s | step | {' | '.join(CATEGORIES)} | of a core |")
    print("|---|---|---|---|---|" + "---|" * (len(CATEGORIES) + 1))
    rows = []
    for name, ranks, flags in ROWS:
        if options.only not in name:
            continue
        row = compare(program, name, ranks, flags, options.seconds)
        rows.append(row)
        points = " | ".join(f"{row['points'][category]:+.1f}" for category in CATEGORIES)
        print(f"| {name} | {ranks} | {row['rehearsed_s']:.3f} | {row['simulated_s']:.3f} | {100 * row['error']:+.1f} % | {points} | "
              f"{100 * row['cpu']:.0f} % |", flush=True)
    print(f"step {max(100 * abs(row['error']) for row in rows):.1f} % at worst, categories "
          f"{max(abs(points) for row in rows for points in row['points'].values()):.1f} points")
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
