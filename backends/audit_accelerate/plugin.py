"""accelerate as a backend that reads: diffusers' scripts, the no_trainer examples, SimpleTuner, kohya."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from audit.plugin import Stateless, hookimpl

# Every verification imports this module, and most ask for none of these.
if TYPE_CHECKING:
    from audit.plugin import Backend, Entry, Layout

NAME = r"(checkpoint-|checkpoint_|step_|epoch_)([0-9]{1,18})"
"""``checkpoint-N`` of diffusers and SimpleTuner, ``step_N`` and ``epoch_N`` of the no_trainer examples, and
``checkpoint_N`` of ``ProjectConfiguration(automatic_checkpoint_naming=True)``, where N counts saves."""

STATES = "random_states_0.pkl"
"""Written last but for the objects of ``register_for_checkpointing`` (accelerate 1.15, ``save_accelerator_state``)."""

_OF_LOADERS = ("sampler", "dl_state_dict")
"""How the files of the seedable sampler and of stateful loaders begin: ``sampler.bin``, ``dl_state_dict_1.bin``."""

_FOREIGN = ("trainer_state.json",)


class Accelerate(Stateless):
    """Reads the directories of ``accelerate.Accelerator.save_state``; there is no trainer state and no log in them."""

    name = "accelerate"
    title = "accelerate (save_state)"
    pattern = NAME
    last_written = (STATES,)

    def counts_steps(self, name: str) -> bool:
        """Say whether N counts updates: not in ``epoch_N`` and ``checkpoint_N``."""
        return name.startswith(("checkpoint-", "step_"))

    def inexact(self, name: str, files: Collection[str]) -> str:
        """Say why no file tells that a resume is exact: only at the end of an epoch is no place in the data needed.

        Measured with accelerate 1.15: within an epoch ``load_state`` restores the random states before the loader
        draws one number, so that dropout masks others; and a shuffled order is drawn anew. A stateful loader, and the
        seedable sampler if the script does not call ``set_epoch``, give another order at the end of an epoch, too.
        """
        if not name.startswith("epoch_"):
            return "accelerate does not save how far an epoch has come, nor its order"
        found = sorted(file for file in files if file.startswith(_OF_LOADERS))
        return f"{found[0]} does not say which order the next epoch has" if found else ""

    def wrote(self, entries: "Mapping[str, Entry]") -> bool:
        """Say whether accelerate wrote a checkpoint: it has random states, and no state of Trainer."""
        return STATES in entries and not any(name in entries for name in _FOREIGN)

    def layout(
        self,
        entries: "Mapping[str, Entry]",
        arguments: Mapping[str, Any] | None,
        state: Mapping[str, Any] | None,
    ) -> "Layout":
        """Assign roles to the files of one checkpoint; see :func:`audit_accelerate.layout.lay_out`."""
        from audit_accelerate.layout import lay_out

        return lay_out(entries)


@hookimpl
def audit_backends() -> "list[Backend]":
    """Return the backend."""
    return [Accelerate()]
