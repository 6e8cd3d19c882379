"""A token that is in a checkpoint, wherever it is, is never printed whole: in no format, by no command."""

import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from audit.cli import run as command
from audit.manager import load
from audit.testing.runs import edit_arguments, edit_json, edit_state, make_run

TOKEN = "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH"
PASSWORD = "correct horse battery staple"
FIELDS = ("global_step", "epoch", "max_steps", "best_metric", "best_model_checkpoint", "log_history", "trial_name")


@pytest.fixture
def run(tmp_path: Path) -> str:
    """A run with a token in the place of a value of each kind, one in each checkpoint."""
    steps = tuple(range(100, 100 * (len(FIELDS) + 4), 100))
    path = make_run(tmp_path / "run", steps)
    for step, field in zip(steps, FIELDS, strict=False):
        edit_state(f"{path}/checkpoint-{step}", **{field: TOKEN})
    arguments = {"hub_token": TOKEN, "lr_scheduler_kwargs": {"api_key": PASSWORD, "note": TOKEN}, "run_name": TOKEN}
    edit_arguments(f"{path}/checkpoint-{steps[-1]}", **arguments, learning_rate=TOKEN, seed=TOKEN)
    edit_json(f"{path}/checkpoint-{steps[-2]}/adapter_config.json", r=TOKEN, lora_alpha=[TOKEN], target_modules=TOKEN)
    edit_state(f"{path}/checkpoint-{steps[-3]}", log_history=[{"step": 1, "loss": TOKEN, TOKEN: 1.0, "epoch": TOKEN}])
    return path


def output(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    command(words)
    ended = capfd.readouterr()
    return ended.out + ended.err


def test_no_command_prints_it(run: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    names = sorted((item.name for item in Path(run).glob("checkpoint-*")), key=len)
    last, before = f"{run}/{names[-1]}", f"{run}/{names[0]}"
    said = {}
    for name in load().reporters:
        said[f"verify --format {name}"] = output(capfd, "verify", run, "-v", "--format", name)
    for words in (
        *(("show", f"{run}/{name}", *json) for name in names for json in ((), ("--format", "json"))),
        *(("diff", before, last, "--all", "--format", form) for form in ("console", "json")),
        *(
            ("export", run, "--format", form, "--table", table)
            for form in ("json", "csv")
            for table in ("log", "checkpoints")
        ),
        *(("guard", run, "--format", form) for form in ("console", "json")),
        *(("list", run, "--format", form) for form in ("console", "json")),
        ("quarantine", run, "--dry-run"),
        ("best", run),
    ):
        said[" ".join(words)] = output(capfd, *words)
    output(capfd, "report", run, "-o", str(tmp_path / "page.html"))
    said["report"] = (tmp_path / "page.html").read_text(encoding="utf-8")

    assert all(said.values())
    assert [words for words, text in said.items() if TOKEN in text or PASSWORD in text] == []


def test_what_is_hidden_is_named_by_its_beginning(run: str, capfd: pytest.CaptureFixture[str]) -> None:
    last = max(Path(run).glob("checkpoint-*"), key=lambda item: int(item.name[11:]))
    other = shutil.copytree(last, last.parent / "checkpoint-9999")
    edit_arguments(str(other), hub_token=None)

    assert "hf_a..." in output(capfd, "diff", str(other), str(last))


@pytest.mark.parametrize(
    "line",
    ["train URL", "plan URL", "data URL", "rehearse URL", "show run URL", "verify run -o URL/x", "verify run --config URL",
     "fleet report URL", "merge run out --base URL", "verify URL", "guard URL", "snapshot URL /tmp", "no-such URL"],
)  # fmt: skip
def test_the_password_of_a_url_is_in_no_message(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with suppress(SystemExit):
        command(line.replace("URL", "s3://me:hunter2@bucket/run").split())
    assert "hunter2" not in "".join(capfd.readouterr())
