"""One run in the user's tracker for all legs of a run, by the names that Trainer's own callbacks look for.

Sources, transformers 5.24, integrations/integration_utils.py: TensorBoardCallback (TENSORBOARD_LOGGING_DIR),
WandbCallback (``wandb.init`` reads WANDB_RUN_ID and WANDB_RESUME), MLflowCallback (MLFLOW_RUN_ID; a parameter that is
logged again with another value raises), TrackioCallback (``resume="allow"`` continues the run of the name).
"""

import os
import socket
import time
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from audit.plugin import Note, OpenTrackers, Tell, asking_tracker, first_line, within
from audit_hf_trainer.settings import TRACKERS

WAIT, WAITS = 0.05, 40
"""Seconds, and how often, to wait for the next second: twice as long as it takes."""

_made: set[str] = set()
"""The MLflow runs that this process has found or made: what the environment then names is not the user's."""
_own: list[str] = []
"""The user's MLflow run: MLflow takes the name out of the environment as it opens the run."""
_opened: list[str] = []
"""The MLflow run of the last leg."""
_last: list[Any] = []
"""The arguments of the last leg in this process, if it logs to the run of all legs."""


def keep_one_run(run: str, name: str, arguments: Any, tell: Tell, seconds: float = 30.0) -> None:
    """Have the trackers in ``report_to`` go on with the run of this name. What the user's environment says stays.

    Nothing raises: a leg whose tracker cannot be asked, or does not answer in so many ``seconds``, gets a run of its
    own in it, which is told.
    """
    trackers = arguments.report_to
    _last.clear()
    _opened.clear()
    if not name or not trackers:
        return
    arguments.run_name = arguments.run_name or name
    _last.append(arguments)
    if "tensorboard" in trackers:
        os.environ.setdefault("TENSORBOARD_LOGGING_DIR", os.path.join(os.path.abspath(run), "runs", name))
        if arguments.process_index == 0:
            _let_the_second_pass(_logging_dir())
    if "wandb" in trackers and "WANDB_RUN_ID" not in os.environ:
        os.environ["WANDB_RUN_ID"] = name
        os.environ.setdefault("WANDB_RESUME", "allow")
    if "mlflow" in trackers and arguments.process_index == 0:
        try:
            _mlflow_run(name, seconds)
        except Exception as error:  # a server that does not answer must not end the training here
            tell(Note(f"mlflow: this leg gets a run of its own: {type(error).__name__}: {first_line(error)}"))


def _logging_dir() -> str:
    """Where TensorBoard's files are, as TensorBoardCallback takes it."""
    return os.path.expanduser(os.environ["TENSORBOARD_LOGGING_DIR"])


def _let_the_second_pass(place: str) -> None:
    """Wait until the writer of this leg gets a file of its own: at most a second.

    tensorboardX 2.6, ``EventsWriter``: the name is the second and the host, and a file that is there is replaced. The
    losses of a leg that began in the second in which this one begins would be lost.
    """
    for _ in range(WAITS):
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}"
        if not os.path.exists(os.path.join(place, name)):
            return
        time.sleep(WAIT)


def _mlflow_run(name: str, seconds: float) -> None:
    """Name the MLflow run with this tag in the environment, and make it if there is none; ask so long at most."""
    if os.environ.get("MLFLOW_RUN_ID") not in (None, *_made):
        _own[:] = [os.environ["MLFLOW_RUN_ID"]]
    if _own:
        os.environ["MLFLOW_RUN_ID"] = _own[0]
        _opened[:] = _own
        return
    # A thread that is late changes nothing any more: what it has found is used here.
    id, there = within(seconds, lambda: _asked_for(name))
    if there:
        # The arguments of the first leg are its parameters; those of this leg differ from them.
        os.environ["MLFLOW_MAX_LOG_PARAMS"] = "0"
    os.environ["MLFLOW_RUN_ID"] = id
    _made.add(id)
    _opened[:] = [id]


def _asked_for(name: str) -> tuple[str, bool]:
    """Return the id of the MLflow run with this tag, and whether it was there."""
    import mlflow

    client = mlflow.MlflowClient()
    asked = os.environ.get("MLFLOW_EXPERIMENT_NAME", "Default")
    experiment = client.get_experiment_by_name(asked)
    id = experiment.experiment_id if experiment is not None else client.create_experiment(asked)
    found = client.search_runs([id], f"tags.`audit.run` = '{name}'", max_results=1)
    run = found[0] if found else client.create_run(id, tags={"audit.run": name}, run_name=name)
    return str(run.info.run_id), bool(found)


@contextmanager
def opened_again(without: Collection[str]) -> Iterator[OpenTrackers]:
    """Open the runs again that the last leg has logged to, as Trainer's callbacks close all but that of wandb."""
    found = OpenTrackers([], {})
    writers: list[Any] = []
    entered: list[tuple[str, AbstractContextManager[Any]]] = []
    named = [name for name in TRACKERS for arguments in _last if name in arguments.report_to and name not in without]
    for name in named:
        try:
            with asking_tracker(name):
                open_one = _OPENERS[name](_last[0])
                writer = open_one.__enter__()
        except Exception as error:
            found.failed[name] = _why(error)
            continue
        entered.append((name, open_one))
        writers += [writer] if writer is not None else []
    try:
        yield found._replace(writers=writers)
    finally:
        for name, open_one in reversed(entered):
            try:
                with asking_tracker(name):
                    open_one.__exit__(None, None, None)
            except Exception as error:
                found.failed.setdefault(name, _why(error))


def _why(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"


@contextmanager
def _tensorboard(arguments: Any) -> Iterator[Any]:
    try:
        kind = import_module("torch.utils.tensorboard").SummaryWriter
    except ImportError:
        kind = import_module("tensorboardX").SummaryWriter
    # A file of its own in any second, as for _let_the_second_pass.
    writer = kind(log_dir=_logging_dir(), filename_suffix=f".audit-{time.time_ns()}")
    try:
        yield SimpleNamespace(tb_writer=writer)
    finally:
        writer.close()


@contextmanager
def _wandb(arguments: Any) -> Iterator[None]:
    yield  # WandbCallback leaves it open


@contextmanager
def _mlflow(arguments: Any) -> Iterator[Any]:
    # A run takes metrics by its id, whether or not it is active. An active one is that of the thread which opened it:
    # mlflow 3, tracking/fluent.py, ``_active_run_stack``.
    yield SimpleNamespace(mlflow_run=_opened[0]) if _opened else None


@contextmanager
def _trackio(arguments: Any) -> Iterator[None]:
    trackio = import_module("trackio")
    if trackio.context_vars.current_run.get() is not None:  # the leg is being trained
        yield
        return
    more = {"space_id": "trackio_space_id", "private": "hub_private_repo", "bucket_id": "trackio_bucket_id"}
    given = {name: getattr(arguments, field) for name, field in more.items() if hasattr(arguments, field)}
    trackio.init(project=arguments.project, name=arguments.run_name, resume="allow", **given)
    try:
        yield
    finally:
        trackio.finish()


_OPENERS = {"tensorboard": _tensorboard, "wandb": _wandb, "mlflow": _mlflow, "trackio": _trackio}
