#!/usr/bin/env python3
"""Published training steps beside what train_llama --dry-run --cluster predicts for them.

Each row of published.json is a step that others measured. GPT models stand in it as LLaMA shapes of equal arithmetic
(ffn = 8 h / 3, as many kv heads as heads). The ratio is predicted / measured seconds; below 1 the prediction is too
fast. Per software stack: the mean ratio, the mean and worst error, and both once each prediction is divided by the mean
ratio, which is what one scalar for the stack leaves. Goals are of the mean error: with the scalar for programs that did
other work than our graph, without it for those that did the same.

A row's "set" holds what its program and its machine do otherwise: attention with scores in memory, the time of a Python
program to launch one of our ops, another network. It is the same for all rows of a stack.

Usage: bench/predict/predict.py [--bin build/bin] [--rows] [--only TEXT]
"""
import argparse
import concurrent.futures
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
GOALS = {  # percent; with one scalar or without
    "Megatron-LM 2021": (3, True), "Megatron-LM 2022": (3, True), "Megatron-DeepSpeed, vTrain": (8, True),
    "Megatron-DeepSpeed, BLOOM": (8, True), "Megatron-LM 2025": (5, False), "llmq, rtx4090": (8, False),
}


def predict(row, program):
    flags = {"ranks": row["ranks"], "layers": row["layers"], "hidden": row["hidden"], "heads": row["heads"],
             "kv-heads": row["kv_heads"], "head-dim": row["hidden"] // row["heads"], "ffn": row["ffn"],
             "vocab": row["vocab"], "seq": row["seq"], "tp": row["tp"], "pp": row["pp"],
             "micro-batch": row["micro_batch"], "global-batch": row["global_batch"], "recompute": row["recompute"],
             "dtype": row["dtype"], "sp": "on" if row["sp"] and row["tp"] > 1 else "off",
             "tie-embeddings": "on" if row["tie"] else "off", "cluster": row["cluster"]}
    if row["vpp"] > 1:
        flags |= {"vpp": row["vpp"], "schedule": "interleaved"}
    flags |= {key: row[key] for key in ("zero", "grad_reduce", "stage_split") if key in row}
    command = [program, "--dry-run", "--json", "--what-if", "off"] + [word for k, v in flags.items() for word in (f"--{k.replace('_', '-')}", str(v))]
    command += ["--set", *row["set"]] if row.get("set") else []
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default="build/bin")
    parser.add_argument("--rows", action="store_true", help="each row, too")
    parser.add_argument("--only", default="", help="stacks with this text in their name")
    options = parser.parse_args()
    ratios = {}
    rows = json.loads((HERE / "published.json").read_text())
    rows = [row for row in rows if options.only in f"{row['stack']}, {row['cluster']}"]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        all_found = list(pool.map(lambda row: predict(row, f"{options.bin}/train_llama"), rows))
    for row, found in zip(rows, all_found):
        measured = row.get("step_s") or found["model_flops"] / (row["tflops"] * 1e12 * row["ranks"])
        ratio = found["predicted"]["step_s"] / measured
        ratios.setdefault(f"{row['stack']}, {row['cluster']}", []).append(ratio)
        if options.rows:
            print(f"{ratio:.3f}  {measured:8.3f} s  {row['stack']}, {row['cluster']}: {row['layers']} x {row['hidden']}, "
                  f"{row['ranks']} ranks, tp {row['tp']} pp {row['pp']} vpp {row['vpp']}, batch {row['global_batch']}; "
                  f"{row['source']}")
    print("| stack, cluster | rows | predicted / measured: mean | least | most | error: mean | worst | "
          "with one scalar: mean | worst | goal |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in dict.fromkeys(goal_of(stack) or stack for stack in ratios):
        stacks = {stack: list_of for stack, list_of in ratios.items() if (goal_of(stack) or stack) == name}
        for stack, list_of in stacks.items():
            print_row(stack, [list_of], GOALS.get(name) if len(stacks) == 1 else None)
        if len(stacks) > 1:
            print_row(f"{name}, all", list(stacks.values()), GOALS[name])


def goal_of(stack):
    """The name of the goal that a stack falls under."""
    return next((name for name in GOALS if stack.startswith(name)), None)


def print_row(label, stacks, goal):
    """One row of the table, of ratios of one or more stacks. Each stack has a scalar of its own."""
    means = [math.exp(statistics.mean(map(math.log, ratios))) for ratios in stacks]
    every = [ratio for ratios in stacks for ratio in ratios]
    errors = [100 * abs(ratio - 1) for ratio in every]
    scaled = [100 * abs(ratio / mean - 1) for ratios, mean in zip(stacks, means) for ratio in ratios]
    words = ""
    if goal:
        percent, with_scalar = goal
        reached = statistics.mean(scaled if with_scalar else errors)
        words = f"{percent} %{'' if reached <= percent else ', missed'}"
    print(f"| {label} | {len(every)} | {math.exp(statistics.mean(map(math.log, every))):.2f} | {min(every):.2f} | "
          f"{max(every):.2f} | {statistics.mean(errors):.1f} % | {max(errors):.1f} % | {statistics.mean(scaled):.1f} % | "
          f"{max(scaled):.1f} % | {words} |")


if __name__ == "__main__":
    main()
