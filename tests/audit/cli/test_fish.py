"""Completion for fish: what fish itself offers."""

import argparse
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.cli import COMMANDS
from audit.cli.brought import with_plugins
from audit.cli.fish import fish
from tests.audit.cli.conftest import Ended

Audit = Callable[..., Ended]


def test_text_is_quoted_as_fish_reads_it() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", choices=("a", "b"), help="it's a \\ of 100%%")
    assert "-l mode -x -a 'a b' -d 'it\\'s a \\\\ of 100%'" in fish(parser, (), ())


def test_an_argument_that_is_hidden_is_not_offered() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--old", help=argparse.SUPPRESS)
    assert "old" not in fish(parser, (), ())


@pytest.mark.skipif(not shutil.which("fish"), reason="no fish here")
def test_fish_completes_commands_options_values_and_directories(audit: Audit, tmp_path: Path) -> None:
    (tmp_path / "current_model").mkdir()
    (tmp_path / "current_notes").write_text("")
    (tmp_path / "script").write_text(audit("--print-completion", "fish").out)

    def offered(line: str) -> list[str]:
        code = f"source script; complete -C '{line}'"
        done = subprocess.run(
            ["fish", "--no-config", "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
        )
        assert done.stderr == ""
        return [item.partition("\t")[0] for item in done.stdout.splitlines()]

    assert sorted(offered("audit ")) == sorted(with_plugins(COMMANDS)[0])
    assert offered("audit bes") == ["best"]
    assert offered("audit best --m") == ["--metric", "--mode"]
    assert offered("audit best x --mode ") == ["max", "min"]
    assert offered("audit verify curr") == ["current_model/"]
    assert offered("audit verify --config curr") == ["current_model/", "current_notes"]
    assert offered("audit explain files/missing-o") == ["files/missing-optimizer"]
    assert offered("audit verify --format j") == ["json", "junit"]
    assert offered("audit list --format j") == ["json"]
    assert offered("audit verify verify --dep") == ["--depth"]
    assert offered("audit hub pu") == ["pull", "push"]
    assert offered("audit hub push --dep") == ["--depth"]
    assert "--depth" not in offered("audit list verify --dep")
