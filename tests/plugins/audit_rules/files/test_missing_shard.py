"""files/missing-shard."""

from pathlib import Path
from unittest.mock import ANY

import pytest

from audit.testing.judging import check
from audit.testing.runs import make_run
from tests.audit.unjudged import make_unjudged
from tests.plugins.audit_rules.files.editing import ADAPTER, INDEX, Locked, add_adapter, judged, names, remove, shard

RULE = "files/missing-shard"


@pytest.fixture
def run(tmp_path: Path) -> str:
    path = make_run(tmp_path / "run", full=True)
    for step in (100, 200, 300):
        shard(Path(path, f"checkpoint-{step}"))
    return path


def test_a_missing_shard_is_found(run: str) -> None:
    remove(run, "model-00002-of-00003.safetensors")
    (finding,) = judged(run)
    assert (finding.rule, finding.checkpoint) == (RULE, "checkpoint-200")
    assert finding.file == "model-00002-of-00003.safetensors"
    assert finding.message == f"{finding.file} is not there: part of the weights cannot be loaded"
    assert finding.blocks_resume


def test_all_shards_gone_are_one_finding(run: str) -> None:
    remove(run, *(f"model-{number:05d}-of-00003.safetensors" for number in (1, 2, 3)))
    (finding,) = judged(run)
    assert finding.rule == RULE
    assert "model-00003-of-00003.safetensors are not there" in finding.message


@pytest.mark.parametrize(("count", "more"), [(1_000, 996), (10_000, 9_996)])
def test_thousands_of_missing_shards_are_one_short_finding(run: str, count: int, more: int) -> None:
    place = Path(run, "checkpoint-200")
    for number in (1, 2, 3):
        (place / f"model-{number:05d}-of-00003.safetensors").rename(
            place / f"model-{number:05d}-of-{count:05d}.safetensors"
        )
    (finding,) = check(run, RULE)
    assert f"and {more} more are not there" in finding.message


def test_a_missing_index_is_found(run: str) -> None:
    remove(run, INDEX)
    (finding,) = judged(run)
    assert (finding.rule, finding.file) == (RULE, INDEX)
    assert "nothing says which shard holds which tensor" in finding.message


@pytest.mark.parametrize("number", [1, 3])
def test_without_an_index_the_names_say_which_shard_is_missing(run: str, number: int) -> None:
    lost = f"model-{number:05d}-of-00003.safetensors"
    remove(run, INDEX, lost)
    assert names(judged(run)) == [(RULE, "checkpoint-200", INDEX), (RULE, "checkpoint-200", lost)]


def test_a_shard_that_only_the_index_names_is_missed(run: str) -> None:
    index = Path(run, "checkpoint-200", INDEX)
    index.write_text(index.read_text().replace("model-00002-of-00003", "other"))
    (finding,) = check(run, RULE)
    assert finding.file == "other.safetensors"


def test_complete_shards_pass(run: str) -> None:
    assert not judged(run)


def test_a_placeholder_in_its_place_is_another_finding(run: str) -> None:
    part = Path(run, "checkpoint-200", "model-00002-of-00003.safetensors")
    part.rename(f"{part}.part_aa")
    assert names(judged(run)) == [("files/placeholder", "checkpoint-200", f"{part.name}.part_aa")]


def test_a_path_that_leads_elsewhere_is_not_called_missing(run: str) -> None:
    index = Path(run, "checkpoint-200", INDEX)
    index.write_text(index.read_text().replace("model-00002-of-00003", "../checkpoint-100/model-00002-of-00003"))
    assert not check(run, RULE)
    assert check(run, "security/escaping-path")


@pytest.fixture
def deepspeed(tmp_path: Path) -> str:
    return make_unjudged(tmp_path / "zero", (100,))


def test_under_deepspeed_every_process_owes_its_part(deepspeed: str) -> None:
    assert names(judged(deepspeed)) == [("files/not-judged", "checkpoint-100", ANY)]
    gone = "global_step100/bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"
    remove(deepspeed, gone, checkpoint="checkpoint-100")
    finding, _ = judged(deepspeed)
    assert (finding.rule, finding.file) == (RULE, gone)
    assert "part of the state cannot be loaded" in finding.message


def test_a_directory_that_cannot_be_listed_is_not_missing(deepspeed: str) -> None:
    storage = Locked(deepspeed, "checkpoint-100/global_step100")
    assert names(judged(deepspeed, storage)) == [("files/unreadable", "checkpoint-100", "global_step100")]


def test_an_adapter_that_is_called_by_a_number_is_no_process(tmp_path: Path) -> None:
    run = make_run(tmp_path / "adapters")
    add_adapter(run, "2")
    remove(run, f"2/{ADAPTER}")
    assert names(judged(run)) == [("files/missing-weights", "checkpoint-200", f"2/{ADAPTER}")]
