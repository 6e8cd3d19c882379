"""PyTorch Lightning as a backend that reads: the files of ``ModelCheckpoint`` and ``Trainer.save_checkpoint``."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from audit.plugin import DIRECTORY, FILE, ITSELF, Stateless, hookimpl, is_checkpoint_file, step_of_file

# Every verification imports this module, and most ask for none of these.
if TYPE_CHECKING:
    from audit.plugin import Backend, Entry, Layout


_LAST = r"last(-v[0-9]+)?\.ckpt"
META = "meta.pt"
"""All but weights and optimizers, of FSDP and ModelParallel (lightning 2.6, ``_METADATA_FILENAME``)."""

ENGINES = ("checkpoint/mp_rank_00_model_states.pt", "checkpoint/zero_pp_rank_0_mp_rank_00_model_states.pt")
"""The same of DeepSpeed, whose tag is "checkpoint": of ZeRO 0 to 2, of ZeRO 3 (``DeepSpeedStrategy``)."""


class Lightning(Stateless):
    """Reads checkpoints of ``lightning.Trainer``: each is a file, or a directory of shards. There is no log in them."""

    name = "lightning"
    title = "PyTorch Lightning (.ckpt)"
    units = (FILE, DIRECTORY)
    last_written = (META, "latest", ITSELF)
    """``meta.pt`` and ``latest`` of the directories that the strategies FSDP, ModelParallel and DeepSpeed save."""

    inexact = "Lightning saves no random states and no place in the data"
    saves_over = True
    values_in = (META, *ENGINES)
    parts: ClassVar[Mapping[str, tuple[str | int, ...]]] = {
        "step": ("global_step",),
        "weights": ("state_dict",),
        "optimizer": ("optimizer_states", 0),
        "scheduler": ("lr_schedulers", 0),
        "scaler": ("MixedPrecision",),
    }
    """lightning 2.6, ``_CheckpointConnector.dump_checkpoint``."""

    def checkpoint_step(self, name: str) -> int | None:
        """Return N of ``step=N`` in the name of a file, else None: other names tell no step, such as ``last.ckpt``."""
        return step_of_file(name)

    def step_inside(self, name: str) -> bool:
        """Say whether a file is a checkpoint whose step only its content tells."""
        return is_checkpoint_file(name)

    def means_newest(self, name: str) -> bool:
        """Say whether a name is that of ``save_last``: ``last.ckpt``, or ``last-v1.ckpt`` where that was taken."""
        return re.fullmatch(_LAST, name) is not None

    def recognises(self, entries: "Mapping[str, Entry]") -> bool:
        """Say whether a run's root holds such files, and no checkpoint of Trainer, beside which they are strays."""
        ours = any(self.step_inside(name) and entry.kind in self.units for name, entry in entries.items())
        return ours and not any(name.startswith("checkpoint-") for name in entries)

    def layout(
        self,
        entries: "Mapping[str, Entry]",
        arguments: Mapping[str, Any] | None,
        state: Mapping[str, Any] | None,
    ) -> "Layout":
        """Assign the roles to parts of the file; see :func:`audit_lightning.layout.lay_out`."""
        from audit_lightning.layout import lay_out

        return lay_out(entries, state, self.parts)


@hookimpl
def audit_backends() -> "list[Backend]":
    """Return the backend."""
    return [Lightning()]
