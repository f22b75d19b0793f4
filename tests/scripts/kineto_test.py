#!/usr/bin/env python3
"""Traces of a run, and all of its ranks merged, as Holistic Trace Analysis, the TensorBoard plugin of PyTorch and
Perfetto read them: the rules of Kineto that these programs rely on.

Usage: tests/scripts/kineto_test.py BIN
"""
import collections
import gzip
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

COLLECTIVES = {"allreduce", "_allgather_base", "_reduce_scatter_base", "send", "recv"}


class Kineto(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory()
        folder = pathlib.Path(cls.scratch.name)
        subprocess.run([BIN / "train_llama", "--local-ranks", "8", "--tp", "2", "--pp", "2", "--steps", "3", "--trace", "on",
                        "--layers", "4", "--hidden", "64", "--heads", "4", "--kv-heads", "2", "--ffn", "128", "--vocab", "259",
                        "--seq", "64", "--global-batch", "8", "--micro-batch", "1", "--threads", "1", "--out",
                        folder / "run"], check=True, capture_output=True)
        cls.texts = [gzip.open(path, "rt").read() for path in sorted((folder / "run/trace").glob("*.gz"))]
        cls.traces = [json.loads(text) for text in cls.texts]
        subprocess.run([BIN / "trace_report", folder / "run", "--merge", folder / "all.json.gz"], check=True,
                       capture_output=True)
        cls.merged = json.load(gzip.open(folder / "all.json.gz"))

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    def events(self, trace, phase="X", *categories):
        return [e for e in trace["traceEvents"] if e["ph"] == phase and (not categories or e["cat"] in categories)]

    def test_header(self):
        self.assertEqual(len(self.traces), 8)
        for rank, text in enumerate(self.texts):  # Holistic Trace Analysis searches for the first such text
            self.assertEqual(int(re.search(r'"rank":\s+(\d+)', text)[1]), rank)
        for rank, trace in enumerate(self.traces):
            info = trace["distributedInfo"]
            self.assertEqual((info["rank"], info["world_size"]), (rank, 8))
            self.assertEqual(len(info["pg_config"]), info["pg_count"])
            for group in info["pg_config"]:
                self.assertIn(rank, group["ranks"])
                self.assertEqual(group["pg_size"], len(group["ranks"]))
            self.assertTrue(trace["host_name"])
            self.assertEqual(trace["deviceProperties"][0]["id"], rank)

    def test_a_kernel_has_a_stream_a_device_and_one_launch_before_it(self):
        for trace in self.traces:
            launches = {}
            for launch in self.events(trace, "X", "cuda_runtime"):
                self.assertNotIn(launch["args"]["correlation"], launches)
                launches[launch["args"]["correlation"]] = launch
            kernels = self.events(trace, "X", "kernel")
            self.assertEqual(len(kernels), len(launches))
            for kernel in kernels:
                self.assertEqual(kernel["args"]["device"], kernel["pid"])
                self.assertEqual(kernel["args"]["stream"], kernel["tid"])
                self.assertLessEqual(launches[kernel["args"]["correlation"]]["ts"], kernel["ts"])

    def test_waits_are_no_kernels(self):
        for trace in self.traces:
            for event in self.events(trace, "X", "kernel"):
                self.assertNotIn(event["args"]["kind"], ("wait", "bubble"))
            waits = [e for e in self.events(trace, "X", "cpu_op") if e["args"]["kind"] in ("wait", "bubble")]
            self.assertTrue(waits)
            for wait in waits:
                self.assertFalse({"stream", "device", "correlation"} & wait["args"].keys())

    def test_communication_has_the_arguments_of_nccl(self):
        for trace in self.traces:
            groups = {group["pg_name"]: group for group in trace["distributedInfo"]["pg_config"]}
            seen = collections.Counter()
            for event in self.events(trace, "X", "kernel"):
                if not event["name"].startswith("ncclKernel_"):
                    self.assertNotIn("Collective name", event["args"])
                    continue
                args = event["args"]
                self.assertIn(args["Collective name"], COLLECTIVES)
                self.assertIn(args["dtype"], ("BFloat16", "Float", "Half", "Long", "Int"))
                self.assertIn(args["Process Group Name"], groups)
                if args["Collective name"] not in ("send", "recv"):
                    self.assertEqual(args["Group size"], groups[args["Process Group Name"]]["pg_size"])
                self.assertGreater(args["In msg nelems"] + args["Out msg nelems"], 0)
                seen[args["Process Group Description"]] += 1
            self.assertEqual(set(seen), {"tp", "pp", "dp"})

    def test_events_of_a_row_do_not_overlap(self):
        for trace in [*self.traces, self.merged]:
            rows = collections.defaultdict(list)
            for event in self.events(trace):
                if event["cat"] != "cuda_runtime":
                    rows[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
            for row, spans in rows.items():
                spans.sort()
                for (_, end), (begin, _) in zip(spans, spans[1:]):
                    self.assertLessEqual(end, begin + 5e-4, row)

    def test_arrows_join_both_ends_of_each_message(self):
        sent = collections.Counter(e["id"] for e in self.events(self.merged, "s"))
        received = collections.Counter(e["id"] for e in self.events(self.merged, "f"))
        self.assertEqual(sent, received)
        self.assertEqual(set(sent.values()), {1})
        # From each of 8 ranks to its other stage: 4 microbatches, 3 steps.
        self.assertEqual(len(sent), 8 * 4 * 3)
        pid = {e["id"]: e["pid"] for e in self.events(self.merged, "s")}
        for event in self.events(self.merged, "f"):
            self.assertEqual(abs(event["pid"] - pid[event["id"]]), 4)  # the other stage

    def test_counters_and_steps(self):
        for trace in self.traces:
            self.assertEqual({e["name"] for e in self.events(trace, "C")}, {"arena bytes in use", "resident bytes"})
            steps = [e for e in self.events(trace, "X", "user_annotation") if e["name"].startswith("ProfilerStep#")]
            self.assertEqual([e["name"] for e in steps], [f"ProfilerStep#{i}" for i in (1, 2, 3)])


if __name__ == "__main__":
    BIN = pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main()
