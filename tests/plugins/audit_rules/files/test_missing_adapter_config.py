"""files/missing-adapter-config."""

from pathlib import Path

import pytest

from audit.testing.judging import check
from audit.testing.runs import make_run
from tests.plugins.audit_rules.files.editing import ADAPTER, add_adapter, judged, names, remove

RULE = "files/missing-adapter-config"


@pytest.fixture
def run(tmp_path: Path) -> str:
    path = make_run(tmp_path / "run")
    add_adapter(path, "second")
    return path


@pytest.mark.parametrize("name", ["adapter_config.json", "second/adapter_config.json"])
def test_weights_without_their_configuration_are_found(run: str, name: str) -> None:
    remove(run, name)
    (finding,) = judged(run)
    assert (finding.rule, finding.checkpoint, finding.file) == (RULE, "checkpoint-200", name)
    assert f"{name} is not there: the adapter's rank" in finding.message
    assert finding.blocks_resume


def test_a_full_model_owes_none(tmp_path: Path) -> None:
    assert not check(make_run(tmp_path / "full", full=True), RULE)


def test_a_placeholder_in_its_place_is_another_finding(run: str) -> None:
    config = Path(run, "checkpoint-200", "adapter_config.json")
    config.rename(f"{config}.REMOVED.git-id")
    assert names(judged(run)) == [("files/placeholder", "checkpoint-200", "adapter_config.json.REMOVED.git-id")]


def test_weights_and_configuration_gone_are_one_finding(run: str) -> None:
    remove(run, f"second/{ADAPTER}", "second/adapter_config.json")
    assert [finding.rule for finding in judged(run)] == ["files/missing-adapter"]
