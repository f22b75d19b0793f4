"""Tests of scripts/gpu_check.sh without a GPU: its dry run over a bundle of this build's programs, and that results
survive steps that hang, a budget that ends, and a kill.

  gpu_check_test.py BIN      the folder of the built programs; without: the dry run is skipped
"""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = ("train_llama", "generate_llama", "prepare_data", "test_kernels", "test_runtime", "gpu_probe")
BIN = pathlib.Path(sys.argv.pop(1)) if len(sys.argv) > 1 else None
# The host's own, as scripts/offline_bundle.sh leaves them out.
RUNTIME = re.compile(r"lib(c|m|dl|rt|pthread|resolv|util|gcc_s|stdc\+\+|gomp|crypt)\.so")


def make_package(files, out, scratch):
    """A Debian package of {path in it: file}."""
    tree = pathlib.Path(tempfile.mkdtemp(dir=scratch))
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text("Package: test\nVersion: 1\nArchitecture: amd64\nMaintainer: Trine\n"
                                         "Description: of a test\n")
    for path, file in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, tree / path)
    subprocess.run(["dpkg-deb", "-Znone", "-b", tree, out], check=True, stdout=subprocess.DEVNULL)


def libraries_of(program):
    lines = subprocess.run(["ldd", program], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    paths = [line.split()[2] for line in lines if "=> /" in line]
    return {path for path in paths if not RUNTIME.match(pathlib.Path(path).name)}


def files_of_packages(*packages):
    for package in packages:
        listed = subprocess.run(["dpkg", "-L", package], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                check=False).stdout.splitlines()
        yield from (path for path in listed if os.path.isfile(path) and "/doc/" not in path and "/man/" not in path)


def make_bundle(folder):
    """What scripts/offline_bundle.sh --with-build gathers, of what is installed here."""
    (folder / "debs").mkdir(parents=True)
    files = set(files_of_packages("openmpi-bin", "openmpi-common", "libopenmpi3", "libpmix2"))
    for program in [BIN / name for name in PROGRAMS] + [shutil.which("mpirun")]:
        files |= libraries_of(program)
    in_package = {re.sub("^/lib/", "usr/lib/", path).lstrip("/"): path for path in files}
    make_package(in_package, folder / "debs/libraries.deb", folder)
    make_package({f"trine/bin/{name}": BIN / name for name in PROGRAMS}, folder / "build.deb", folder)


def run(script, *flags, **more):
    return subprocess.run(["/bin/bash", script, *map(str, flags)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False, **more)


class DryRun(unittest.TestCase):
    def setUp(self):
        if not BIN or not (BIN / "gpu_probe").exists():
            self.skipTest("no gpu_probe: this build has no CUDA toolkit")
        if not shutil.which("mpirun") or not shutil.which("dpkg-deb"):
            self.skipTest("no Open MPI or no dpkg-deb")
        self.scratch = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.scratch)
        make_bundle(self.scratch / "offline")

    def dry_run(self, *flags):
        return run(ROOT / "scripts/gpu_check.sh", "--dry-run", "--offline", self.scratch / "offline", "--out",
                   self.scratch / "out", *flags)

    def test_every_step_on_a_bare_machine(self):
        done = self.dry_run()
        if "needs the CUDA toolkit" in done.stdout:
            self.skipTest("no cuDNN or NCCL beside the CUDA toolkit")
        self.assertEqual(done.returncode, 0, done.stdout)
        steps, at_most, budget = map(int, re.search(r"(\d+) steps of at most (\d+) s, (\d+) s", done.stdout).groups())
        self.assertLessEqual(at_most, budget)
        self.assertLessEqual(budget, 480)
        self.assertEqual(done.stdout.count("| passed: "), steps, done.stdout)
        self.assertRegex(done.stdout, "two ranks under mpirun")
        with tarfile.open(self.scratch / "out/gpu_check.tar.gz") as archive:
            names = archive.getnames()
        self.assertEqual(sum("/log/" in name and "/00-" not in name for name in names), steps, names)
        self.assertIn("gpu_check/table.md", names)

        # A library that the bundle lacks fails, though this host has it.
        missing = next((self.scratch / "offline/debs").glob("*.deb"))
        missing.unlink()
        done = self.dry_run("--only", "versions")
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("from this host: the bundle lacks it", done.stdout)


STEP = """#!/bin/bash
case $1 in
  versions) echo "row|a figure|42"; echo "all is new" ;;
  tiny-f32) echo "begun"; exec sleep 60 ;;
  *) echo "wrong"; exit 3 ;;
esac
"""


class Interrupted(unittest.TestCase):
    """The script over steps of its own, which need nothing."""

    def setUp(self):
        self.scratch = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.scratch)
        tree, host = self.scratch / "tree", self.scratch / "host"
        (tree / "scripts").mkdir(parents=True)
        (tree / "build-gpu-root").mkdir()
        host.mkdir()
        shutil.copy(ROOT / "scripts/gpu_host.sh", tree / "scripts")
        text = (ROOT / "scripts/gpu_check.sh").read_text()
        self.assertIn('"tiny-f32 20 ', text)
        (tree / "scripts/gpu_check.sh").write_text(text.replace('"tiny-f32 20 ', '"tiny-f32 2 '))
        (tree / "scripts/gpu_steps.sh").write_text(STEP)
        (host / "nvidia-smi").write_text("#!/bin/sh\necho 'Some GPU'\n")
        (host / "nvidia-smi").chmod(0o755)
        programs = tree / "build-gpu-root/trine/bin"
        programs.mkdir(parents=True)
        self.script, self.out = tree / "scripts/gpu_check.sh", self.scratch / "out"
        self.env = {**os.environ, "PATH": f"{host}:{os.environ['PATH']}"}

    def archived(self, name):
        with tarfile.open(self.out / "gpu_check.tar.gz") as archive:
            return archive.extractfile(f"gpu_check/{name}").read().decode()

    def test_a_hanging_step(self):
        done = run(self.script, "--no-results", "--out", self.out, "--only", "versions|tiny-f32", env=self.env)
        self.assertEqual(done.returncode, 1, done.stdout)
        table = self.archived("table.md")
        for line in ("Some GPU | a figure | 42 |", "passed: all is new", "TIMED OUT: begun"):
            self.assertIn(line, table)
        self.assertEqual(self.archived("log/02-tiny-f32.txt"), "begun\n")

    def test_the_budget(self):
        done = run(self.script, "--no-results", "--out", self.out, "--budget", 4, env=self.env)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("versions and libraries | not run: the 4 s are over", self.archived("table.md"))

    def test_a_failing_step(self):
        done = run(self.script, "--no-results", "--out", self.out, "--only", "versions|bench", env=self.env)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("| FAILED: wrong |", self.archived("table.md"))

    def test_a_kill_loses_nothing_learnt(self):
        self.script.write_text(self.script.read_text().replace('"tiny-f32 2 ', '"tiny-f32 60 '))
        process = subprocess.Popen(["/bin/bash", self.script, "--no-results", "--out", self.out], env=self.env,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        log = self.out / "gpu_check/log/02-tiny-f32.txt"
        deadline = time.monotonic() + 60
        while not (log.exists() and log.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.assertIn("passed: all is new", self.archived("table.md"))
        self.assertEqual(log.read_text(), "begun\n")


class Usage(unittest.TestCase):
    def test_unknown_flags(self):
        for script in ("gpu_check.sh", "offline_bundle.sh"):
            done = run(ROOT / "scripts" / script, "--what")
            self.assertEqual(done.returncode, 2)
            self.assertIn("--what is none of", done.stdout)
        done = run(ROOT / "scripts/gpu_check.sh", "--out")
        self.assertEqual(done.returncode, 2)
        self.assertIn("--out needs a value", done.stdout)

    @unittest.skipIf(shutil.which("nvidia-smi"), "this machine has a GPU")
    def test_without_a_gpu(self):
        done = run(ROOT / "scripts/gpu_check.sh", "--no-results")
        self.assertEqual(done.returncode, 2)
        self.assertIn("no GPU", done.stdout)


if __name__ == "__main__":
    unittest.main()
