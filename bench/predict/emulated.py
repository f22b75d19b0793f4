#!/usr/bin/env python3
"""Training on emulated links beside its dry run: train_llama --emulate-links, and the same with --dry-run.

Per row: the measured and the predicted step; collectives of 1 MiB or more: how much longer the quickest execution of each took
than the links' time (bus bandwidth goes with its inverse), mean and worst; what pacing costs: the cores' time of the run beyond
that of the same steps with this machine's own links, of one core's. A row is marked * where other processes took more than
--foreign of the cores' time.

Goals, on a quiet machine: the step within 5 %, collectives within 2 %, 5 % of a core.

Usage: bench/predict/emulated.py [--bin build/bin] [--profile FILE] [--only TEXT] [--steps 8]
"""
import argparse
import gzip
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMP_WAIT_POLICY="passive")
MODEL = "--layers 2 --hidden 1024 --heads 8 --kv-heads 8 --ffn 2752 --vocab 4096 --seq 1024 --micro-batch 1 --threads 1 "
ROWS = [  # name, ranks, flags
    ("tp 2, RTX 4090", 2, "--tp 2 --global-batch 2 --emulate-links rtx4090"),
    ("tp 2, A100 SXM", 2, "--tp 2 --global-batch 2 --emulate-links a100-80-sxm"),
    ("pp 2, RTX 4090", 2, "--pp 2 --global-batch 4 --emulate-links rtx4090"),
    ("pp 2 gpipe, RTX 4090 10 times slower", 2, "--pp 2 --schedule gpipe --global-batch 4 --emulate-links rtx4090 --dilation 4000"),
    ("dp 2, RTX 4090", 2, "--global-batch 4 --emulate-links rtx4090"),
    ("tp 2 dp 2 on one root, RTX 4090", 4, "--tp 2 --global-batch 2 --emulate-links rtx4090 --dilation 2000"),
]
SIZES = {"BFloat16": 2, "Half": 2, "Float": 4, "Long": 8, "Int": 4, "Double": 8}
LARGE = 1 << 20


def quiet(samples):
    decile = sorted(samples)[len(samples) // 10]
    return [sample for sample in samples if sample <= 1.15 * decile]


def cpu_seconds():
    """Of all processes, and of those this script has waited for."""
    fields = list(map(int, open("/proc/stat").readline().split()[1:]))
    own = os.times()
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK"), own.children_user + own.children_system


def collectives(folder, axis):
    """Of rank 0: the quickest execution of each collective of 1 MiB or more along an axis, by node."""
    path = next(pathlib.Path(folder).rglob("rank-0000.json*"))
    with (gzip.open if path.suffix == ".gz" else open)(path) as file:
        events = json.load(file)["traceEvents"]
    found = {}
    for event in events:
        given = event.get("args", {})
        if given.get("kind") != f"comm_{axis}" or "In msg nelems" not in given or not given.get("bytes"):
            continue
        if max(given["In msg nelems"], given["Out msg nelems"]) * SIZES[given["dtype"]] >= LARGE and given.get("step", 1) != 0:
            found[given["node"]] = min(found.get(given["node"], 1e18), event["dur"])
    return found


def run(program, ranks, flags, steps, folder):
    launch = ["mpirun", "--oversubscribe", "--bind-to", "none", "-np", str(ranks)]
    command = [*launch, program, *flags, "--quiet", "--trace", "on", "--tensorboard", "off", "--valid-fraction", "0",
               "--steps", str(steps), "--out", folder]
    before, begin = cpu_seconds(), time.monotonic()
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    wall, after = time.monotonic() - begin, cpu_seconds()
    own = after[1] - before[1]
    lines = [json.loads(line) for line in open(f"{folder}/metrics.jsonl")]
    return {"steps": [line["step_s"] for line in lines if line.get("step", 0) > 2 and "step_s" in line], "cpu": own,
            "wall": wall, "foreign": (after[0] - before[0] - own) / (wall * os.cpu_count()),
            "dilation": lines[0].get("dilation")}


def without(flags, names):
    words = iter(flags)
    kept = []
    for word in words:
        if word in names:
            next(words)
        else:
            kept.append(word)
    return kept


def compare(program, ranks, flags, profile, steps):
    with tempfile.TemporaryDirectory() as folder:
        # The run takes its dilation from measured.json in its folder.
        pathlib.Path(folder, "measured.json").write_bytes(pathlib.Path(profile).read_bytes())
        os.chdir(folder)
        real = run(program, ranks, flags, steps, "paced")
        plain = run(program, ranks, without(flags, ("--emulate-links", "--dilation")), steps, "plain")
        dry = [program, *without(flags, ("--dilation",)), "--dilation", str(real["dilation"]), "--dry-run", "--json", "--ranks",
               str(ranks), "--cluster", "measured.json", "--predict-trace", "predicted"]
        done = subprocess.run(dry, env=ENVIRONMENT, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(dry)}\n{done.stderr}")
        predicted = json.loads(done.stdout)["predicted"]["step_s"]
        axis = "tp" if "--tp" in flags else "dp"
        modelled, measured = collectives("predicted", axis), collectives("paced/trace", axis)
        os.chdir("/")
    late = [measured[key] / modelled[key] - 1 for key in modelled if key in measured]
    return {"step_s": statistics.mean(quiet(real["steps"])), "predicted_s": predicted, "dilation": real["dilation"], "late": late,
            "cpu": (real["cpu"] - plain["cpu"]) / real["wall"], "foreign": max(real["foreign"], plain["foreign"])}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default="build/bin")
    parser.add_argument("--profile", help="what measure_cluster wrote; without it, it runs first")
    parser.add_argument("--only", default="", help="rows with this text in their name")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--foreign", type=float, default=0.05, help="share of the cores' time that others may take")
    options = parser.parse_args()
    folder = pathlib.Path(options.bin).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        profile = options.profile and str(pathlib.Path(options.profile).resolve())
        if not profile:
            profile = f"{scratch}/measured.json"
            subprocess.run(["mpirun", "--oversubscribe", "--bind-to", "none", "-np", str(min(2, os.cpu_count())),
                            folder / "measure_cluster", "--out", profile], check=True, env=ENVIRONMENT, stdout=sys.stderr)
        print("| run | dilation | measured, s | predicted, s | step | collectives: mean | worst | pacing, of a core | others |")
        print("|---|---|---|---|---|---|---|---|---|")
        for name, ranks, flags in ROWS:
            if options.only not in name:
                continue
            row = compare(str(folder / "train_llama"), ranks, (MODEL + flags).split(), profile, options.steps)
            late = (f"{100 * statistics.mean(row['late']):+.1f} % | {100 * max(row['late'], key=abs):+.1f} %" if row["late"]
                    else "- | -")
            print(f"| {name}{' *' if row['foreign'] > options.foreign else ''} | {row['dilation']:.0f} | {row['step_s']:.3f} | "
                  f"{row['predicted_s']:.3f} | {100 * (row['step_s'] / row['predicted_s'] - 1):+.1f} % | {late} | "
                  f"{100 * row['cpu']:.1f} % | {100 * row['foreign']:.0f} % |", flush=True)


if __name__ == "__main__":
    main()
