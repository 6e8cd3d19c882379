"""All legs of a run are one run in the user's tracker."""

import contextlib
import importlib.util
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from audit_hf_trainer.training import tracked
from tests.backends.hf_trainer.continuous import Continuous, examples
from tests.tensorboard_files import events_in

pytest.importorskip("transformers", reason="the extra hf is not installed")

ROOT = Path(__file__).parents[3]
NAMES = ("TENSORBOARD_LOGGING_DIR", "WANDB_RUN_ID", "WANDB_RESUME", "MLFLOW_RUN_ID", "MLFLOW_MAX_LOG_PARAMS",
         "MLFLOW_EXPERIMENT_NAME")  # fmt: skip


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracked, "_made", set())
    for kept in ("_own", "_opened", "_last"):
        monkeypatch.setattr(tracked, kept, [])
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that it is put back, whatever the call sets
        monkeypatch.delenv(name)


def keep(
    *trackers: str, name: str = "run-1a2b3c4d", rank: int = 0, run_name: str | None = None
) -> tuple[Any, list[Any]]:
    arguments = SimpleNamespace(report_to=list(trackers), run_name=run_name, process_index=rank)
    told: list[Any] = []
    tracked.keep_one_run("run", name, arguments, told.append)
    return arguments, told


def environment() -> dict[str, str]:
    return {name: os.environ[name] for name in NAMES if name in os.environ}


class Server:
    """What MLflow's client sees: runs by the tag that was given to them."""

    def __init__(self) -> None:
        self.made: list[dict[str, str]] = []

    def get_experiment_by_name(self, name: str) -> None:
        return None

    def create_experiment(self, name: str) -> str:
        return f"experiment of {name}"

    def search_runs(self, ids: list[str], asked: str, max_results: int) -> list[Any]:
        found = [place for place, tags in enumerate(self.made) if f"'{tags['audit.run']}'" in asked]
        return [SimpleNamespace(info=SimpleNamespace(run_id=f"id-{place}")) for place in found][:max_results]

    def create_run(self, id: str, tags: dict[str, str], run_name: str) -> Any:
        self.made.append(tags)
        return SimpleNamespace(info=SimpleNamespace(run_id=f"id-{len(self.made) - 1}"))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(MlflowClient=lambda: made))
    return made


def test_each_tracker_is_told_by_the_names_that_its_callback_looks_for(server: Server) -> None:
    arguments, told = keep("tensorboard", "wandb", "mlflow", "trackio")

    assert arguments.run_name == "run-1a2b3c4d"
    assert not told
    assert environment() == {
        "TENSORBOARD_LOGGING_DIR": os.path.abspath("run/runs/run-1a2b3c4d"),
        "WANDB_RUN_ID": "run-1a2b3c4d",
        "WANDB_RESUME": "allow",
        "MLFLOW_RUN_ID": "id-0",
    }


def test_the_next_leg_finds_the_run_in_mlflow_and_logs_no_other_parameters(server: Server) -> None:
    keep("mlflow", name="other")
    for _ in range(2):  # a leg of another process, and one of this
        keep("mlflow")
        tracked._made.clear()
        os.environ.pop("MLFLOW_RUN_ID")
    keep("mlflow")
    keep("mlflow")

    assert [tags["audit.run"] for tags in server.made] == ["other", "run-1a2b3c4d"]
    assert (os.environ["MLFLOW_RUN_ID"], os.environ["MLFLOW_MAX_LOG_PARAMS"]) == ("id-1", "0")


def test_what_the_user_has_set_stays(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = {"TENSORBOARD_LOGGING_DIR": "/logs", "WANDB_RUN_ID": "mine", "MLFLOW_RUN_ID": "mine"}
    for name, value in mine.items():
        monkeypatch.setenv(name, value)
    arguments, _ = keep("tensorboard", "wandb", "mlflow", run_name="mine")

    assert arguments.run_name == "mine"
    assert environment() == mine
    assert not server.made


def test_the_users_run_in_mlflow_is_that_of_the_next_leg_too(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "mine")
    for _ in range(2):
        keep("mlflow")
        assert os.environ.pop("MLFLOW_RUN_ID") == "mine"  # MLflow takes it out as it opens the run

    with tracked.opened_again(()) as found:
        assert [writer.mlflow_run for writer in found.writers] == ["mine"]
    assert not server.made


def test_without_a_tracker_or_a_name_nothing_is_set(server: Server) -> None:
    keep()
    keep("wandb", "mlflow", "tensorboard", name="")
    assert environment() == {}


def test_only_the_first_process_asks_mlflow(server: Server) -> None:
    keep("mlflow", rank=1)
    assert not server.made


def test_a_server_that_does_not_answer_ends_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise ConnectionError("refused\nby the server")

    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(MlflowClient=refuse))
    _, told = keep("mlflow")

    assert [note.text for note in told] == ["mlflow: this leg gets a run of its own: ConnectionError: refused"]
    assert "MLFLOW_RUN_ID" not in environment()


