#!/usr/bin/env python3
"""Checks that Hugging Face's transformers loads what checkpoint_tool exports, and computes the same logits.

Each model of tests/data/hf_llama goes through import-hf and export-hf (f32, in one file and in shards) and is loaded
with AutoModelForCausalLM; its logits are compared with reference.safetensors, element by element. A folder given as
an argument is only loaded, with its tokenizer if it has one, and goes on from a prompt.

  python3 -m venv build/hf-venv && build/hf-venv/bin/pip install torch transformers       # once
  build/hf-venv/bin/python bench/peers/check_export.py [--tool build/bin/checkpoint_tool] [DIR...]

exit 0, or 1 with the models that differ. With transformers 4: the same after `pip install 'transformers<5'`.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TOLERANCE = 1e-5  # norm-wise, as tests/runtime/hugging_face_parity_test.cpp
SHARDS = {"one file": "5GB", "shards": "200KB"}


def load(folder):
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        folder, torch_dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    unclear = {key: names for key, names in info.items() if names}
    return model.eval(), unclear


def tool(binary, *words):
    subprocess.run([binary, *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def check_fixture(binary, fixture, scratch):
    """Lines about what is wrong."""
    reference = load_file(fixture / "reference.safetensors")
    tool(binary, "import-hf", fixture, scratch / "checkpoints")
    for how, size in SHARDS.items():
        folder = scratch / how.replace(" ", "-")
        tool(binary, "export-hf", scratch / "checkpoints", folder, "--dtype", "f32", "--max-shard", size)
        model, unclear = load(folder)
        if unclear:
            yield f"{fixture.name}, {how}: transformers says {unclear}"
        with torch.no_grad():
            logits = model(reference["ids"].long()).logits
        error = ((logits - reference["logits"]).norm() / reference["logits"].norm()).item()
        print(f"{fixture.name:16} {how:9} logits differ by {error:.1e}")
        if not error < TOLERANCE:
            yield f"{fixture.name}, {how}: logits differ by {error:.1e}"
        told = json.loads((fixture / "config.json").read_text())
        for key in ("bos_token_id", "eos_token_id", "tie_word_embeddings", "max_position_embeddings"):
            if getattr(model.config, key) != told[key]:
                yield f"{fixture.name}, {how}: {key} is {getattr(model.config, key)}, was {told[key]}"


def check_folder(folder):
    model, unclear = load(folder)
    if unclear:
        yield f"{folder}: transformers says {unclear}"
    if any((folder / name).exists() for name in ("tokenizer.json", "tokenizer.model")):
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        ids = tokenizer("The first", return_tensors="pt").input_ids
    else:
        tokenizer, ids = None, torch.tensor([list(b"The first")])
    out = model.generate(ids, max_new_tokens=16, do_sample=False)[0]
    print(f"{folder}: {tokenizer.decode(out) if tokenizer else bytes(int(i) for i in out if i < 256)!r}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tool", default=ROOT / "build/bin/checkpoint_tool")
    parser.add_argument("folders", nargs="*", type=pathlib.Path, metavar="DIR")
    arguments = parser.parse_args()
    print(f"transformers {transformers.__version__}, PyTorch {torch.__version__}")
    findings = [line for folder in arguments.folders for line in check_folder(folder)]
    for fixture in sorted((ROOT / "tests/data/hf_llama").glob("*/")):
        if (fixture / "reference.safetensors").exists():
            with tempfile.TemporaryDirectory() as scratch:
                findings += check_fixture(arguments.tool, fixture, pathlib.Path(scratch))
    for line in findings:
        print(line, file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
