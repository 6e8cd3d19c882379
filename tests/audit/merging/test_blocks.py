"""The bytes of a tensor in blocks: the same whatever the size of a block."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import RefusedError
from audit.merging import blocks
from audit.merging.blocks import row_blocks
from audit.merging.merge import Choices, merge
from audit.testing.torch_files import FakeTensor
from tests.audit.merging.models import base_tensors, make_merge, tensor, tensors_in


@given(st.integers(0, 500), st.integers(0, 100_000))
def test_blocks_are_all_rows_once_and_never_a_few(rows: int, columns: int) -> None:
    found = list(row_blocks(rows, columns))
    assert [row for begin, end in found for row in range(begin, end)] == list(range(rows))
    assert all(end - begin >= min(rows, blocks.LEAST_ROWS) for begin, end in found)


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_a_model_is_the_same_in_small_blocks(
    dtype: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, base = make_merge(tmp_path)
    merge(run, str(tmp_path / "at once"), Choices(base=base, dtype=dtype))
    monkeypatch.setattr(blocks, "BLOCK", 64)
    merge(run, str(tmp_path / "in blocks"), Choices(base=base, dtype=dtype))
    assert tensors_in(str(tmp_path / "at once")) == tensors_in(str(tmp_path / "in blocks"))


COPY = "base_model.model.model.embed_tokens.weight"


def _with_copy(copy: FakeTensor) -> dict[str, FakeTensor]:
    return {COPY: copy}


@pytest.mark.parametrize(("base", "copy"), [("F32", "F32"), ("F32", "BF16"), ("BF16", "F32"), ("F16", "BF16")])
def test_a_copy_of_the_embedding_in_the_adapter_has_to_be_that_of_the_base(
    base: str, copy: str, tmp_path: Path
) -> None:
    same = base_tensors(copy)["model.embed_tokens.weight"]
    run, path = make_merge(tmp_path, change=lambda held: held.update({COPY: same}), dtype=base)
    assert merge(run, str(tmp_path / "out"), Choices(base=path)).document["merge"]["tensors"]["copied"]

    other = same._replace(data=same.data[:-2] + tensor("other", 1, dtype="BF16").data)
    run, path = make_merge(tmp_path / "b", change=lambda held: held.update({COPY: other}), dtype=base)
    with pytest.raises(RefusedError, match=r"holds a copy of model\.embed_tokens\.weight that is not the base's"):
        merge(run, str(tmp_path / "other"), Choices(base=path))
    assert not (tmp_path / "other").exists()


def test_an_update_that_overflows_is_refused(tmp_path: Path) -> None:
    def large(held: dict[str, FakeTensor]) -> None:
        for name in list(held):
            if "lora_" in name:
                count = held[name].shape[0] * held[name].shape[1]
                held[name] = FakeTensor("F32", held[name].shape, b"\xff\xff\x7f\x7f" * count)

    run, base = make_merge(tmp_path, change=large)
    with pytest.raises(RefusedError, match="not finite once merged"):
        merge(run, str(tmp_path / "out"), Choices(base=base))
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.tmp").exists()
