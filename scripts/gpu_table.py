#!/usr/bin/env python3
"""What scripts/gpu_check.sh compares and measures.

  gpu_table.py compare A/metrics.jsonl B/metrics.jsonl TOLERANCE     losses of two runs, step by step
  gpu_table.py faster A/metrics.jsonl B/metrics.jsonl WHAT            how long steps of two runs took
  gpu_table.py bench --bin DIR --out DIR --free-mib N                steps of the largest model that fits, by op and scope
  gpu_table.py torch --out DIR                                       the same steps in PyTorch
  gpu_table.py plans --bin DIR                                       whether the models fit the GPUs they are for

exit 0, or 1 if the losses differ or a measurement failed. Lines that begin with row| are rows of docs/gpu-results.md.
"""
import argparse
import collections
import json
import pathlib
import re
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Dense bf16 TFLOP/s and memory GB/s of the data sheets.
PEAKS = {"H200": (989, 4800), "H100": (989, 3350), "4090": (165, 1008)}
# What lies outside the plan, and a margin.
OUTSIDE_GB = 2
# By the memory that has to be free, largest last. All are timed in seconds.
MODELS = {
    "LLaMA 0.5B": dict(free_gb=22, layers=12, hidden=1536, heads=24, kv_heads=8, head_dim=64, ffn=6144, vocab=32000,
                       seq=2048, tied=True, micro_batch=4, global_batch=8),
    "LLaMA 1.2B": dict(free_gb=76, layers=16, hidden=2048, heads=32, kv_heads=8, head_dim=64, ffn=8192, vocab=128256,
                       seq=2048, tied=True, micro_batch=8, global_batch=16),
    "8B-shaped, 12 layers": dict(free_gb=135, layers=12, hidden=4096, heads=32, kv_heads=8, head_dim=128, ffn=14336,
                                 vocab=128256, seq=2048, tied=False, micro_batch=4, global_batch=8),
}
STEPS, FIRST_TIMED = 7, 4


def steps_of(path):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {line["step"]: line for line in lines if "loss" in line}


def compare(args):
    a, b = steps_of(args.a), steps_of(args.b)
    if not a or a.keys() != b.keys():
        sys.exit(f"{len(a)} and {len(b)} steps: the runs can not be compared")
    worst, at = max((abs(b[step]["loss"] / a[step]["loss"] - 1), step) for step in a)
    text = f"losses differ by at most {worst:.1e} (step {at} of {len(a)}: {a[at]['loss']:.6f}, {b[at]['loss']:.6f})"
    if not worst <= args.tolerance:
        sys.exit(text + f", more than {args.tolerance:g}")
    print(text)


def faster(args):
    """The first half of the steps is left out: kernels are loaded and recorded in it."""
    medians = []
    for path in (args.a, args.b):
        seconds = [line["step_s"] for _, line in sorted(steps_of(path).items())]
        if not seconds:
            sys.exit(f"{path} has no steps")
        medians.append(statistics.median(seconds[len(seconds) // 2:]))
    a, b = medians
    print(f"row|{args.what}|{a * 1e3:.2f} ms, {b * 1e3:.2f} ms a step: {a / b:.2f} times as fast")
    return 0


def flags_of(m):
    flags = {"model": "bench-m", "device": "cuda", "dtype": "bf16", "steps": STEPS, "layers": m["layers"],
             "hidden": m["hidden"], "heads": m["heads"], "kv-heads": m["kv_heads"], "head-dim": m["head_dim"],
             "ffn": m["ffn"], "vocab": m["vocab"], "seq": m["seq"], "micro-batch": m["micro_batch"],
             "global-batch": m["global_batch"], "tie-embeddings": "on" if m["tied"] else "off", "log-interval": 1}
    return [str(w) for flag, value in flags.items() for w in ("--" + flag, value)]


def model_for(free_mib):
    """The name of the largest model for a GPU with so much free memory."""
    fitting = [name for name, m in MODELS.items() if m["free_gb"] * 1e9 <= free_mib * 2**20]
    if not fitting:
        sys.exit(f"{free_mib} MiB are free, less than any of the models needs")
    return fitting[-1]


def plans(args):
    """Whether each model's plan leaves its GPU the room that libraries take."""
    for name, m in MODELS.items():
        words = [str(args.bin / "train_llama"), "--dry-run", "--json", *flags_of(m)]
        plan = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)
        total = max(rank["memory_bytes"]["total"] for rank in plan["pipeline_ranks"]) * 1e-9
        print(f"{name}: {total:.1f} GB planned, for GPUs with {m['free_gb']} GB free")
        if total + OUTSIDE_GB > m["free_gb"]:
            sys.exit(f"{name} does not fit: {OUTSIDE_GB} GB are outside the plan")
    return 0


def by(events, key, gpu):
    """Rows of a step: milliseconds, share, TFLOP/s, GB/s, percent of the roofline of what has the same key(event)."""
    peak_flops, peak_bytes = next((p for known, p in PEAKS.items() if known in gpu), (0, 0))
    rows = collections.defaultdict(lambda: [0, 0.0, 0.0, 0.0])
    steps = len({e["args"]["step"] for e in events})
    for e in events:
        row = rows[key(e)]
        row[0] += 1
        row[1] += e["dur"] * 1e-6 / steps
        row[2] += e["args"]["flops"] / steps
        row[3] += e["args"]["bytes"] / steps
    total = sum(row[1] for row in rows.values())
    for name, (calls, seconds, flops, moved) in sorted(rows.items(), key=lambda item: -item[1][1]):
        if seconds == 0:
            continue
        bound = max(flops / (peak_flops * 1e12), moved / (peak_bytes * 1e9)) if peak_flops else 0
        yield (f"| {name} | {calls // steps} | {seconds * 1e3:.2f} | {100 * seconds / total:.1f} % | "
               f"{flops / seconds * 1e-12:.1f} | {moved / seconds * 1e-9:.0f} | {100 * bound / seconds:.0f} |")


def scope_of(event):
    """All layers are one: layers.3.mlp is layers.*.mlp."""
    return re.sub(r"(^|\.)[0-9]+(?=\.|$)", r"\1*", event["args"].get("scope") or "-")


def tables(trace, gpu):
    events = [e for e in json.loads(trace.read_text())["traceEvents"] if e.get("cat") == "kernel"]
    for what, key in (("op", lambda e: e["name"]), ("scope", scope_of)):
        print(f"| {what} | calls | ms | share | TFLOP/s | GB/s | % of roofline |\n|---|---|---|---|---|---|---|")
        print(*by(events, key, gpu), sep="\n", flush=True)


def gpu_name():
    return subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], check=True,
                          stdout=subprocess.PIPE, text=True).stdout.splitlines()[0]


