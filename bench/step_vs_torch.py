#!/usr/bin/env python3
"""One training step of Trine beside PyTorch doing the same step, interleaved in one run.

  python3 bench/step_vs_torch.py --presets bench-s bench-m --dtypes bf16 f32 --threads 2 --steps 10

Machines drift and neighbours disturb, so two programs are only comparable when they alternate: every competitor is
started, warms up (one after another), and then each round gives every competitor one step, in rotating order. Never
do two compute at once: a competitor waits on its stdin between steps, and the driver pauses until the OpenMP
threads of the last one sleep. "vs PyTorch's best" is the median over rounds of (seconds of PyTorch's best mode /
own seconds in the same round).

A competitor is a command that takes --model, --dtype, --threads, --warmup and --serve, prints "ready" after its
warm-up, and for each line "go" on stdin runs one step and prints its seconds. At the end of stdin it may print one
line of JSON with its version.
"""
import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TOKENS = {"tiny": 32 * 128, "bench-s": 8 * 256, "bench-m": 4 * 256}  # of one step
TORCH_MODES = {"bf16": ("eager", "compile", "autocast", "autocast-compile"), "f32": ("eager", "compile")}
PAUSE_S = 0.03  # GNU OpenMP's threads spin for a few ms after a parallel region, then sleep


class Competitor:
    """A process that runs one step at a time."""

    def __init__(self, name, command, is_torch):
        self.name, self.is_torch, self.seconds, self.info = name, is_torch, [], {}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.expect_ready()

    def read_line(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"[step_vs_torch] {self.name} ended with status {self.process.wait()}, see its message above. "
                     f"Command: {shlex.join(self.process.args)}")
        return line.strip()

    def expect_ready(self):
        while self.read_line() != "ready":
            pass

    def step(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        self.seconds.append(float(self.read_line()))

    def finish(self):
        with open(f"/proc/{self.process.pid}/status") as f:
            self.memory_peak_bytes = next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM"))
        rest, _ = self.process.communicate()
        for line in rest.splitlines():
            if line.startswith("{"):
                self.info = json.loads(line)


def commands(args, preset, dtype):
    """[(name, command, is_torch)] of the competitors that exist on this machine."""
    common = ["--model", preset, "--dtype", dtype, "--threads", str(args.threads), "--warmup", str(args.warmup),
              "--serve"]
    found = []
    if os.path.exists(args.trine):
        found.append(("Trine", [args.trine] + common, False))
    else:
        print(f"[step_vs_torch] no {args.trine}: PyTorch alone. Build it, or pass --trine.", file=sys.stderr)
    for name, _, command in (text.partition("=") for text in args.also):
        found.append((name, shlex.split(command) + common, False))
    if os.path.exists(args.python):
        script = os.path.join(ROOT, "bench", "peers", "torch_llama.py")
        for mode in args.modes or TORCH_MODES[dtype]:
            if mode in TORCH_MODES[dtype]:
                found.append((f"PyTorch {mode}", [args.python, script] + common + ["--mode", mode], True))
    else:
        print(f"[step_vs_torch] no {args.python}: Trine alone. Run bench/peers/setup.sh, or pass --python.",
              file=sys.stderr)
    return found or sys.exit("[step_vs_torch] nothing to measure.")


def race(args, preset, dtype):
    """Alternates the competitors step by step."""
    field = []
    try:
        for command in commands(args, preset, dtype):
            field.append(Competitor(*command))
        for round_ in range(args.steps):
            for i in range(len(field)):
                time.sleep(PAUSE_S)
                field[(i + round_) % len(field)].step()
            print(f"{preset} {dtype}: round {round_ + 1}/{args.steps}", file=sys.stderr)
        for competitor in field:
            competitor.finish()
    finally:
        for competitor in field:
            competitor.process.kill()
    return field


def rows(args, preset, dtype, field):
    torch = [c for c in field if c.is_torch]
    best = min(torch, key=lambda c: statistics.median(c.seconds), default=None)
    for c in field:
        median = statistics.median(c.seconds)
        ratio = statistics.median(b / own for b, own in zip(best.seconds, c.seconds)) if best else None
        yield dict(preset=preset, dtype=dtype, program=c.name, version=c.info.get("version"), threads=args.threads,
                   steps=args.steps, tokens_per_s=TOKENS[preset] / median,
                   tokens_per_s_best=TOKENS[preset] / min(c.seconds), vs_pytorch=ratio,
                   memory_peak_bytes=c.memory_peak_bytes)


def machine():
    """CPU, cores and vector instructions in one line."""
    info = {}
    with open("/proc/cpuinfo") as f:
        for line in f:
            key, _, value = line.partition(":")
            info.setdefault(key.strip(), value.strip())
    flags = info.get("flags", "").split()
    simd = [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in flags]
    name = info.get("model name", platform.machine())
    cores = len(os.sched_getaffinity(0))
    return f"{name} (family {info.get('cpu family')} model {info.get('model')}), {cores} cores, {' '.join(simd)}"


def table(results):
    lines = ["| model | dtype | program | tokens/s, median | best | vs PyTorch's best | peak memory, GiB |",
             "|---|---|---|---|---|---|---|"]
    for r in results:
        ratio = f"{r['vs_pytorch']:.2f}" if r["vs_pytorch"] else ""
        memory = f"{r['memory_peak_bytes'] / 2**30:.2f}"
        lines.append(f"| {r['preset']} | {r['dtype']} | {r['program']} | {r['tokens_per_s']:,.0f} | "
                     f"{r['tokens_per_s_best']:,.0f} | {ratio} | {memory} |")
    return "\n".join(lines)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--presets", nargs="+", default=["bench-s", "bench-m"], choices=TOKENS)
    p.add_argument("--dtypes", nargs="+", default=["bf16", "f32"], choices=TORCH_MODES)
    p.add_argument("--modes", nargs="+", choices=TORCH_MODES["bf16"], help="PyTorch's modes (default: all)")
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--steps", type=int, default=10, help="rounds")
    p.add_argument("--warmup", type=int, default=3)
    p.add_argument("--trine", default=os.path.join(ROOT, "build", "bin", "step_bench"))
    p.add_argument("--python", default=os.path.join(ROOT, "build", "torch-venv", "bin", "python"))
    p.add_argument("--also", nargs="+", default=[], metavar="NAME=COMMAND",
                   help="more competitors, such as another build")
    p.add_argument("--json", metavar="FILE", help="also write the rows as JSON lines")
    args = p.parse_args()

    if os.getloadavg()[0] > 0.5:
        print(f"[step_vs_torch] load is {os.getloadavg()[0]:.1f}: something else computes here, and threads that "
              "spin for a preempted one cost several times the step. Wait until the machine is idle.",
              file=sys.stderr)
    results = []
    for preset in args.presets:
        for dtype in args.dtypes:
            results += rows(args, preset, dtype, race(args, preset, dtype))
    versions = sorted({f"{r['program'].split()[0]} {r['version']}" for r in results if r["version"]})
    print(f"{machine()}; {args.threads} threads; {args.steps} interleaved rounds; {', '.join(versions)}\n")
    print(table(results))
    if args.json:
        with open(args.json, "w") as f:
            f.writelines(json.dumps(r) + "\n" for r in results)


if __name__ == "__main__":
    main()
