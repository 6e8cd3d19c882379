"""A whole merge without torch: what it writes, what it refuses, and what it leaves of the run."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from struct import unpack

import pytest

from audit.errors import AuditError, RefusedError
from audit.judging import proving
from audit.ledger.events import BaseSealed, Merged
from audit.ledger.store import open_ledger
from audit.merging import merge as merging
from audit.merging.ledger_rows import seal_base
from audit.merging.merge import Choices, merge
from audit.retention.directories import refuse_place
from audit.testing.runs import edit_json, edit_tensors, make_run
from audit.testing.torch_files import FakeTensor
from tests.audit.merging.models import HIDDEN, base_tensors, floats, make_base, make_merge, tensors_in

Q = "model.layers.1.self_attn.q_proj"


def test_targets_are_the_sum_and_all_else_is_the_base(tmp_path: Path) -> None:
    run, base = make_merge(tmp_path)

    found = merge(run, str(tmp_path / "out"), Choices(base=base))

    mine, theirs = tensors_in(found.path), base_tensors()
    changed = {name for name in theirs if mine[name] != theirs[name]}
    assert changed == {f"model.layers.{n}.self_attn.{m}_proj.weight" for n in (0, 1) for m in ("q", "v")}
    assert mine.keys() == theirs.keys()
    held = tensors_in(os.path.join(run, "checkpoint-100"))
    a, b = (floats(held[f"base_model.model.{Q}.lora_{side}.weight"]) for side in "AB")
    weight, merged = floats(theirs[f"{Q}.weight"]), floats(mine[f"{Q}.weight"])
    for row, column in ((0, 0), (3, 7), (15, 15)):
        update = sum(b[row * 4 + k] * a[k * HIDDEN + column] for k in range(4)) * 2.0
        assert merged[row * HIDDEN + column] == pytest.approx(weight[row * HIDDEN + column] + update, rel=1e-6)


def test_the_proof_is_in_out_and_in_the_ledger(tmp_path: Path) -> None:
    run, base = make_merge(tmp_path)

    found = merge(run, str(tmp_path / "out"), Choices(base=base))

    document = json.loads((tmp_path / "out" / "merge.json").read_text())
    assert document == json.loads(json.dumps(found.document))
    proof = document["merge"]
    assert proof["tensors"] == {"copied": len(base_tensors()) - 4, "converted": 0, "merged": 4, "replaced": 0}
    assert proof["files"].keys() | {"merge.json"} == set(os.listdir(tmp_path / "out"))
    assert all(0 < item["update_ratio"] < 1 and item["rows_recomputed"] > 1 for item in proof["changed"])
    assert (proof["base"]["identity"], proof["base"]["sealed"]) == ([], False)
    assert found.notes == (
        "nothing in the ledger says which base the adapter was trained on: this one was not compared",
    )
    ledger = open_ledger(run, write=False)
    assert ledger is not None
    events = [row.event for row in ledger.rows()]
    ledger.close()
    (merged,) = [event for event in events if isinstance(event, Merged)]
    (sealed,) = [event for event in events if isinstance(event, BaseSealed)]
    assert (merged.checkpoint, merged.step, merged.out) == ("checkpoint-100", 100, str(tmp_path / "out"))
    assert {name: file.digest for name, file in merged.files.items()} == {
        name: file["blake3"] for name, file in proof["files"].items()
    }
    assert sealed.files.keys() == {"model.safetensors"}


@pytest.mark.parametrize("place", [10, 2000, -1])
def test_a_byte_of_the_base_that_flips_after_the_first_merge_is_found(place: int, tmp_path: Path) -> None:
    run, base = make_merge(tmp_path)
    assert merge(run, str(tmp_path / "one"), Choices(base=base)).document["merge"]["base"]["sealed"] is False
    assert merge(run, str(tmp_path / "two"), Choices(base=base)).document["merge"]["base"]["sealed"] is True
    weights = Path(base, "model.safetensors")
    data = bytearray(weights.read_bytes())
    data[place] ^= 1
    weights.write_bytes(data)

    with pytest.raises(AuditError, match=r"model\.safetensors"):
        merge(run, str(tmp_path / "three"), Choices(base=base))
    assert not (tmp_path / "three").exists()


def test_a_base_that_was_sealed_is_the_only_one_until_another_is(tmp_path: Path) -> None:
    run, base = make_merge(tmp_path)
    other = make_base(tmp_path / "other", shards=2)
    seal_base(run, other)
    with pytest.raises(RefusedError, match="audit seal"):
        merge(run, str(tmp_path / "out"), Choices(base=base))
    seal_base(run, base)
    assert merge(run, str(tmp_path / "out"), Choices(base=base)).document["merge"]["base"]["sealed"]


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_a_byte_of_the_adapter_that_flips_after_the_seal_is_found(name: str, tmp_path: Path) -> None:
    run, base = make_merge(tmp_path)
    merge(run, str(tmp_path / "one"), Choices(base=base))
    path = Path(run, "checkpoint-100", name)
    for place in range(9, path.stat().st_size, path.stat().st_size // 5):
        whole = path.read_bytes()
        data = bytearray(whole)
        data[place] ^= 1
        path.write_bytes(data)
        with pytest.raises(RefusedError, match="no checkpoint is proven"):
            merge(run, str(tmp_path / "two"), Choices(base=base))
        path.write_bytes(whole)
    assert not (tmp_path / "two").exists()


def test_an_adapter_that_changes_after_it_was_proven_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, base = make_merge(tmp_path)
    prove = proving.prove

    def meanwhile(*arguments: object, **options: object) -> object:
        proof = prove(*arguments, **options)  # type: ignore[arg-type]
        weights = Path(run, "checkpoint-100", "adapter_model.safetensors")
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(data)
        return proof

    monkeypatch.setattr(merging, "prove", meanwhile)
    with pytest.raises(AuditError, match="changed since it was proven"):
        merge(run, str(tmp_path / "out"), Choices(base=base))
    assert sorted(os.listdir(tmp_path)) == ["base", "run"]


def test_only_what_is_proven_is_merged(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100, 200))
    base = make_base(tmp_path / "base")
    Path(run, "checkpoint-200", "optimizer.pt").unlink()

    assert merge(run, str(tmp_path / "newest"), Choices(base=base)).checkpoint == "checkpoint-100"
    with pytest.raises(RefusedError, match=re.escape("checkpoint-200 is not proven")):
        merge(run, str(tmp_path / "out"), Choices(200, base))
    with pytest.raises(RefusedError, match=re.escape("checkpoint-300 is not there")):
        merge(run, str(tmp_path / "out"), Choices(300, base))


def _second_adapter(checkpoint: str) -> None:
    os.mkdir(os.path.join(checkpoint, "second"))
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        Path(checkpoint, "second", name).write_bytes(Path(checkpoint, name).read_bytes())


def _nothing_learnt(checkpoint: str) -> None:
    def change(held: dict[str, FakeTensor]) -> None:
        for name, item in held.items():
            if "lora_B" in name:
                held[name] = item._replace(data=bytes(len(item.data)))

    edit_tensors(os.path.join(checkpoint, "adapter_model.safetensors"), change)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_second_adapter, "has 2 adapters (default, second), and audit merge takes one"),
        (lambda checkpoint: edit_json(f"{checkpoint}/adapter_config.json", bias="all"), "trains biases"),
        (_nothing_learnt, "no checkpoint is proven"),
    ],
)
def test_an_adapter_that_is_not_merged_is_one_line(change: Callable[[str], object], said: str, tmp_path: Path) -> None:
    run, base = make_merge(tmp_path)
    change(os.path.join(run, "checkpoint-100"))
    with pytest.raises(RefusedError, match=re.escape(said)):
        merge(run, str(tmp_path / "out"), Choices(base=base))
    assert not (tmp_path / "out").exists()


def test_a_whole_model_is_not_merged(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100,), full=True)
    with pytest.raises(RefusedError, match="has no adapter: it is a whole model already"):
        merge(run, str(tmp_path / "out"), Choices(base=make_base(tmp_path / "base")))


def test_a_run_that_cannot_be_written_to_is_merged_all_the_same(tmp_path: Path) -> None:
    run, base = make_merge(tmp_path)
    Path(run, ".audit").write_text("a file where the ledger's directory should be")

    found = merge(run, str(tmp_path / "out"), Choices(base=base))

    assert (tmp_path / "out" / "model.safetensors").exists()
    assert any("not recorded" in note for note in found.notes)


def test_the_checkpoints_stay_as_they_are(tmp_path: Path) -> None:
    run, base = make_merge(tmp_path)
    checkpoint = Path(run, "checkpoint-100")
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in checkpoint.iterdir()}
    time = checkpoint.stat().st_mtime_ns
    merge(run, str(tmp_path / "out"), Choices(base=base))
    assert before == {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in checkpoint.iterdir()}
    assert checkpoint.stat().st_mtime_ns == time


def test_what_is_larger_than_the_disk_is_refused_before_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, base = make_merge(tmp_path)
    about = os.statvfs(tmp_path)
    small = os.statvfs_result((*about[:4], 0, *about[5:]))
    monkeypatch.setattr(os, "statvfs", lambda _: small)
    with pytest.raises(AuditError, match=r"needs .* are free there; make room first"):
        merge(run, str(tmp_path / "out"), Choices(base=base))
    assert not (tmp_path / "out.tmp").exists()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_type_may_be_chosen(dtype: str, tmp_path: Path) -> None:
    run, base = make_merge(tmp_path, dtype="BF16")

    merge(run, str(tmp_path / "out"), Choices(base=base, dtype=dtype, max_shard_size=2000))

    mine = tensors_in(str(tmp_path / "out"))
    code = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}[dtype]
    assert {item.dtype for item in mine.values()} == {code}
    norm = mine["model.layers.0.input_layernorm.weight"].data
    assert norm == base_tensors(code)["model.layers.0.input_layernorm.weight"].data
    assert len(unpack(f"<{len(norm) // (4 if code == 'F32' else 2)}{'f' if code == 'F32' else 'H'}", norm)) == HIDDEN


def test_progress_counts_all_that_is_read_and_written(tmp_path: Path) -> None:
    run, base = make_merge(tmp_path)
    told: list[tuple[int, int]] = []
    merge(run, str(tmp_path / "out"), Choices(base=base), merging=lambda count, total: told.append((count, total)))
    (total,) = {total for _, total in told}
    assert sum(count for count, _ in told) == total


def test_places_where_nothing_may_be_written_are_refused(tmp_path: Path) -> None:
    run, base = make_merge(tmp_path)
    for out in ("checkpoint-100/out", "checkpoint-merged", ".audit/out", "."):
        with pytest.raises(RefusedError):
            refuse_place(run, os.path.join(run, out))
        with pytest.raises(RefusedError):
            merge(run, os.path.join(run, out), Choices(base=base))
