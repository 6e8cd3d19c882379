"""audit --print-completion: scripts that a real shell takes."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.cli import COMMANDS
from audit.cli.brought import with_plugins
from tests.audit.cli.conftest import Ended

Audit = Callable[..., Ended]
TRY = """
source {script}
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_shtab_audit
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def completed(audit: Audit, directory: Path, *words: str) -> list[str]:
    """What bash offers for the last word of ``audit WORDS``."""
    script = directory / "audit.bash"
    if not script.exists():
        ended = audit("--print-completion", "bash")
        assert (ended.code, ended.err) == (0, "")
        script.write_text(ended.out)
    quoted = " ".join(f"'{word}'" for word in ("audit", *words))
    done = subprocess.run(
        ["bash", "-c", TRY.format(script=script, words=quoted)],
        capture_output=True,
        text=True,
        check=False,
        cwd=directory,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash here")
def test_bash_completes_commands_options_values_and_directories(audit: Audit, tmp_path: Path) -> None:
    (tmp_path / "current_model").mkdir()
    (tmp_path / "current_notes").write_text("")

    assert completed(audit, tmp_path, "") == list(with_plugins(COMMANDS)[0])
    assert completed(audit, tmp_path, "bes") == ["best"]
    assert completed(audit, tmp_path, "best", "--m") == ["--metric", "--mode"]
    assert completed(audit, tmp_path, "best", "x", "--mode", "") == ["min", "max"]
    assert completed(audit, tmp_path, "verify", "curr") == ["current_model"]
    assert completed(audit, tmp_path, "diff", "a", "curr") == ["current_model"]
    assert completed(audit, tmp_path, "verify", "--config", "curr") == ["current_model", "current_notes"]
    assert completed(audit, tmp_path, "explain", "files/missing-o") == ["files/missing-optimizer"]
    assert completed(audit, tmp_path, "rules", "opt") == ["optimizer"]
    assert completed(audit, tmp_path, "verify", "--backend", "hf") == ["hf-trainer"]
    assert completed(audit, tmp_path, "verify", "--format", "j") == ["json", "junit"]
    assert completed(audit, tmp_path, "report", "--format", "") == ["html"]
    assert completed(audit, tmp_path, "hub", "pu") == ["push", "pull"]
    assert completed(audit, tmp_path, "hub", "push", "curr") == ["current_model"]
    assert completed(audit, tmp_path, "hub", "push", "x", "--dep") == ["--depth"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_that_is_installed_can_parse_its_script(audit: Audit, tmp_path: Path, shell: str) -> None:
    out = audit("--print-completion", shell).out
    assert all(command in out for command in COMMANDS)
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    (tmp_path / "script").write_text(out)
    assert subprocess.run([shell, "-n", os.fspath(tmp_path / "script")], check=False).returncode == 0


def test_another_shell_is_refused_in_one_line(audit: Audit) -> None:
    ended = audit("--print-completion", "elvish")
    assert (ended.code, ended.out) == (2, "")
    assert "choose from 'bash', 'zsh', 'tcsh', 'fish'" in ended.err
