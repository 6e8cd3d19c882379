"""Inputs that the fuzzer found, and the seeds it began with, go through their readers."""

from pathlib import Path

import pytest

from audit.backend.training import BadData
from audit.formats.damage import Damage
from tests.fuzz.readers import READERS
from tests.fuzz.seeds import seeds

CORPUS = Path(__file__).parent / "corpus"
INPUTS = sorted(path for path in CORPUS.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", READERS)
def test_the_reader_takes_its_seeds(name: str) -> None:
    if name == "parquet":
        pytest.importorskip("pyarrow", reason="the extra hf is not installed")
    found = [READERS[name](seed) for seed in seeds(name)]

    assert found
    if name in ("rows", "parquet", "state", "safetensors", "archive"):  # others get parts of files, or files of others
        assert [item for item in found if isinstance(item, Damage | BadData)] == []


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_the_fuzzer_found_is_read_or_damaged(path: Path) -> None:
    if path.parent.name == "parquet":
        pytest.importorskip("pyarrow", reason="the extra hf is not installed")
    READERS[path.parent.name](path.read_bytes())


def test_the_corpus_is_small_and_of_known_readers() -> None:
    assert {path.parent.name for path in INPUTS} <= set(READERS)
    assert sum(path.stat().st_size for path in INPUTS) < 200_000
