#!/usr/bin/env python3
"""Reads a checkpoint with h5py, knowing nothing of Trine: every tensor of model.h5 as a whole, and again from the
pieces of the rank files by their attributes. Writes the bytes of each tensor to OUT/<kind>.<name>.

Usage: read_with_h5py.py CHECKPOINT OUT
"""
import pathlib
import sys

import h5py
import numpy


def check(condition, what):
    if not condition:
        sys.exit(f"[h5py] {what}")


def main():
    folder, out = map(pathlib.Path, sys.argv[1:])
    tensors = {}
    with h5py.File(folder / "model.h5", "r") as view:
        check(view.attrs["format"] == b"trine-checkpoint" and list(view.attrs["version"]) == [1], "root attributes")
        for kind, group in view.items():
            for name, dataset in group.items():
                check(dataset.is_virtual, f"{kind}/{name} is not virtual")
                tensors[kind, name] = dataset[()]
    pieces = {key: numpy.zeros_like(value) for key, value in tensors.items()}
    for path in sorted(folder.glob("rank-*.h5")):
        with h5py.File(path, "r") as file:
            for kind, group in file.items():
                for name, dataset in group.items():
                    check(dataset.fletcher32 and dataset.chunks, f"{path.name}: {kind}/{name}")
                    whole = pieces[kind, name.split("#")[0]]
                    check(tuple(dataset.attrs["global_shape"]) == whole.shape, f"shape of {kind}/{name}")
                    box = tuple(slice(s, s + n) for s, n in zip(dataset.attrs["start"], dataset.shape))
                    whole[box] = dataset[()]
    for (kind, name), value in tensors.items():
        check(value.tobytes() == pieces[kind, name].tobytes(), f"{kind}/{name}: the view is not its pieces")
        (out / f"{kind}.{name}").write_bytes(value.tobytes())
        print(kind, name, value.dtype, *value.shape)


if __name__ == "__main__":
    main()
