"""Tests of scripts/update_docs.py with outputs made up here; the docs themselves are the test `docs`."""
import contextlib
import io
import pathlib
import re
import sys
import tempfile
import unittest
import xml.etree.ElementTree as xml

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
sys.dont_write_bytecode = True
import charts  # noqa: E402
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

    def run_with(self, *flags, outputs=None, pictures=None):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            update_docs.main([*flags, "--root", str(self.root)], outputs or {"a": lambda _: "A\n", "b": lambda _: "B\n"}, pictures)
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

    def test_pictures_are_kept_as_blocks_are(self):
        pictures = {"docs/one.svg": lambda _: "<svg/>\n"}
        self.run_with()
        with self.assertRaises(SystemExit):
            self.run_with("--check", pictures=pictures)
        self.assertIn("one.svg", self.run_with(pictures=pictures))
        self.assertEqual((self.root / "docs" / "one.svg").read_text(), "<svg/>\n")
        self.assertEqual(self.run_with("--check", pictures=pictures), "")

    def test_bars_are_as_long_as_their_numbers(self):
        svg = charts.bars("t", [("a", "", {"compute": 3, "bubble": 1}), ("b & c", "", {"compute": 2})],
                          [("compute", "compute"), ("bubble", "bubble")])
        xml.fromstring(svg)
        wide = [float(width) for width in re.findall(r'width="([\d.]+)" height="22"', svg)]
        self.assertAlmostEqual(wide[0], 3 * wide[1], delta=0.2)
        self.assertAlmostEqual(wide[2], 2 * wide[1], delta=0.2)
        self.assertIn("4 s", svg)

    def test_a_curve_is_logarithmic_and_marks_where_it_is_now(self):
        svg = charts.curves("t", [("links", [(8, 4.0), (16, 2.0), (32, 1.0)], 16)], "GB/s", [("card", 32)])
        xml.fromstring(svg)
        points = [tuple(map(float, p.split(","))) for p in re.search(r'points="([^"]*)"', svg)[1].split()]
        self.assertAlmostEqual(points[2][0] - points[1][0], points[1][0] - points[0][0], delta=0.2)
        self.assertAlmostEqual(points[1][1] - points[0][1], 2 * (points[2][1] - points[1][1]), delta=0.2)
        dot = re.search(r'<circle cx="([\d.]+)" cy="([\d.]+)"', svg)
        self.assertEqual((float(dot[1]), float(dot[2])), points[1])

    def test_picked_lines(self):
        self.assertEqual(update_docs.picked("1 x\n2 y\n3 x \n4\n5 y\n", "x"), "```\n1 x\n  ...\n3 x\n```\n")
        self.assertEqual(update_docs.picked("0\n1 x\n2 y\n", "x", "y"), "```\n1 x\n2 y\n```\n")


if __name__ == "__main__":
    unittest.main()
