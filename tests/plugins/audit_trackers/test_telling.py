"""What was found at a save is in the tracker, read back from what it wrote; and nothing it does ends a training."""

import ast
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from audit.api import verify
from audit.backend.training import Judged
from audit.ledger.push_events import PushedFile, PushQueued, PushState
from audit.ledger.store import open_ledger
from audit.testing.runs import make_run
from audit_trackers import reports
from audit_trackers import telling as telling_module
from audit_trackers.telling import Telling, log_judged
from audit_trackers.trackers import open_now
from tests.tensorboard_files import events_in

ROOT = Path(__file__).parents[3]
URL = "https://huggingface.co/me/run-100/tree/c0"


@pytest.fixture(autouse=True)
def _nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "_HEARD", {})
    monkeypatch.setattr(telling_module, "_TELLING", {})
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    for name in ("wandb", "mlflow", "trackio"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run", (100, 200), max_steps=200)


def pushed(run: str) -> None:
    ledger = open_ledger(run, True)
    assert ledger is not None
    files = {"a": PushedFile(1, "a" * 64, "b" * 64)}
    ledger.append(PushQueued("ab12", "checkpoint-100", 100, "{user}/run-100", "", "main", True, files))
    ledger.append(PushState("ab12", "pushed", 1, repo="me/run-100", commit="c0", files=files))
    ledger.close()


def told_of_two_saves(run: str, callbacks: list[Any]) -> Telling:
    """A sound save, an upload, then a broken save."""
    telling = Telling()
    telling.begin(run, callbacks)
    verify(run)
    telling.saved(run, 100)
    pushed(run)
    Path(run, "checkpoint-200", "optimizer.pt").unlink()
    telling.saved(run, 200)
    telling.saved(run, 200)
    return telling


def test_tensorboard_has_numbers_verdict_url_and_one_alert(run: str, tmp_path: Path) -> None:
    tensorboard = pytest.importorskip("tensorboardX")
    writer = tensorboard.SummaryWriter(str(tmp_path / "board"))

    told_of_two_saves(run, [SimpleNamespace(), SimpleNamespace(tb_writer=writer)])
    writer.close()

    found = events_in(tmp_path / "board")
    assert found["audit/errors"] == [(100, 0.0), (200, 1.0), (200, 1.0)]
    assert found["audit/verdict"] == [(100, 0.0), (200, 2.0), (200, 2.0)]
    assert found["audit/resumable_step"] == [(100, 200.0), (200, 100.0), (200, 100.0)]
    assert [step for step, _ in found["audit/warnings"]] == [100, 200, 200]
    texts = {tag.partition("/text_summary")[0]: values for tag, values in found.items()}
    assert texts["checkpoint_url"] == [(100, URL)]
    assert texts["audit/verdict_text"][0] == (100, "sound")
    assert "files/missing-optimizer" in texts["audit/verdict_text"][1][1]
    assert len(texts["audit/alert"]) == 1


def test_a_verification_in_this_process_is_not_made_a_second_time(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    telling = Telling()
    telling.begin(run, ())
    verify(run)
    monkeypatch.setattr(reports, "verify", None)

    found = reports.found_at(run, 200)

    assert (found.verdict, found.resumable_step) == ("sound", 200)
    with pytest.raises(TypeError):  # the next save needs one of its own
        reports.found_at(run, 200)


def test_nobody_listens_to_other_runs(run: str, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", (100,))
    Telling().begin(other, ())
    verify(run)

    assert list(reports._HEARD.values()) == [None]


def test_a_tracker_that_raises_is_named_once_and_left_alone(run: str, caplog: pytest.LogCaptureFixture) -> None:
    class Writer:
        calls = 0

        def add_scalar(self, *arguments: Any) -> None:
            self.calls += 1
            raise OSError("disk full\nand more")

    writer = Writer()
    with caplog.at_level(logging.WARNING, "audit"):
        told_of_two_saves(run, [SimpleNamespace(tb_writer=writer)])

    assert writer.calls == 1
    assert [record.getMessage() for record in caplog.records] == [
        "tensorboard: nothing more is logged to it: OSError: disk full"
    ]


def test_what_cannot_be_verified_is_logged_and_nothing_raises(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    telling = Telling()
    telling.begin(str(tmp_path / "nowhere"), ())
    telling.saved(str(tmp_path / "nowhere"), 1)

    assert "not logged to a tracker" in caplog.text


def test_without_an_open_run_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(run=None))
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(active_run=lambda: None))
    assert open_now([SimpleNamespace(tb_writer=None)]) == []


def test_the_run_of_mlflow_that_is_named_is_taken_in_any_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its active run is that of the thread which opened it."""
    logged: list[tuple[Any, ...]] = []
    client = SimpleNamespace(log_metric=lambda *given, step: logged.append((*given, step)))
    active = SimpleNamespace(info=SimpleNamespace(run_id="another"))
    for there in (None, active):
        library = SimpleNamespace(active_run=lambda there=there: there, MlflowClient=lambda: client)
        monkeypatch.setitem(sys.modules, "mlflow", library)
        (tracker,) = open_now([SimpleNamespace(tb_writer=None), SimpleNamespace(mlflow_run="id-0")])
        tracker.numbers({"audit/errors": 0.0}, 2)

    assert logged == [("id-0", "audit/errors", 0.0, 2)] * 2


SOUND = Judged(2, "sound", 0, 1, 2)
BROKEN = Judged(4, "broken", 1, 0, 2, "has no optimizer (files/missing-optimizer)")


class Board:
    """A writer of TensorBoard's, as far as it is used."""

    def __init__(self) -> None:
        self.scalars: list[tuple[str, float, int]] = []
        self.texts: list[tuple[Any, ...]] = []

    def add_scalar(self, *given: Any) -> None:
        self.scalars.append(given)

    def add_text(self, *given: Any) -> None:
        self.texts.append(given)

    def flush(self) -> None:
        """Nothing is kept back."""


def test_what_audit_train_has_found_is_logged_at_the_step_of_its_leg(run: str) -> None:
    board = Board()
    writers = [SimpleNamespace(tb_writer=board)]

    assert log_judged(run, [SOUND], "", writers, ()) == {}
    assert log_judged(run, [BROKEN], "", writers, ()) == {}
    assert log_judged(run, [BROKEN], "", writers, ()) == {}

    assert board.scalars[:4] == [
        ("audit/errors", 0.0, 2),
        ("audit/warnings", 1.0, 2),
        ("audit/resumable_step", 2.0, 2),
        ("audit/verdict", 0.0, 2),
    ]
    said = "has no optimizer (files/missing-optimizer)"
    assert board.texts == [
        ("audit/verdict_text", "sound", 2),
        ("audit/verdict_text", f"broken: {said}", 4),
        ("audit/alert", f"checkpoint-4: broken: {said}"),
        ("audit/verdict_text", f"broken: {said}", 4),
    ]


@pytest.mark.parametrize(("since", "told"), [("", 1), ("2000-01-01T00:00:00Z", 1), ("2999-01-01T00:00:00Z", 0)])
def test_an_address_is_told_once_and_only_if_it_is_new(run: str, since: str, told: int) -> None:
    board = Board()
    pushed(run)
    for _ in range(2):
        log_judged(run, [SOUND], since, [SimpleNamespace(tb_writer=board)], ())

    assert [given for given in board.texts if given[0] == "checkpoint_url"] == [("checkpoint_url", URL, 100)] * told


def test_what_a_tracker_does_not_take_is_returned_and_it_is_left_alone(run: str) -> None:
    class Full(Board):
        def flush(self) -> None:
            raise OSError("disk full\nand more")

    board = Full()
    writers = [SimpleNamespace(tb_writer=board)]
    assert log_judged(run, [SOUND, SOUND], "", writers, ()) == {"tensorboard": "OSError: disk full"}
    assert log_judged(run, [SOUND], "", writers, ["tensorboard"]) == {}
    assert len(board.scalars) == 4


def told_by(library: str, code: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a program with an open run of the library, in a process of its own; skip where it is missing."""
    probe = subprocess.run([sys.executable, "-c", f"import {library}"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip(f"{library} is not installed")
    return subprocess.run(
        [sys.executable, "-c", code.format(root=str(ROOT)), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


MLFLOW = """
import sys, mlflow
sys.path.insert(0, {root!r})
from tests.plugins.audit_trackers.test_telling import told_of_two_saves
mlflow.set_tracking_uri("file://" + sys.argv[2])
with mlflow.start_run() as run:
    told_of_two_saves(sys.argv[1], [])
client = mlflow.MlflowClient()
print([(item.step, item.value) for item in client.get_metric_history(run.info.run_id, "audit/errors")])
tags = client.get_run(run.info.run_id).data.tags
print(tags["audit.checkpoint.100"], "files/missing-optimizer" in tags["audit.verdict"], "audit.alert" in tags)
"""


@pytest.mark.slow
def test_mlflow_has_them_with_their_steps(run: str, tmp_path: Path) -> None:
    done = told_by("mlflow", MLFLOW, run, str(tmp_path / "mlruns"), MLFLOW_ALLOW_FILE_STORE="true")
    assert done.stdout.splitlines() == ["[(100, 0.0), (200, 1.0), (200, 1.0)]", f"{URL} True True"], done.stderr


WANDB = """
import glob, sys, wandb
sys.path.insert(0, {root!r})
from tests.plugins.audit_trackers.test_telling import told_of_two_saves
run = wandb.init(project="p", dir=sys.argv[2], mode="offline", settings=wandb.Settings(silent=True, console="off"))
run.log({{"train/loss": 1.0}})
told_of_two_saves(sys.argv[1], [])
run.finish()
wandb.teardown()  # the process that writes the file has ended then
from pathlib import Path
from tests.wandb_files import rows_in
(path,) = glob.glob(sys.argv[2] + "/wandb/offline-run-*/*.wandb")
logged = rows_in(Path(path))
print([(row["train/global_step"], row["audit/errors"]) for row in logged if "audit/errors" in row])
print([row["checkpoint_url"] for row in logged if "checkpoint_url" in row])
"""


@pytest.mark.slow
def test_wandb_has_them_beside_what_the_training_logged(run: str, tmp_path: Path) -> None:
    done = told_by("wandb", WANDB, run, str(tmp_path))
    assert done.returncode == 0, done.stderr
    steps, urls = done.stdout.splitlines()
    assert [(step, float(value)) for step, value in ast.literal_eval(steps)] == [("100", 0), ("200", 1), ("200", 1)]
    assert ast.literal_eval(urls) == [f'"{URL}"']


TRACKIO = """
import glob, json, sqlite3, sys, trackio
sys.path.insert(0, {root!r})
from tests.plugins.audit_trackers.test_telling import told_of_two_saves
trackio.init(project="p", name="r")
told_of_two_saves(sys.argv[1], [])
trackio.finish()
(path,) = glob.glob(sys.argv[2] + "/p*.db")
file = sqlite3.connect(path)
rows = [json.loads(row[0]) for row in file.execute("SELECT metrics FROM metrics ORDER BY id")]
print([(row["train/global_step"], row["audit/errors"]) for row in rows if "audit/errors" in row])
print([row["checkpoint_url"] for row in rows if "checkpoint_url" in row])
print([row[0] for row in file.execute("SELECT title FROM alerts")])
"""


@pytest.mark.slow
def test_trackio_has_them_and_the_alert(run: str, tmp_path: Path) -> None:
    done = told_by("trackio", TRACKIO, run, str(tmp_path / "board"), TRACKIO_DIR=str(tmp_path / "board"))
    assert done.stdout.splitlines()[-3:] == [
        "[(100, 0.0), (200, 1.0), (200, 1.0)]",
        f"['{URL}']",
        "['checkpoint-200: broken']",
    ], done.stderr


TRAINING = """
import sys
sys.path.insert(0, {root!r})
from audit_hf_trainer import AuditCallback
from audit_trackers import TrackersCallback
from tests.backends.hf_trainer.fitting import fit, lora

def before(trainer):
    trainer.add_callback(AuditCallback())
    trainer.add_callback(TrackersCallback(trainer))

fit(sys.argv[1], lora(), max_steps=4, save_steps=2, report_to=["tensorboard"], before=before)
"""


@pytest.mark.slow
def test_a_real_training_logs_to_the_run_that_trainer_has_opened(tmp_path: Path) -> None:
    for name in ("tensorboardX", "transformers", "peft"):
        pytest.importorskip(name)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TENSORBOARD_LOGGING_DIR": str(tmp_path / "board")}

    done = subprocess.run(
        [sys.executable, "-c", TRAINING.format(root=str(ROOT)), str(tmp_path / "run")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    found = events_in(tmp_path / "board")
    assert found["audit/errors"] == [(2, 0.0), (4, 0.0)]
    assert found["audit/resumable_step"] == [(2, 2.0), (4, 4.0)]
    assert [step for step, _ in found["train/loss"]] != []
    assert len(list((tmp_path / "board").rglob("events.*"))) == 1


def test_a_server_that_never_answers_is_named_and_the_other_trackers_are_told(
    run: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Writer:
        def __init__(self) -> None:
            self.steps: list[int] = []

        def add_scalar(self, name: str, value: float, step: int) -> None:
            self.steps.append(step)

        def add_text(self, *arguments: Any) -> None:
            """Take it."""

        def flush(self) -> None:
            """Done."""

    with socket.create_server(("127.0.0.1", 0)) as mute:

        class Client:
            def log_metric(self, *arguments: Any, **more: Any) -> None:
                with socket.create_connection(mute.getsockname()) as asked:
                    asked.sendall(b"POST / HTTP/1.1\r\n\r\n")
                    asked.recv(1)

        monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(MlflowClient=Client))
        writer = Writer()
        telling = Telling(seconds=0.5)
        telling.begin(run, [SimpleNamespace(tb_writer=writer), SimpleNamespace(mlflow_run="id")])
        with caplog.at_level(logging.WARNING, "audit"):
            telling.saved(run, 100)
            telling.saved(run, 200)

    assert [record.getMessage() for record in caplog.records] == [
        "mlflow: nothing more is logged to it: TimeoutError: it took longer than 0.5 s"
    ]
    assert {*writer.steps} == {100, 200}
