"""``audit quarantine``: what it says, and how it ends."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.facts.run import Run
from audit.judging.auditor import Auditor
from audit.retention.pins import pin
from tests.accelerate import make_accelerate
from tests.audit.cli.conftest import Ended, one_line

Audit = Callable[..., Ended]


def names(run: str) -> list[str]:
    return sorted(name for name in os.listdir(run) if name.startswith("checkpoint-"))


def test_a_broken_checkpoint_is_moved_listed_and_restored(audit: Audit, broken: str) -> None:
    moved = audit("quarantine", broken)
    assert (moved.code, moved.err) == (0, "")
    assert moved.out.startswith("moved  checkpoint-300 -> .audit/quarantine/checkpoint-300: optimizer.pt is not there")
    assert names(broken) == ["checkpoint-100", "checkpoint-200"]

    listed = audit("quarantine", broken, "--list")
    assert (listed.code, listed.out.splitlines()[1][:14]) == (0, "checkpoint-300")
    assert "files/missing-optimizer" in listed.out

    restored = audit("quarantine", broken, "--restore")
    assert (restored.code, restored.out) == (0, "restored  checkpoint-300 -> checkpoint-300\n")
    assert names(broken) == ["checkpoint-100", "checkpoint-200", "checkpoint-300"]
    assert audit("quarantine", broken, "--list").out == ""


def test_the_guard_hands_out_the_same_before_and_after(audit: Audit, broken: str) -> None:
    before = audit("guard", broken)
    audit("quarantine", broken)
    after = audit("guard", broken, "--strict")

    assert (before.out, after.out, after.code, after.err) == (f"{broken}/checkpoint-200\n",) * 2 + (0, "")


def test_nothing_is_moved_from_a_sound_run(audit: Audit, run: str) -> None:
    assert audit("quarantine", run) == Ended(0, "nothing to move: no checkpoint is broken\n", "")
    assert len(names(run)) == 3


def test_a_dry_run_moves_nothing_and_leaves_no_trace(audit: Audit, broken: str) -> None:
    before = sorted(os.listdir(broken))

    ended = audit("quarantine", broken, "checkpoint-300", "--dry-run")

    assert (ended.code, ended.out.split(":")[0]) == (0, "would move  checkpoint-300")
    assert sorted(os.listdir(broken)) == before


@pytest.mark.parametrize(
    "order",
    [
        ("--dry-run", "RUN", "checkpoint-300"),
        ("RUN", "--dry-run", "checkpoint-300"),
        ("RUN", "checkpoint-300", "--dry-run"),
        ("--depth", "quick", "RUN", "--dry-run", "checkpoint-300", "--no-ledger"),
        ("RUN", "--dry-run", "--depth=quick", "checkpoint-300"),
    ],
)
def test_names_and_options_may_stand_in_any_order(audit: Audit, broken: str, order: tuple[str, ...]) -> None:
    ended = audit("quarantine", *(broken if word == "RUN" else word for word in order))

    assert (ended.code, ended.err, ended.out.split(":")[0]) == (0, "", "would move  checkpoint-300")


def test_a_name_among_options_is_not_lost(audit: Audit, broken: str) -> None:
    ended = audit("quarantine", broken, "--dry-run", "checkpoint-200")

    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "refused  checkpoint-200: is sound; --force moves it nevertheless\n"


@pytest.mark.parametrize(
    "order", [("--restore", "RUN", "NAME"), ("RUN", "--restore", "NAME"), ("RUN", "NAME", "--restore")]
)
def test_names_to_restore_may_stand_in_any_order(audit: Audit, broken: str, order: tuple[str, ...]) -> None:
    audit("quarantine", broken)
    words = {"RUN": broken, "NAME": "checkpoint-300"}

    ended = audit("quarantine", *(words.get(word, word) for word in order))

    assert (ended.code, ended.out) == (0, "restored  checkpoint-300 -> checkpoint-300\n")


def test_a_dry_run_of_restoring_moves_nothing(audit: Audit, broken: str) -> None:
    audit("quarantine", broken)

    assert audit("quarantine", broken, "--restore", "--dry-run").code == 0

    assert names(broken) == ["checkpoint-100", "checkpoint-200"]


def test_a_sound_one_among_those_named_stops_all(audit: Audit, broken: str) -> None:
    ended = audit("quarantine", broken, "checkpoint-300", "checkpoint-200")

    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "refused  checkpoint-200: is sound; --force moves it nevertheless\n"
    assert len(names(broken)) == 3
    assert audit("quarantine", broken, "checkpoint-300", "checkpoint-200", "--force").code == 0
    assert names(broken) == ["checkpoint-100"]


def test_a_checkpoint_may_be_given_with_its_path(audit: Audit, broken: str) -> None:
    assert audit("quarantine", broken, f"{broken}/checkpoint-300/").code == 0


def test_restoring_over_a_checkpoint_is_refused(audit: Audit, broken: str) -> None:
    audit("quarantine", broken)
    Path(broken, "checkpoint-300").mkdir()

    ended = audit("quarantine", broken, "--restore", "checkpoint-300")

    assert ended == Ended(1, "", "refused  checkpoint-300: checkpoint-300 already exists\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("checkpoint-999",), "there is no checkpoint-999"),
        (("--restore", "checkpoint-300"), "there is no checkpoint-300 in its quarantine"),
        (("--restore", "--list"), "not allowed with"),
    ],
)
def test_what_means_nothing_is_one_line(audit: Audit, run: str, arguments: tuple[str, ...], said: str) -> None:
    assert said in one_line(audit("quarantine", run, *arguments))


def test_a_checkpoint_in_place_of_the_run_is_one_line(audit: Audit, broken: str) -> None:
    assert "give the run" in one_line(audit("quarantine", f"{broken}/checkpoint-300"))


@pytest.mark.parametrize("failing", ["makedirs", "rename"])
def test_a_read_only_run_is_one_line(audit: Audit, broken: str, failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, read_only)
        assert "Read-only file system" in one_line(audit("quarantine", broken))

    assert len(names(broken)) == 3


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_run_that_is_not_ours_to_write_is_one_line(audit: Audit, broken: str) -> None:
    os.chmod(broken, 0o555)
    try:
        one_line(audit("quarantine", broken))
    finally:
        os.chmod(broken, 0o755)


def test_a_ledger_that_cannot_be_used_is_noted_and_hinders_nothing(audit: Audit, broken: str) -> None:
    Path(broken, ".audit").mkdir()
    Path(broken, ".audit", "ledger.db").write_bytes(b"no database at all" * 100)

    ended = audit("quarantine", broken)

    assert (ended.code, names(broken)) == (0, ["checkpoint-100", "checkpoint-200"])
    assert ended.err.startswith("note: not recorded: ")
    assert audit("quarantine", broken, "--list").out.splitlines()[1].split() == ["checkpoint-300", "-"]
    assert audit("quarantine", broken, "--restore").code == 0


@pytest.mark.parametrize("command", ["verify", "guard"])
def test_no_other_command_moves_anything(audit: Audit, broken: str, command: str) -> None:
    audit(command, broken)

    assert len(names(broken)) == 3
    assert not os.path.exists(os.path.join(broken, ".audit", "quarantine"))


def test_quiet_says_only_what_went_wrong(audit: Audit, broken: str) -> None:
    assert audit("quarantine", broken, "checkpoint-200", "-q").err.startswith("refused  checkpoint-200")
    assert audit("quarantine", broken, "-q") == Ended(0, "", "")
    assert names(broken) == ["checkpoint-100", "checkpoint-200"]


def test_what_is_moved_on_request_is_not_put_back_from_its_pin(audit: Audit, run: str) -> None:
    pin(run, "checkpoint-300")

    ended = audit("quarantine", run, "checkpoint-300", "--force")

    assert ended.out.splitlines()[-1] == "unpinned  checkpoint-300: audit train does not put it back"
    assert audit("guard", run).out == f"{run}/checkpoint-200\n"


def test_the_pin_of_a_broken_checkpoint_stays(audit: Audit, broken: str) -> None:
    pin(broken, "checkpoint-300")

    assert "unpinned" not in audit("quarantine", broken).out
    assert os.listdir(f"{broken}/.audit/pinned") == ["checkpoint-300"]


def test_a_directory_named_by_mistake_is_no_run_without_broken_checkpoints(audit: Audit, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()

    ended = audit("quarantine", str(tmp_path / "notes"))

    assert (ended.code, ended.out) == (2, "")
    assert "no checkpoint-N directory in it" in ended.err
    assert os.listdir(tmp_path / "notes") == []


def test_a_run_is_opened_once(audit: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose checkpoints are not called checkpoint-N as well."""
    run = make_accelerate(tmp_path / "run")
    opened = []
    real = Auditor.open

    def counted(self: Auditor, path: Any, *arguments: Any) -> Run:
        opened.append(path)
        return real(self, path, *arguments)

    monkeypatch.setattr(Auditor, "open", counted)

    assert audit("quarantine", run).out == "nothing to move: no checkpoint is broken\n"
    assert len(opened) == 1
