"""torch.distributed.checkpoint as a backend that reads: torchtitan, and scripts that call ``dcp.save`` themselves."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from audit.plugin import Stateless, hookimpl

# Every verification imports this module, and most ask for none of these.
if TYPE_CHECKING:
    from audit.plugin import Backend, Entry, Files, Layout

NAME = r"(step-|step_|global_step_?|checkpoint-|checkpoint_|epoch_)([0-9]{1,18})"
"""``step-N`` is torchtitan's; the others are common in scripts. N of ``epoch_N`` and ``checkpoint_N`` is no step."""

METADATA = ".metadata"
PARTS = ("", "model/", "optimizer/", "optim/")
"""Where the metadata is: in the checkpoint itself, or in a directory for each state that was saved by itself."""

OPTIMIZER = ("optimizer/", "optim/")

_OF_RANK = re.compile(r"__([0-9]{1,6})(?:\.metadata|_[0-9]{1,6}\.distcp)", re.ASCII)
"""A file that one process wrote; its own metadata is there if the processes saved without each other."""

_FOREIGN = ("trainer_state.json", "random_states_0.pkl", "common.pt", "latest")
"""Files of Trainer, accelerate, Megatron and DeepSpeed, which keep such states inside their own checkpoints."""


class TorchDCP(Stateless):
    """Reads directories of ``torch.distributed.checkpoint.save``; there is no trainer state and no log in them."""

    name = "torch-dcp"
    title = "torch.distributed.checkpoint (torchtitan, dcp.save)"
    pattern = NAME
    inexact = (
        "a state of torch.distributed.checkpoint does not say whether it has all that its program draws and reads from"
    )
    last_written = tuple(f"{part}{name}" for name in (METADATA, f"__0{METADATA}") for part in PARTS)

    def counts_steps(self, name: str) -> bool:
        """Say whether N counts steps."""
        return not name.startswith(("epoch_", "checkpoint_"))

    def wrote(self, entries: "Mapping[str, Entry]") -> bool:
        """Say whether ``dcp.save`` wrote a checkpoint: it has shards, and no file of another backend."""
        shards = any(name.endswith(".distcp") and name[: name.rfind("/") + 1] in PARTS for name in entries)
        return shards and not any(name in entries for name in _FOREIGN)

    def layout(
        self,
        entries: "Mapping[str, Entry]",
        arguments: Mapping[str, Any] | None,
        state: Mapping[str, Any] | None,
    ) -> "Layout":
        """Assign roles: all shards and their metadata are what a resume reads, and so are torch files beside them."""
        from audit.plugin import Files, Layout, is_metadata, rank_of_metadata

        files = Files(entries)
        parts = tuple(_sharded(files))
        optimizer = tuple(path for path in parts if path.startswith(OPTIMIZER))
        weights = tuple(path for path in parts if path not in optimizer)
        owed = {"weights": next((path for path in weights if is_metadata(path)), METADATA)}
        homes = sorted({path[: path.rfind("/") + 1] for path in parts})
        for home in homes:
            role = "optimizer" if home in OPTIMIZER else f"weights:{home}"
            tables = _tables_owed(home, parts)
            owed[role] = tables[0]
            owed.update({f"{role}:{number}": path for number, path in enumerate(tables[1:], 1)})
        alone = [path for path in parts if rank_of_metadata(path) is not None]
        return Layout(
            "fsdp",
            world_size=max(Counter(path.rpartition("/")[0] for path in alone).values()) if alone else None,
            sharded_weights=weights,
            sharded_optimizer=optimizer or weights,  # one state for all of them, if it was saved at once
            others=tuple(sorted(name for name in files.root if name.endswith((".pt", ".pth", ".bin", ".safetensors")))),
            skips=True,  # a script may keep its gradient scaler elsewhere
            owed=owed,
            missing={role: name for role, name in owed.items() if not files.has(name)},
        )


def _sharded(files: "Files") -> "Iterator[str]":
    """The shards and the metadata that a resume reads: that of each process only where there is none for all.

    Source: torch 2.13, ``state_dict_loader._load_state_dict``.
    """
    from audit.plugin import is_metadata

    for path in sorted(files.entries):
        home, _, name = path.rpartition("/")
        whole = f"{home}/{METADATA}" if home else METADATA
        if files.has(path) and (
            name.endswith(".distcp") or path == whole or (is_metadata(path) and not files.has(whole))
        ):
            yield path


def _tables_owed(home: str, parts: tuple[str, ...]) -> list[str]:
    """The metadata that a state owes: one, or that of each process that has written a shard or its metadata."""
    names = [path.removeprefix(home) for path in parts if path.startswith(home) and "/" not in path.removeprefix(home)]
    if not any(_OF_RANK.fullmatch(name) and name.endswith(METADATA) for name in names):
        return [f"{home}{METADATA}"]
    ranks = {int(found[1]) for name in names if (found := _OF_RANK.fullmatch(name))}
    return [f"{home}__{rank}{METADATA}" for rank in sorted(ranks)]


@hookimpl
def audit_backends() -> "list[Backend]":
    """Return the backend."""
    return [TorchDCP()]
