"""Tests of what scripts/gpu_check.sh compares and prints; none needs a GPU."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))
sys.dont_write_bytecode = True
import gpu_table  # noqa: E402


class Compare(unittest.TestCase):
    def run_with(self, a, b, tolerance):
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for name, losses in (("a", a), ("b", b)):
                paths.append(pathlib.Path(folder) / name)
                lines = [{"version": "1"}] + [{"step": i + 1, "loss": x} for i, x in enumerate(losses)]
                lines.append({"step": len(losses), "valid_loss": 9.0})
                paths[-1].write_text("".join(json.dumps(line) + "\n" for line in lines))
            return subprocess.run([sys.executable, SCRIPTS / "gpu_table.py", "compare", *paths, str(tolerance)],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)

    def test_within(self):
        done = self.run_with([5.0, 4.0], [5.0, 4.0004], 2e-4)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("1.0e-04 (step 2 of 2", done.stdout)

    def test_beyond(self):
        self.assertEqual(self.run_with([5.0, 4.0], [5.0, 4.0004], 5e-5).returncode, 1)
        self.assertEqual(self.run_with([5.0], [float("nan")], 1).returncode, 1)
        self.assertEqual(self.run_with([5.0, 4.0], [5.0], 1).returncode, 1)
        self.assertEqual(self.run_with([], [], 1).returncode, 1)

    def test_same_bits(self):
        self.assertEqual(self.run_with([5.0], [5.0], 0).returncode, 0)


class Check(unittest.TestCase):
    @unittest.skipIf(shutil.which("nvidia-smi"), "this machine has a GPU")
    def test_without_a_gpu(self):
        done = subprocess.run(["/bin/bash", SCRIPTS / "gpu_check.sh", "--no-results"], text=True, check=False,
                              stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 2)
        self.assertIn("no GPU", done.stderr)

    def test_unknown_flag(self):
        for script in ("gpu_check.sh", "offline_bundle.sh"):
            done = subprocess.run(["/bin/bash", SCRIPTS / script, "--what"], text=True, check=False,
                                  stderr=subprocess.PIPE)
            self.assertEqual(done.returncode, 2)
            self.assertIn("--what is none of", done.stderr)


class OpTable(unittest.TestCase):
    def test_mean_of_steps(self):
        events = [{"cat": "kernel", "name": "linear", "dur": 2000.0, "args": {"step": s, "flops": 989e9, "bytes": 0}}
                  for s in (1, 2)]
        with tempfile.TemporaryDirectory() as folder:
            trace = pathlib.Path(folder) / "trace.json"
            trace.write_text(json.dumps({"traceEvents": events + [{"cat": "cpu_op", "name": "data"}]}))
            script = f"import gpu_table, pathlib; gpu_table.op_table(pathlib.Path({str(trace)!r}), 'NVIDIA H200')"
            done = subprocess.run([sys.executable, "-c", script], cwd=SCRIPTS, stdout=subprocess.PIPE, text=True,
                                  check=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
        # 989 GFLOP in 2 ms: half of 989 TFLOP/s.
        self.assertIn("| linear | 1 | 2.00 | 100.0 % | 494.5 | 0 | 50 |", done.stdout)

    def test_models_have_all_that_both_sides_need(self):
        for m in gpu_table.MODELS.values():
            self.assertEqual(m["global_batch"] % m["micro_batch"], 0)
            self.assertEqual(m["heads"] * m["head_dim"], m["hidden"])


if __name__ == "__main__":
    unittest.main()
