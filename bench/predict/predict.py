#!/usr/bin/env python3
"""Published training steps beside what train_llama --dry-run --cluster predicts for them.

Each row of published.json is a step that others measured. GPT models stand in it as LLaMA shapes of equal arithmetic
(ffn = 8 h / 3, as many kv heads as heads). The ratio is predicted / measured seconds; below 1 the prediction is too
fast. Per software stack: the mean ratio, and the mean and worst error once each prediction is divided by it, which is
what one scalar for the stack leaves.

Usage: bench/predict/predict.py [--bin build/bin] [--rows]
"""
import argparse
import json
import math
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).parent


def predict(row, program):
    flags = {"ranks": row["ranks"], "layers": row["layers"], "hidden": row["hidden"], "heads": row["heads"],
             "kv-heads": row["kv_heads"], "head-dim": row["hidden"] // row["heads"], "ffn": row["ffn"],
             "vocab": row["vocab"], "seq": row["seq"], "tp": row["tp"], "pp": row["pp"],
             "micro-batch": row["micro_batch"], "global-batch": row["global_batch"], "recompute": row["recompute"],
             "dtype": row["dtype"], "sp": "on" if row["sp"] and row["tp"] > 1 else "off",
             "tie-embeddings": "on" if row["tie"] else "off", "cluster": row["cluster"]}
    if row["vpp"] > 1:
        flags |= {"vpp": row["vpp"], "schedule": "interleaved"}
    if "zero" in row:
        flags["zero"] = row["zero"]
    command = [program, "--dry-run", "--json"] + [word for k, v in flags.items() for word in (f"--{k}", str(v))]
    command += ["--set", *row["set"]] if row.get("set") else []
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default="build/bin")
    parser.add_argument("--rows", action="store_true", help="each row, too")
    options = parser.parse_args()
    ratios = {}
    for row in json.loads((HERE / "published.json").read_text()):
        found = predict(row, f"{options.bin}/train_llama")
        measured = row.get("step_s") or found["model_flops"] / (row["tflops"] * 1e12 * row["ranks"])
        ratio = found["predicted"]["step_s"] / measured
        ratios.setdefault((row["stack"], row["cluster"]), []).append(ratio)
        if options.rows:
            print(f"{ratio:.3f}  {measured:8.3f} s  {row['stack']}, {row['cluster']}: {row['layers']} x {row['hidden']}, "
                  f"{row['ranks']} ranks, tp {row['tp']} pp {row['pp']} vpp {row['vpp']}, batch {row['global_batch']}")
    print("| stack | cluster | rows | predicted / measured: mean | least | most | error left by one scalar: mean | worst |")
    print("|---|---|---|---|---|---|---|---|")
    for (stack, cluster), list_of in ratios.items():
        mean = math.exp(statistics.mean(map(math.log, list_of)))
        errors = [abs(ratio / mean - 1) for ratio in list_of]
        print(f"| {stack} | {cluster} | {len(list_of)} | {mean:.2f} | {min(list_of):.2f} | {max(list_of):.2f} | "
              f"{100 * statistics.mean(errors):.1f} % | {100 * max(errors):.1f} % |")


if __name__ == "__main__":
    main()