@pytest.fixture
def mute() -> Iterator[str]:
    """The address of a server that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_mlflow_at_a_server_that_never_answers_is_not_waited_for(mute: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Client:
        def get_experiment_by_name(self, name: str) -> None:
            urllib.request.urlopen(mute)

    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(MlflowClient=Client))
    arguments = SimpleNamespace(report_to=["mlflow"], run_name=None, process_index=0)
    told: list[Any] = []
    began = time.monotonic()
    tracked.keep_one_run("run", "run-1a2b3c4d", arguments, told.append, seconds=0.5)

    assert time.monotonic() - began < 10
    said = "mlflow: this leg gets a run of its own: TimeoutError: it took longer than 0.5 s"
    assert [note.text for note in told] == [said]
    assert "MLFLOW_RUN_ID" not in environment()
    with tracked.opened_again(()) as found:
        assert found.writers == []


class Library:
    """Trackio: what is opened and closed, in order."""

    def __init__(self, fails: str = "") -> None:
        self.calls: list[Any] = []
        self._fails = fails
        self.current: Any = None
        self.context_vars = SimpleNamespace(current_run=SimpleNamespace(get=lambda: self.current))

    def init(self, **given: Any) -> None:
        self._note("start", given)

    def finish(self) -> None:
        self._note("end", {})

    def _note(self, what: str, given: dict[str, Any]) -> None:
        self.calls.append((what, given))
        if what == self._fails:
            raise ConnectionError("refused\nby the server")


def opened(*without: str) -> dict[str, str]:
    with tracked.opened_again(without) as found:
        assert found.writers == []
    return found.failed


def test_mlflow_goes_on_with_the_run_of_the_leg(server: Server) -> None:
    keep("mlflow")
    os.environ.pop("MLFLOW_RUN_ID")  # MLflow takes it out as it opens the run

    with tracked.opened_again(()) as found:
        assert [writer.mlflow_run for writer in found.writers] == ["id-0"]
    assert opened("mlflow") == {}


def test_trackio_goes_on_with_the_run_of_the_leg(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments, _ = keep("trackio")
    arguments.project, arguments.trackio_space_id = "p", None
    library = Library()
    monkeypatch.setitem(sys.modules, "trackio", library)

    assert opened() == {}
    given = {"project": "p", "name": "run-1a2b3c4d", "resume": "allow", "space_id": None}
    assert library.calls == [("start", given), ("end", {})]

    library.current = "the run of a leg that is being trained"
    assert opened() == {}
    assert len(library.calls) == 2, "it is neither opened again nor ended"


@pytest.mark.parametrize("fails", ["start", "end"])
def test_one_that_cannot_be_opened_or_closed_is_named(fails: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments, _ = keep("trackio", "wandb")
    arguments.project = "p"
    monkeypatch.setitem(sys.modules, "trackio", Library(fails))
    assert opened() == {"trackio": "ConnectionError: refused"}


def test_a_leg_that_begins_in_the_second_of_another_waits_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tensorboardX would replace the file of the leg before, and its losses would be lost."""
    (tmp_path / f"events.out.tfevents.100.{socket.gethostname()}").touch()
    moments = [100.1, 100.6, 101.1]
    slept: list[float] = []
    clock = SimpleNamespace(time=lambda: moments[len(slept)], sleep=slept.append)
    monkeypatch.setattr(tracked, "time", clock)

    tracked._let_the_second_pass(str(tmp_path))
    tracked._let_the_second_pass(str(tmp_path / "nowhere"))

    assert slept == [tracked.WAIT] * 2


def test_of_a_leg_without_a_name_nothing_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    monkeypatch.setitem(sys.modules, "trackio", library)
    keep("trackio")
    keep("trackio", name="")

    assert opened() == {}
    assert not library.calls


@pytest.mark.slow
def test_two_calls_are_one_run_in_tensorboard(tmp_path: Path) -> None:
    shop = Continuous(tmp_path / "shop", arguments='report_to = "tensorboard"')
    for names in ("ab", "c"):
        for name in names:
            shop.drop(f"{name}.jsonl", examples(8, ord(name)))
        shop.call()

    (place,) = (shop.run / "runs").iterdir()
    assert place.name.startswith("run-")
    found = events_in(place)
    assert [step for step, _ in found["train/loss"]] == [1, 2, 3, 4, 5, 6]
    assert found["audit/errors"] == [(2, 0.0), (4, 0.0), (6, 0.0)]
    assert found["audit/verdict"] == [(2, 0.0), (4, 0.0), (6, 0.0)]
    assert found["audit/resumable_step"] == [(2, 2.0), (4, 4.0), (6, 6.0)]


