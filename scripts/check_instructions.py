#!/usr/bin/env python3
"""Counts the instructions of each vectorised kernel under valgrind and compares them with a table.

  scripts/check_instructions.py build/bin/kernel_instructions            fails if a kernel needs over 10 % more
  scripts/check_instructions.py build/bin/kernel_instructions --update   writes the table anew

A time depends on the machine and its neighbours, a count on the compiler alone. AVX2 is counted: valgrind knows
nothing later, and the kernels of all instruction sets are the same source.
"""
import argparse
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TABLE = os.path.join(ROOT, "tests", "data", "kernel_instructions.txt")
MARGIN = 1.10


def count(program, kernel):
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no",
               "--toggle-collect=trine_counted", program, kernel]
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    run = subprocess.run(command, stderr=subprocess.PIPE, text=True, env=environment, check=False)
    found = re.search(r"Collected : (\d+)", run.stderr)
    if run.returncode or not found:
        sys.exit(f"[check_instructions] {' '.join(command)} failed:\n{run.stderr}")
    return int(found.group(1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--update", action="store_true", help="write the table anew")
    args = parser.parse_args()
    listed = subprocess.run([args.program], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    elements = dict(zip(listed[::2], map(int, listed[1::2])))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        counts = dict(zip(elements, pool.map(lambda kernel: count(args.program, kernel), elements)))
    measured = {kernel: counts[kernel] / elements[kernel] for kernel in elements}
    if args.update:
        with open(TABLE, "w") as table:
            table.write("# Instructions per element on AVX2, by g++ 12.2: scripts/check_instructions.py --update\n")
            table.writelines(f"{kernel} {value:.3f}\n" for kernel, value in measured.items())
        return
    with open(TABLE) as table:
        expected = dict(line.split() for line in table if not line.startswith("#"))
    problems = [f"{kernel}: the table or the program does not have it" for kernel in expected.keys() ^ measured.keys()]
    for kernel in expected.keys() & measured.keys():
        if measured[kernel] > MARGIN * float(expected[kernel]):
            problems.append(f"{kernel}: {measured[kernel]:.2f} instructions per element, {expected[kernel]} expected")
    if problems:
        sys.exit("[check_instructions] " + "\n[check_instructions] ".join(sorted(problems)) +
                 "\n[check_instructions] If that is what a change costs, write the table anew with --update.")
    print(f"{len(measured)} kernels need no more instructions than the table says")


if __name__ == "__main__":
    main()
