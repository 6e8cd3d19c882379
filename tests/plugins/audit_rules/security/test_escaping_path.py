import json
import os
import shutil
from pathlib import Path

import pytest

from audit.findings import Outcome, Severity
from audit.testing.judging import check, outcome, report
from audit.testing.runs import make_run
from audit.testing.torch_files import Made, pickle_bytes

RULE = "security/escaping-path"


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def replace_by_link(path: str, target: str) -> None:
    os.remove(path)
    os.symlink(target, path)


@pytest.mark.parametrize("target", ["/etc/passwd", "../../elsewhere", "../checkpoint-200/optimizer.pt"])
def test_a_link_out_of_the_checkpoint_blocks(run: str, target: str) -> None:
    replace_by_link(f"{run}/checkpoint-300/optimizer.pt", target)

    (finding,) = check(run, RULE)

    assert (finding.checkpoint, finding.file, finding.actual) == ("checkpoint-300", "optimizer.pt", target)
    assert (finding.severity, finding.blocks_resume) == (Severity.ERROR, True)


def test_a_link_to_a_file_of_the_same_checkpoint_is_followed(run: str) -> None:
    os.rename(f"{run}/checkpoint-300/optimizer.pt", f"{run}/checkpoint-300/optimizer-real.pt")
    os.symlink("optimizer-real.pt", f"{run}/checkpoint-300/optimizer.pt")

    assert outcome(run, RULE).outcome is Outcome.PASS


def test_a_run_that_is_itself_reached_by_a_link_is_right(run: str, tmp_path: Path) -> None:
    os.symlink(run, tmp_path / "name")

    assert check(str(tmp_path / "name"), RULE) == []


def test_a_checkpoint_that_is_a_link_is_not_opened_and_older_ones_stay_usable(run: str, tmp_path: Path) -> None:
    shutil.move(f"{run}/checkpoint-300", tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", f"{run}/checkpoint-300")

    (finding,) = check(run, RULE)

    assert (finding.checkpoint, finding.file, finding.blocks_resume) == (None, "checkpoint-300", False)
    assert report(run, RULE).resume_from == "checkpoint-200"


def test_a_checkpoint_that_is_a_link_to_another_one_is_reported_too(run: str) -> None:
    os.symlink("checkpoint-300", f"{run}/checkpoint-400")

    assert [finding.file for finding in check(run, RULE)] == ["checkpoint-400"]


def test_a_link_of_another_name_in_the_root_is_nobodys_business(run: str) -> None:
    os.symlink("checkpoint-300", f"{run}/latest")
    os.symlink("/tmp", f"{run}/logs")

    assert check(run, RULE) == []


@pytest.mark.parametrize("name", ["../checkpoint-200/model.safetensors", "/etc/passwd", "..\\model.safetensors"])
def test_an_index_that_names_a_file_outside_blocks(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path / "run", (100,), full=True)
    index = {"metadata": {}, "weight_map": {"w": "model-00001-of-00001.safetensors", "v": name}}
    Path(run, "checkpoint-100", "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")

    (finding,) = check(run, RULE)

    assert (finding.checkpoint, finding.actual) == ("checkpoint-100", name)


def test_an_index_with_plain_names_is_right(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100,), full=True)
    index = {"metadata": {}, "weight_map": {"w": "model-00001-of-00001.safetensors"}}
    Path(run, "checkpoint-100", "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")

    assert check(run, RULE) == []


@pytest.mark.parametrize(("tag", "count"), [("global_step300\n", 0), ("../../global_step300", 1)])
def test_the_tag_of_deepspeed_is_a_path_too(run: str, tag: str, count: int) -> None:
    Path(run, "checkpoint-300", "global_step300").mkdir()
    Path(run, "checkpoint-300", "latest").write_text(tag, encoding="utf-8")

    assert len(check(run, RULE)) == count


@pytest.mark.parametrize(("place", "count"), [("__0_0.distcp", 0), ("../../other/__0_0.distcp", 1)])
def test_the_metadata_of_a_sharded_state_names_files(run: str, place: str, count: int) -> None:
    info = Made("torch.distributed.checkpoint.filesystem._StorageInfo", (), {"relative_path": place, "offset": 0})
    root = Made("torch.distributed.checkpoint.metadata.Metadata", (), {"storage_data": {"w": info}})
    Path(run, "checkpoint-300", "pytorch_model_fsdp_0").mkdir()
    Path(run, "checkpoint-300", "pytorch_model_fsdp_0", ".metadata").write_bytes(pickle_bytes(root, protocol=4))

    assert len(check(run, RULE)) == count
