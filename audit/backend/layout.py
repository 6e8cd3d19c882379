"""Which file of a checkpoint plays which part: what a backend says of it, and what readers and rules go by."""

from collections.abc import Mapping
from typing import NamedTuple

Place = tuple[str | int, ...]
"""Where in a file a state is: keys of dictionaries and positions in lists."""


class AdapterFiles(NamedTuple):
    """One PEFT adapter of a checkpoint: its directory inside the checkpoint ("" is the checkpoint itself)."""

    name: str
    directory: str
    config: str | None
    weights: str | None


class Layout(NamedTuple):
    """Which file of one checkpoint plays which part, and which files its configuration owes.

    All names are relative to the checkpoint. A role that is None or empty is not there; a role in ``owed`` must
    be there, and ``missing`` are those that are not. Both map a role to the file: "weights", "state", "optimizer",
    "scheduler", "scaler", "adapter_config", "latest"; parts of a role have a suffix ("weights:second" of the adapter
    ``second``, "optimizer:1" of rank 1). ``kind`` is "adapter", "full", "fsdp", "deepspeed" or "unknown" (no weights
    recognised). ``shadowing`` are full-model files that the trainer would load in place of the run's own weights.
    ``others`` are further files that a resume reads: a second optimizer, the position of a data loader. ``unread`` says
    what of a file that a resume reads the backend knows that nobody judges, by path: "holds two optimizers". ``config``
    is the configuration of the whole model, which no resume reads.

    If one file plays several parts, ``parts`` says where in it the state of a role is. ``step`` is the one that the
    checkpoint is of, if the backend knows it from the content.
    ``schedule_at`` are the values of the schedule's ``last_epoch`` that fit the step, where that is not the step
    itself; ``skips``: the trainer may count a step without an update of the optimizer.
    """

    kind: str
    weights: tuple[str, ...] = ()
    shard_index: str | None = None
    adapters: tuple[AdapterFiles, ...] = ()
    shadowing: tuple[str, ...] = ()
    state: str | None = None
    arguments: str | None = None
    optimizer: str | None = None
    scheduler: str | None = None
    scaler: str | None = None
    rng: tuple[str, ...] = ()
    sharded_weights: tuple[str, ...] = ()
    sharded_optimizer: tuple[str, ...] = ()
    world_size: int | None = None
    weights_only: bool = False
    others: tuple[str, ...] = ()
    unread: Mapping[str, str] = {}
    config: str | None = None
    parts: Mapping[str, Place] = {}
    step: int | None = None
    schedule_at: tuple[int, ...] = ()
    skips: bool = False
    owed: Mapping[str, str] = {}
    owed_rng: tuple[str, ...] = ()
    missing: Mapping[str, str] = {}
    missing_rng: tuple[str, ...] = ()

    @property
    def read_by_resume(self) -> frozenset[str]:
        """The paths of all files that the trainer opens when it resumes, adapter configurations included.

        ``training_args.bin``, tokenizers and ``config.json`` are not among them: Trainer writes them for people.
        """
        if self.kind == "deepspeed":  # the engine loads its own states, and not the files for deployment beside them
            states = (self.state, self.scheduler, self.scaler)
            own = (*self.sharded_weights, *self.sharded_optimizer, *self.rng, *self.others, *states)
            return frozenset(path for path in own if path)
        single = (self.shard_index, self.state, self.optimizer, self.scheduler, self.scaler)
        adapters = [path for adapter in self.adapters for path in (adapter.config, adapter.weights)]
        several = (
            self.weights, self.shadowing, self.rng, self.sharded_weights, self.sharded_optimizer, self.others
        )  # fmt: skip
        return frozenset(path for path in (*single, *adapters, *(path for group in several for path in group)) if path)
