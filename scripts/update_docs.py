#!/usr/bin/env python3
"""Keeps what the docs show of programs true: a block between <!-- output: NAME --> and <!-- end --> is what the
function NAME below makes of what the programs print now, and so are the charts among the pictures (PICTURES). What cannot
be made here (no default text) stays.

Usage: scripts/update_docs.py [--check] [--bin build/bin] [--root .]
Rewrites blocks and pictures; --check compares them: exit 1 with the difference if one is stale.
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

sys.dont_write_bytecode = True
import charts  # noqa: E402

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
    text = text.replace(", bf16 multiplied in f32", "")
    text = re.sub(r"[\d.]+ MiB(?= planned per rank)", "15.3 MiB", text)  # with that one's workspace
    return fenced([*text.replace("\ndata ", "\n  all on desk\ndata ").splitlines(), "..."])  # mpirun tells the host


# LLaMA-2 70B on 2,048 devices, 4 M tokens a step: cluster, tp, pp, recomputation.
HEADLINE = [("rtx4090", 2, 16, "full"), ("rtx4090-p2p", 2, 16, "full"), ("rtx4090-8x200g", 2, 16, "full"),
            ("a100-80-sxm", 4, 8, "none"), ("h800-sxm", 2, 16, "none"), ("h100-sxm", 4, 8, "none")]


def predicted_2048(programs, cluster, tp, pp, recompute, what_if):
    return json.loads(programs.train_llama(
        "--model", "llama2-70b", "--global-batch", "1024", "--seq", "4096", "--dry-run", "--ranks", "2048", "--tp",
        str(tp), "--pp", str(pp), "--vpp", "5", "--schedule", "interleaved", "--recompute", recompute, "--cluster",
        cluster, "--json", "--what-if", what_if))["predicted"]


def training_2048(programs):
    text = ("| cluster | layout | step, s | MFU, % | communication exposed, % | bubble, % | days for 2 T tokens |\n"
            "|---|---|---|---|---|---|---|\n")
    for cluster, tp, pp, recompute in HEADLINE:
        found = predicted_2048(programs, cluster, tp, pp, recompute, "off")
        if not found["fits"]:
            sys.exit(f"llama2-70b does not fit {cluster}")
        mean, step = found["mean"], found["step_s"]
        exposed = sum(mean[f"comm_{axis}_s"] for axis in ("tp", "pp", "dp"))
        text += (f"| `{cluster}` | tp {tp} pp {pp}, recompute {recompute} | {step:.1f} | {100 * found['mfu']:.0f} | "
                 f"{100 * exposed / step:.0f} | {100 * mean['bubble_s'] / step:.0f} | "
                 f"{2e12 / found['tokens_per_s'] / 86400:.0f} |\n")
    return text


PARTS = [("compute", "compute"), ("recompute", "recomputation"), ("comm_tp", "tp exposed"), ("comm_pp", "pp exposed"),
         ("comm_dp", "dp exposed"), ("bubble", "pipeline bubble"), ("wait", "late rank"), ("optimizer", "optimizer")]


def steps_2048(programs):
    rows = []
    for cluster, tp, pp, recompute in HEADLINE:
        mean = predicted_2048(programs, cluster, tp, pp, recompute, "off")["mean"]
        rows.append((cluster, f"tp {tp} pp {pp}, {recompute}", {key: mean[f"{key}_s"] for key, _ in PARTS}))
    return charts.bars("LLaMA-2 70B on 2,048 cards: where a step's time goes, predicted", rows, PARTS)


def links_2048(programs):
    found = predicted_2048(programs, "rtx4090", 2, 16, "full", "layout")
    lines = [(f"links {curve['links']}", [(p["gb_per_s"], p["step_s"]) for p in curve["points"]], curve["now_gb_per_s"])
             for curve in found["link_curves"]]
    inside = found["link_curves"][0]
    return charts.curves("LLaMA-2 70B on 2,048 RTX 4090: the step with faster links, predicted", lines,
                         "GB/s a direction: of a card inside a host, of a host between hosts",
                         [(marker["name"], marker["gb_per_s"]) for marker in inside["markers"]])


# What owners of so many RTX 4090 train: cards, what it is called, the command's flags. 20 tokens for each parameter
# (Hoffmann et al. 2022), and the article's 2 T.
OWNERS = [
    (1, "1.1 B (TinyLlama)", "--model small --fix layers=22,hidden=2048,heads=32,kv-heads=4,head-dim=64,ffn=5632,vocab=32000 "
                             "--global-batch 256 --seq 2048 --tokens 2.2e10"),
    (4, "3.4 B (OpenLLaMA)", "--model small --fix layers=26,hidden=3200,heads=32,kv-heads=32,head-dim=100,ffn=8640,vocab=32000 "
                             "--global-batch 256 --seq 2048 --tokens 6.8e10"),
    (8, "LLaMA-2 7B", "--model llama2-7b --global-batch 256 --seq 4096 --tokens 1.4e11"),
    (64, "LLaMA-2 13B", "--model llama2-13b --global-batch 512 --seq 4096 --tokens 2.6e11 --failures llama3"),
    (2048, "LLaMA-2 70B", "--model llama2-70b --global-batch 1024 --seq 4096 --tokens 2e12 --failures llama3"),
]
OTHERS = {"with P2P": "rtx4090-p2p", "RTX 5090": "rtx5090", "H100 SXM": "h100-sxm"}


def owners(programs):
    text = ("| RTX 4090 | model | best layout | MFU, % | communication exposed, % | bubble, % | days | USD | "
            f"million tokens for a USD | {' | '.join(OTHERS)} |\n|---|---|---|---|---|---|---|---|---|{'---|' * len(OTHERS)}\n")
    for cards, model, flags in OWNERS:
        found = json.loads(programs.run("plan_llama", *flags.split(), "--devices", str(cards), "--cluster",
                                        ",".join(["rtx4090", *OTHERS.values()]), "--json"))["clusters"]
        plans = [of["plans"][0] for of in found]
        best = plans[0]
        schedule = "" if best["pp"] == 1 else f", {best['schedule']}" + (f" vpp {best['vpp']}" if best["vpp"] > 1 else "")
        tokens = [f"{of['million_tokens_per_usd']:.3g}" for of in found]
        text += (f"| {cards:,} | {model} | tp {best['tp']} pp {best['pp']} dp {best['dp']}{schedule}, micro-batch "
                 f"{best['micro_batch']}, recompute {best['recompute']} | {100 * best['mfu']:.0f} | "
                 f"{100 * best['exposed_share']:.0f} | {100 * best['bubble_share']:.0f} | {best['days']:.0f} | "
                 f"{best['usd']:,.0f} | {' | '.join(tokens)} |\n")
    return text


def owners_answers(programs):
    lines = []
    for cards, _, flags in OWNERS:
        command = f"{flags} --devices {cards} --cluster rtx4090"
        found = json.loads(programs.run("plan_llama", *command.split(), "--json"))
        lines += ([""] if lines else []) + [f"$ plan_llama {command}"] + found["answer"] + found["best"]["answer"]
    return fenced(lines)


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


def failures_2048(programs):
    rates = json.loads(programs.run("plan_llama", "failures", "--devices", "2048", "--json"))["rates"]
    text = "| rate | device-hours per failure | between failures | best interval | progress |\n|---|---|---|---|---|\n"
    for rate in sorted(rates, key=lambda rate: rate["device_hours_per_failure"]):
        hours = rate["hours_between_failures"]
        text += (f"| `{rate['name']}` | {rate['device_hours_per_failure']:,.0f} | "
                 f"{f'{60 * hours:.0f} min' if hours < 1 else f'{hours:.1f} h'} | {rate['interval_min']:.3g} min | "
                 f"{100 * rate['goodput']:.1f} % |\n")
    return text


DESKTOPS = "--cluster desktop-4090-10g --devices 8 --split pp --context 1024"
INFERENCE = [("RTX 4090 in a host, one user", "--cluster rtx4090 --batch 1"),
             ("RTX 4090 in a host", "--cluster rtx4090"),
             ("the same with peer access", "--cluster rtx4090-p2p"),
             ("H100 SXM", "--cluster h100-sxm"),
             ("desktops, pipeline over 10 Gb/s", DESKTOPS),
             ("desktops, pipeline over 1 Gb/s", f"{DESKTOPS} --set network.nic_gb_per_s=0.125")]


def inference(programs):
    text = ("```sh\n" + "".join(f"plan_llama inference {flags}\n" for _, flags in INFERENCE) + "```\n\n"
            "LLaMA-2 70B on eight cards, in the order of these commands. The first four keep 4,096 tokens of context, the desktops 1,024.\n\n"
            "| eight cards | users at once | tokens/s for each | tokens/s for all | million tokens for a USD | bound |\n"
            "|---|---|---|---|---|---|\n")
    for name, flags in INFERENCE:
        found = json.loads(programs.run("plan_llama", "inference", *flags.split(), "--json"))
        each = found["tokens_per_s_per_user"]
        text += (f"| {name} | {found['sequences']:.0f} | {each:.1f} | {found['tokens_per_s']:,.{1 if each == found['tokens_per_s'] else 0}f} | "
                 f"{found['tokens_per_usd'] / 1e6:.2f} | {found['bound']} |\n")
    return text


OUTPUTS = {
    "owners": owners,
    "owners-answers": owners_answers,
    "failures-2048": failures_2048,
    "inference": inference,
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


PICTURES = {
    "docs/pictures/steps-2048.svg": steps_2048,
    "docs/pictures/links-2048.svg": links_2048,
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


def main(argv=None, outputs=None, pictures=None):
    if outputs is None:
        outputs, pictures = OUTPUTS, PICTURES
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--bin", default="build/bin", type=pathlib.Path)
    parser.add_argument("--root", default=pathlib.Path(__file__).resolve().parents[1], type=pathlib.Path)
    args = parser.parse_args(argv)
    stale, seen = False, set()
    programs = Programs(args.bin.resolve())
    texts = [(file, lambda was: updated(was, programs, outputs, seen))
             for file in [args.root / "README.md", *sorted((args.root / "docs").glob("*.md"))]]
    texts += [(args.root / name, lambda _, draw=draw: draw(programs)) for name, draw in (pictures or {}).items()]
    for file, of in texts:
        was = file.read_text(encoding="utf-8") if file.exists() else ""
        now = of(was)
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
