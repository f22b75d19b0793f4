#!/usr/bin/env python3
"""scripts/install_packages.sh on machines that are made up: PATH holds only what a case puts there."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "install_packages.sh"
TOOLS = ["cat", "env", "mktemp", "mkdir", "rm", "cp", "touch"]
TEXT = "usr/share/doc/jargon-text/jargon.txt.gz"
INSTALLED_TEXT = '"/$text_in_package"'  # how the script names it


class InstallPackages(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.root = pathlib.Path(scratch.name)
        self.bin = self.root / "bin"
        self.bin.mkdir()
        self.log = self.root / "log"
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        # The machine under this test may have the text installed; the ones made up here do not.
        script = SCRIPT.read_text(encoding="utf-8")
        self.assertEqual(script.count(INSTALLED_TEXT), 1)
        self.script = self.root / "install_packages.sh"
        self.script.write_text(script.replace(INSTALLED_TEXT, f'"{self.root}/$text_in_package"'), encoding="utf-8")

    def program(self, name, body):
        path = self.bin / name
        path.write_text(f"#!/bin/bash\n{body}\n", encoding="utf-8")
        path.chmod(0o755)

    def user(self, uid):
        self.program("id", f"echo {uid}")

    def debian(self, installed=False):
        self.program("dpkg-query", "printf installed" if installed else "exit 1")
        self.program("apt-get", f'echo "apt-get $*" >> "{self.log}"')

    def run_script(self, *arguments, **environment):
        done = subprocess.run(["/bin/bash", self.script, *arguments], capture_output=True, text=True, check=False,
                              env={"PATH": str(self.bin), "HOME": str(self.root / "home"), **environment})
        return done.returncode, done.stdout + done.stderr

    def called(self):
        return self.log.read_text(encoding="utf-8") if self.log.exists() else ""

    def test_nothing_missing_asks_nobody(self):
        self.debian(installed=True)
        self.user(1000)
        self.assertEqual(self.run_script("build", "test"), (0, ""))
        self.assertEqual(self.called(), "")

    def test_root_installs(self):
        self.debian()
        self.user(0)
        code, text = self.run_script("build")
        self.assertEqual(code, 0, text)
        self.assertIn("apt-get install -y -q --no-install-recommends g++ cmake", self.called())
        self.assertNotIn("libgtest-dev", self.called())

    def test_sudo_installs(self):
        self.debian()
        self.user(1000)
        self.program("sudo", f'echo "sudo $1" >> "{self.log}"; exec "$@"')
        code, text = self.run_script("test")
        self.assertEqual(code, 0, text)
        self.assertIn("sudo env", self.called())
        self.assertIn("libgtest-dev", self.called())

    def test_no_root_names_the_command(self):
        self.debian()
        self.user(1000)
        code, text = self.run_script("build")
        self.assertEqual(code, 1)
        self.assertIn("needs root, and there is no sudo", text)
        self.assertIn("  apt-get install -y --no-install-recommends g++ cmake", text)
        self.assertEqual(self.called(), "")

    def test_no_apt_names_the_packages(self):
        self.user(0)
        code, text = self.run_script("build")
        self.assertEqual(code, 1)
        self.assertIn("no apt-get", text)
        self.assertIn("libdnnl-dev", text)

    def test_apt_fails(self):
        self.debian()
        self.user(0)
        self.program("apt-get", "echo 'E: Unable to locate package' >&2; exit 100")
        code, text = self.run_script("build")
        self.assertEqual(code, 1)
        self.assertIn("E: Unable to locate package", text)
        self.assertIn("apt-get could not install: g++", text)

    def test_check_only_says(self):
        self.debian()
        self.user(0)
        code, text = self.run_script("--check", "build")
        self.assertEqual(code, 1)
        self.assertIn("missing: g++", text)
        self.assertEqual(self.called(), "")

    def test_wrong_word(self):
        code, text = self.run_script("biuld")
        self.assertEqual(code, 1)
        self.assertIn("biuld is none of", text)

    def test_text_at_hand_needs_no_network(self):
        for name in ("jargon.txt", "jargon.txt.gz", TEXT):
            with self.subTest(name):
                folder = self.root / name.replace("/", "-")
                file = folder / name
                file.parent.mkdir(parents=True)
                file.touch()
                self.assertEqual(self.run_script("text", TRINE_DATA_DIR=str(folder)), (0, ""))

    def test_text_is_unpacked(self):
        self.user(1000)
        self.program("apt-get", 'touch jargon-text_4.deb')
        self.program("dpkg-deb", f'[ "$1" = -x ] && mkdir -p "$3/{pathlib.Path(TEXT).parent}" && touch "$3/{TEXT}"')
        code, text = self.run_script("text")
        self.assertEqual(code, 0, text)
        self.assertTrue((self.root / "home/.cache/trine" / TEXT).is_file())

    def test_no_text_says_what_to_pass(self):
        self.user(1000)
        code, text = self.run_script("text")
        self.assertEqual(code, 1)
        self.assertIn("no apt-get and dpkg-deb", text)
        self.assertIn("train_llama --data", text)
        self.program("apt-get", "echo 'E: no network' >&2; exit 100")
        self.program("dpkg-deb", "exit 1")
        code, text = self.run_script("text")
        self.assertEqual(code, 1)
        self.assertIn("E: no network", text)
        self.assertIn("train_llama --data", text)


if __name__ == "__main__":
    unittest.main()
