"""``audit seal`` with a key where the extra is not installed."""

import sys
from pathlib import Path

import pytest

from audit.cli import run as command
from audit.testing.runs import make_run


@pytest.mark.parametrize("option", ["--sign-key", "--verify-key"])
def test_the_missing_extra_is_one_line_before_anything_is_read(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run", (100,))
    monkeypatch.setitem(sys.modules, "model_signing", None)

    assert command(["seal", run, option, "key.pem"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.endswith(
        "signatures need model_signing, which is not installed: pip install 'checkpoint-audit[signing]'\n"
    )
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "run" / ".audit").exists()


def test_one_key_signs_or_checks_not_both(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        command(["seal", str(tmp_path), "--sign-key", "a", "--verify-key", "b"])
    assert stopped.value.code == 2