def bench(args):
    name, gpu = model_for(args.free_mib), gpu_name()
    m = MODELS[name]
    words = [str(args.bin / "train_llama"), *flags_of(m), "--trace", f"{FIRST_TIMED}:{STEPS}", "--trace-format", "json", "--out",
             str(args.out / "bench")]
    print("$", " ".join(words), flush=True)
    subprocess.run(words, check=True)
    lines = [line for step, line in steps_of(args.out / "bench" / "metrics.jsonl").items() if step >= FIRST_TIMED]
    seconds = statistics.median(line["step_s"] for line in lines)
    tflops = statistics.median(line["tflops"] for line in lines)
    tokens = m["global_batch"] * m["seq"] / seconds
    (args.out / "bench.json").write_text(json.dumps({"model": name, "tokens_per_s": tokens}))
    peak = next((p[0] for key, p in PEAKS.items() if key in gpu), None)
    share = f" ({100 * tflops / peak:.1f} % of {peak})" if peak else ""
    print(f"row|{name}, bf16, {m['micro_batch']} x {m['seq']}|{seconds * 1e3:.1f} ms a step, {tokens:,.0f} tok/s, "
          f"{tflops:.0f} TFLOP/s{share}", flush=True)
    tables(args.out / "bench" / "trace" / "rank-0000.json", gpu)
    return 0


def torch(args):
    ours = json.loads((args.out / "bench.json").read_text())
    name = ours["model"]
    words = [sys.executable, str(ROOT / "bench/peers/torch_cuda.py"), json.dumps(MODELS[name])]
    print("$", " ".join(words), flush=True)
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        sys.exit("PyTorch measured nothing")
    best = max(lines, key=lambda line: line["tokens_per_s"])
    print(best)
    print(f"row|{name} in PyTorch {best['torch']} ({best['mode']})|{best['step_ms']} ms a step, "
          f"{best['tokens_per_s']:,} tok/s; Trine is {ours['tokens_per_s'] / best['tokens_per_s']:.2f} times as fast")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    two = commands.add_parser("compare")
    two.add_argument("a", type=pathlib.Path)
    two.add_argument("b", type=pathlib.Path)
    two.add_argument("tolerance", type=float)
    two.set_defaults(run=compare)
    two = commands.add_parser("faster")
    two.add_argument("a", type=pathlib.Path)
    two.add_argument("b", type=pathlib.Path)
    two.add_argument("what")
    two.set_defaults(run=faster)
    for name, run, flags in (("bench", bench, ["bin", "out", "free-mib"]), ("torch", torch, ["out"]),
                             ("plans", plans, ["bin"])):
        command = commands.add_parser(name)
        for flag in flags:
            command.add_argument("--" + flag, type=int if flag == "free-mib" else pathlib.Path, required=True)
        command.set_defaults(run=run)
    args = parser.parse_args()
    sys.exit(args.run(args))


if __name__ == "__main__":
    main()
