#!/usr/bin/env python3
"""Steps of this machine beside what train_llama --dry-run --cluster predicts for them from measure_cluster.

Measures the machine (or takes --profile FILE), then for each layout runs train_llama and predicts the same run. The step
is the mean of those up to 1.15 times the first decile, as in measure_cluster: others on the machine only ever make one
longer. Per row: measured and predicted step and the error; how far predicted categories are from measured ones, in
points of the step (communication that is exposed, bubble, wait, compute); the resident bytes of the largest rank's arena
beside the plan's.

A row is marked * and left out of the quiet means where it says nothing of the prediction: other processes took more than
--foreign of the cores' time, or the machine was not as fast as when it was measured. Neighbours of a virtual machine and
the clock show in no process's time, so short runs are timed beside the profile and before and after each row: one rank
on each core at once, and one of two ranks that exchange much (a virtual machine's cores may be moved apart: two of them
then took 158 ns instead of 25 to see what the other wrote, and an all_reduce four times as long). "speed" is how much
longer they took, at the worst of these times, and may be --drift, or twice that for the one that exchanges, which says
nothing of rows of one rank. "at its speed" is the error if the predicted step is as much longer as one rank on each core
was, in the mean of before and after the row: it says how far a prediction is off where the machine only computes slower
or faster than it did, and replaces no quiet row. After --again rows while cores were all too fast, or all too slow,
without other processes, the machine is measured again; up to three times where the fixed runs changed meanwhile, or
measure_cluster says that something else ran. With --profile FILE nobody knows how fast it was then: rows are held against the start of
this script, and FILE is kept.

Goals, on a quiet machine: step 3 % mean and 8 % worst, exposed communication and bubble 1 point, memory 3 %.

Usage: bench/predict/own_runs.py [--bin build/bin] [--profile FILE] [--model tiny,bench-s] [--only TEXT] [--seconds 6]
                                 [--rounds 2] [--foreign 0.05] [--drift 0.03] [--again 3] [--json FILE]
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMP_WAIT_POLICY="passive")
GLOBAL_BATCH = 24
CATEGORIES = {"comm": ("comm_tp_s", "comm_pp_s", "comm_dp_s"), "bubble": ("bubble_s",), "wait": ("wait_s",),
              "compute": ("compute_s", "recompute_s", "optimizer_s")}


def layouts():
    """Name, ranks, flags."""
    pairs = [("1 rank", 1, []), ("dp 2", 2, []), ("tp 2", 2, ["--tp", "2"]), ("pp 2 1f1b", 2, ["--pp", "2"])]
    rows = [(f"{name}, micro-batch {n}", ranks, [*flags, "--micro-batch", str(n)])
            for name, ranks, flags in pairs for n in (1, 2, 3, 4)]
    for schedule in ("gpipe", "interleaved", "zero-bubble"):
        vpp = ["--vpp", "2"] if schedule == "interleaved" else []
        rows += [(f"pp 2 {schedule}, micro-batch {n}", 2,
                  ["--pp", "2", "--schedule", schedule, *vpp, "--micro-batch", str(n)]) for n in (2, 4)]
    for name, ranks, flags in pairs:
        rows += [(f"{name}, recompute {kind}", ranks, [*flags, "--micro-batch", "2", "--recompute", kind])
                 for kind in ("selective", "full")]
    return [row for row in rows if not (row[0].startswith("dp 2") and GLOBAL_BATCH // 2 % int(row[2][-1] if
            row[2][-1].isdigit() else 2))]


def quiet(samples):
    """Indices of the samples up to 1.15 times the first decile."""
    decile = sorted(samples)[len(samples) // 10]
    return [i for i, sample in enumerate(samples) if sample <= 1.15 * decile]


def cpu_seconds():
    """Of all processes, and of those this script has waited for."""
    fields = list(map(int, open("/proc/stat").readline().split()[1:]))
    own = os.times()
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK"), own.children_user + own.children_system


def arena_bytes(folder, planned):
    """The resident bytes of an arena of so many planned ones, over the processes of a run: the mapping of whole huge
    pages of just that size, and what its last bytes take in the mapping behind it."""
    huge, most = 2 << 20, 0
    whole, rest = planned // huge * huge, planned % huge
    for process in pathlib.Path("/proc").iterdir():
        try:
            if not process.name.isdigit() or folder not in (process / "cmdline").read_text():
                continue
            found = []  # [begin, end, resident bytes]
            for line in open(process / "smaps"):
                words = line.split()
                if "-" in words[0]:
                    found.append([*(int(word, 16) for word in words[0].split("-")), 0])
                elif words[0] == "Rss:":
                    found[-1][2] = int(words[1]) * 1024
            for arena, behind in zip(found, found[1:]):
                if arena[1] - arena[0] == whole:
                    most = max(most, arena[2] + (min(behind[2], rest) if behind[0] == arena[1] else 0))
        except (OSError, IndexError):
            continue  # it has ended
    return most


def training(program, flags, out):
    return [program, *flags, "--quiet", "--trace", "off", "--tensorboard", "off", "--valid-fraction", "0", "--out", out]


def steps_of(out):
    """The lines of metrics.jsonl after two steps."""
    lines = [json.loads(line) for line in open(f"{out}/metrics.jsonl")]
    return [line for line in lines if line.get("step", 0) > 2 and "step_s" in line]


def quiet_step(lines):
    kept = [lines[i] for i in quiet([line["step_s"] for line in lines])]
    return statistics.mean(line["step_s"] for line in kept), kept


def fixed_runs(program):
    """Seconds of a step of two runs that are the same every time: the slowest of one rank on each core, all at once; and
    two ranks of a tensor-parallel group, which exchange in small pieces."""
    with tempfile.TemporaryDirectory() as folder:
        outs = [f"{folder}/{core}" for core in range(os.cpu_count())]
        flags = ["--model", "tiny", "--global-batch", "4", "--threads", "1", "--steps", "62"]
        running = [subprocess.Popen(training(program, flags, out), env=ENVIRONMENT, stdout=subprocess.DEVNULL)
                   for out in outs]
        if any([process.wait() for process in running]):
            sys.exit("a run that times the machine failed")
        alone = max(quiet_step(steps_of(out))[0] for out in outs)
        exchanging = ["mpirun", "--oversubscribe", "--bind-to", "none", "-np", "2",
                      *training(program, [*flags, "--tp", "2", "--micro-batch", "1"], f"{folder}/tp")]
        if subprocess.run(exchanging, env=ENVIRONMENT, stdout=subprocess.DEVNULL).returncode:
            sys.exit("a run that times the machine failed")
        return alone, quiet_step(steps_of(f"{folder}/tp"))[0]


def drift(then, now, exchanges=False):
    """How much longer fixed runs take, where 0 is as long; what exchanges counts half, and only for what does so too."""
    alone, exchanging = (b / a - 1 for a, b in zip(then, now))
    return max(alone, exchanging / 2, key=abs) if exchanges else alone


def run(program, ranks, flags, planned):
    """The steps, the arena's resident bytes, the share of the cores others took."""
    with tempfile.TemporaryDirectory() as folder:
        # --bind-to none: lane threads of a rank may run on a core that is idle, as predicted.
        launch = ["mpirun", "--oversubscribe", "--bind-to", "none", "-np", str(ranks)] if ranks > 1 else []
        command = [*launch, *training(program, flags, f"{folder}/run")]
        before, begin, resident = cpu_seconds(), time.time(), 0
        process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
        while process.poll() is None:
            resident = max(resident, arena_bytes(folder, planned))
            time.sleep(0.5)
        if process.returncode:
            sys.exit(f"{' '.join(command)} ended with {process.returncode}")
        after = cpu_seconds()
        foreign = (after[0] - before[0] - (after[1] - before[1])) / ((time.time() - begin) * os.cpu_count())
        return steps_of(f"{folder}/run"), resident, foreign


