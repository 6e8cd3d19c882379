"""One run in the user's tracker for all legs of a run, by the names that Trainer's own callbacks look for.

Sources, transformers 5.24, integrations/integration_utils.py: TensorBoardCallback (TENSORBOARD_LOGGING_DIR),
WandbCallback (``wandb.init`` reads WANDB_RUN_ID and WANDB_RESUME), MLflowCallback (MLFLOW_RUN_ID; a parameter that is
logged again with another value raises), TrackioCallback (``resume="allow"`` continues the run of the name).
"""

import os
from typing import Any

from audit.plugin import Note, Tell, first_line

_made: set[str] = set()
"""The MLflow runs that this process has found or made: what the environment then names is not the user's."""


def keep_one_run(run: str, name: str, arguments: Any, tell: Tell) -> None:
    """Have the trackers in ``report_to`` go on with the run of this name. What the user's environment says stays.

    Nothing raises: a leg whose tracker cannot be asked gets a run of its own in it, which is told.
    """
    trackers = arguments.report_to
    if not name or not trackers:
        return
    arguments.run_name = arguments.run_name or name
    if "tensorboard" in trackers:
        os.environ.setdefault("TENSORBOARD_LOGGING_DIR", os.path.join(os.path.abspath(run), "runs", name))
    if "wandb" in trackers and "WANDB_RUN_ID" not in os.environ:
        os.environ["WANDB_RUN_ID"] = name
        os.environ.setdefault("WANDB_RESUME", "allow")
    if "mlflow" in trackers and arguments.process_index == 0:
        try:
            _mlflow_run(name)
        except Exception as error:  # a server that does not answer must not end the training here
            tell(Note(f"mlflow: this leg gets a run of its own: {type(error).__name__}: {first_line(error)}"))


def _mlflow_run(name: str) -> None:
    """Name the MLflow run with this tag in the environment, and make it if there is none."""
    if os.environ.get("MLFLOW_RUN_ID") not in (None, *_made):
        return
    import mlflow

    client = mlflow.MlflowClient()
    asked = os.environ.get("MLFLOW_EXPERIMENT_NAME", "Default")
    experiment = client.get_experiment_by_name(asked)
    id = experiment.experiment_id if experiment is not None else client.create_experiment(asked)
    found = client.search_runs([id], f"tags.`audit.run` = '{name}'", max_results=1)
    if found:
        # The arguments of the first leg are its parameters; those of this leg differ from them.
        os.environ["MLFLOW_MAX_LOG_PARAMS"] = "0"
    run = found[0] if found else client.create_run(id, tags={"audit.run": name}, run_name=name)
    os.environ["MLFLOW_RUN_ID"] = run.info.run_id
    _made.add(run.info.run_id)
