"""The fixtures for scripts of one's own: the example of the documentation, and what failures and warnings look like."""

import warnings
from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")

from tests.backends.hf_trainer.fitting import fit, lora

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[3]
SCRIPT = """
from tests.backends.hf_trainer.fitting import lora, made, rows

def make_trainer(**more):
    return made("elsewhere", lora(lora_dropout=0.1), **{"max_steps": 9, "save_steps": 3, **more})
"""


def example() -> str:
    """The block of docs/rehearse.md that uses the fixtures."""
    blocks = (ROOT / "docs/rehearse.md").read_text(encoding="utf-8").split("```python\n")[1:]
    (found,) = (block.partition("```")[0] for block in blocks if "(audit_rehearse)" in block)
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "output"
    fit(str(path), lora(lora_dropout=0.1), max_steps=9, save_steps=3)
    return path


@pytest.fixture
def home(pytester: pytest.Pytester, run: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A directory with a script and the run that it has trained, for an inner session."""
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.setenv("COLUMNS", "250")
    pytester.makepyfile(my_script=SCRIPT)
    pytester.syspathinsert(ROOT)
    (pytester.path / "output").symlink_to(run)
    return pytester


def session(home: pytest.Pytester, test: str, *options: str) -> pytest.RunResult:
    home.makepyfile(test_own=test)
    with warnings.catch_warnings():
        warnings.resetwarnings()
        return home.runpytest("-p", "no:cacheprovider", *options)


def test_the_example_of_the_documentation_passes_and_leaves_nothing(home: pytest.Pytester, tmp_path: Path) -> None:
    test = example()
    assert test.count("def test_") == 2

    session(home, test, "--basetemp", str(tmp_path / "base")).assert_outcomes(passed=2)

    assert [path for path in (tmp_path / "base").rglob("*") if path.is_file()] == []
    assert list((home.path / "elsewhere").rglob("*")) == []


def test_a_failure_is_the_report_without_a_traceback(home: pytest.Pytester) -> None:
    result = session(home, """
from my_script import make_trainer, rows

def test_own(audit_rehearse):
    audit_rehearse(lambda: make_trainer(data=rows(24, seed=1)), "output", checkpoint=3)
""")  # fmt: skip
    result.assert_outcomes(failed=1)
    text = result.stdout.str()
    assert "\nstep 4: loss: " in text
    assert "\nlikely cause: what the first loss is computed from" in text
    assert "\noutput/checkpoint-3: differs" in text
    assert "Traceback" not in text
    assert "pytest_plugin.py" not in text


def test_a_refusal_is_one_line(home: pytest.Pytester) -> None:
    result = session(home, """
def test_own(audit_straight_against_resumed):
    audit_straight_against_resumed(lambda: "a trainer", steps=2)
""")  # fmt: skip
    result.assert_outcomes(failed=1)
    assert "\nmake_trainer returned a str, not a transformers.Trainer" in result.stdout.str()


def test_fewer_steps_than_asked_for_are_a_warning_and_the_run_may_be_that_of_the_session(home: pytest.Pytester) -> None:
    result = session(home, """
from my_script import make_trainer

def test_own(audit_rehearse):
    assert audit_rehearse(make_trainer, checkpoint=6).judgement.steps == 3
""", "-o", "audit_runs=output", "test_own.py")  # fmt: skip
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*RehearsalWarning: 3 of 5 steps are compared: the log of checkpoint-9 has none*"])
