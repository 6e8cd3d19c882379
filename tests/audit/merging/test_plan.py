"""Which tensor comes from where: every tensor of the adapter is used once, every target is found."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from audit.errors import RefusedError
from audit.formats.damage import Damage
from audit.formats.safetensors import read_safetensors
from audit.formats.tensors import Tensor
from audit.merging.adapter import Adapter, read_adapter, read_settings
from audit.merging.base import read_base
from audit.merging.plan import Plan, plan_merge
from audit.storage import BytesReader
from tests.audit.merging.models import base_tensors, make_base

PREFIX = "base_model.model."
ATTENTION = f"{PREFIX}model.layers.0.self_attn"


def adapter(shapes: Mapping[str, tuple[int, ...]], **config: Any) -> Adapter:
    """An adapter with these tensors."""
    given = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, **config}
    tensors = {name: Tensor(name, "F32", shape, 0, 0) for name, shape in shapes.items()}
    return read_adapter(read_settings(given, "x"), tensors, "x")


def pair(module: str, rows: int = 16, columns: int = 16) -> dict[str, tuple[int, ...]]:
    return {f"{module}.lora_A.weight": (4, columns), f"{module}.lora_B.weight": (rows, 4)}


def planned(path: str, found: Adapter, **options: Any) -> Plan:
    return plan_merge(found, read_base(path), "x", **options)


def test_without_options_the_files_are_those_of_the_base(tmp_path: Path) -> None:
    base = read_base(make_base(tmp_path / "base", shards=3))

    plan = plan_merge(adapter(pair(f"{ATTENTION}.q_proj")), base, "x")

    assert [file.name for file in plan.files] == [shard.name for shard in base.shards]
    assert [file.head for file in plan.files] == [shard.head for shard in base.shards]
    assert [file.size for file in plan.files] == [shard.size for shard in base.shards]
    assert plan.index_text == base.index_text
    assert [output.name for output in plan.outputs if output.kind != "copied"] == [
        "model.layers.0.self_attn.q_proj.weight"
    ]


def test_files_of_a_size_have_headers_that_a_reader_takes_and_an_index(tmp_path: Path) -> None:
    path = make_base(tmp_path / "base")

    plan = planned(path, adapter(pair(f"{ATTENTION}.q_proj")), max_shard_size=3000, dtype="bfloat16")

    index = json.loads(plan.index_text or b"")
    assert index["weight_map"].keys() == base_tensors().keys()
    assert index["metadata"]["total_size"] == sum(len(item.data) for item in base_tensors().values()) // 2
    for file in plan.files:
        assert sum(output.nbytes for output in file.outputs) <= 3000
        header = read_safetensors(BytesReader(file.head + bytes(file.size - len(file.head))))
        assert not isinstance(header, Damage)
        assert [item.name for item in header.tensors.values()] == [output.name for output in file.outputs]
        assert {index["weight_map"][output.name] for output in file.outputs} == {file.name}
        assert {output.dtype for output in file.outputs} == {"BF16"}


def test_one_file_needs_no_index(tmp_path: Path) -> None:
    plan = planned(make_base(tmp_path / "base", shards=2), adapter(pair(f"{ATTENTION}.q_proj")), max_shard_size=10**9)
    assert [file.name for file in plan.files] == ["model.safetensors"]
    assert plan.index_text is None


def test_a_tensor_larger_than_a_file_has_one_of_its_own(tmp_path: Path) -> None:
    plan = planned(make_base(tmp_path / "base"), adapter(pair(f"{ATTENTION}.q_proj")), max_shard_size=1)
    assert {len(file.outputs) for file in plan.files} == {1}


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        (pair(f"{PREFIX}model.layers.7.self_attn.q_proj"), "which the base"),
        (pair(f"{ATTENTION}.q_proj", rows=32), "is [32, 16] in it and [16, 16] in the base"),
        (pair(f"{ATTENTION}.q_proj", columns=8), "is [16, 8] in it and [16, 16] in the base"),
        (
            {**pair(f"{ATTENTION}.q_proj"), f"{PREFIX}lm_head.weight": (40, 16)},
            "lm_head.weight is [40, 16] in it and [32, 16] in the base",
        ),
        ({**pair(f"{ATTENTION}.q_proj"), f"{PREFIX}score.weight": (2, 16)}, "is for a tensor score.weight"),
    ],
)
def test_an_adapter_of_another_base_is_refused(shapes: dict[str, tuple[int, ...]], said: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=re.escape(said)) as raised:
        planned(make_base(tmp_path / "base"), adapter(shapes))
    assert "--base" in str(raised.value)


def test_a_base_of_whole_numbers_is_not_merged_into(tmp_path: Path) -> None:
    path = Path(make_base(tmp_path / "base", dtype="F16"))
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes().replace(b'"F16"', b'"I16"'))
    with pytest.raises(RefusedError, match="is of the type I16; only float32, bfloat16 and float16"):
        planned(str(path), adapter(pair(f"{ATTENTION}.q_proj")))


EMBEDDING = {
    f"{PREFIX}model.embed_tokens.lora_embedding_A": (4, 32),
    f"{PREFIX}model.embed_tokens.lora_embedding_B": (16, 4),
}
HEAD = pair(f"{PREFIX}lm_head", rows=32)


@pytest.mark.parametrize("shapes", [EMBEDDING, HEAD, {**EMBEDDING, **HEAD}], ids=["embedding", "head", "both"])
def test_tied_targets_are_refused_unless_they_are_to_be_untied(
    shapes: dict[str, tuple[int, ...]], tmp_path: Path
) -> None:
    path = make_base(tmp_path / "base", tied=True)
    with pytest.raises(RefusedError, match="the embedding is the output layer, too; --untie writes both"):
        planned(path, adapter(shapes))

    plan = planned(path, adapter(shapes), untie=True)

    assert plan.untied
    both = {output.name: output for output in plan.outputs if output.source.name == "model.embed_tokens.weight"}
    assert both.keys() == {"model.embed_tokens.weight", "lm_head.weight"}
    assert (both["lm_head.weight"].update is not None) == (HEAD.keys() <= shapes.keys())


def test_a_saved_head_of_a_tied_base_is_refused_too(tmp_path: Path) -> None:
    found = adapter({f"{PREFIX}lm_head.weight": (32, 16)}, modules_to_save=["lm_head"])
    with pytest.raises(RefusedError, match="--untie writes both"):
        planned(make_base(tmp_path / "base", tied=True), found)


def test_tied_tensors_that_nothing_changes_stay_tied(tmp_path: Path) -> None:
    path = make_base(tmp_path / "base", tied=True)
    assert not planned(path, adapter(pair(f"{ATTENTION}.q_proj"))).untied
    with pytest.raises(RefusedError, match="there is nothing to untie"):
        planned(path, adapter(pair(f"{ATTENTION}.q_proj")), untie=True)


def test_targets_of_an_untied_base_are_merged(tmp_path: Path) -> None:
    plan = planned(make_base(tmp_path / "base"), adapter({**EMBEDDING, **HEAD}))
    assert [output.kind for output in plan.outputs].count("merged") == 2
    assert not plan.untied


def test_a_tied_base_of_other_names_cannot_be_untied(tmp_path: Path) -> None:
    path = make_base(tmp_path / "base", tie_word_embeddings=True)  # with an output layer in the file all the same
    with pytest.raises(RefusedError, match="--untie cannot separate them"):
        planned(path, adapter(EMBEDDING), untie=True)
