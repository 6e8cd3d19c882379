"""Whether a file can be parsed, by the standard library alone: nothing of the audit's readers takes part."""

import json
import pickletools
import zipfile
from itertools import pairwise
from pathlib import Path


def why_not(path: Path) -> str | None:
    """Say why a file that a resume reads cannot be parsed; None if it can, or if its format is not known here."""
    if not path.is_file() or path.is_symlink():
        return "is no file"
    try:
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".safetensors":
            _safetensors(path.read_bytes())
        elif path.name == ".metadata":
            list(pickletools.genops(path.read_bytes()))
        elif path.suffix in (".pt", ".pth", ".bin", ".pkl", ".ckpt"):
            _archive(path)
        elif path.name == "latest" and not (path.parent / path.read_text().strip()).is_dir():
            return "names nothing"
        elif not path.stat().st_size:
            return "is empty"
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, NotImplementedError, OSError, RuntimeError) as problem:
        return f"{type(problem).__name__}: {problem}"
    return None


def _safetensors(data: bytes) -> None:
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        raise ValueError("the header ends beyond the file")
    header = json.loads(data[8 : 8 + length].decode())
    spans = sorted(tuple(item["data_offsets"]) for name, item in header.items() if name != "__metadata__")
    if any(one[1] != two[0] for one, two in pairwise(spans)) or (spans and spans[-1][1] != len(data) - 8 - length):
        raise ValueError("the tensors do not cover the file")


def _archive(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        if (bad := archive.testzip()) is not None:
            raise ValueError(f"checksum of {bad}")
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if not pickles:
            raise ValueError("no data.pkl")
        list(pickletools.genops(archive.read(pickles[0])))
