"""DeepSpeed as a backend that reads: scripts that call ``engine.save_checkpoint(RUN)`` themselves."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from audit.plugin import Stateless, hookimpl

# Every verification imports this module, and most ask for none of these.
if TYPE_CHECKING:
    from audit.plugin import Backend, Entry, Layout

NAME = r"global_step([0-9]{1,18})"
"""The tag that ``save_checkpoint`` makes of the engine's ``global_steps`` if it is given none."""

LATEST = "latest"
MODELS = ("mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_model_states.pt")
"""Of ZeRO 0 to 2, of ZeRO 3. Process 0 writes it, and the partitions after it."""

_MODEL = r"(zero_pp_rank_[0-9]{1,6}_)?mp_rank_[0-9]{2,6}_model_states\.pt"
_STATES = r"[^/]*_states\.pt"


class DeepSpeed(Stateless):
    """Reads ``global_stepN/`` and ``latest`` of ``DeepSpeedEngine.save_checkpoint``; there is no log in them."""

    name = "deepspeed"
    title = "DeepSpeed (engine.save_checkpoint)"
    pattern = NAME
    last_written = MODELS
    inexact = "DeepSpeed saves no random states and no place in the data"
    announces = LATEST

    def wrote(self, entries: "Mapping[str, Entry]") -> bool:
        """Say whether DeepSpeed wrote a checkpoint, by the names of its files."""
        return any(re.fullmatch(_STATES, name) for name in entries)

    def layout(
        self,
        entries: "Mapping[str, Entry]",
        arguments: Mapping[str, Any] | None,
        state: Mapping[str, Any] | None,
    ) -> "Layout":
        """Assign roles: the engine's model states, and all other states, of ZeRO, experts or pipelines."""
        from audit.plugin import Files, Layout

        files = Files(entries)
        models = files.matching(_MODEL)
        owed = {"weights": models[0] if models else MODELS[0]}
        return Layout(
            "deepspeed",
            sharded_weights=models,
            sharded_optimizer=tuple(name for name in files.matching(_STATES) if name not in models),
            skips=True,  # the engine skips steps that overflow
            owed=owed,
            missing={role: name for role, name in owed.items() if not files.has(name)},
        )


@hookimpl
def audit_backends() -> "list[Backend]":
    """Return the backend."""
    return [DeepSpeed()]
