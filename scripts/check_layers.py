#!/usr/bin/env python3
"""Checks that includes point one way.

base -> graph -> ops -> parallel -> models -> plan -> trace -> cluster -> analysis, comm -> kernels -> data -> checkpoint
     -> runtime -> examples, tests, bench

LAYERS below says for each folder which of the earlier ones it may see; scripts/folders_picture.py draws it.

Also: only folders from comm on name MPI, CUDA or oneDNN, only checkpoint names HDF5, and no file chooses CUDA with
the preprocessor (a backend is a folder, chosen when linking).

Usage: scripts/check_layers.py [ROOT]     exit 0, or 1 with a line for each finding
"""
import pathlib
import re
import sys

CORE = ["base", "graph", "ops", "parallel", "models", "plan", "trace"]
PROGRAMS = ["examples", "tests", "bench"]
LAYERS = {folder: set(CORE[:i]) for i, folder in enumerate(CORE)}
LAYERS["cluster"] = {"base", "graph", "ops"}
LAYERS["analysis"] = {*CORE, "cluster"}
LAYERS["comm"] = {"base"}
LAYERS["kernels"] = {"base", "graph", "ops", "comm"}
LAYERS["data"] = {"base", "models"}
LAYERS["checkpoint"] = set(CORE) - {"trace"}
LAYERS["runtime"] = {*CORE, "comm", "kernels", "checkpoint", "data", "cluster"}
LAYERS |= {folder: {*LAYERS} for folder in PROGRAMS}
LAYERS["bench"].add("tests")  # the table of op cases

# Headers of libraries, and the folders that may include them.
LIBRARIES = [
    (re.compile(r"mpi\.h|mpi-ext\.h|nccl\.h|(oneapi/)?dnnl|cuda|cublas|cudnn|nvtx|nvml"),
     {"comm", "kernels", "runtime", *PROGRAMS}),
    (re.compile(r"hdf5|H5"), {"checkpoint", *PROGRAMS}),
]

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')
CUDA_CHOICE = re.compile(r"^\s*#\s*(if|ifdef|ifndef|elif)\b.*(CUDA|NVCC)")
SUFFIXES = {".h", ".cpp", ".cu", ".cuh"}


def findings_in(root, file):
    name = file.relative_to(root)
    folder = name.parts[0]
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        where = f"{name}:{number}"
        if CUDA_CHOICE.match(line):
            yield f"{where}: the preprocessor asks for CUDA. Put the difference into a backend's folder."
        if not (include := INCLUDE.match(line)):
            continue
        ours, theirs = include.groups()
        if theirs:
            for pattern, allowed in LIBRARIES:
                if pattern.match(theirs) and folder not in allowed:
                    yield f"{where}: {folder} includes <{theirs}>, which belongs to {', '.join(sorted(allowed))}."
            continue
        target = ours.split("/")[0]
        if target not in LAYERS or not (root / ours).is_file():
            yield f'{where}: "{ours}" is no file of a layer. Name it from the root of the repository.'
        elif target != folder and target not in LAYERS[folder]:
            earlier = ", ".join(f for f in LAYERS if f in LAYERS[folder]) or "nothing"
            yield f'{where}: {folder} includes "{ours}", but may see only itself and {earlier}.'


def check(root):
    """All findings in the tree below `root`, as lines of text, and the number of files read."""
    files = sorted(f for folder in LAYERS for f in (root / folder).rglob("*") if f.suffix in SUFFIXES)
    return [finding for file in files for finding in findings_in(root, file)], len(files)


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()
    findings, num_files = check(root)
    for finding in findings:
        print(f"[layers] {finding}", file=sys.stderr)
    if num_files == 0:
        sys.exit(f"[layers] {root} has none of the folders {', '.join(LAYERS)}. Name the root of the repository.")
    if findings:
        sys.exit(1)
    print(f"[layers] {num_files} files, every include points to an earlier layer")


if __name__ == "__main__":
    main()
