#!/usr/bin/env python3
"""The files and folders that README, CONTRIBUTING and docs/ name are there: `plan/plan.h`, [a link](docs/memory.md)."""
import pathlib
import re
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
sys.dont_write_bytecode = True
import check_layers  # noqa: E402

FOLDERS = "|".join([*check_layers.LAYERS, "docs", "scripts", "cmake"])
IN_QUOTES = re.compile(rf"`((?:{FOLDERS})/[\w./-]*)`")
LINK = re.compile(r"\]\(([\w./-]+)(?:#[\w-]*)?\)")
OF_A_RUN = re.compile(r"trace/(rank|from-step)-|.*/NAME")  # in a run's folder; a file that the reader adds


class DocPaths(unittest.TestCase):
    def test_every_path_is_there(self):
        documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "bench/README.md", *ROOT.glob("docs/*.md")]
        named = 0
        for document in documents:
            text = document.read_text(encoding="utf-8")
            for path in IN_QUOTES.findall(text):
                if OF_A_RUN.match(path):
                    continue
                named += 1
                self.assertTrue((ROOT / path).exists(), f"{document.name} names {path}")
            for path in LINK.findall(text):
                named += 1
                self.assertTrue((document.parent / path).exists(), f"{document.name} links to {path}")
        self.assertGreater(named, 200)


if __name__ == "__main__":
    unittest.main()
