"""Push each proven checkpoint of a training with transformers' Trainer.

The only module of this package that imports transformers and torch.
"""

import logging
from typing import Any

from transformers import TrainerCallback

from audit.plugin import checkpoint_name, first_line, load_plugins, read_config
from audit_hub.background import push
from audit_hub.settings import DEFAULT_REPO, settings_of

LOG = logging.getLogger("audit")


class HubCallback(TrainerCallback):
    """Queue each proven checkpoint for the Hub as it is saved; a process of its own pushes it.

    Put it after ``AuditCallback``, which has verified the checkpoint then; alone it does so itself. ``repo``,
    ``folder`` and ``branch`` are templates with ``{user}``, ``{prefix}``, ``{step}`` and ``{time}``; ``prefix`` is the
    name of the output directory by default. ``public``: a new repository is not private. ``depth``: "quick" compares
    what the Hub has recorded, "full" reads every byte back before a push is done. ``config`` is the path of a
    configuration (``audit.toml``) whose accepted findings count when a checkpoint is proven, as for ``AuditCallback``;
    none is looked for. Raises ConfigError for one that is not valid, and for a template that cannot be used.

    Nothing that happens at a save raises: what is not pushed is logged to the logger "audit" and is still in the queue,
    or never was because it is not proven. Process 0 does it.
    """

    def __init__(
        self,
        *,
        repo: str = DEFAULT_REPO,
        folder: str = "",
        branch: str = "main",
        prefix: str = "",
        public: bool = False,
        depth: str = "quick",
        config: str | None = None,
    ) -> None:
        if depth not in ("quick", "full"):
            raise ValueError(f"depth is {depth!r}; it must be one of quick, full")
        table = {"repo": repo, "folder": folder, "branch": branch, "prefix": prefix, "public": public, "depth": depth}
        self._settings = settings_of(table)
        self._options = read_config(config, load_plugins()) if config else None

    def on_save(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        """Queue what was saved, and start the process that pushes it."""
        _wait_for_all()  # the other processes write their random states a little later
        if args.process_index != 0 or state.is_hyper_param_search:
            return
        name = checkpoint_name(state.global_step)
        try:
            note = push(args.output_dir, name, self._settings, self._options)
            if note:
                LOG.warning("%s: %s", args.output_dir, note)
        except Exception as error:  # training goes on
            LOG.warning("%s: %s is not pushed: %s", args.output_dir, name, first_line(error))


def _wait_for_all() -> None:
    import torch

    if (
        torch.distributed.is_available()
        and torch.distributed.is_initialized()
        and torch.distributed.get_world_size() > 1
    ):
        torch.distributed.barrier()
