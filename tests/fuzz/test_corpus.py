"""Inputs that the fuzzer found, and the seeds it began with, go through their readers."""

from pathlib import Path

import pytest

from tests.fuzz.readers import READERS, seeds

CORPUS = Path(__file__).parent / "corpus"
INPUTS = sorted(path for path in CORPUS.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", READERS)
def test_the_reader_takes_its_seeds(name: str) -> None:
    for seed in seeds(name):
        READERS[name](seed)


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_the_fuzzer_found_is_read_or_damaged(path: Path) -> None:
    READERS[path.parent.name](path.read_bytes())


def test_the_corpus_is_small_and_of_known_readers() -> None:
    assert {path.parent.name for path in INPUTS} <= set(READERS)
    assert sum(path.stat().st_size for path in INPUTS) < 200_000
