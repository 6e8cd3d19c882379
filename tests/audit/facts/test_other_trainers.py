"""Trainers that no backend reads: each is named and refused in one line, and never a fresh start."""

import json
import shutil
from pathlib import Path

import pytest

from audit.cli import run as audit
from audit.errors import AuditError
from audit.facts.traces import trace_in
from audit.judging.decision import Limits
from audit.judging.guard import consult
from audit.judging.verification import verify_report
from audit.storage import LocalStorage
from audit.testing.runs import make_run
from tests.audit.facts.test_traces import put

CORE = (".metadata", "common.pt", "metadata.json", "__0_0.distcp")
RANKS = tuple(f"{part}_world_size_2_rank_0.pt" for part in ("model", "optim", "extra_state"))
NEMO = "gpt--val_loss=1.02-step=99-consumed_samples=800.0-last"
TRACKER = "latest_checkpointed_iteration.txt"
MANIFEST = {"format": "unsloth-diffusion-checkpoint", "version": 1, "kind": "image", "global_step": 10}

LAYOUTS = {
    "Megatron": ([TRACKER, *(f"iter_0000010/{name}" for name in CORE)], TRACKER, "tracker file of Megatron ("),
    "Megatron, legacy": ([TRACKER, "iter_0000010/mp_rank_00/model_optim_rng.pt"], TRACKER, "tracker file of Megatron ("),
    "Megatron, no tracker": (["iter_0000010/train_state.pt"], "iter_0000010", "checkpoint of Megatron"),
    "Megatron, one rank": (["mp_rank_00_001/model_optim_rng.pt"], "mp_rank_00_001", "checkpoint of Megatron"),
    "Megatron Core": ([f"saved/{name}" for name in CORE], "saved", "Megatron or NeMo (Megatron Core)"),
    "a tracker alone": ([TRACKER], TRACKER, "tracker file of Megatron, NeMo or verl"),
    "verl": ([TRACKER, *(f"global_step_10/actor/{name}" for name in RANKS)], TRACKER, "tracker file of verl (step 10)"),
    "verl, no tracker": (["global_step_10/data.pt", "global_step_10/actor/fsdp_config.json"], "global_step_10", "verl"),
    "verl, supervised": ([f"global_step_10/{name}" for name in RANKS], "global_step_10", "checkpoint of verl"),
    "NeMo": (
        [f"default/v1/checkpoints/{NEMO}/{name}" for name in ("context/io.json", "weights/.metadata")],
        f"default/v1/checkpoints/{NEMO}", "checkpoint of NeMo",
    ),
    "a model of NeMo": (["out/megatron_gpt.nemo"], "out/megatron_gpt.nemo", "model of NeMo"),
}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """An output directory."""
    return tmp_path / "run"


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_is_named_and_refused(run: Path, name: str) -> None:
    names, path, what = LAYOUTS[name]
    put(run, *names)
    if TRACKER in names:
        (run / TRACKER).write_text("10\n")

    found = trace_in(LocalStorage(str(run)))

    assert found is not None
    assert found.path == path
    assert what in found.what
    assert found.remedy.startswith("no backend reads it: resume with ")
    refusal = consult(str(run)).decision.refusal
    assert refusal is not None
    assert str(found) in refusal
    with pytest.raises(AuditError, match=r"no backend reads it"):
        verify_report(str(run))


@pytest.mark.parametrize("text", ["release", "\xff\x00", "9" * 100, ""])
def test_what_a_tracker_says_is_repeated_if_it_is_a_number(run: Path, text: str) -> None:
    put(run, "iter_0000010/common.pt")
    (run / TRACKER).write_bytes(text.encode("latin-1"))

    found = trace_in(LocalStorage(str(run)))

    assert found is not None
    assert found.what in ("the tracker file of Megatron", f"the tracker file of Megatron (iteration {'9' * 64})")


