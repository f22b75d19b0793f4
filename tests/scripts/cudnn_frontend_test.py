"""Tests that one version of cuDNN's frontend is taken, and no other: by cmake/cudnn_frontend.cmake and by
scripts/cudnn_frontend.sh, which fetches nothing where that version is."""
import pathlib
import re
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts/cudnn_frontend.sh"
VERSION = re.search(r"^version=([0-9.]+)", SCRIPT.read_text(), re.MULTILINE).group(1)


def write_headers(folder, version):
    folder.mkdir(parents=True)
    (folder / "cudnn_frontend.h").write_text("")
    parts = zip(("MAJOR", "MINOR", "PATCH"), version.split("."))
    lines = ["#pragma once"] + [f"#define CUDNN_FRONTEND_{part}_VERSION {number}" for part, number in parts]
    lines.append("#define CUDNN_FRONTEND_VERSION \\\n    (CUDNN_FRONTEND_MAJOR_VERSION * 10000)")
    (folder / "cudnn_frontend_version.h").write_text("\n".join(lines) + "\n")


class Version(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name) / "frontend"

    def fits(self):
        script = self.folder.parent / "ask.cmake"
        script.write_text(f"include({ROOT}/cmake/cudnn_frontend.cmake)\n"
                          f"check_cudnn_frontend(\"{self.folder}/include\" fits)\nmessage(STATUS \"fits ${{fits}}\")\n")
        return subprocess.run(["cmake", "-P", script], check=True, stdout=subprocess.PIPE, text=True).stdout

    def test_this_one_is_taken_and_not_fetched(self):
        write_headers(self.folder / "include", VERSION)
        self.assertIn("fits ON", self.fits())
        subprocess.run(["/bin/bash", SCRIPT, self.folder], check=True, env={"PATH": "/usr/bin:/bin"})
        self.assertEqual((self.folder / "include/cudnn_frontend.h").read_text(), "")

    def test_another_is_left_out_with_a_word(self):
        write_headers(self.folder / "include", "1.99.7")
        said = self.fits()
        self.assertIn("fits OFF", said)
        self.assertIn(f"is 1.99.7, not {VERSION}", said)

    def test_none(self):
        self.assertIn("fits OFF", self.fits())


if __name__ == "__main__":
    unittest.main()
