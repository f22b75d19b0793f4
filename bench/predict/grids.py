#!/usr/bin/env python3
"""Are layouts predicted in the right order? Measured grids beside train_llama --dry-run --cluster.

A grid of grids.json is one model with one global batch on one cluster, and what others measured there for several plans:
[tp, pp, micro-batch, seconds], where null means that the plan ran out of memory. GPT models stand in it as LLaMA shapes of
equal arithmetic (ffn = 8 h / 3, as many kv heads as heads). Repeated runs of one plan are one plan with their mean.

For each source:
  over 6 %    pairs of plans of one grid whose measured times differ by more (one plan on two days differs by 5.7 %), and how
              many of them the prediction puts in the measured order. The goal is 95 %. Then those that differ by more than 10 %.
  same size   those pairs over 6 % that differ in tp and pp, but not in the micro-batch.
  choice      how much slower than the best measured plan of its grid the plan is that the prediction calls fastest, in grids
              that have such pairs. The goal is 6 %.
  ratio       predicted / measured seconds: mean, and its spread (the geometric standard deviation). Order needs no ratio of 1.
  error       mean of the absolute errors of the seconds, without any factor.
  memory      plans that ran there but would not fit here / that ran out of memory there but would fit here: how far our own
              memory and theirs lead to other choices.

Usage: bench/predict/grids.py [--bin build/bin] [--data NAME] [--rows] [--jobs N] [--set NAME=VALUE...]
"""
import argparse
import concurrent.futures
import itertools
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
TIE = 1.06


def predict(grid, plan, program, changes):
    tp, pp, micro_batch, _ = plan
    # vTrain leaves out the tokens that tp does not divide; all other vocabularies it divides.
    flags = {"ranks": grid["ranks"], "layers": grid["layers"], "hidden": grid["hidden"], "heads": grid["heads"],
             "kv-heads": grid["kv_heads"], "head-dim": grid["hidden"] // grid["heads"], "ffn": grid["ffn"],
             "vocab": grid["vocab"] // tp * tp, "seq": grid["seq"], "tp": tp, "pp": pp, "micro-batch": micro_batch,
             "global-batch": grid["global_batch"], "recompute": grid["recompute"], "dtype": grid["dtype"],
             "zero": grid["zero"] if grid["ranks"] > tp * pp else 0, "sp": "on" if grid["sp"] and tp > 1 else "off",
             "tie-embeddings": "on" if grid["tie"] else "off", "cluster": grid["cluster"],
             "stage-split": grid["stage_split"]}
    flags |= {"grad-reduce": grid["grad_reduce"]} if "grad_reduce" in grid else {}
    words = [word for key, value in flags.items() for word in (f"--{key}", str(value))]
    words += [word for change in grid["set"] + changes for word in ("--set", change)]
    command = [program, "--dry-run", "--json", "--what-if", "off"] + words
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)["predicted"]


def far_apart(results, above):
    """Pairs of (plan, prediction) that ran, and whose measured times differ by more than the factor above."""
    ran = [r for r in results if r[0][3] is not None]
    return [(a, b) for a, b in itertools.combinations(ran, 2)
            if max(a[0][3], b[0][3]) > above * min(a[0][3], b[0][3])]


def in_order(pairs):
    right = sum((a[0][3] > b[0][3]) == (a[1]["step_s"] > b[1]["step_s"]) for a, b in pairs)
    return f"{right} of {len(pairs)} = {100 * right / len(pairs):.1f} %" if pairs else "-"


def choice_loss(results):
    ran = [r for r in results if r[0][3] is not None]
    chosen = min(ran, key=lambda r: r[1]["step_s"])
    return chosen[0][3] / min(plan[3] for plan, _ in ran) - 1


def judge(grids):
    """The cells of one row of the table, for grids that are lists of (plan, prediction)."""
    pairs = [pair for results in grids for pair in far_apart(results, TIE)]
    wide = [pair for results in grids for pair in far_apart(results, 1.1)]
    same_size = [(a, b) for a, b in pairs if a[0][2] == b[0][2]]
    losses = [choice_loss(results) for results in grids if far_apart(results, TIE)]
    every = [r for results in grids for r in results]
    ratios = [math.log(found["step_s"] / plan[3]) for plan, found in every if plan[3] is not None]
    refused = sum(plan[3] is not None and not found["fits"] for plan, found in every)
    accepted = sum(plan[3] is None and found["fits"] for plan, found in every)
    return [f"{len(grids)} / {len(every)}", in_order(pairs), in_order(wide), in_order(same_size),
            f"{sum(loss <= TIE - 1 for loss in losses)} of {len(losses)}",
            f"{100 * statistics.mean(losses):.1f} / {100 * max(losses):.1f} %" if losses else "-",
            f"{math.exp(statistics.mean(ratios)):.2f}", f"{math.exp(statistics.pstdev(ratios)):.2f}",
            f"{100 * statistics.mean(abs(math.exp(ratio) - 1) for ratio in ratios):.1f} %",
            f"{refused} / {accepted}"]


def print_rows(grid, results):
    when = f", {grid['when']}" if "when" in grid else ""
    print(f"{grid['data']}{when}: {grid['layers']} x {grid['hidden']}, {grid['heads']} heads, {grid['ranks']} devices, "
          f"batch {grid['global_batch']}")
    for (tp, pp, micro_batch, measured), found in sorted(results, key=lambda r: (r[0][3] is None, r[0][3])):
        words = f"{measured:9.3f} s" if measured else "no memory  "
        print(f"  tp {tp:2} pp {pp:2} micro-batch {micro_batch:2}: measured {words}, predicted {found['step_s']:9.3f} s, "
              f"{found['memory_bytes'] / 2**30:6.1f} GiB{'' if found['fits'] else ', does not fit'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default="build/bin")
    parser.add_argument("--data", default="", help="only grids whose name begins so, as BLOOM or 'vTrain, 8'")
    parser.add_argument("--rows", action="store_true", help="each plan, too")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--set", nargs="+", default=[], help="numbers of the profiles, as train_llama --set takes them")
    options = parser.parse_args()
    grids = json.loads((HERE / "grids.json").read_text())["grids"]
    grids = [grid for grid in grids if grid["data"].startswith(options.data)]
    program = f"{options.bin}/train_llama"
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        futures = [[(plan, pool.submit(predict, grid, plan, program, options.set)) for plan in grid["plans"]]
                   for grid in grids]
        done = [(grid, [(plan, future.result()) for plan, future in row]) for grid, row in zip(grids, futures)]
    if options.rows:
        for grid, results in done:
            print_rows(grid, results)
    print("| measured by | grids / plans | in order: over 6 % | over 10 % | over 6 %, same micro-batch | choice within 6 % | "
          "its loss: mean / worst | predicted / measured | spread | error | memory |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for data in dict.fromkeys(grid["data"] for grid, _ in done):
        print(f"| {data} | {' | '.join(judge([results for grid, results in done if grid['data'] == data]))} |")


if __name__ == "__main__":
    main()
