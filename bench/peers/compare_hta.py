#!/usr/bin/env python3
"""What Holistic Trace Analysis (Meta) reads in Trine's traces, beside what trace_report says of the same steps.

    python3 -m venv build/hta-venv && build/hta-venv/bin/pip install HolisticTraceAnalysis==0.5.0 'pandas<2.3'
    build/hta-venv/bin/python bench/peers/compare_hta.py [--bin build/bin] [--steps 6]

HTA counts streams: what runs on one is compute or communication, the rest idle. trace_report's shares of the same are: computing and
optimizer; communication that nothing hides; everything else. Both are means over ranks.
"""
import argparse
import json
import pathlib
import subprocess
import tempfile
import warnings

warnings.filterwarnings("ignore")

from hta.trace_analysis import TraceAnalysis  # noqa: E402

CONFIGURATIONS = {
    "tiny, tp 2 pp 2": ["--tp", "2", "--pp", "2"],
    "tiny, dp 2 pp 2, micro-batch 8": ["--pp", "2", "--micro-batch", "8"],
    "tiny, tp 4": ["--tp", "4"],
}


def ours(bin_folder, run, rank):
    report = json.loads(subprocess.run([bin_folder / "trace_report", run, "--json", "--ranks", str(rank)], check=True,
                                       capture_output=True, text=True).stdout)
    mean, step = report["mean"], report["step_s"]
    # Copies of data are kernels on the compute stream too.
    compute = mean["compute_s"] + mean["recompute_s"] + mean["optimizer_s"] + mean["data_s"]
    comm = mean["comm_tp_s"] + mean["comm_pp_s"] + mean["comm_dp_s"]
    hidden = sum(report["hidden_comm"].values())
    return {"compute": 100 * compute / step, "exposed communication": 100 * comm / step,
            "idle": 100 * (step - compute - comm) / step, "overlap": 100 * hidden / (comm + hidden) if comm + hidden else 0}


def theirs(run):
    analyser = TraceAnalysis(trace_dir=str(run / "trace"))
    time = analyser.get_temporal_breakdown(visualize=False)
    overlap = analyser.get_comm_comp_overlap(visualize=False)
    queue = analyser.get_queue_length_summary()
    launches = analyser.get_cuda_kernel_launch_stats(visualize=False)
    graph, ok = analyser.critical_path_analysis(rank=0, annotation="ProfilerStep", instance_id=1)
    return {"compute": time["compute_time_pctg"].mean(), "exposed communication": time["non_compute_time_pctg"].mean(),
            "idle": time["idle_time_pctg"].mean(), "overlap": overlap["comp_comm_overlap_pctg"].mean(),
            "queue rows": 0 if queue is None else len(queue), "launch rows": sum(len(of) for of in launches.values()),
            "critical path edges": len(graph.critical_path_edges_set) if ok else 0}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default="build/bin", type=pathlib.Path)
    parser.add_argument("--steps", default=6, type=int)
    args = parser.parse_args()
    print("| run | share of the step, % | HTA | trace_report |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for name, flags in CONFIGURATIONS.items():
            run = pathlib.Path(scratch) / name.replace(" ", "-").replace(",", "")
            subprocess.run([args.bin.resolve() / "train_llama", "--local-ranks", "4", "--threads", "1", *flags, "--steps",
                            str(args.steps), "--trace", f"2:{args.steps}", "--trace-format", "json", "--out", run], check=True,
                           capture_output=True)
            own, other = [ours(args.bin.resolve(), run, rank) for rank in range(4)], theirs(run)
            for what in own[0]:
                print(f"| {name} | {what} | {other[what]:.1f} | {sum(of[what] for of in own) / len(own):.1f} |")
            print(f"| {name} | rows of queue length, of launches; edges of the critical path | {other['queue rows']}, "
                  f"{other['launch rows']}, {other['critical path edges']} | |")


if __name__ == "__main__":
    main()
