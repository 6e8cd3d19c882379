"""files/missing-weights."""

from pathlib import Path

import pytest

from audit.testing.judging import check
from audit.testing.runs import make_run
from tests.audit.unjudged import NAMES, make_unjudged
from tests.plugins.audit_rules.files.editing import ADAPTER, INDEX, add_adapter, judged, names, remove, shard

RULE = "files/missing-weights"


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def test_missing_adapter_weights_are_found(run: str) -> None:
    remove(run, ADAPTER)
    (finding,) = judged(run)
    assert (finding.rule, finding.checkpoint, finding.file) == (RULE, "checkpoint-200", ADAPTER)
    assert finding.message == f"{ADAPTER} is not there: the checkpoint has no weights to load"
    assert finding.blocks_resume


def test_missing_weights_of_a_full_model_are_found(tmp_path: Path) -> None:
    run = make_run(tmp_path / "full", full=True)
    remove(run, "model.safetensors")
    (finding,) = judged(run)
    assert (finding.rule, finding.file) == (RULE, "model.safetensors")


def test_missing_weights_of_an_adapter_in_a_sub_directory_are_found(run: str) -> None:
    add_adapter(run, "second")
    remove(run, f"second/{ADAPTER}")
    (finding,) = judged(run)
    assert (finding.rule, finding.file) == (RULE, f"second/{ADAPTER}")
    assert "the adapter second has no weights to load" in finding.message


@pytest.mark.parametrize("name", ["adapter_model.bin", "model.safetensors", "pytorch_model.bin"])
def test_any_weights_that_trainer_takes_will_do(run: str, name: str) -> None:
    place = Path(run, "checkpoint-200")
    (place / ADAPTER).rename(place / name)
    if not name.startswith("adapter"):
        (place / "adapter_config.json").unlink()
    assert not check(run, RULE)


def test_a_placeholder_in_their_place_is_another_finding(run: str) -> None:
    weights = Path(run, "checkpoint-200", ADAPTER)
    weights.rename(f"{weights}.part_aa")
    assert names(judged(run)) == [("files/placeholder", "checkpoint-200", f"{ADAPTER}.part_aa")]


def test_a_placeholder_of_weights_by_another_name_is_one_finding_too(run: str) -> None:
    Path(run, "checkpoint-200", ADAPTER).rename(Path(run, "checkpoint-200", "pytorch_model.bin.part_aa"))
    assert names(judged(run)) == [("files/placeholder", "checkpoint-200", "pytorch_model.bin.part_aa")]


def test_an_index_without_its_shards_is_explained_by_the_shards(tmp_path: Path) -> None:
    run = make_run(tmp_path / "full", full=True)
    remove(run, *shard(Path(run, "checkpoint-200")))
    assert [finding.rule for finding in judged(run)] == ["files/missing-shard"]


def test_an_index_that_names_nothing_is_no_weights_either(tmp_path: Path) -> None:
    run = make_run(tmp_path / "full", full=True)
    remove(run, *shard(Path(run, "checkpoint-200")))
    Path(run, "checkpoint-200", INDEX).write_text('{"weight_map": {}}')
    assert names(judged(run)) == [("files/shard-index-mismatch", "checkpoint-200", INDEX)]


def test_under_deepspeed_it_is_said_if_no_process_has_any_and_not_of_the_part_of_one(tmp_path: Path) -> None:
    run = make_unjudged(tmp_path / "zero", (100,))
    parts = [f"global_step100/{NAMES[0].format(rank)}" for rank in (1, 0)]
    remove(run, parts[0], checkpoint="checkpoint-100")
    assert check(run, RULE) == []

    remove(run, parts[1], checkpoint="checkpoint-100")
    (finding,) = check(run, RULE)
    assert "the checkpoint has no weights to load" in finding.message
