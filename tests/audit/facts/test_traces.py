"""What shows that something was trained where there is no checkpoint-N: never a fresh start."""

import os
import shutil
from pathlib import Path

import pytest

from audit.api import verify
from audit.errors import AuditError
from audit.facts.traces import trace_in
from audit.judging.decision import Limits
from audit.judging.guard import consult
from audit.storage import Entry, LocalStorage
from audit.testing.runs import make_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """An output directory."""
    return tmp_path / "run"


def put(run: Path, *names: str) -> None:
    for name in names:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_bytes(b"x")


@pytest.mark.parametrize(
    ("names", "path", "what"),
    [
        (["lora-000010-state/random_states_0.pkl"], "lora-000010-state", "accelerate"),
        (["checkpoints/checkpoint_0/random_states_0.pkl"], "checkpoints/checkpoint_0", "accelerate"),
        (["states/optimizer.bin"], "states", "accelerate"),
        (
            ["lightning_logs/version_0/checkpoints/epoch=1-step=10.ckpt"],
            "lightning_logs/version_0/checkpoints/",
            ".ckpt",
        ),
        (["saved/epoch=1.ckpt/meta.pt"], "saved/epoch=1.ckpt", ".ckpt"),
        (["saved/.metadata", "saved/__0_0.distcp"], "saved", "torch.distributed.checkpoint"),
        ([".metadata"], "", "torch.distributed.checkpoint"),
        (["global_step_30/model.pt"], "global_step_30", "DeepSpeed"),
        (["global_step30/part.pt", "latest"], "global_step30", "DeepSpeed"),
        (["latest"], "latest", "DeepSpeed"),
        (["latest_checkpointed_iteration.txt", "iter_0000010/common.pt"], "latest_checkpointed", "Megatron"),
        (["adapter_model.safetensors", "adapter_config.json"], "adapter_model.safetensors", "weights"),
        (["out/pytorch_model-00001-of-00002.bin"], "out/pytorch_model-00001", "weights"),
        (["state/optimizer.pt"], "state/optimizer.pt", "optimizer"),
    ],
)
def test_each_layout_is_named_by_its_place_and_refused(run: Path, names: list[str], path: str, what: str) -> None:
    put(run, *names)

    found = trace_in(LocalStorage(str(run)))

    assert found is not None
    assert found.path.startswith(path)
    assert what in found.what
    refusal = consult(str(run)).decision.refusal
    assert refusal is not None
    assert str(found) in refusal
    assert consult(str(run), Limits(allow_fresh=True)).decision.fresh
    with pytest.raises(AuditError, match="no checkpoint-N directory in it, but"):
        verify(str(run))


def test_the_remedy_for_the_newest_checkpoint_of_the_hub_is_exact(run: Path) -> None:
    make_run(run, (30,))
    (run / "checkpoint-30").rename(run / "last-checkpoint")

    found = trace_in(LocalStorage(str(run)))

    assert found is not None
    assert str(found) == "last-checkpoint is a Trainer checkpoint of step 30; rename last-checkpoint to checkpoint-30"
    (run / "last-checkpoint").rename(run / "checkpoint-30")
    assert consult(str(run)).decision.checkpoint == "checkpoint-30"


def test_the_runs_of_a_search_are_named(run: Path) -> None:
    make_run(run / "run-0", (30,))

    found = trace_in(LocalStorage(str(run)))

    assert found is not None
    assert (found.path, found.remedy) == ("run-0/checkpoint-30", "name the run below it: run-0")
    assert found.holds_runs

    make_run(run / "run-1", (30,))
    found = trace_in(LocalStorage(str(run)))
    assert found is not None
    assert found.runs == ("run-0", "run-1")
    assert found.remedy == "name one of the 2 runs below it (run-0, run-1), or audit them all with audit fleet"
    decision = consult(str(run)).decision
    assert decision.misnamed
    assert "run-0, run-1" in (decision.refusal or "")
    assert consult(str(run), Limits(allow_fresh=True)).decision.fresh


def test_a_trainer_state_without_checkpoints_says_how_far_it_was(run: Path) -> None:
    make_run(run, (30,))
    shutil.copy(run / "checkpoint-30" / "trainer_state.json", run)
    shutil.rmtree(run / "checkpoint-30")

    found = trace_in(LocalStorage(str(run)))

    assert found is not None
    assert str(found).startswith("the run itself is what save_state() left at step 30; find the checkpoints")


@pytest.mark.parametrize("names", [[], ["README.md"], ["train.jsonl", "config.yaml"], ["runs/events.out.tfevents.1"]])
def test_what_is_no_trace_of_training_is_a_fresh_start(run: Path, names: list[str]) -> None:
    run.mkdir()
    put(run, *names)

    assert trace_in(LocalStorage(str(run))) is None
    assert consult(str(run)).decision.fresh


def test_neither_links_nor_damaged_states_lead_anywhere(run: Path) -> None:
    make_run(run / "elsewhere", (30,))
    shutil.move(run / "elsewhere", run.parent)
    os.symlink(run.parent / "elsewhere", run / "link")
    assert trace_in(LocalStorage(str(run))) is None

    put(run, "last-checkpoint/trainer_state.json", "last-checkpoint/optimizer.pt")
    found = trace_in(LocalStorage(str(run)))
    assert found is not None
    assert "N is its global_step" in found.remedy


def test_what_was_not_looked_at_is_no_fresh_start(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(run, "a", "b", "c", "d")
    assert trace_in(LocalStorage(str(run))) is None
    monkeypatch.setattr("audit.facts.traces.MAX_ENTRIES", 3)
    assert "more than 3 files" in str(trace_in(LocalStorage(str(run))))


def test_a_directory_that_cannot_be_listed_is_no_fresh_start(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run / "closed").mkdir(parents=True)
    listed = LocalStorage.list

    def refuse(self: LocalStorage, path: str) -> list[Entry]:
        if path == "closed":
            raise PermissionError(13, "Permission denied")
        return listed(self, path)

    monkeypatch.setattr(LocalStorage, "list", refuse)

    assert str(trace_in(LocalStorage(str(run)))).startswith("closed is a directory that cannot be listed (Permission")


def test_the_run_of_files_is_named(run: Path) -> None:
    put(run, "lightning_logs/version_0/checkpoints/epoch=1-step=10.ckpt")

    found = trace_in(LocalStorage(str(run)))

    assert found is not None
    assert found.remedy == "name the run below it: lightning_logs/version_0/checkpoints"
