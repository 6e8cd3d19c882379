"""The check that people write by hand: load every file with torch, look at every value.

python benchmarks/torch_isfinite.py TREE [--mmap]
"""

import os
import sys

import torch
from safetensors.torch import load_file


def tensors(value: object) -> list[torch.Tensor]:
    """Return all tensors in nested dictionaries and lists."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        return [tensor for item in value.values() for tensor in tensors(item)]
    if isinstance(value, list | tuple):
        return [tensor for item in value for tensor in tensors(item)]
    return []


def main() -> None:
    torch.set_num_threads(2)
    for where, _, names in os.walk(sys.argv[1]):
        for name in sorted(names):
            path = os.path.join(where, name)
            if name.endswith(".safetensors"):
                found = tensors(load_file(path))
            elif name.endswith(".pt"):  # random states hold no weights and name classes of numpy
                found = tensors(torch.load(path, map_location="cpu", weights_only=True, mmap="--mmap" in sys.argv))
            else:
                continue
            for tensor in found:
                if not torch.isfinite(tensor).all():
                    print(f"{path}: not finite")


if __name__ == "__main__":
    main()
