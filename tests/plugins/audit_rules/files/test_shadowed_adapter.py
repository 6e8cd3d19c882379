"""files/shadowed-adapter."""

from pathlib import Path
from shutil import copyfile

import pytest

from audit.findings import Outcome
from audit.testing.judging import check, outcome
from audit.testing.runs import make_run
from tests.plugins.audit_rules.files.editing import judged, shard

RULE = "files/shadowed-adapter"


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_full_weights_beside_an_adapter_hide_it(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path / "run")
    place = Path(run, "checkpoint-200")
    copyfile(place / ("optimizer.pt" if name.endswith("bin") else "adapter_model.safetensors"), place / name)
    (finding,) = judged(run)
    assert (finding.rule, finding.checkpoint, finding.file) == (RULE, "checkpoint-200", name)
    assert finding.message == f"{name} is beside the adapter: Trainer would load it and ignore the adapter"
    assert finding.blocks_resume


def test_a_stale_single_file_hides_the_shards(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", full=True)
    place = Path(run, "checkpoint-200")
    stale = (place / "model.safetensors").read_bytes()
    shard(place)
    (place / "model.safetensors").write_bytes(stale)
    (finding,) = judged(run)
    assert (finding.rule, finding.file) == (RULE, "model.safetensors")
    assert "ignore the shards" in finding.message


@pytest.mark.parametrize("full", [False, True])
def test_weights_of_one_kind_pass(tmp_path: Path, full: bool) -> None:
    run = make_run(tmp_path / "run", full=full)
    assert outcome(run, RULE, "checkpoint-200").outcome is Outcome.PASS


def test_shards_alone_pass(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", full=True)
    shard(Path(run, "checkpoint-200"))
    assert not check(run, RULE)


def test_without_weights_there_is_nothing_to_judge(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", full=True)
    Path(run, "checkpoint-200", "model.safetensors").unlink()
    assert outcome(run, RULE, "checkpoint-200").outcome is Outcome.NOT_APPLICABLE