def predict(program, ranks, flags, profile):
    command = [program, "--dry-run", "--json", "--what-if", "off", "--cluster", profile, "--ranks", str(ranks), *flags]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)


def compare(program, model, layout, profile, options):
    name, ranks, flags = layout
    flags = ["--model", model, "--global-batch", str(GLOBAL_BATCH), "--threads", "1", *flags]
    found = predict(program, ranks, flags, profile)
    predicted = found["predicted"]
    steps = max(8, min(400, int(options.seconds / predicted["step_s"])))
    lines, resident, foreign = [], 0, []
    for _ in range(options.rounds):
        more, bytes_now, others = run(program, ranks, [*flags, "--steps", str(steps + 2)], predicted["memory_bytes"])
        lines, resident = lines + more, max(resident, bytes_now)
        foreign.append(others)
    step, kept = quiet_step(lines)
    points = {}
    if predicted["mean"]:
        for category, keys in CATEGORIES.items():
            measured = sum(line[key] for line in kept for key in keys) / len(kept) / step
            points[category] = 100 * (sum(predicted["mean"][key] for key in keys) / predicted["step_s"] - measured)
    memory = resident / predicted["memory_bytes"] - 1 if resident else None
    return {"model": model, "layout": name, "measured_s": step, "predicted_s": predicted["step_s"],
            "error": predicted["step_s"] / step - 1, "points": points, "memory": memory, "foreign": min(foreign),
            "steps": len(lines), "kept": len(kept)}


def show(row):
    points = "".join(f" {row['points'][c]:+.1f} |" if row["points"] else " |" for c in CATEGORIES)
    memory = "" if row["memory"] is None else f"{100 * row['memory']:+.1f} %"
    print(f"| {row['model']} | {row['layout']}{'' if row['quiet'] else ' *'} | {1e3 * row['measured_s']:.1f} | "
          f"{1e3 * row['predicted_s']:.1f} | {100 * row['error']:+.1f} % | {100 * row['error_at_its_speed']:+.1f} % |{points} {memory} | "
          f"{100 * row['foreign']:.0f} % | {100 * row['drift']:+.1f} % |", flush=True)