@pytest.mark.slow
def test_saves_within_a_leg_are_in_tensorboard(tmp_path: Path) -> None:
    shop = Continuous(tmp_path / "shop", arguments='report_to = "tensorboard"')
    shop.drop("a.jsonl", examples(32, 1))
    shop.call()

    (place,) = (shop.run / "runs").iterdir()
    found = events_in(place)
    assert [step for step, _ in found["train/loss"]] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert found["audit/verdict"] == [(2, 0.0), (4, 0.0), (6, 0.0), (8, 0.0)]
    assert found["audit/resumable_step"][-1] == (8, 8.0)


@pytest.mark.slow
def test_a_leg_that_is_not_proven_is_in_tensorboard_with_an_alert(tmp_path: Path) -> None:
    shop = Continuous(tmp_path / "shop", arguments='report_to = ["tensorboard"]\nlearning_rate = 1e38')
    shop.drop("a.jsonl", examples(16, 1))
    shop.call(code=1)

    (place,) = (shop.run / "runs").iterdir()
    found = events_in(place)
    assert found["audit/verdict"][-1] == (4, 2.0)
    assert found["audit/errors"][-1][1] >= 1.0
    assert len(found["audit/alert/text_summary"]) == 1


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="mlflow is not installed")
def test_two_calls_are_one_run_in_mlflow(tmp_path: Path) -> None:
    shop = Continuous(tmp_path / "shop", arguments='report_to = "mlflow"')
    for names in ("ab", "c"):
        for name in names:
            shop.drop(f"{name}.jsonl", examples(8, ord(name)))
        shop.call(MLFLOW_TRACKING_URI=f"file://{tmp_path}/mlruns", MLFLOW_ALLOW_FILE_STORE="true")

    (place,) = (path.parent for path in (tmp_path / "mlruns").glob("*/*/meta.yaml"))
    for name, values in (("errors", ["0.0"] * 3), ("resumable_step", ["2.0", "4.0", "6.0"])):
        lines = (place / "metrics" / "audit" / name).read_text().splitlines()
        assert [line.split()[1:] for line in lines] == [
            [value, step] for value, step in zip(values, "246", strict=True)
        ]
    assert (place / "tags" / "audit.verdict").read_text() == "sound"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="mlflow is not installed")
def test_saves_within_a_leg_are_in_mlflow(tmp_path: Path) -> None:
    shop = Continuous(tmp_path / "shop", arguments='report_to = "mlflow"')
    shop.drop("a.jsonl", examples(32, 1))
    shop.call(MLFLOW_TRACKING_URI=f"file://{tmp_path}/mlruns", MLFLOW_ALLOW_FILE_STORE="true")

    (place,) = (path.parent for path in (tmp_path / "mlruns").glob("*/*/meta.yaml"))
    lines = (place / "metrics" / "audit" / "verdict").read_text().splitlines()
    assert [line.split()[1:] for line in lines] == [["0.0", step] for step in "2468"]
    assert "status: 3" in (place / "meta.yaml").read_text(), "Trainer's callback has ended it"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("trackio") is None, reason="trackio is not installed")
def test_saves_within_a_leg_are_in_trackio(tmp_path: Path) -> None:
    shop = Continuous(tmp_path / "shop", arguments='report_to = "trackio"')
    shop.drop("a.jsonl", examples(32, 1))
    shop.call(TRACKIO_DIR=str(tmp_path / "board"))

    (path,) = (tmp_path / "board").glob("*.db")
    with contextlib.closing(sqlite3.connect(path)) as file:
        rows = [json.loads(row[0]) for row in file.execute("SELECT metrics FROM metrics ORDER BY id")]
    found = [(row["train/global_step"], row["audit/verdict"]) for row in rows if "audit/verdict" in row]
    assert found == [(2, 0.0), (4, 0.0), (6, 0.0), (8, 0.0)]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
def test_saves_within_a_leg_are_in_wandb(tmp_path: Path) -> None:
    shop = Continuous(tmp_path / "shop", arguments='report_to = "wandb"')
    shop.drop("a.jsonl", examples(32, 1))
    shop.call(WANDB_MODE="offline", WANDB_DIR=str(tmp_path), WANDB_SILENT="true")

    (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    printed = subprocess.run(
        [sys.executable, "-m", "tests.wandb_files", str(path)], capture_output=True, check=True, text=True, cwd=ROOT
    )
    rows = [json.loads(line) for line in printed.stdout.splitlines()]
    found = [(row["train/global_step"], float(row["audit/verdict"])) for row in rows if "audit/verdict" in row]
    assert found == [("2", 0.0), ("4", 0.0), ("6", 0.0), ("8", 0.0)]
