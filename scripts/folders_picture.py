#!/usr/bin/env python3
"""Draws docs/pictures/folders.svg: what each folder is for, and which earlier ones it may include (check_layers.py).

Usage: scripts/folders_picture.py [--check] [--root .]
Writes the picture. --check compares it, and exits 1 if it is stale. Both refuse a folder, or a room in one, that has
no line below, and a line whose folder is gone.
"""
import argparse
import html
import pathlib
import sys

sys.dont_write_bytecode = True
import check_layers  # noqa: E402

# What a folder, and each room in it, is for. In the order of the picture, which is that of the layers.
FOLDERS = {
    "base": ("types, mesh, clock, files, JSON, text, what a link carries", {}),
    "graph": ("nodes, values, placements; autodiff; the verifier",
              {"passes": "rewrites that any graph can have: fuse, recompute, in place"}),
    "ops": ("what each op answers: types, gradient, cost, how it may be split", {}),
    "parallel": ("tensor, pipeline and data parallelism as graph: buckets, optimizer, lanes, waits",
                 {"schedules": "who does which microbatch when: GPipe, 1F1B, interleaved, zero-bubble"}),
    "models": ("LLaMA as in the paper, and its presets", {}),
    "plan": ("from a configuration to what runs: memory plan, step program, checks",
             {"config": "flags, presets, what follows from them, what cannot be", "printing": "plans as text"}),
    "trace": ("what ran when: events, accounting, writer and reader", {}),
    "cluster": ("devices and links in numbers, costs of kernels, topology", {"profiles": "the built-in clusters"}),
    "analysis": ("simulator, predictions, explanations, failures, inference",
                 {"report": "a trace becomes an answer, as text, JSON and page",
                  "planner": "the layout that trains fastest, of thousands",
                  "article": "the claims that Trine began with, in numbers"}),
    "comm": ("ranks talk: groups, collectives from point to point, lanes, time-outs, clocks",
             {"local": "ranks that are threads", "mpi": "ranks that are processes", "nccl": "devices that talk themselves",
              "emulated": "links slowed to another cluster's"}),
    "kernels": ("what ops do, a file per op", {"cpu": "vectorised loops, oneDNN", "cuda": "CUDA, cuBLASLt, cuDNN"}),
    "data": ("text, tokenizers, token files, the samples of a step", {}),
    "checkpoint": ("saving, loading, resharding; HDF5, Hugging Face", {}),
    "runtime": ("carries a plan out",
                {"device": "what a device must offer: CPU, CUDA, rehearsal; its memory",
                 "step": "executor, lanes, pipeline messages, recorder",
                 "state": "parameters, and what a checkpoint takes",
                 "failure": "which rank is lost or hangs, and what it did",
                 "job": "ranks connect and agree; run folder, log",
                 "generation": "text from a model",
                 "training": "the loop: trainer, saver, outputs, stopping",
                 "measure": "what this machine can do, as a profile"}),
    "examples": ("the programs: train_llama, generate_llama, plan_llama, ...", None),
    "tests": ("a program for each folder; references in f64", None),
    "bench": ("how fast: beside PyTorch, and op by op", None),
}
BANDS = [("base", "plans: pure functions, without MPI, CUDA or a thread", "#e8f0fe", "#174ea6"),
         ("comm", "runs: what talks, computes, reads and writes", "#e6f4ea", "#137333"),
         ("examples", "programs", "#fef7e0", "#b06000")]
NAME_X, TEXT_X, GRID_X, STEP, WIDTH = 24, 122, 660, 22, 1060
TOP, ROW, ROOM, TITLE = 84, 24, 17, 26


