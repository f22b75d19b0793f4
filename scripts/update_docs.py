#!/usr/bin/env python3
"""Keeps what the docs show of programs true: a block between <!-- output: NAME --> and <!-- end --> is what the
function NAME below makes of what the programs print now. One that cannot be made here (no default text) stays.

Usage: scripts/update_docs.py [--check] [--bin build/bin] [--root .]
Rewrites the blocks; --check compares them: exit 1 with the difference if one is stale.
"""
import argparse
import difflib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

BLOCK = re.compile(r"(?P<begin><!-- output: (?P<name>[\w-]+) -->\n)(?P<text>.*?)(?P<end><!-- end -->)", re.DOTALL)


class NotHere(Exception):
    pass


class Programs:
    def __init__(self, folder):
        self.folder = folder

    def train_llama(self, *flags):
        return self.run("train_llama", *flags)

    def run(self, program, *flags):
        done = subprocess.run([self.folder / program, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, check=False, env={**os.environ, "OMP_WAIT_POLICY": "passive"})
        if "the default text (Debian's jargon-text) is in none" in done.stderr:
            raise NotHere("no default text")
        if done.returncode != 0:
            sys.exit(f"{program} {' '.join(flags)} ended with {done.returncode}:\n{done.stderr}")
        return done.stdout


def fenced(lines):
    return "```\n" + "".join(line.rstrip() + "\n" for line in lines) + "```\n"


def picked(text, *patterns):
    """The lines that match one of the patterns, with "..." where others stand between them."""
    lines, gap = [], False
    for line in text.splitlines():
        if any(re.search(pattern, line) for pattern in patterns):
            lines += ["  ..."] if gap and lines else []
            lines.append(line)
            gap = False
        else:
            gap = True
    return fenced(lines)


def memory_of_tiny(programs):
    text = programs.train_llama("--model", "tiny", "--threads", "2", "--print-memory")
    return picked(text, "layers.ffn: linear ", "workspace", "total", "outside the plan")


def recomputation(programs):
    keeps = {
        "none": "all that backward reads",
        "selective": "matrix products, rotated q and k, attention's output and log-sum-exp; norms and the SwiGLU product "
                     "are rebuilt",
        "group:4": "the input of each 4 layers",
        "group:2": "the input of each 2 layers",
        "full": "its input",
    }
    text = "| `--recompute` | keeps of a layer | tiny, 2 threads | GFLOP a step |\n|---|---|---|---|\n"
    for kind, what in keeps.items():
        out = programs.train_llama("--model", "tiny", "--threads", "2", "--recompute", kind, "--print-memory", "--print-plan")
        total = re.search(r"total \(peak of the arena\).* B +(\S+ MiB)", out).group(1)
        flops = re.search(r"(\S+) GFLOP a step", out).group(1)
        name = "`full` (= `group:1`)" if kind == "full" else f"`{kind}`"
        text += f"| {name} | {what} | {total} | {flops} |\n"
    return text


def graph_of_a_layer(programs, phase):
    """The feed-forward block of the last layer, with short names and the types in one column."""
    text = programs.train_llama("--model", "tiny", "--threads", "2", "--print-graph")
    section = text[text.index(f"microbatch, phase {phase}\n"):]
    section = re.search(r"^  layers\.7\.ffn\n((?:    .*\n)+)", section, re.MULTILINE)
    nodes = [re.sub(r"model\.layers\.7\.(mlp\.|self_attn\.)?", "...", line.rstrip()) for line in section.group(1).splitlines()]
    parts = [re.split(r" +: ", node, maxsplit=1) for node in nodes]
    width = max(len(part[0]) for part in parts if len(part) == 2)
    nodes = [part[0] if len(part) == 1 else f"{part[0]:{width}} : {part[1]}" for part in parts]
    return fenced([f"microbatch, phase {phase}", "  layers.7.ffn", *nodes])


def readme_sample(programs):
    """How a run of the quickstart begins, up to what is measured. It is stopped after a step."""
    with tempfile.TemporaryDirectory() as folder:
        out = programs.train_llama("--tp", "2", "--pp", "2", "--local-ranks", "4", "--threads", "1", "--steps", "200",
                                   "--time-limit", "1e-6", "--tensorboard", "off", "--out", folder + "/run")
    text = re.search(r"^model .*?^device [^\n]*$", out, re.DOTALL | re.MULTILINE)[0]
    text = re.sub(r"(?<=device cpu )\w+", "avx512bf16", text)  # whatever this machine has
    text = re.sub(r"[\d.]+ MiB(?= planned per rank)", "15.3 MiB", text)  # with that one's workspace
    return fenced([*text.replace("\ndata ", "\n  all on desk\ndata ").splitlines(), "..."])  # mpirun tells the host


# LLaMA-2 70B on 2,048 devices, 4 M tokens a step: cluster, tp, pp, recomputation.
HEADLINE = [("rtx4090", 2, 16, "full"), ("rtx4090-p2p", 2, 16, "full"), ("rtx4090-8x200g", 2, 16, "full"),
            ("a100-80-sxm", 4, 8, "none"), ("h800-sxm", 2, 16, "none"), ("h100-sxm", 4, 8, "none")]


def training_2048(programs):
    text = ("| cluster | layout | step, s | MFU, % | communication exposed, % | bubble, % | days for 2 T tokens |\n"
            "|---|---|---|---|---|---|---|\n")
    for cluster, tp, pp, recompute in HEADLINE:
        found = json.loads(programs.train_llama(
            "--model", "llama2-70b", "--global-batch", "1024", "--seq", "4096", "--dry-run", "--ranks", "2048", "--tp",
            str(tp), "--pp", str(pp), "--vpp", "5", "--schedule", "interleaved", "--recompute", recompute, "--cluster",
            cluster, "--json"))["predicted"]
        if not found["fits"]:
            sys.exit(f"llama2-70b does not fit {cluster}")
        mean, step = found["mean"], found["step_s"]
        exposed = sum(mean[f"comm_{axis}_s"] for axis in ("tp", "pp", "dp"))
        text += (f"| `{cluster}` | tp {tp} pp {pp}, recompute {recompute} | {step:.1f} | {100 * found['mfu']:.0f} | "
                 f"{100 * exposed / step:.0f} | {100 * mean['bubble_s'] / step:.0f} | "
                 f"{2e12 / found['tokens_per_s'] / 86400:.0f} |\n")
    return text


def explained(programs):
    text = programs.train_llama("--model", "llama2-70b", "--global-batch", "1024", "--seq", "4096", "--dry-run", "--ranks",
                                "2048", "--vpp", "5", "--schedule", "interleaved", "--cluster", "rtx4090", "--tp", "2",
                                "--pp", "16", "--recompute", "full")
    return fenced(text[text.index("predicted "):].splitlines())


def planner(programs):
    text = programs.run("plan_llama", "--model", "llama2-70b", "--cluster", "rtx4090", "--devices", "2048", "--global-batch",
                        "1024", "--seq", "4096", "--tokens", "2e12")
    text = text[:text.index("\nwhy, of the best")]
    return fenced(re.sub(r"simulated, [\d.]+ s", "simulated, 2 s", text).splitlines())  # whatever it took


# Who asks, and what.
SITUATIONS = [
    "--model bench-m --cluster rtx4090 --devices 2 --global-batch 64 --seq 2048 --tokens 2.5e9",
    "--model llama2-13b --cluster rtx4090 --devices 64 --global-batch 512 --seq 4096 --tokens 2.6e11 --failures llama3",
    "--model llama2-70b --cluster rtx4090 --devices 2048 --global-batch 1024 --seq 4096 --tokens 2e12 --failures llama3",
]


def situations(programs):
    lines = []
    for flags in SITUATIONS:
        found = json.loads(programs.run("plan_llama", *flags.split(), "--json"))
        lines += ([""] if lines else []) + [f"$ plan_llama {flags}"] + found["answer"] + found["best"]["answer"]
    return fenced(lines)


def single_cards(programs):
    return fenced(programs.run("plan_llama", "--devices", "1", "--model", "small,bench-m",
                               "--cluster", "rtx4090,rtx5090,a100-80-pcie,h100-pcie", "--global-batch", "16", "--seq",
                               "2048").splitlines())


def planned_2048(programs):
    """The best layout of each cluster, and what it makes of 2 T tokens with failures as often as Llama 3's."""
    text = ("| cluster | best layout | step, s | MFU, % | communication exposed, % | days | million USD | tokens for a USD |\n"
            "|---|---|---|---|---|---|---|---|\n")
    found = json.loads(programs.run("plan_llama", "--model", "llama2-70b", "--devices", "2048", "--global-batch", "1024", "--seq",
                                    "4096", "--tokens", "2e12", "--failures", "llama3", "--cluster",
                                    ",".join(cluster for cluster, *_ in HEADLINE), "--json"))
    for of in found["clusters"]:
        best = of["plans"][0]
        schedule = best["schedule"] + (f" vpp {best['vpp']}" if best["vpp"] > 1 else "")
        money = "" if best["usd"] is None else f"{best['usd'] / 1e6:.2f}"
        tokens = "" if best["usd"] is None else f"{2e12 / best['usd'] / 1e6:.1f} M"
        text += (f"| `{of['cluster']}` | tp {best['tp']} pp {best['pp']} dp {best['dp']}, {schedule}, recompute "
                 f"{best['recompute']} | {best['step_s']:.1f} | {100 * best['mfu']:.0f} | {100 * best['exposed_share']:.0f} | "
                 f"{best['days']:.0f} | {money} | {tokens} |\n")
    return text


OUTPUTS = {
    "planned-2048": planned_2048,
    "planner": planner,
    "situations": situations,
    "single-cards": single_cards,
    "explained": explained,
    "training-2048": training_2048,
    "memory-of-tiny": memory_of_tiny,
    "recomputation": recomputation,
    "graph-forward": lambda programs: graph_of_a_layer(programs, "F"),
    "graph-backward": lambda programs: graph_of_a_layer(programs, "I"),
    "megatron": lambda programs: fenced(programs.train_llama("--help-megatron").rstrip().splitlines()),
    "readme-sample": readme_sample,
}


def updated(text, programs, outputs, seen):
    def replace(match):
        name = match["name"]
        if name not in outputs:
            sys.exit(f"no output is called {name}; there are {', '.join(outputs)}")
        seen.add(name)
        try:
            return match["begin"] + outputs[name](programs) + match["end"]
        except NotHere as reason:
            print(f"{name} is left as it is: {reason}")
            return match[0]

    return BLOCK.sub(replace, text)


def main(argv=None, outputs=None):
    outputs = OUTPUTS if outputs is None else outputs
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--bin", default="build/bin", type=pathlib.Path)
    parser.add_argument("--root", default=pathlib.Path(__file__).resolve().parents[1], type=pathlib.Path)
    args = parser.parse_args(argv)
    stale, seen = False, set()
    for file in [args.root / "README.md", *sorted((args.root / "docs").glob("*.md"))]:
        was = file.read_text(encoding="utf-8")
        now = updated(was, Programs(args.bin.resolve()), outputs, seen)
        if now == was:
            continue
        stale = True
        if args.check:
            sys.stdout.writelines(difflib.unified_diff(was.splitlines(True), now.splitlines(True), str(file), "printed now"))
        else:
            file.write_text(now, encoding="utf-8")
            print(f"updated {file}")
    if missing := outputs.keys() - seen:
        sys.exit(f"no file has a block for {', '.join(sorted(missing))}")
    if args.check and stale:
        sys.exit("the docs show what programs no longer print: run scripts/update_docs.py")


if __name__ == "__main__":
    main()