@pytest.mark.parametrize(
    "names", [["context/notes.md", "weights/readme.md"], ["iter_10/x"], ["global_step_10/x"], ["iteration/common.pt"]]
)
def test_what_only_looks_like_one_is_not_named_so(run: Path, names: list[str]) -> None:
    put(run, *names)
    found = trace_in(LocalStorage(str(run)))
    assert found is None or "no backend reads it" not in found.remedy


def bundle(run: Path, step: int = 10) -> None:
    """What Unsloth's diffusion trainer saves: the names of Trainer, and a manifest in place of its state."""
    make_run(run, (step,))
    checkpoint = run / f"checkpoint-{step}"
    (checkpoint / "trainer_state.json").write_text(json.dumps({**MANIFEST, "global_step": step}))
    (checkpoint / "training_args.bin").unlink()
    shutil.copy(checkpoint / "adapter_model.safetensors", checkpoint / "ema_adapter.safetensors")
    (checkpoint / "rng_state.pth").rename(checkpoint / "rng_state.pt")


def test_a_manifest_under_the_name_of_trainers_state_is_refused(run: Path) -> None:
    bundle(run)

    with pytest.raises(
        AuditError, match=r"run: checkpoint-10 is a checkpoint of Unsloth's diffusion trainer, .*resume"
    ):
        verify_report(str(run))
    decision = consult(str(run)).decision
    assert decision.refusal is not None
    assert "Unsloth" in decision.refusal
    assert consult(str(run), Limits(allow_fresh=True)).decision.fresh


def test_such_a_directory_in_a_run_of_trainer_does_not_stop_the_guard(run: Path) -> None:
    bundle(run)
    make_run(run, (20,))

    assert consult(str(run)).decision.checkpoint == "checkpoint-20"


def test_any_other_key_in_a_state_is_a_finding_as_before(run: Path) -> None:
    make_run(run, (10,))
    state = run / "checkpoint-10" / "trainer_state.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "format": "unsloth-diffusion-x", "version": 1}))

    assert "steps/invalid-state" in [item.rule for item in verify_report(str(run)).findings]


def left_by(trainer: str, run: Path) -> None:
    """What a trainer left in an output directory, written to its end long ago."""
    if trainer == "Unsloth":
        bundle(run)
        return
    put(run, *LAYOUTS[trainer][0])
    for path in run.rglob("*.pt"):
        path.write_bytes(b"states")


COMMANDS = (
    "verify RUN", "list RUN", "show RUN", "diff RUN RUN", "history RUN", "best RUN", "report RUN -o page.html",
    "watch RUN", "guard RUN", "plan train.toml", "train train.toml", "snapshot RUN dest", "quarantine RUN", "seal RUN",
    "prune RUN --keep 1", "prune RUN --keep 1 --dry-run", "merge RUN out", "rehearse RUN", "export RUN",
    "hub push RUN --repo me/run-{step}",
)  # fmt: skip


@pytest.mark.parametrize("trainer", ["Megatron", "verl", "verl, supervised", "NeMo", "Unsloth"])
@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_says_it_in_one_line_and_leaves_the_run_as_it_is(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, trainer: str, words: str
) -> None:
    left_by(trainer, run)
    monkeypatch.chdir(run.parent)
    Path("inbox").mkdir()
    Path("train.toml").write_text(
        'run = "run"\nbackend = "command"\n[data]\ninbox = "inbox"\n[command]\nargv = ["true", "{last_step}"]\n'
        'resume_argv = ["{resume_from}"]\nexamples_per_step = 1\n'
    )
    before = sorted(run.rglob("*"))

    assert audit(words.replace("RUN", "run").split()) != 0

    said = "".join(capsys.readouterr()).splitlines()
    (line,) = (item for item in said if "no backend reads it: resume with" in item)
    assert trainer.partition(",")[0] in line
    assert len(said) == 1 or words in ("plan train.toml", "train train.toml")
    if trainer != "Unsloth" and words != "train train.toml":
        assert sorted(run.rglob("*")) == before
