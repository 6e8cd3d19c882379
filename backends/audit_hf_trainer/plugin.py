"""Hugging Face Trainer as a backend of the audit. Imports neither torch nor transformers; training does, lazily."""

from collections.abc import Mapping
from typing import Any

from audit.backend import Backend, Layout, LegRequest, LegResult
from audit.hookspecs import hookimpl
from audit.storage import DIRECTORY, Entry
from audit_hf_trainer.layout import lay_out
from audit_hf_trainer.names import ARGUMENTS, CHECKPOINT, STATE


class HFTrainer:
    """Checkpoints of ``transformers.Trainer`` (and of its heirs: TRL, Unsloth, LLaMA-Factory, axolotl)."""

    name = "hf-trainer"
    title = "Hugging Face Trainer"
    state_file = STATE
    arguments_file = ARGUMENTS

    def checkpoint_step(self, name: str) -> int | None:
        """Return N of ``checkpoint-N``, else None; the pattern is the one that Trainer resumes by."""
        found = CHECKPOINT.fullmatch(name)
        return int(found[1]) if found else None

    def recognises(self, entries: Mapping[str, Entry]) -> bool:
        """Say whether a run's root holds a checkpoint directory, or the state or arguments that Trainer leaves there."""
        return any(
            name in (STATE, ARGUMENTS) or (entry.kind == DIRECTORY and self.checkpoint_step(name) is not None)
            for name, entry in entries.items()
        )

    def layout(
        self, entries: Mapping[str, Entry], arguments: Mapping[str, Any] | None, state: Mapping[str, Any] | None
    ) -> Layout:
        """Assign roles to the files of one checkpoint; see :func:`audit_hf_trainer.layout.lay_out`."""
        return lay_out(entries, arguments, state)

    def train(self, request: LegRequest) -> LegResult:
        """Train one leg with the real Trainer. Raises AuditError where the extra ``hf`` is not installed."""
        from audit_hf_trainer.training import train

        return train(request)


@hookimpl
def audit_backends() -> list[Backend]:
    """Return the backend."""
    return [HFTrainer()]
