"""DeepSpeed's state is read as a whole or not at all; what is not read is not judged."""

from pathlib import Path

import pytest

from audit.errors import NotApplicable
from audit.facts.run import open_run
from audit.manager import load
from audit.testing.judging import report
from tests.zero import MODEL, PARTITION, edit_engine, make_zero


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_zero(tmp_path / "run", (100,))


def why_not(run: Path) -> str:
    (checkpoint,) = open_run(str(run), load().backends).checkpoints
    with pytest.raises(NotApplicable) as missing:
        _ = checkpoint.zero
    return str(missing.value)


def test_all_of_it_is_read(run: Path) -> None:
    (checkpoint,) = open_run(str(run), load().backends).checkpoints

    assert checkpoint.zero.tag == "global_step100"
    assert sorted(checkpoint.zero.partitions) == [0, 1]
    assert checkpoint.unread == {}


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("layer_0_expert_1_mp_rank_00_model_states.pt", "is a part of a mixture of experts"),
        ("expp_rank_0_mp_rank_00_optim_states.pt", "is a part of a mixture of experts"),
        ("layer_01-model_00-model_states.pt", "is a stage of a pipeline"),
        ("mp_rank_01_model_states.pt", "is one of several parts of the model (tensor parallelism)"),
        ("other_model_states.pt", "is of a kind"),
    ],
)
def test_experts_and_parallel_models_are_not_judged(run: Path, name: str, what: str) -> None:
    folder = run / "checkpoint-100" / "global_step100"
    (folder / name).write_bytes((folder / (MODEL if "model" in name else PARTITION.format(0))).read_bytes())

    assert f"{name} {what}" in why_not(run)
    (summary,) = report(str(run)).checkpoints
    assert (summary.resumable, summary.judged) == (True, False)


def test_a_model_over_several_processes_is_not_judged(run: Path) -> None:
    edit_engine(run / "checkpoint-100", lambda value: {**value, "mp_world_size": 2})

    assert "several processes" in why_not(run)


def test_a_state_of_another_shape_is_not_judged(run: Path) -> None:
    edit_engine(run / "checkpoint-100", lambda value: {"module": {}})

    assert "has no global_steps" in why_not(run)


def test_a_universal_checkpoint_is_not_judged(run: Path) -> None:
    place = run / "checkpoint-100"
    (place / "global_step100").rename(place / "global_step100_universal")
    (place / "latest").write_text("global_step100_universal")
    for rank in (0, 1):
        (place / "global_step100_universal" / PARTITION.format(rank)).unlink()

    assert "is a universal checkpoint, which is not read" in why_not(run)
