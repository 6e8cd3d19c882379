"""What every pytest session pays for the plugin being installed, and how to be rid of it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

SESSION = """
import sys
import pytest
code = pytest.main(["-q", "-p", "no:cacheprovider", *sys.argv[1:]])
print(*sys.modules)
sys.exit(code)
"""


def session(home: Path, program: str, *options: str) -> subprocess.CompletedProcess[str]:
    (home / "test_own.py").write_text("def test_own():\n    pass\n")
    command = [sys.executable, "-P", "-c", program, *options]
    return subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)


def test_a_session_that_does_not_use_it_loads_small_modules_alone(tmp_path: Path) -> None:
    done = session(tmp_path, SESSION)

    assert done.returncode == 0, done.stdout
    loaded = {name for name in done.stdout.splitlines()[-1].split() if name.startswith(("audit", "pytest_audit"))}
    assert loaded == {"pytest_audit", "pytest_audit.plugin", "audit_hf_trainer", "audit_hf_trainer.pytest_plugin"}


def test_it_can_be_switched_off(tmp_path: Path) -> None:
    done = session(tmp_path, SESSION, "-p", "no:audit")

    assert done.returncode == 0, done.stdout
    assert "pytest_audit" not in done.stdout
    assert session(tmp_path, SESSION, "-p", "no:audit", "--audit", "x").returncode == pytest.ExitCode.USAGE_ERROR


def test_a_program_may_have_imported_the_audit_before_it_calls_pytest(tmp_path: Path) -> None:
    program = f"import audit, audit.manager\naudit.manager.load()\n{SESSION}"

    done = session(tmp_path, program, "-Werror")

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "package",
    sorted(path.parent for room in (".", "backends", "plugins") for path in ROOT.glob(f"{room}/*/__init__.py")),
    ids=lambda path: path.name,
)
def test_pytest_is_told_to_rewrite_no_package(package: Path) -> None:
    assert "PYTEST_DONT_REWRITE" in (package / "__init__.py").read_text().split('"""')[1]


def test_help_names_the_options_and_the_ini_options(tmp_path: Path) -> None:
    told = session(tmp_path, SESSION, "--help").stdout

    for name in ("select", "ignore", "depth", "warnings", "config", "allow-empty"):
        assert f"--audit-{name}" in told
        assert f"audit_{name.replace('-', '_')} (" in told
    assert "--audit=RUN" in told
    assert "audit_runs (paths)" in told
