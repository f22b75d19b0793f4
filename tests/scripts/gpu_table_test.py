"""Tests of what scripts/gpu_check.sh compares and prints (gpu_table.py); none needs a GPU."""
import json
import os
import pathlib
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


class Faster(unittest.TestCase):
    def test_medians_of_the_second_half(self):
        with tempfile.TemporaryDirectory() as folder:
            paths = [pathlib.Path(folder) / name for name in "ab"]
            for path, seconds in zip(paths, ([9, 9, 9, 0.004, 0.005, 0.006], [9, 9, 9, 0.002, 0.002, 0.004])):
                path.write_text("".join(json.dumps({"step": i + 1, "loss": 5.0, "step_s": s}) + "\n"
                                        for i, s in enumerate(seconds)))
            command = [sys.executable, SCRIPTS / "gpu_table.py", "faster", *paths]
            done = subprocess.run([*command, "graphs off, on"], stdout=subprocess.PIPE, text=True, check=True)
            self.assertEqual(done.stdout, "row|graphs off, on|5.00 ms, 2.00 ms a step: 2.50 times as fast\n")
            paths[1].write_text("")
            self.assertEqual(subprocess.run([*command, "x"], stderr=subprocess.DEVNULL, check=False).returncode, 1)


class Tables(unittest.TestCase):
    def test_mean_of_steps_by_op_and_by_scope(self):
        events = [{"cat": "kernel", "name": name, "dur": 1000.0,
                   "args": {"step": step, "flops": 989e9 / 2, "bytes": 0, "scope": scope}}
                  for step in (1, 2)
                  for name, scope in (("linear", "layers.0.mlp"), ("linear", "layers.11.mlp"), ("clear", ""))]
        with tempfile.TemporaryDirectory() as folder:
            trace = pathlib.Path(folder) / "trace.json"
            trace.write_text(json.dumps({"traceEvents": events + [{"cat": "cpu_op", "name": "data"}]}))
            script = f"import gpu_table, pathlib; gpu_table.tables(pathlib.Path({str(trace)!r}), 'NVIDIA H200')"
            done = subprocess.run([sys.executable, "-c", script], cwd=SCRIPTS, stdout=subprocess.PIPE, text=True,
                                  check=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
        # 989 GFLOP in 2 ms: half of 989 TFLOP/s.
        for row in ("| linear | 2 | 2.00 | 66.7 % | 494.5 | 0 | 50 |", "| layers.*.mlp | 2 | 2.00 | 66.7 % | 494.5 | 0 | 50 |",
                    "| - | 1 | 1.00 | 33.3 % | 494.5 | 0 | 50 |"):
            self.assertIn(row, done.stdout)

    def test_the_largest_model_that_fits(self):
        for free_gb, name in ((23.6, "LLaMA 0.5B"), (79, "LLaMA 1.2B"), (140, "8B-shaped, 12 layers")):
            self.assertEqual(gpu_table.model_for(free_gb * 1e9 / 2**20), name)
        with self.assertRaises(SystemExit):
            gpu_table.model_for(1000)

    def test_models_have_all_that_both_sides_need(self):
        for m in gpu_table.MODELS.values():
            self.assertEqual(m["global_batch"] % m["micro_batch"], 0)
            self.assertEqual(m["heads"] * m["head_dim"], m["hidden"])


if __name__ == "__main__":
    unittest.main()