class Machine:
    """Its profile, and how fast it was then."""

    def __init__(self, options, program, folder):
        self.options, self.program, self.file = options, program, options.profile or f"{folder}/measured.json"
        self.measure()

    def measure(self):
        for _ in range(3):
            before, disturbed = fixed_runs(self.program), False
            if not self.options.profile:
                ranks = min(2, os.cpu_count())
                said = subprocess.run(["mpirun", "--oversubscribe", "--bind-to", "none", "-np", str(ranks),
                                       f"{self.options.bin}/measure_cluster", "--out", self.file],
                                      check=True, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True).stdout
                print(said, file=sys.stderr, flush=True)
                disturbed = "longer at times" in said
            self.now = fixed_runs(self.program)
            self.then, self.drifts = tuple((a + b) / 2 for a, b in zip(before, self.now)), []
            changed = drift(before, self.now)
            self.steady = abs(changed) <= self.options.drift and not disturbed
            if self.steady:
                return
            if abs(changed) > self.options.drift:
                print(f"The fixed runs changed by {100 * changed:+.1f} % while the machine was measured.", file=sys.stderr)
        print("The machine is not steady enough to be measured: no row is quiet.", file=sys.stderr)

    def judge(self, row):
        """Was the machine, since this was asked last, as it was when it was measured?"""
        last, self.now = self.now, fixed_runs(self.program)
        of_cores, row["drift"] = (max(drift(self.then, last, exchanges), drift(self.then, self.now, exchanges), key=abs)
                                  for exchanges in (False, row["layout"].split(",")[0] != "1 rank"))
        slower = sum(drift(self.then, fixed) for fixed in (last, self.now)) / 2
        row["error_at_its_speed"] = row["predicted_s"] * (1 + slower) / row["measured_s"] - 1
        alone = row["foreign"] <= self.options.foreign
        row["quiet"] = alone and self.steady and abs(row["drift"]) <= self.options.drift
        self.drifts = [*self.drifts, of_cores] if alone else []

    def is_another(self):
        """Whether it has had another speed for so long, and not because of other processes, that it is to be measured
        again."""
        last = self.drifts[-self.options.again:]
        return (not self.options.profile and len(last) == self.options.again and
                (not self.steady or min(last) > self.options.drift or max(last) < -self.options.drift))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default="build/bin")
    parser.add_argument("--profile", help="what measure_cluster wrote; without it, it runs first")
    parser.add_argument("--model", default="tiny,bench-s")
    parser.add_argument("--only", default="", help="layouts with this text in their name")
    parser.add_argument("--seconds", type=float, default=6, help="of training, a layout and round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--foreign", type=float, default=0.05, help="share of the cores' time that others may take")
    parser.add_argument("--drift", type=float, default=0.03, help="by how much the machine may be slower or faster")
    parser.add_argument("--again", type=int, default=3, help="measure the machine again after so many such rows")
    parser.add_argument("--json", help="the rows, to this file")
    options = parser.parse_args()
    program = str(pathlib.Path(options.bin).resolve() / "train_llama")
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(options, program, folder)
        print("| model | layout | measured ms | predicted ms | step | at its speed | comm | bubble | wait | compute | memory | "
              "others | speed |")
        print("|---|---|---|---|---|---|---|---|---|---|---|---|---|")
        rows = []
        for model in options.model.split(","):
            for layout in layouts():
                if options.only not in layout[0]:
                    continue
                row = compare(program, model, layout, machine.file, options)
                machine.judge(row)
                rows.append(row)
                show(row)
                if machine.is_another():
                    print(f"The machine's speed has changed for {options.again} rows: it is measured again.",
                          file=sys.stderr)
                    machine.measure()
    quiet_rows = [row for row in rows if row["quiet"]]
    print(f"{len(quiet_rows)} of {len(rows)} rows while the machine was quiet")
    for name, of in (("quiet rows", quiet_rows), ("all rows", rows)):
        if not of:
            continue
        for words, key in (("step", "error"), ("at its speed", "error_at_its_speed")):
            errors = [100 * abs(row[key]) for row in of]
            print(f"{f'{name}: ' if key == 'error' else '; '}{words} {statistics.mean(errors):.1f} % mean, "
                  f"{max(errors):.1f} % worst", end="")
        for category in CATEGORIES:
            points = [abs(row["points"][category]) for row in of if row["points"]]
            if points:
                print(f"; {category} {statistics.mean(points):.1f} points mean, {max(points):.1f} worst", end="")
        memory = [100 * abs(row["memory"]) for row in of if row["memory"] is not None]
        print(f"; memory {statistics.mean(memory):.1f} % mean, {max(memory):.1f} % worst" if memory else "")
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
