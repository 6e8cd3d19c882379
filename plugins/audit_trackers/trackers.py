"""The runs that Trainer's own callbacks have opened, each behind the same four methods.

A tracker is looked for only if its library was imported already: nothing is opened, and nothing is installed for it.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Tracker(Protocol):
    """A run that is open. ``numbers`` and ``url`` belong to a step of the training; an ``alert`` calls a person."""

    name: str

    def numbers(self, values: Mapping[str, float], step: int) -> None:
        """Log metrics."""

    def verdict(self, text: str, step: int) -> None:
        """Log the verdict in words."""

    def url(self, text: str, step: int) -> None:
        """Log where a checkpoint was pushed to."""

    def alert(self, title: str, text: str) -> None:
        """Tell somebody, where the tracker can."""


class TensorBoard:
    """Through the writer of transformers' callback, tensorboardX or torch's own; closed when the training ends."""

    name = "tensorboard"

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def numbers(self, values: Mapping[str, float], step: int) -> None:
        for key, value in values.items():
            self._writer.add_scalar(key, value, step)
        self._writer.flush()

    def verdict(self, text: str, step: int) -> None:
        self._writer.add_text("audit/verdict_text", text, step)

    def url(self, text: str, step: int) -> None:
        self._writer.add_text("checkpoint_url", text, step)

    def alert(self, title: str, text: str) -> None:
        self._writer.add_text("audit/alert", f"{title}: {text}")


class Wandb:
    """``wandb.run``. Its step counts calls of ``log``, so that of the training is logged as a value beside."""

    name = "wandb"

    def __init__(self, run: Any) -> None:
        self._run = run

    def numbers(self, values: Mapping[str, float], step: int) -> None:
        self._run.log({**values, "train/global_step": step})

    def verdict(self, text: str, step: int) -> None:
        self._run.summary["audit/verdict_text"] = text

    def url(self, text: str, step: int) -> None:
        self._run.log({"checkpoint_url": text, "checkpoint_step": step, "train/global_step": step})
        self._run.summary["checkpoint_url"] = text

    def alert(self, title: str, text: str) -> None:
        self._run.alert(title=title, text=text)


class MLflow:
    """A run by its id: other code may end it and begin another, and in a thread none is active."""

    name = "mlflow"

    def __init__(self, client: Any, id: str) -> None:
        self._client, self._id = client, id

    def numbers(self, values: Mapping[str, float], step: int) -> None:
        for key, value in values.items():
            self._client.log_metric(self._id, key, value, step=step)

    def verdict(self, text: str, step: int) -> None:
        self._client.set_tag(self._id, "audit.verdict", text)

    def url(self, text: str, step: int) -> None:
        self._client.set_tag(self._id, f"audit.checkpoint.{step}", text)

    def alert(self, title: str, text: str) -> None:
        self._client.set_tag(self._id, "audit.alert", f"{title}: {text}")


class Trackio:
    """The current run. Its step counts calls of ``log``, as that of wandb does."""

    name = "trackio"

    def __init__(self, module: Any, run: Any) -> None:
        self._module, self._run = module, run

    def numbers(self, values: Mapping[str, float], step: int) -> None:
        self._run.log({**values, "train/global_step": step})

    def verdict(self, text: str, step: int) -> None:
        self._run.log({"audit/verdict_text": text, "train/global_step": step})

    def url(self, text: str, step: int) -> None:
        self._run.log({"checkpoint_url": text, "train/global_step": step})

    def alert(self, title: str, text: str) -> None:
        self._module.alert(title=title, text=text)


def open_now(callbacks: Sequence[Any] = ()) -> list[Tracker]:
    """Return the runs that are open in this process.

    TensorBoard's is the ``tb_writer`` of one of the ``callbacks``, that of MLflow the active one, unless one of them
    has its id as ``mlflow_run``.
    """
    found: list[Tracker] = []
    writer, mlflow_run = (
        next((there for item in callbacks if (there := getattr(item, name, None)) is not None), None)
        for name in ("tb_writer", "mlflow_run")
    )
    if writer is not None:
        found.append(TensorBoard(writer))
    wandb = sys.modules.get("wandb")
    if wandb is not None and getattr(wandb, "run", None) is not None:
        found.append(Wandb(wandb.run))
    mlflow = sys.modules.get("mlflow")
    if mlflow is not None and mlflow_run is None and (active := mlflow.active_run()) is not None:
        mlflow_run = active.info.run_id
    if mlflow is not None and mlflow_run is not None:
        found.append(MLflow(mlflow.MlflowClient(), mlflow_run))
    trackio = sys.modules.get("trackio")
    if trackio is not None and (current := trackio.context_vars.current_run.get()) is not None:
        found.append(Trackio(trackio, current))
    return found
