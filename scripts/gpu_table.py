#!/usr/bin/env python3
"""What scripts/gpu_check.sh compares and measures.

  gpu_table.py compare A/metrics.jsonl B/metrics.jsonl TOLERANCE     losses of two runs, step by step
  gpu_table.py bench --bin DIR --scratch DIR                         steps of train_llama beside PyTorch's, by op

exit 0, or 1 if the losses differ or a measurement failed. Lines that begin with row| are rows of docs/gpu-results.md.
"""
import argparse
import collections
import json
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Dense bf16 TFLOP/s and memory GB/s of the data sheets.
PEAKS = {"H200": (989, 4800), "H100": (989, 3350), "4090": (165, 1008)}
MODELS = {
    "LLaMA 1.2B": dict(layers=16, hidden=2048, heads=32, kv_heads=8, head_dim=64, ffn=8192, vocab=128256, seq=2048,
                       tied=True, micro_batch=8, global_batch=16),
    "8B-shaped, 16 layers": dict(layers=16, hidden=4096, heads=32, kv_heads=8, head_dim=128, ffn=14336, vocab=128256,
                                 seq=2048, tied=False, micro_batch=4, global_batch=8),
}
STEPS, FIRST_TIMED = 16, 7


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


def train(binary, scratch, name, m):
    out = scratch / ("bench-" + "".join(c if c.isalnum() else "-" for c in name))
    flags = {"model": "bench-m", "device": "cuda", "dtype": "bf16", "steps": STEPS, "layers": m["layers"],
             "hidden": m["hidden"], "heads": m["heads"], "kv-heads": m["kv_heads"], "head-dim": m["head_dim"],
             "ffn": m["ffn"], "vocab": m["vocab"], "seq": m["seq"], "micro-batch": m["micro_batch"],
             "global-batch": m["global_batch"], "tie-embeddings": "on" if m["tied"] else "off",
             "trace": f"{FIRST_TIMED}:{STEPS}", "out": out, "log-interval": 1}
    words = [str(binary / "train_llama")] + [str(w) for flag, value in flags.items() for w in ("--" + flag, value)]
    print("$", " ".join(words), flush=True)
    subprocess.run(words, check=True, stdout=sys.stderr)
    return out


def op_table(trace, gpu):
    """Rows of a step by op: milliseconds, share, TFLOP/s, GB/s, percent of the roofline."""
    peak_flops, peak_bytes = next((p for key, p in PEAKS.items() if key in gpu), (0, 0))
    ops = collections.defaultdict(lambda: [0, 0.0, 0.0, 0.0])
    events = [e for e in json.loads(trace.read_text())["traceEvents"] if e.get("cat") == "kernel"]
    steps = len({e["args"]["step"] for e in events})
    for e in events:
        op = ops[e["name"]]
        op[0] += 1
        op[1] += e["dur"] * 1e-6 / steps
        op[2] += e["args"]["flops"] / steps
        op[3] += e["args"]["bytes"] / steps
    total = sum(op[1] for op in ops.values())
    print("| op | calls | ms | share | TFLOP/s | GB/s | % of roofline |\n|---|---|---|---|---|---|---|")
    for name, (calls, seconds, flops, moved) in sorted(ops.items(), key=lambda item: -item[1][1]):
        if seconds == 0:
            continue
        bound = max(flops / (peak_flops * 1e12), moved / (peak_bytes * 1e9)) if peak_flops else 0
        print(f"| {name} | {calls // steps} | {seconds * 1e3:.2f} | {100 * seconds / total:.1f} % | "
              f"{flops / seconds * 1e-12:.1f} | {moved / seconds * 1e-9:.0f} | {100 * bound / seconds:.0f} |")


def torch_tokens_per_s(name, m):
    """The best of PyTorch's settings, or a line that says why there is none."""
    words = [sys.executable, str(ROOT / "bench/peers/torch_cuda.py"), json.dumps(m)]
    print("$", " ".join(words), flush=True)
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=sys.stderr, text=True)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    for line in lines:
        print("PyTorch:", line)
    return max((line["tokens_per_s"] for line in lines), default=None)


def bench(args):
    gpu = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], check=True,
                         stdout=subprocess.PIPE, text=True).stdout.splitlines()[0]
    peak = next((p[0] for key, p in PEAKS.items() if key in gpu), None)
    failed = False
    for name, m in MODELS.items():
        try:
            out = train(args.bin, args.scratch, name, m)
        except subprocess.CalledProcessError as error:
            print(f"row|{name}|FAILED: {error}")
            failed = True
            continue
        lines = [line for step, line in steps_of(out / "metrics.jsonl").items() if step >= FIRST_TIMED]
        seconds = statistics.median(line["step_s"] for line in lines)
        tflops = statistics.median(line["tflops"] for line in lines)
        tokens = m["global_batch"] * m["seq"] / seconds
        op_table(out / "trace" / "rank-0000.json", gpu)
        theirs = torch_tokens_per_s(name, m)
        share = f" ({100 * tflops / peak:.1f} % of {peak})" if peak else ""
        beside = f"PyTorch {theirs:,.0f}, {tokens / theirs:.2f} times" if theirs else "PyTorch: not measured"
        print(f"row|{name}, bf16, {m['micro_batch']} x {m['seq']}|{seconds * 1e3:.1f} ms a step, {tokens:,.0f} tok/s, "
              f"{tflops:.0f} TFLOP/s{share}; {beside}", flush=True)
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    two = commands.add_parser("compare")
    two.add_argument("a", type=pathlib.Path)
    two.add_argument("b", type=pathlib.Path)
    two.add_argument("tolerance", type=float)
    two.set_defaults(run=compare)
    speed = commands.add_parser("bench")
    speed.add_argument("--bin", type=pathlib.Path, required=True)
    speed.add_argument("--scratch", type=pathlib.Path, required=True)
    speed.set_defaults(run=bench)
    args = parser.parse_args()
    sys.exit(args.run(args))


if __name__ == "__main__":
    main()
