#!/usr/bin/env python3
"""Turns CUDA's syntax into C++ that tests/cuda_on_cpu/block.h runs on the CPU.

    kernel<<<grid, block, bytes, stream>>>(...)   ->  trine::on_cpu::launch(kernel, grid, block, bytes, stream)(...)
    __shared__ float a[32], b[8];                 ->  static float a[32], b[8]; trine::on_cpu::share(a, b);
    extern __shared__ float c[];                  ->  float* const c = reinterpret_cast<float*>(...);

Everything else stays as it is, line for line. What is not understood is an error.

Usage: tests/cuda_on_cpu/rewrite.py SOURCE.cu OUTPUT.cpp
"""
import pathlib
import re
import sys

# What says where a function runs: CUDA's headers define these as nothing, or as an attribute of C++, for a C++ compiler.
QUALIFIERS = {"__global__", "__device__", "__host__", "__forceinline__", "__shared__"}

# Comments, strings, characters: not code.
NO_CODE = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|(?<!\w)\'(?:\\.|[^\'\\\n])+\'', re.DOTALL)
DYNAMIC = re.compile(r"extern\s+__shared__\s+([\w:]+)\s+(\w+)\s*\[\s*\]\s*;")
STATIC = re.compile(r"(?<!extern )__shared__(\s+[\w:\s]*\w\s+[^;={}()]+;)")
VARIABLE = re.compile(r"(\w+)\s*(?:\[[^\]]*\]\s*)*$")


class NotUnderstood(Exception):
    """At a position of the source."""

    def __init__(self, position, what):
        super().__init__(what)
        self.position = position


def blank_out(match):
    return re.sub(r"[^\n]", " ", match[0])


def parts_of(code, begin, end):
    """The text between `begin` and `end`, divided at commas that no bracket encloses."""
    parts, depth = [""], 0
    for character in code[begin:end]:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def begin_of_kernel(code, end):
    """Where the name begins that ends before `end`, with template arguments or without."""
    at = len(code[:end].rstrip())
    if code[at - 1] == ">":
        depth = 0
        while True:
            at -= 1
            if at < 0 or code[at] in ";{}":
                raise NotUnderstood(end, "the kernel before <<<")
            depth += (code[at] == ">") - (code[at] == "<")
            if depth == 0:
                break
    name = re.search(r"[\w:]+$", code[:at])
    if name is None:
        raise NotUnderstood(end, "the kernel before <<<")
    return name.start()


def launches(code):
    for found in re.finditer("<<<", code):
        begin, end = begin_of_kernel(code, found.start()), code.find(">>>", found.end())
        if end < 0 or not re.match(r">>>\s*\(", code[end:]):
            raise NotUnderstood(found.start(), "a launch without >>>(")
        if len(parts_of(code, found.end(), end)) != 4:
            raise NotUnderstood(found.start(), "a launch that does not name grid, block, shared memory and stream")
        yield begin, begin, "trine::on_cpu::launch("
        yield len(code[:found.start()].rstrip()), found.end(), ", "
        yield end, end + 3, ")"


def shared_variables(code):
    for found in DYNAMIC.finditer(code):
        kind, name = found.groups()
        yield *found.span(), f"{kind}* const {name} = reinterpret_cast<{kind}*>(trine::on_cpu::dynamic_shared_memory());"
    for found in STATIC.finditer(code):
        names = [VARIABLE.search(part) for part in parts_of(code, found.start(1), found.end(1) - 1)]
        if None in names:
            raise NotUnderstood(found.start(), "__shared__ variables")
        yield found.start(), found.start(1), "static"
        yield found.end(), found.end(), f" trine::on_cpu::share({', '.join(name[1] for name in names)});"


def rewrite(source, name):
    code = NO_CODE.sub(blank_out, source)
    for found in re.finditer(r"\b__\w+__\b|\basm\b", code):
        if found[0] not in QUALIFIERS:
            raise NotUnderstood(found.start(), found[0])
    for begin, end, text in sorted([*launches(code), *shared_variables(code)], reverse=True):
        source = source[:begin] + text + source[end:]
        code = code[:begin] + text + code[end:]
    for left in ("<<<", ">>>", "__shared__"):
        if (at := code.find(left)) >= 0:
            raise NotUnderstood(at, left)
    return f'#include "tests/cuda_on_cpu/device_language.h"\n#line 1 "{name}"\n{source}'


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source = pathlib.Path(sys.argv[1])
    text = source.read_text(encoding="utf-8")
    try:
        rewritten = rewrite(text, source)
    except NotUnderstood as error:
        line = text.count("\n", 0, error.position) + 1
        sys.exit(f"{source}:{line}: [rewrite] {error}: not understood. Teach it to tests/cuda_on_cpu/rewrite.py.")
    pathlib.Path(sys.argv[2]).write_text(rewritten, encoding="utf-8")


if __name__ == "__main__":
    main()
