#!/usr/bin/env python3
"""scripts/check_layers.py finds what it must, in small trees made here."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "check_layers.py"


class CheckLayers(unittest.TestCase):
    def run_on(self, files):
        with tempfile.TemporaryDirectory() as root:
            for name, text in files.items():
                path = pathlib.Path(root, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            done = subprocess.run([sys.executable, SCRIPT, root], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def assert_good(self, files):
        code, text = self.run_on(files)
        self.assertEqual(code, 0, text)

    def assert_finds(self, finding, files):
        code, text = self.run_on(files)
        self.assertEqual(code, 1, text)
        self.assertIn(finding, text)

    def test_earlier_layers_are_seen(self):
        self.assert_good({
            "base/a.h": "#include <vector>\n",
            "models/m.h": '#include "base/a.h"\n',
            "data/d.h": '#include "models/m.h"\n',
            "runtime/r.cpp": '#include <mpi.h>\n#include "data/d.h"\n#include "runtime/r.h"\n',
            "runtime/r.h": "",
            "tests/runtime/r_test.cpp": '#include "runtime/r.h"\n',
        })

    def test_later_layer(self):
        self.assert_finds('graph/g.h:2: graph includes "ops/o.h"', {
            "graph/g.h": '// one\n#include "ops/o.h"\n',
            "ops/o.h": "",
        })

    def test_plan_sees_no_communicator(self):
        self.assert_finds("plan/p.cpp:1: plan includes", {"plan/p.cpp": '#include "comm/c.h"\n', "comm/c.h": ""})

    def test_ranks_and_text_know_no_plan(self):
        self.assert_finds("comm/c.h:1: comm includes", {"comm/c.h": '#include "plan/p.h"\n', "plan/p.h": ""})
        self.assert_finds("data/d.h:1: data includes", {"data/d.h": '#include "plan/p.h"\n', "plan/p.h": ""})

    def test_siblings_do_not_see_each_other(self):
        self.assert_finds("data/d.h:1: data includes", {"data/d.h": '#include "checkpoint/c.h"\n', "checkpoint/c.h": ""})
        self.assert_finds("analysis/a.h:1: analysis includes", {"analysis/a.h": '# include "kernels/k.h"\n',
                                                               "kernels/k.h": ""})

    def test_libraries_belong_to_backends(self):
        for header in ("mpi.h", "dnnl.hpp", "oneapi/dnnl/dnnl.hpp", "cuda_runtime.h", "nccl.h"):
            for folder in ("plan", "analysis", "data"):
                self.assert_finds(f"{folder}/x.cpp:1: {folder} includes <{header}>",
                                  {f"{folder}/x.cpp": f"#include <{header}>\n"})
            self.assert_good({"kernels/x.cpp": f"#include <{header}>\n"})

    def test_no_choice_by_preprocessor(self):
        self.assert_finds("kernels/k.cpp:1: the preprocessor", {"kernels/k.cpp": "#ifdef TRINE_CUDA\n#endif\n"})
        self.assert_finds("runtime/k.cpp:1: the preprocessor",
                          {"runtime/k.cpp": "#if defined(WITH_CUDA)\n#endif\n"})

    def test_includes_are_named_from_the_root(self):
        self.assert_finds('ops/o.cpp:1: "o.h" is no file of a layer', {"ops/o.cpp": '#include "o.h"\n', "ops/o.h": ""})
        self.assert_finds('"base/gone.h" is no file', {"ops/o.cpp": '#include "base/gone.h"\n'})

    def test_an_empty_tree_is_no_success(self):
        self.assert_finds("has none of the folders", {"src/a.cpp": ""})


if __name__ == "__main__":
    unittest.main()