def findings(root):
    """Lines of text: what the tables above and the tree do not have in common."""
    if set(FOLDERS) != set(check_layers.LAYERS):
        yield f"FOLDERS has {', '.join(FOLDERS)}, but check_layers.py has {', '.join(check_layers.LAYERS)}."
        return
    for folder, (_, rooms) in FOLDERS.items():
        seen = list(FOLDERS)[:list(FOLDERS).index(folder)]
        for later in check_layers.LAYERS[folder] - {*seen, *check_layers.PROGRAMS}:
            yield f"{folder} may include {later}, which stands later in FOLDERS."
        real = {p.name for p in (root / folder).iterdir() if p.is_dir() and any(f.is_file() for f in p.rglob("*"))}
        for room in () if rooms is None else sorted(real ^ set(rooms)):
            yield f"{folder}/{room} {'has no line in FOLDERS' if room in real else 'is gone, but has a line in FOLDERS'}."


def text(x, y, words, size=12, fill="#3c4043", more=""):
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{fill}"{more}>{html.escape(words)}</text>'


def picture():
    names = [f for f in FOLDERS if f not in check_layers.PROGRAMS]
    bands = {first: band for first, *band in BANDS}
    body, y = [], TOP
    for folder, (what, rooms) in FOLDERS.items():
        if folder in bands:
            title, fill, color = bands[folder]
            below = list(FOLDERS)[list(FOLDERS).index(folder):]
            end = next((i for i, f in enumerate(below) if i > 0 and f in bands), len(below))
            height = TITLE + sum(ROW + ROOM * len(FOLDERS[f][1] or {}) for f in below[:end]) + 4
            body.append(f'<rect x="10" y="{y}" width="{WIDTH - 20}" height="{height}" fill="{fill}" rx="4"/>')
            body.append(text(NAME_X - 6, y + 18, title, 12, color))
            y += TITLE
        middle = y + 12
        body.append(text(NAME_X, middle + 4, folder + "/", 13, "#202124", ' font-weight="bold"'))
        body.append(text(TEXT_X, middle + 4, what))
        for column, other in enumerate(names):
            x = GRID_X + column * STEP
            if other == folder:
                body.append(f'<rect x="{x - 5}" y="{middle - 5}" width="10" height="10" fill="#202124"/>')
            elif other in check_layers.LAYERS[folder]:
                body.append(f'<circle cx="{x}" cy="{middle}" r="4.5" fill="#5f6368"/>')
        y += ROW
        for room, purpose in (rooms or {}).items():
            body.append(text(NAME_X + 12, y + 8, room + "/", 11, "#202124"))
            body.append(text(TEXT_X, y + 8, purpose, 11, "#5f6368"))
            y += ROOM
        if list(FOLDERS).index(folder) + 1 < len(FOLDERS) and list(FOLDERS)[list(FOLDERS).index(folder) + 1] in bands:
            y += 14
    height = y + 14
    heads = [f'<g transform="translate({GRID_X + column * STEP + 4} {TOP - 6}) rotate(-45)">{text(0, 0, name, 11, "#202124")}</g>'
             for column, name in enumerate(names)]
    intro = [text(10, 24, "The folders, in the order in which data flows", 15, "#202124", ' font-weight="bold"'),
             text(10, 46, "A dot: the folder of the row may include the folder of the column."),
             text(10, 64, "All dots are left of the squares: an include points only to an earlier folder.")]
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
                      f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
                      "<title>The folders of Trine, and which earlier ones each may include</title>",
                      '<rect width="100%" height="100%" fill="#ffffff"/>', *intro, *body, *heads, "</svg>", ""])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--root", default=pathlib.Path(__file__).resolve().parents[1], type=pathlib.Path)
    args = parser.parse_args()
    if found := list(findings(args.root)):
        sys.exit("\n".join(f"[folders] {line}" for line in found) + "\nChange FOLDERS in scripts/folders_picture.py.")
    file = args.root / "docs" / "pictures" / "folders.svg"
    if not args.check:
        file.write_text(picture(), encoding="utf-8")
    elif not file.is_file() or file.read_text(encoding="utf-8") != picture():
        sys.exit(f"[folders] {file} is stale: run scripts/folders_picture.py")


if __name__ == "__main__":
    main()
