#!/usr/bin/env python3
"""scripts/folders_picture.py draws the folders that there are, and sees when the picture is stale."""
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "folders_picture.py"
sys.path.insert(0, str(SCRIPT.parent))
sys.dont_write_bytecode = True
import check_layers  # noqa: E402
import folders_picture  # noqa: E402


class FoldersPicture(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.scratch.name)
        for folder, (_, rooms) in folders_picture.FOLDERS.items():
            for room in rooms or {"": ""}:
                (self.root / folder / room).mkdir(parents=True)
                (self.root / folder / room / "a.h").touch()
        (self.root / "docs" / "pictures").mkdir(parents=True)

    def tearDown(self):
        self.scratch.cleanup()

    def run_here(self, *flags):
        done = subprocess.run([sys.executable, SCRIPT, "--root", self.root, *flags], capture_output=True, text=True,
                              check=False)
        return done.returncode, done.stdout + done.stderr

    def test_a_picture_that_was_drawn_is_true(self):
        self.assertEqual(self.run_here(), (0, ""))
        self.assertEqual(self.run_here("--check"), (0, ""))
        svg = xml.etree.ElementTree.parse(self.root / "docs" / "pictures" / "folders.svg").getroot()
        circles = svg.findall("{http://www.w3.org/2000/svg}circle")
        may_see = sum(len(seen - set(check_layers.PROGRAMS)) for seen in check_layers.LAYERS.values())
        self.assertEqual(len(circles), may_see - sum(f in check_layers.LAYERS[f] for f in check_layers.LAYERS))

    def test_a_stale_picture_is_seen(self):
        self.run_here()
        file = self.root / "docs" / "pictures" / "folders.svg"
        file.write_text(file.read_text(encoding="utf-8").replace("comm/", "talk/"), encoding="utf-8")
        code, text = self.run_here("--check")
        self.assertEqual(code, 1)
        self.assertIn("stale: run scripts/folders_picture.py", text)

    def test_a_new_room_needs_a_line(self):
        (self.root / "runtime" / "kitchen").mkdir()
        self.assertEqual(self.run_here()[0], 0)  # git knows no empty folder
        (self.root / "runtime" / "kitchen" / "sink.h").touch()
        for flags in ([], ["--check"]):
            code, text = self.run_here(*flags)
            self.assertEqual(code, 1)
            self.assertIn("runtime/kitchen has no line in FOLDERS", text)

    def test_a_room_that_is_gone_is_named(self):
        shutil.rmtree(self.root / "comm" / "mpi")
        code, text = self.run_here()
        self.assertEqual(code, 1)
        self.assertIn("comm/mpi is gone", text)


if __name__ == "__main__":
    unittest.main()
