"""The items of a shard file are sound archives with the bytes that were written."""

from pathlib import Path

import pytest

from audit.testing.judging import check
from tests.dcp import MODEL, OPTIMIZER, make_sharded


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_sharded(tmp_path / "run")


def said(run: Path) -> str:
    (finding,) = check(str(run), "shards/damaged")
    assert (finding.checkpoint, finding.blocks_resume) == ("checkpoint-200", True)
    return finding.message


@pytest.mark.parametrize("folder", [MODEL, OPTIMIZER])
def test_a_flipped_bit(run: Path, folder: str) -> None:
    path = run / "checkpoint-200" / folder / "__1_0.distcp"
    data = bytearray(path.read_bytes())
    place = data.index(b"archive/data/0") + 64
    data[place + (-place % 64) + 4] ^= 1
    path.write_bytes(data)

    assert said(run).startswith(f"{folder}/__1_0.distcp was changed after it was written: the CRC of ")


def test_a_shard_that_was_cut_off(run: Path) -> None:
    path = run / "checkpoint-200" / MODEL / "__0_0.distcp"
    path.write_bytes(path.read_bytes()[:-100])

    assert "ends at byte" in said(run)


def test_an_item_that_is_no_archive(run: Path) -> None:
    path = run / "checkpoint-200" / MODEL / "__0_0.distcp"
    data = path.read_bytes()
    path.write_bytes(bytes(200) + data[200:])

    assert said(run).startswith(f"{MODEL}/__0_0.distcp: model.embed.weight ")


def test_bytes_behind_the_last_item_are_never_read(run: Path) -> None:
    with open(run / "checkpoint-200" / MODEL / "__0_0.distcp", "ab") as file:
        file.write(b"more")

    assert check(str(run), "shards/damaged") == []


def test_at_quick_depth_only_what_is_malformed_is_found(run: Path) -> None:
    assert check(str(run), "shards/damaged", depth="quick") == []
    path = run / "checkpoint-200" / MODEL / "__0_0.distcp"
    path.write_bytes(path.read_bytes()[:-100])

    assert len(check(str(run), "shards/damaged", depth="quick")) == 1
