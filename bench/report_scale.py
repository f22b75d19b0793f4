#!/usr/bin/env python3
"""How long trace_report takes, and how much memory, for a large trace: 64 ranks x 3 steps of llama2-7b (tp 8, pp 4, dp 2, 32
microbatches, about 3.7 million events, 0.9 GB of JSON in 64 compressed files).

    bench/report_scale.py [--bin build/bin] [--folder FOLDER]

The trace is a predicted step, repeated. Goals: the text in 20 s and 1 GB; the page under 3 MB for 16 ranks.
"""
import argparse
import gzip
import pathlib
import re
import resource
import subprocess
import tempfile
import time

STEPS = 3


def repeat(file):
    """Writes the step of a file again behind itself. One event is one line."""
    lines = gzip.open(file, "rt").read().splitlines()
    begin = next(i for i, line in enumerate(lines) if '"traceEvents"' in line) + 1
    head, events = lines[:begin], [line.rstrip(",") for line in lines[begin:] if line.startswith("{")]
    step_us = float(re.search(r'"ProfilerStep#1".*?"dur":([\d.]+)', "\n".join(events))[1])
    out = [line for line in events if '"ph":"M"' in line]
    for k in range(STEPS):
        for line in events:
            if '"ph":"M"' in line:
                continue
            line = re.sub(r'"ts":([\d.]+)', lambda m: f'"ts":{float(m[1]) + k * step_us:.3f}', line, count=1)
            line = line.replace('"step":1,', f'"step":{k + 1},').replace("ProfilerStep#1", f"ProfilerStep#{k + 1}")
            line = re.sub(r'"correlation":(\d+)', lambda m: f'"correlation":{int(m[1]) + k * 1000000}', line)
            out.append(line)
    with gzip.open(file, "wt", compresslevel=1) as stream:
        stream.write("\n".join(head) + "\n" + ",\n".join(out) + "\n]}\n")
    return len(out), sum(map(len, out))


def timed(*command):
    begin = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds = time.monotonic() - begin
    return seconds, max(before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default="build/bin", type=pathlib.Path)
    parser.add_argument("--folder", type=pathlib.Path, help="keeps the trace there; reads it again if it is there")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        trace = (args.folder or pathlib.Path(scratch)) / "trace"
        if not trace.exists():
            trace.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run([args.bin / "train_llama", "--model", "llama2-7b", "--ranks", "64", "--tp", "8", "--pp", "4",
                            "--global-batch", "64", "--micro-batch", "1", "--cluster", "rtx4090", "--dry-run", "--predict-trace",
                            trace], check=True, stdout=subprocess.DEVNULL)
            sizes = [repeat(file) for file in sorted(trace.glob("rank-*.json.gz"))]
            print(f"{sum(count for count, _ in sizes) / 1e6:.1f} million events, {sum(size for _, size in sizes) / 1e9:.2f} GB of JSON")
        page = pathlib.Path(scratch) / "page.html"
        for words, flags in (("text", []), ("json", ["--json"]), ("page", ["--html", page])):
            files = sorted(trace.glob("rank-*.json.gz"))  # without config.json: nothing is simulated
            seconds, mib = timed(args.bin / "trace_report", *files, *flags)
            print(f"{words}: {seconds:.1f} s, {mib:.0f} MiB at most so far")
        print(f"page: {page.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
