"""Files of PyTorch Lightning are listed, judged and handed out; damaged ones are refused; what only directories allow
is refused in one line."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit import AuditError, ResumeRefused, guard, verify
from audit.cli import run as cli
from audit.formats.damage import Damage
from audit.formats.torch_archive import read_torch
from audit.manager import load
from audit.options import Options
from audit.storage import BytesReader
from audit.testing.runs import edit_torch
from audit.testing.torch_files import Made, torch_archive_bytes
from tests.accelerate import settle
from tests.lightning import edit, make_lightning, taken_from, values, with_nan

NEWEST = "epoch=2-step=30.ckpt"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Three files that are older than any save that still goes on; no ``last.ckpt``, so that one damage is one."""
    run = make_lightning(tmp_path / "checkpoints", last=False)
    settle(run)
    return run


def found(run: Path, options: Options | None = None) -> list[tuple[str, str | None]]:
    return [(finding.rule, finding.checkpoint) for finding in verify(run, options).findings]


@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_a_sound_run_is_judged_and_sealed(tmp_path: Path, interval: str) -> None:
    run = make_lightning(tmp_path / "checkpoints", interval=interval)
    report = verify(run)

    assert (report.backend, report.verdict, report.findings) == ("lightning", "sound", ())
    names = [item.name for item in report.checkpoints]
    assert names == ["epoch=0-step=10.ckpt", "epoch=1-step=20.ckpt", NEWEST, "last.ckpt"]
    assert [item.step for item in report.checkpoints] == [10, 20, 30, 30]
    assert report.resume_from == "last.ckpt"
    again = verify(run)
    assert all(item.judged and item.sealed for item in again.checkpoints)
    settle(run)
    assert guard(run) == run / "last.ckpt"


def test_names_without_a_step_are_ordered_by_what_is_inside(tmp_path: Path) -> None:
    run = make_lightning(tmp_path / "run", (10, 20), last=False)
    (run / "best-loss=0.1.ckpt").write_bytes(torch_archive_bytes(values(15, 1)))
    (run / "epoch=1-step=20-v1.ckpt").write_bytes((run / "epoch=1-step=20.ckpt").read_bytes())
    (run / "link.ckpt").symlink_to("epoch=0-step=10.ckpt")

    report = verify(run)
    assert {item.name: item.step for item in report.checkpoints} == {
        "epoch=0-step=10.ckpt": 10,
        "link.ckpt": 10,
        "best-loss=0.1.ckpt": 15,
        "epoch=1-step=20-v1.ckpt": 20,
        "epoch=1-step=20.ckpt": 20,
    }
    assert report.findings == ()


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    archive = read_torch(BytesReader(bytes(data)))
    assert not isinstance(archive, Damage)
    data[archive.records["data/3"].offset] ^= 1
    path.write_bytes(data)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3000])


def _renamed(path: Path) -> None:
    path.unlink()
    shutil.copyfile(path.with_name("epoch=0-step=10.ckpt"), path)


def _other(key: str) -> Callable[[Path], None]:
    return lambda path: taken_from(path, path.with_name("epoch=1-step=20.ckpt"), key)


