"""Tests of scripts/update_docs.py with outputs made up here; the docs themselves are the test `docs`."""
import contextlib
import io
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
sys.dont_write_bytecode = True
import update_docs  # noqa: E402

DOC = "before\n<!-- output: a -->\n{}<!-- end -->\nbetween\n<!-- output: b -->\nB\n<!-- end -->\n"


class UpdateDocs(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        (self.root / "docs").mkdir()
        (self.root / "README.md").write_text("nothing generated\n")
        self.doc = self.root / "docs" / "page.md"
        self.doc.write_text(DOC.format("stale\n"))

    def run_with(self, *flags, outputs=None):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            update_docs.main([*flags, "--root", str(self.root)], outputs or {"a": lambda _: "A\n", "b": lambda _: "B\n"})
        return printed.getvalue()

    def test_a_stale_block_fails_the_check_and_is_updated(self):
        with self.assertRaises(SystemExit) as ended:
            self.run_with("--check")
        self.assertIn("run scripts/update_docs.py", str(ended.exception))
        self.assertEqual(self.doc.read_text(), DOC.format("stale\n"))
        self.assertIn("updated", self.run_with())
        self.assertEqual(self.doc.read_text(), DOC.format("A\n"))
        self.assertEqual(self.run_with("--check"), "")

    def test_blocks_and_functions_belong_together(self):
        for outputs in ({"a": lambda _: "A\n"}, {"a": lambda _: "", "b": lambda _: "", "c": lambda _: ""}):
            with self.assertRaises(SystemExit):
                self.run_with(outputs=outputs)

    def test_what_cannot_be_made_here_stays(self):
        def not_here(_):
            raise update_docs.NotHere("no text")

        self.assertIn("a is left as it is: no text", self.run_with("--check", outputs={"a": not_here, "b": lambda _: "B\n"}))

    def test_picked_lines(self):
        self.assertEqual(update_docs.picked("1 x\n2 y\n3 x \n4\n5 y\n", "x"), "```\n1 x\n  ...\n3 x\n```\n")
        self.assertEqual(update_docs.picked("0\n1 x\n2 y\n", "x", "y"), "```\n1 x\n2 y\n```\n")


if __name__ == "__main__":
    unittest.main()
