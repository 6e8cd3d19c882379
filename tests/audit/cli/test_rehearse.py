"""audit rehearse: what it is asked, and what it says where it cannot be done."""

from collections.abc import Callable
from pathlib import Path

import pytest

from audit.testing.runs import make_run
from tests.audit.batch_rows import leg, tell
from tests.audit.cli.conftest import Ended, one_line

Audit = Callable[..., Ended]
CONFIG = (
    'run = "{run}"\nbackend = "command"\n[data]\ninbox = "inbox"\n[command]\nargv = ["true"]\nresume_argv = ["true"]\n'
)


@pytest.fixture
def config(tmp_path: Path, run: str) -> str:
    path = tmp_path / "cwd" / "train.toml"
    path.write_text(CONFIG.format(run=run))
    return str(path)


def test_a_run_that_another_program_trained_is_rehearsed_in_python(audit: Audit, run: str) -> None:
    ended = audit("rehearse", run)
    assert ended.code == 2
    assert "audit_hf_trainer.rehearse(), with a trainer that you make" in one_line(ended)


def test_without_a_configuration_it_says_how_to_give_one(audit: Audit, run: str) -> None:
    tell(run, leg("a", 0, 300))
    ended = audit("rehearse", run)
    assert ended.code == 2
    assert one_line(ended).endswith(f"give the configuration by which {run} is trained: --config FILE\n")


def test_a_configuration_of_another_run_is_refused(audit: Audit, config: str, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other")
    ended = audit("rehearse", other)
    assert ended.code == 2
    assert "not " + other in one_line(ended)


def test_a_trainer_that_does_not_own_its_steps_cannot_be_rehearsed(audit: Audit, run: str, config: str) -> None:
    ended = audit("rehearse", run)
    assert ended.code == 2
    assert "the backend command cannot rehearse" in one_line(ended)


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("--steps", "-1", "is not a number of steps"),
        ("--steps", "many", "is not a number of steps"),
        ("--timeout", "0", "is not a number of seconds"),
        ("--timeout", "soon", "is not a number of seconds"),
    ],
)
def test_an_option_of_another_kind(audit: Audit, run: str, option: str, value: str, text: str) -> None:
    ended = audit("rehearse", run, f"{option}={value}")
    assert ended.code == 2
    assert text in ended.err
