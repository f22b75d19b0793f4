#!/usr/bin/env python3
"""tests/cuda_on_cpu/rewrite.py rewrites what it must, and refuses what it does not understand."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[1] / "cuda_on_cpu" / "rewrite.py"


class CudaRewrite(unittest.TestCase):
    def rewrite(self, source):
        with tempfile.TemporaryDirectory() as folder:
            before, after = pathlib.Path(folder, "k.cu"), pathlib.Path(folder, "k.cpp")
            before.write_text(source, encoding="utf-8")
            done = subprocess.run([sys.executable, SCRIPT, before, after], capture_output=True, text=True, check=False)
            text = after.read_text(encoding="utf-8") if done.returncode == 0 else done.stderr
        return done.returncode, text

    def assert_becomes(self, source, want):
        code, text = self.rewrite(source)
        self.assertEqual(code, 0, text)
        include, line, *rest = text.split("\n")
        self.assertIn("device_language.h", include)
        self.assertRegex(line, r'#line 1 ".*k\.cu"')
        self.assertEqual("\n".join(rest), want)

    def assert_refused(self, source, line, what):
        code, text = self.rewrite(source)
        self.assertEqual(code, 1, text)
        self.assertRegex(text, rf"k\.cu:{line}: \[rewrite\] .*{what}")

    def test_launches(self):
        self.assert_becomes("k<<<1, 2, 0, s>>>(x);", "trine::on_cpu::launch(k, 1, 2, 0, s)(x);")
        self.assert_becomes("a::k<T, b<int>>\n    <<<f(n, m), dim3(2, 3), 4 * b[i, j], s>>>(\n  x);",
                            "trine::on_cpu::launch(a::k<T, b<int>>, f(n, m), dim3(2, 3), 4 * b[i, j], s)(\n  x);")

    def test_shared_variables(self):
        self.assert_becomes("__shared__ unsigned long long own[kBins];",
                            "static unsigned long long own[kBins]; trine::on_cpu::share(own);")
        self.assert_becomes("__shared__ float a[2][kTile + 1], b;",
                            "static float a[2][kTile + 1], b; trine::on_cpu::share(a, b);")
        self.assert_becomes(
            "extern __shared__ float c[];  // [n]",
            "float* const c = reinterpret_cast<float*>(trine::on_cpu::dynamic_shared_memory());  // [n]")

    def test_comments_and_strings_stay(self):
        for text in ("// k<<<1>>> __shared__ asm", "/* k<<<\n>>> */", 'f("<<<\\"");', "x = y << 3;"):
            self.assert_becomes(text, text)

    def test_what_is_not_understood(self):
        self.assert_refused("\nk<<<1, 2>>>(x);", 2, "grid, block, shared memory and stream")
        self.assert_refused("k<<<1, 2, 0, s;", 1, "without")
        self.assert_refused("(k)<<<1, 2, 0, s>>>(x);", 1, "the kernel before")
        self.assert_refused("a<b<c<d>>> x;", 1, ">>>")
        self.assert_refused("__shared__ float x = 1;", 1, "__shared__")
        self.assert_refused("\n\n__constant__ float x;", 3, "__constant__")
        self.assert_refused('asm("trap;");', 1, "asm")


if __name__ == "__main__":
    unittest.main()
