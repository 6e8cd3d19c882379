"""One rank's shard of an older step is found, though its names and shapes are right."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from audit.plugin import NotApplicable
from audit.testing.judging import check, report
from audit_rules.shards.stale import stale
from tests.dcp import MODEL, OPTIMIZER, make_sharded


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_sharded(tmp_path / "run")


@pytest.mark.parametrize("folder", [MODEL, OPTIMIZER])
def test_a_shard_of_the_checkpoint_before(run: Path, folder: str) -> None:
    name = f"{folder}/__1_0.distcp"
    shutil.copy(run / "checkpoint-100" / name, run / "checkpoint-200" / name)

    (finding,) = check(str(run), "shards/stale")

    assert finding.message == f"{name} is byte for byte that of checkpoint-100"
    assert finding.blocks_resume
    assert "shards/stale" in {item.rule for item in report(str(run)).findings}


def test_shards_of_their_own_step_pass(run: Path) -> None:
    assert check(str(run), "shards/stale") == []


def test_a_whole_optimizer_of_an_older_step(run: Path) -> None:
    shutil.rmtree(run / "checkpoint-200" / OPTIMIZER)
    shutil.copytree(run / "checkpoint-100" / OPTIMIZER, run / "checkpoint-200" / OPTIMIZER)

    (finding,) = check(str(run), "shards/stale")

    assert finding.file == f"{OPTIMIZER}/__0_0.distcp"


def test_weights_that_stay_at_rate_0_pass(run: Path) -> None:
    shutil.rmtree(run / "checkpoint-200" / MODEL)
    shutil.copytree(run / "checkpoint-100" / MODEL, run / "checkpoint-200" / MODEL)

    assert check(str(run), "shards/stale") == []


@pytest.mark.parametrize(("step", "scan"), [(100, {}), (200, {"a": None})])
def test_a_checkpoint_that_was_not_read_or_is_of_the_same_step_is_none_to_compare_with(
    step: int, scan: dict[str, Any]
) -> None:
    older = SimpleNamespace(step=step, neighbours=(None, None), optional={"scan": scan}.get)
    checkpoint = SimpleNamespace(step=200, neighbours=(older, None), optional=lambda _: None)

    with pytest.raises(NotApplicable, match="no older checkpoint was read"):
        list(stale.function(checkpoint, (), {}))
