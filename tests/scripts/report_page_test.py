#!/usr/bin/env python3
"""The page of trace_report --html, opened in Chromium without a screen: no error, no network, and the numbers of --json.

Usage: tests/scripts/report_page_test.py BIN
"""
import html
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def seconds(s):
    """As the page writes them."""
    if abs(s) >= 0.9995:
        return f"{s:.2f} s"
    return f"{s * 1e3:.1f} ms" if abs(s) >= 0.0009995 else f"{s * 1e6:.0f} us"


class ReportPage(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.scratch.name)
        subprocess.run([BIN / "train_llama", "--local-ranks", "16", "--tp", "2", "--pp", "4", "--steps", "4", "--trace", "2:4",
                        "--threads", "1", "--out", cls.folder / "run"], check=True, capture_output=True)
        shown = subprocess.run([BIN / "trace_report", cls.folder / "run", "--json", "--html", cls.folder / "page.html"],
                               check=True, capture_output=True, text=True).stdout
        cls.report = json.loads(shown)
        cls.page = (cls.folder / "page.html").read_text()

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    def test_one_small_file_that_needs_nothing_else(self):
        self.assertLess(len(self.page.encode()), 3_000_000)  # 16 ranks, 3 steps of `tiny`
        links = set(re.findall(r"""(?:https?:)?//[\w.-]+""", self.page)) - {"http://www.w3.org"}
        self.assertFalse([link for link in links if link.startswith("http")])
        self.assertNotRegex(self.page, r"""<(script|link|img|iframe)[^>]*(src|href)=["'](?!data:)""")

    def embedded(self, name):
        text = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', self.page, re.S).group(1)
        return json.loads(text)

    def test_its_data_are_those_of_json(self):
        data = self.embedded("report")
        self.assertEqual([step for step, _ in data.pop("losses")], [1, 2, 3, 4])
        data.pop("name")
        self.assertEqual(data, self.report)

    def test_the_timeline_has_every_event_and_message(self):
        timeline = self.embedded("events")
        self.assertEqual([step["step"] for step in timeline["steps"]], [2, 3, 4])
        self.assertEqual(timeline["left_out"], 0)
        for step in timeline["steps"]:
            self.assertEqual(len(step["ranks"]), 16)
            # Its categories, summed from the events of a compute lane, are at least what counts as compute.
            for rank, numbers in enumerate(step["ranks"]):
                compute = sum(numbers[i + 1] for i in range(0, len(numbers), 5) if numbers[i + 2] == 0)
                counted = next(of for of in self.report["steps"] if of["step"] == step["step"])["ranks"][rank]["compute_s"]
                self.assertGreater(compute * timeline["tick_s"] * 1.02 + 1e-4, counted)
            # pp 4: three edges, there and back, of 4 lines, for each of a replica's microbatches.
            self.assertEqual(len(step["arrows"]) // 4, 3 * 2 * 4 * self.report["pipeline"]["microbatches"])

    @unittest.skipUnless(BROWSER, "no Chromium on this machine: scripts/install_packages.sh browser")
    def test_of_a_prediction_in_a_browser(self):
        subprocess.run([BIN / "train_llama", "--model", "llama2-7b", "--layers", "8", "--ranks", "16", "--tp", "4", "--pp", "2",
                        "--global-batch", "16", "--cluster", "rtx4090", "--dry-run", "--predict-trace", self.folder / "predicted"],
                       check=True, capture_output=True)
        report = json.loads(subprocess.run([BIN / "trace_report", self.folder / "predicted", "--json", "--html",
                                            self.folder / "predicted.html"], check=True, capture_output=True, text=True).stdout)
        predicted = report["predicted"]
        self.assertAlmostEqual(sum(part["s"] for part in report["explain"]), report["step_s"], places=6)
        self.assertAlmostEqual(report["step_s"], predicted["step_s"], places=6)
        shown = self.opened("predicted.html")
        waterfall = re.search(r'id="waterfall".*?</svg>', shown, re.S).group(0)
        self.assertEqual(waterfall.count("<rect"), len(report["explain"]))
        for part in report["explain"]:
            self.assertIn(seconds(part["s"]), waterfall)
        table = re.search(r'id="what-if".*?</table>', shown, re.S).group(0)
        for one in predicted["what_if"]:
            self.assertIn(f">{one['change']}<", table)
            self.assertIn(f">{seconds(one['gain_s'])}<", table)
        for sentence in predicted["link_sentences"]:
            self.assertIn(sentence, shown)
        curves = re.search(r'id="curves".*?</section>', shown, re.S).group(0)
        for curve in predicted["link_curves"]:
            for point in curve["points"]:
                self.assertIn(f"GB/s: {seconds(point['step_s'])}", curves)

    @unittest.skipUnless(BROWSER, "no Chromium on this machine: scripts/install_packages.sh browser")
    def test_of_a_search_in_a_browser(self):
        planner = json.loads(subprocess.run(
            [BIN / "plan_llama", "--model", "llama2-7b", "--fix", "layers=4,micro-batch=1", "--devices", "8", "--global-batch", "16",
             "--tokens", "1e9", "--json", "--html", self.folder / "plan.html"], check=True, capture_output=True, text=True).stdout)
        shown = self.opened("plan.html")
        plans = re.search(r'id="plans".*?</table>', shown, re.S).group(0)
        self.assertEqual(plans.count("<tr>") - 1, len(planner["plans"]))
        for plan in planner["plans"]:
            self.assertIn(f">{seconds(plan['step_s'])}<", plans)
        self.assertIn(planner["plans"][0]["command"], shown)
        for part in planner["best"]["explain"]:
            self.assertIn(seconds(part["s"]), shown)

    def opened(self, page):
        """The page's text once its script has run."""
        opened = subprocess.run(
            [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--window-size=1240,2000",
             f"--user-data-dir={self.folder}/profile", "--virtual-time-budget=5000", "--dump-dom",
             (self.folder / page).as_uri()], check=True, capture_output=True, text=True, timeout=120)
        self.assertNotIn("CONSOLE", opened.stderr)
        return html.unescape(re.sub(r"<script.*?</script>", "", opened.stdout, flags=re.S))

    @unittest.skipUnless(BROWSER, "no Chromium on this machine: scripts/install_packages.sh browser")
    def test_in_a_browser(self):
        shown = self.opened("page.html")
        self.assertIn(f"A step takes {seconds(self.report['step_s'])}.", shown)
        for finding in self.report["findings"]:
            self.assertIn(finding["text"], shown)
        for kind, s in self.report["mean"].items():
            if s > 0:
                self.assertIn(seconds(s), shown, kind)
        links = re.search(r'id="links".*?</table>', shown, re.S).group(0)
        self.assertEqual(links.count("<tr>") - 1, len(self.report["links"]))
        for link in self.report["links"]:
            self.assertIn(f">{link['op']}<", links)
            self.assertIn(f">{seconds(link['exposed_s'])}<", links)
        ran = re.search(r'id="ran".*?</svg>', shown, re.S).group(0)
        for actions in self.report["pipeline"]["ran"]:
            for action in actions:
                self.assertIn(f"<title>{action['action']}: ", ran)


if __name__ == "__main__":
    BIN = pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main()
