#!/usr/bin/env python3
"""The commands of README.md, in its order, after what the quickstart builds; and the quickstart itself. They run in a
folder of their own, on a text made here, with flags that make them short.

Usage: readme_test.py BUILD_FOLDER     (of cmake, built)
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path()
SHORT = "--steps 2 --seq 32 --global-batch 8 --micro-batch 1 --threads 1"
LOOKS = ("--print-", "--dry-run", "--help")
ANOTHER_PLACE = ("srun", "docker", "scripts/", "cmake")  # not at hand, or tested below and by scripts/test.sh itself


def commands():
    """Lines of README.md's fenced blocks that begin with a program, without their comments."""
    blocks = re.findall(r"^```\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    lines = [re.sub(r"\s+#.*", "", line) for block in blocks for line in block.splitlines()]
    return [line for line in lines if re.match(r"(build/bin|scripts)/|mpirun |srun |docker |cmake ", line)]


def shortened(command):
    if any(look in command for look in LOOKS):
        return command
    if "measure_cluster" in command:
        return command + " --quick"
    if "generate_llama" in command:
        return command + " --max-tokens 4 --threads 1"
    if "--resume" in command:
        return command + " --steps 3"
    if "train_llama" in command:
        return f"{command} {SHORT}" + (" --layers 1" if "--model small" in command else "")
    return command


class Readme(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)
        (self.folder / "build").mkdir()
        (self.folder / "build/bin").symlink_to(BUILD / "bin")
        text = "".join(f"The hacker of line {i} reads what the machine says, and does it again.\n" for i in range(3000))
        (self.folder / "jargon.txt").write_text(text)
        (self.folder / "notes.txt").write_text(text)
        (self.folder / "corpus.jsonl").write_text('{"text": "' + text.replace("\n", "\\n") + '"}\n')
        self.environment = {**os.environ, "TRINE_DATA_DIR": str(self.folder), "OMPI_ALLOW_RUN_AS_ROOT": "1",
                            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}

    def run_here(self, command):
        done = subprocess.run(["/bin/bash", "-c", command], cwd=self.folder, env=self.environment, text=True,
                              errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        self.assertEqual(done.returncode, 0, f"{command}\n{done.stdout}")
        return done.stdout

    def make_hugging_face_folder(self):
        """DIR: a model with weights and a tokenizer of its own."""
        self.run_here(f"build/bin/train_llama --layers 1 --hidden 32 --heads 2 --kv-heads 1 --ffn 64 --vocab 512 {SHORT} "
                      "--save-interval 2 --out runs/for-dir && build/bin/checkpoint_tool export-hf runs/for-dir DIR")
        shutil.copy(ROOT / "tests/data/tokenizers/bpe.model", self.folder / "DIR/tokenizer.model")

    def test_commands(self):
        self.make_hugging_face_folder()
        ran = 0
        for command in commands():
            if not command.startswith(ANOTHER_PLACE):
                self.run_here(shortened(command))
                ran += 1
        self.assertGreater(ran, 15)
        # None of them wrote among the sources.
        self.assertFalse([f.name for f in self.folder.iterdir() if (ROOT / f.name).is_dir() and f.name not in ("build", "runs")])

    def test_the_quickstart_builds_the_programs_of_the_readme(self):
        named = {name for command in commands() for name in re.findall(r"build/bin/(\w+)", command)}
        self.assertGreaterEqual(len(named), 4)
        target = subprocess.run(["ninja", "-C", BUILD, "-t", "query", "examples/CMakeFiles/programs"], capture_output=True,
                                text=True, check=True).stdout
        for name in named:
            self.assertRegex(target, rf"\bbin/{name}\n")

    def test_install(self):
        self.assertIn("cmake --install build --prefix ~/.local", commands())
        self.run_here(f"cmake --install {BUILD} --prefix {self.folder}/local")
        installed = sorted(path.name for path in (self.folder / "local/bin").iterdir())
        self.assertEqual(installed, ["checkpoint_tool", "generate_llama", "measure_cluster", "plan_llama", "prepare_data",
                                     "trace_report", "train_llama"])
        for program in installed:
            version = self.run_here(f"local/bin/{program} --version")
            self.assertRegex(version, r"\(commit \w+, (g\+\+|Clang) \d+\.\d+\.\d+\)\n")
            self.assertRegex(version, r"MPI \d\.\d \((Open MPI v|MPICH )\d+\.\d+.*\), HDF5 1\.\d+\.\d+, oneDNN \d")

    def test_quickstart(self):
        (self.folder / "scripts").mkdir()
        shutil.copy(ROOT / "scripts/quickstart.sh", self.folder / "scripts")
        for script in ("install_packages.sh", "build.sh"):
            path = self.folder / "scripts" / script
            path.write_text(f'#!/bin/bash\necho "{script} $*"\n')
            path.chmod(0o755)
        text = self.run_here(f"scripts/quickstart.sh {SHORT} --trace 1:2 --out runs/first")
        self.assertRegex(text, r"\n\$ build/bin/trace_report runs/first\nA step takes .+ of it a rank does not compute")
        for expected in ("install_packages.sh build text\n", "build.sh --programs\n", "step 2/2 |",
                         "\n$ build/bin/checkpoint_tool ls runs/first\nstep-000002 ",
                         "\n$ build/bin/generate_llama --model runs/first --prompt Hackers", "\nprefill 7 tokens in ",
                         "The run is in runs/first:"):
            self.assertIn(expected, text)
        # What it says to do next.
        goes_on = re.search(r"go on with (--resume --steps 400 --out runs/first)$", text, re.M).group(1)
        self.run_here(f"build/bin/train_llama {goes_on.replace('400', '3')} --tp 1 --pp 1")
        look = self.run_here("build/bin/train_llama --tp 2 --pp 2 --local-ranks 4 --print-graph")
        self.assertIn("all_gather", look)


if __name__ == "__main__":
    BUILD = pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main()