def _never_trained(path: Path) -> None:
    def fresh(found: dict[str, Any]) -> None:
        found["optimizer_states"][0]["state"] = {}

    edit_torch(path, fresh)


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "it is cut": (_cut, "integrity/archive"),
    "it is empty": (lambda path: path.write_bytes(b""), "files/empty-file"),
    "a bit is flipped": (_flip, "integrity/archive"),
    "a weight is NaN": (lambda path: edit_torch(path, with_nan), "weights/not-finite"),
    "the optimizer is of an older step": (_other("optimizer_states"), "optimizer/step-mismatch"),
    "the schedule is of an older step": (_other("lr_schedulers"), "scheduler/step-mismatch"),
    "the optimizer is fresh": (_never_trained, "optimizer/fresh"),
    "it is a copy of an older one": (_renamed, "steps/directory-mismatch"),
    "it holds weights alone": (
        lambda path: edit_torch(path, lambda found: {k: v for k, v in found.items() if k != "optimizer_states"}),
        "files/weights-only",
    ),
    "it names code": (
        lambda path: edit(path, hyper_parameters=Made("os.system", ("true",))), "security/unsafe-pickle"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_refused(run: Path, name: str) -> None:
    damage, rule = DAMAGES[name]
    damage(run / NEWEST)
    settle(run)

    report = verify(run)
    finding = next((item for item in report.findings if item.rule == rule), None)
    assert finding is not None, report.findings
    assert (finding.checkpoint, finding.file, finding.blocks_resume) == (NEWEST, None, True)
    assert guard(run) == run / "epoch=1-step=20.ckpt"


def test_the_message_names_the_file_once(run: Path) -> None:
    _flip(run / NEWEST)
    (message,) = (item.message for item in verify(run).findings)
    assert message.startswith("the file was changed after it was written: the CRC of data/")


def test_a_damaged_last_one_comes_first_and_the_others_are_handed_out(run: Path) -> None:
    (run / "last.ckpt").write_bytes((run / NEWEST).read_bytes()[:3000])
    settle(run)

    assert verify(run).checkpoints[0].name == "last.ckpt"
    assert guard(run) == run / NEWEST


def test_a_file_that_is_being_written_is_in_progress(run: Path) -> None:
    _cut(run / NEWEST)
    assert found(run) == [("files/incomplete-checkpoint", NEWEST)]
    assert verify(run).verdict == "sound"
    assert guard(run) == run / "epoch=1-step=20.ckpt"


def test_a_step_without_an_update_is_no_fault(run: Path) -> None:
    """Lightning counts a training step that returned None."""
    other = make_lightning(run.with_name("other"), (28,), last=False)
    taken_from(run / NEWEST, other / "epoch=2-step=28.ckpt", "optimizer_states")
    settle(run)
    assert found(run) == []


def test_a_schedule_that_counts_something_else_is_no_fault(run: Path) -> None:
    for path in run.glob("*.ckpt"):
        edit_torch(path, lambda found: found["lr_schedulers"][0].update(last_epoch=found["global_step"] // 4))
    settle(run)
    assert found(run) == []


def test_schedules_and_rates_of_the_users_own_are_no_fault(tmp_path: Path) -> None:
    run = make_lightning(tmp_path / "run", (10,), last=False)

    def change(found: dict[str, Any]) -> None:
        found["lr_schedulers"] = [{"last_epoch": 10, "_step_count": 11, "base_lrs": [0.01], "_last_lr": [0.01]}]
        found["optimizer_states"][0]["param_groups"][0]["lr"] = 0.003

    edit_torch(run / "epoch=0-step=10.ckpt", change)
    assert found(run) == []


def test_a_callback_may_add_parameters_during_training(run: Path) -> None:
    def unfreeze(found: dict[str, Any]) -> None:
        groups = found["optimizer_states"][0]["param_groups"]
        groups[0]["params"] = [0, 1, 2]
        groups.append({**groups[0], "params": [3]})
        found["lr_schedulers"] = []

    edit_torch(run / NEWEST, unfreeze)
    settle(run)
    assert found(run) == []


def test_names_that_tell_another_step_in_the_whole_run_are_no_fault(tmp_path: Path) -> None:
    """A module that logs a value named ``step`` has that in the names of its files."""
    run = tmp_path / "run"
    run.mkdir()
    for epoch in range(3):
        (run / f"epoch={epoch}-step={epoch}.ckpt").write_bytes(torch_archive_bytes(values(10 * epoch + 10, epoch)))
    assert found(run) == []


@pytest.mark.parametrize("key", ["optimizer_states", "lr_schedulers"])
def test_several_optimizers_or_schedulers_are_not_judged(run: Path, key: str) -> None:
    for path in run.glob("*.ckpt"):
        edit_torch(path, lambda found: {**found, key: found[key] * 2})
    settle(run)

    report = verify(run)
    assert not any(item.judged or item.sealed for item in report.checkpoints)
    assert {item.rule for item in report.findings} == {"files/not-judged"}
    assert "which are not compared with its step" in report.findings[0].message
    with pytest.raises(AuditError, match="so strict=True hands out nothing"):
        guard(run, strict=True)


@pytest.mark.parametrize("content", [{"weights": 1}, [1, 2], None])
def test_a_torch_file_of_something_else_is_not_judged(run: Path, content: Any) -> None:
    (run / "other.ckpt").write_bytes(torch_archive_bytes(content))
    settle(run)
    assert found(run) == [("files/not-judged", "other.ckpt")]


def test_one_file_can_be_named(run: Path) -> None:
    assert [item.name for item in verify(run / NEWEST).checkpoints] == [NEWEST]
    with pytest.raises(AuditError, match="no such checkpoint"):
        verify(run / "epoch=9-step=90.ckpt")


def test_the_run_is_named_from_above(run: Path) -> None:
    with pytest.raises(AuditError, match=r"name the run below it: checkpoints"):
        verify(run.parent)
    with pytest.raises(ResumeRefused, match="name the run below it: checkpoints"):
        guard(run.parent)


def test_a_stray_file_beside_trainers_checkpoints_is_none_of_them(tmp_path: Path) -> None:
    from audit.testing.runs import make_run

    run = make_run(tmp_path / "run", (100, 200))
    (Path(run) / "model.ckpt").write_bytes(b"x")
    assert verify(run).backend == "hf-trainer"


@pytest.mark.parametrize("command", [["quarantine"], ["prune", "--keep", "1"], ["snapshot"]])
def test_what_moves_copies_or_removes_takes_only_directories(
    run: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    _cut(run / "epoch=0-step=10.ckpt")
    settle(run)
    before = {path.name: path.read_bytes() for path in run.glob("*.ckpt")}
    place = [str(run.with_name("copies"))] if command == ["snapshot"] else []

    assert cli([command[0], str(run), *place, *command[1:], "-q"]) == 2
    assert capsys.readouterr().err == (
        f"audit {command[0]}: {run}: checkpoints of lightning are files, and audit {command[0]} takes only "
        "directories; nothing was changed\n"
    )
    assert {path.name: path.read_bytes() for path in run.glob("*.ckpt")} == before
    assert not os.path.exists(run.with_name("copies"))


def test_a_seal_names_the_file_and_finds_what_keeps_its_time(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(["seal", str(run), "-q"]) == 0
    (line,) = (run / ".audit" / "seals" / f"{NEWEST}.b3").read_text().splitlines()
    assert line.endswith(f"  {NEWEST}")

    changed = torch_archive_bytes({**values(30, 2), "hparams_name": "kwargz"})  # as long, and with the right CRCs
    (run / NEWEST).write_bytes(changed)
    settle(run)
    assert found(run, Options(cache=False)) == [("integrity/seal-broken", NEWEST)]


@pytest.mark.parametrize("command", ["list", "show", "watch", "report"])
def test_it_can_be_looked_at(run: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    where = run / NEWEST if command == "show" else run
    more = ["-o", str(run.with_name("page.html"))] if command == "report" else []
    assert cli([command, str(where), *more]) == 0
    shown = capsys.readouterr().out + (run.with_name("page.html").read_text() if more else "")
    assert NEWEST in shown


def test_tensors_are_compared(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli(["diff", str(run / "epoch=0-step=10.ckpt"), str(run / NEWEST)])
    assert "4 changed" in capsys.readouterr().out


def test_it_is_asked_for_by_name(run: Path) -> None:
    backend = load().backend("lightning")
    names = ["a-step=7.ckpt", "step=8.ckpt", "x_step=9_y.ckpt", "last.ckpt", "substep=1.ckpt", ".step=3.ckpt"]
    assert [backend.checkpoint_step(name) for name in names] == [7, 8, 9, None, None, None]
