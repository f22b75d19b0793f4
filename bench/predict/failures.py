#!/usr/bin/env python3
"""Hours of a rehearsed training whose cards fail, beside the formula of goodput (analysis/goodput.h).

A rehearsal under mpirun saves manifests. At random moments, exponentially apart, one of its ranks is killed; the job ends by
itself and is started again with --resume auto. Goodput is the time of the steps that count over the whole time. The formula gets
what was seen: the mean time from a failure to the first step behind it, with the time by which a checkpoint's writing lags; and
what a save stops the training for. All times are those of the rehearsed clock.

Usage: bench/predict/failures.py [--bin build/bin] [--seconds 400] [--between-failures 40] [--speed-up 40] [--seed 1]
"""
import argparse
import json
import math
import os
import pathlib
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMP_WAIT_POLICY="passive")
RANKS = 8
FLAGS = ("--model llama2-13b --tp 2 --pp 4 --micro-batch 4 --global-batch 64 --recompute full --cluster rtx4090 "
         "--set device.memory_gib=80 --threads 1 --device rehearsal --steps 1000000 --warmup 1 --trace off --tensorboard off "
         "--log-interval 1 --resume auto").split()


def ranks_of(folder):
    """Processes of the run."""
    found = []
    for process in pathlib.Path("/proc").iterdir():
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
        except (OSError, NotADirectoryError):
            continue
        if command[0].endswith(b"train_llama") and folder.encode() in command:
            found.append(int(process.name))
    return found


def lines_of(folder):
    try:
        text = open(f"{folder}/metrics.jsonl").read()
    except FileNotFoundError:
        return []
    lines = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    return [line for line in lines if "step_s" in line]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default="build/bin")
    parser.add_argument("--seconds", type=float, default=400, help="of this machine")
    parser.add_argument("--between-failures", type=float, default=40, help="minutes, of the rehearsed clock")
    parser.add_argument("--speed-up", type=float, default=40)
    parser.add_argument("--save-interval", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    program = str(pathlib.Path(options.bin).resolve() / "train_llama")
    chance = random.Random(options.seed)
    between_s = options.between_failures * 60 / options.speed_up  # of this machine's clock, as all that follows
    recoveries, failures, saved_until = [], 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = f"{scratch}/run"
        command = ["mpirun", "--oversubscribe", "--bind-to", "none", "-np", str(RANKS), program, *FLAGS, "--speed-up",
                   str(options.speed_up), "--save-interval", str(options.save_interval), "--out", folder]
        start = lambda: subprocess.Popen(command, env=ENVIRONMENT, stdout=open(f"{scratch}/log", "a"), stderr=subprocess.STDOUT)
        job = start()
        while not lines_of(folder):  # the clock starts with the first step's end
            time.sleep(0.02)
            if job.poll() is not None:
                sys.exit(open(f"{scratch}/log").read())
        first = lines_of(folder)[0]["step"]
        begin = time.time()
        next_failure, failed_at = begin + chance.expovariate(1 / between_s), None
        while time.time() - begin < options.seconds:
            time.sleep(0.02)
            if failed_at and (lines := lines_of(folder)) and lines[-1]["time_unix_s"] > failed_at + 0.5:
                recoveries.append(lines[-1]["time_unix_s"] - lines[-1]["step_s"] - failed_at)
                failed_at = None
            processes = ranks_of(folder) if time.time() >= next_failure else []
            if processes:  # a failure while nothing runs strikes when it does again
                failures += 1
                failed_at = failed_at or time.time()
                os.kill(chance.choice(processes), signal.SIGKILL)
                if job.wait(timeout=60) == 0:
                    sys.exit("a job whose rank was killed ended with 0")
                next_failure = time.time() + chance.expovariate(1 / between_s)
                job = start()
        total_s = time.time() - begin
        last = lines_of(folder)[-1]["step"]
        for process in ranks_of(folder):
            os.kill(process, signal.SIGKILL)
        job.wait()
        lines = lines_of(folder)
        log = open(f"{scratch}/log").read()
    step_s = statistics.median(line["step_s"] - line["checkpoint_s"] for line in lines)
    stops = [line["checkpoint_s"] for line in lines if line["checkpoint_s"] > 0.001]
    lag_s = statistics.mean(float(line.split(" in ")[1].split(" s")[0]) for line in log.splitlines() if line.startswith("saved "))
    interval_s = options.save_interval * step_s
    stop_s = sum(stops) / max(1, len(lines) / options.save_interval)
    recovery_s = statistics.mean(recoveries) + lag_s
    seen = (last - first) * step_s / total_s
    formula = interval_s / (between_s * math.exp(recovery_s / between_s) * (math.exp((interval_s + stop_s) / between_s) - 1))
    minutes = options.speed_up / 60
    print(f"{total_s * minutes / 60:.1f} hours, {last - first} steps of {step_s * options.speed_up:.1f} s, {failures} failures "
          f"({options.between_failures:.0f} min apart in the mean, {total_s * minutes / max(1, failures):.0f} min seen); "
          f"saved every {interval_s * minutes:.1f} min, which stops training for {stop_s * options.speed_up:.1f} s and lags by "
          f"{lag_s * minutes:.1f} min; back after {statistics.mean(recoveries) * minutes:.1f} min")
    print(f"goodput {100 * seen:.1f} %; by the formula {100 * formula:.1f} %")


if __name__ == "__main__":
    main()
