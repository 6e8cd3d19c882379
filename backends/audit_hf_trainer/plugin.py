"""Hugging Face Trainer as a backend. Imports neither torch nor transformers before it trains."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from audit.plugin import DIRECTORY, checkpoint_step, hookimpl
from audit_hf_trainer.names import ARGUMENTS, LATEST, STATE

# Every verification imports this module, and most ask for none of these.
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from audit.plugin import (
        Backend,
        Entry,
        Layout,
        LegData,
        LegRequest,
        LegResult,
        OpenTrackers,
        ReadExample,
        Rehearsal,
        RehearsalRequest,
        Size,
        Team,
        Tell,
        TrainingBackend,
    )


class HFTrainer:
    """Reads and trains checkpoints of ``transformers.Trainer``, also of TRL, Unsloth, LLaMA-Factory and axolotl."""

    name = "hf-trainer"
    title = "Hugging Face Trainer"
    state_file = STATE
    arguments_file = ARGUMENTS
    pointers = (LATEST,)
    reads_rows = True
    owns_order = True
    keeps_best = True
    libraries = ("torch", "transformers", "accelerate", "peft", "trl", "bitsandbytes", "deepspeed")

    def checkpoint_step(self, name: str) -> int | None:
        """Return N of ``checkpoint-N``, else None; the pattern is that of Trainer's resume."""
        return checkpoint_step(name)

    def recognises(self, entries: "Mapping[str, Entry]") -> bool:
        """Say whether a run's root holds a checkpoint directory, or Trainer's state or arguments."""
        return any(
            name in (STATE, ARGUMENTS) or (entry.kind == DIRECTORY and self.checkpoint_step(name) is not None)
            for name, entry in entries.items()
        )

    def layout(
        self,
        entries: "Mapping[str, Entry]",
        arguments: Mapping[str, Any] | None,
        state: Mapping[str, Any] | None,
        texts: Mapping[str, str] | None = None,
    ) -> "Layout":
        """Assign roles to the files of one checkpoint; see :func:`audit_hf_trainer.layout.lay_out`."""
        from audit_hf_trainer.layout import lay_out

        return lay_out(entries, arguments, state, texts)

    def schema(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the tables [model], [adapter] and [arguments], with the fields of the installed libraries."""
        from audit_hf_trainer.tables import schema

        return schema()

    def check(self, settings: Mapping[str, Any]) -> None:
        """Refuse a model with two descriptions or none, and a schedule whose rate would jump."""
        from audit_hf_trainer.settings import check

        check(settings)

    def examples_per_step(self, settings: Mapping[str, Any], processes: int) -> int:
        """Return batch size x accumulation x processes; each process trains on one device."""
        arguments = settings.get("arguments", {})
        batch = arguments.get("per_device_train_batch_size", 8)
        return int(batch) * int(arguments.get("gradient_accumulation_steps", 1)) * processes

    def arguments(self, request: "LegRequest") -> Mapping[str, Any]:
        """Return the training arguments of a leg, as it would be trained."""
        from audit_hf_trainer.settings import arguments_of

        return arguments_of(request)

    def adapter(self, settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the LoRA configuration with PEFT's defaults, None for a full fine-tune."""
        from audit_hf_trainer.planned_adapter import planned_adapter

        return planned_adapter(settings)

    def base_model(self, settings: Mapping[str, Any]) -> str | None:
        """Return ``model.name_or_path``, None for a model with random weights."""
        name = settings.get("model", {}).get("name_or_path")
        return None if name is None else str(name)

    def base_identity(self, settings: Mapping[str, Any], seed: int) -> Mapping[str, str]:
        """Return what tells the base model from another one of the same name; nothing is downloaded."""
        from audit_hf_trainer.base import base_identity

        return base_identity(settings, seed)

    def base_directory(self, settings: Mapping[str, Any]) -> str | None:
        """Return the directory of the model, which may be in the cache of the Hub; nothing is downloaded."""
        from audit_hf_trainer.base import base_directory

        return base_directory(settings)

    def tried(self, request: "LegRequest") -> str | None:
        """Build what the leg would be trained with, without weights or a device."""
        _ready(request.settings)
        from audit_hf_trainer.training.trial import tried

        return tried(request)

    def row_trial(
        self, settings: Mapping[str, Any]
    ) -> "Callable[[Iterable[tuple[int, Mapping[str, Any], str]], LegData], str | None]":
        """Return the function that makes examples of rows as a leg does; no weights are loaded."""
        _ready(settings)
        from audit_hf_trainer.training.reading import row_trial

        return row_trial(settings)

    def changeable(self, settings: Mapping[str, Any]) -> Mapping[str, float]:
        """Return the arguments that a resume takes from the checkpoint, as far as the configuration sets them."""
        from audit_hf_trainer.settings import CHANGEABLE

        given = settings.get("arguments", {})
        return {name: float(given[name]) for name in CHANGEABLE if isinstance(given.get(name), int | float)}

    def checkpoint_size(self, settings: Mapping[str, Any]) -> "Size | None":
        """Estimate from the tensors of the model, without creating them."""
        _ready(settings)
        from audit_hf_trainer.training.sizing import checkpoint_size

        return checkpoint_size(settings)

    def largest_checkpoint(self, settings: Mapping[str, Any]) -> "Size | None":
        """Return what a checkpoint takes at most, from the sizes of the model's files alone; no library is loaded."""
        from audit_hf_trainer.base import largest_checkpoint

        return largest_checkpoint(settings)

    def reader(
        self, data: "LegData", settings: Mapping[str, Any]
    ) -> "Callable[[int, Mapping[str, Any], str], ReadExample] | None":
        """Return how rows become examples, with the tokenizer and the limits of the model; no weights are loaded."""
        if settings.get("trainer"):
            return None
        _ready(settings)
        from audit_hf_trainer.training.reading import reader

        return reader(data, settings)

    def starting_tables(self, model: str, whole_model: bool) -> str:
        """Return [model], [adapter] and [arguments] of a first configuration."""
        from audit_hf_trainer.starting import starting_tables

        return starting_tables(model, whole_model)

    def one_process(self, settings: Mapping[str, Any]) -> bool:
        """Say whether one process may train leg after leg: not where libraries keep what changes the next one."""
        from audit_hf_trainer.settings import one_process

        return one_process(settings)

    def tracks(self, settings: Mapping[str, Any]) -> bool:
        """Say whether ``report_to`` names a tracker that what was found can be logged to."""
        from audit_hf_trainer.settings import tracks

        return tracks(settings)

    def trackers(self, without: "Collection[str]") -> "AbstractContextManager[OpenTrackers]":
        """Open the runs again that the last leg has logged to."""
        from audit_hf_trainer.training.tracked import opened_again

        return opened_again(without)

    def team(self, settings: Mapping[str, Any]) -> "AbstractContextManager[Team]":
        """Join the other processes of ``torchrun`` or ``accelerate launch``."""
        from audit_hf_trainer.training.team import team

        return team(settings)

    def train(self, request: "LegRequest", tell: "Tell") -> "LegResult":
        """Train one leg with Trainer. Raises AuditError if the extra ``hf`` is not installed."""
        _ready(request.settings)
        from audit_hf_trainer.training.leg import train

        return train(request, tell)

    def rehearse(self, request: "RehearsalRequest", tell: "Tell") -> "Rehearsal":
        """Resume, compare what was restored with the files, train a few steps. Raises AuditError as :meth:`train`."""
        _ready(request.leg.settings)
        from audit_hf_trainer.training.rehearsal import rehearse

        return rehearse(request, tell)


def _ready(settings: Mapping[str, Any]) -> None:
    """Before the libraries are loaded: without the hub they use their cache alone."""
    from audit_hf_trainer.hub import use_cache_if_unreachable

    use_cache_if_unreachable(settings.get("model", {}))


@hookimpl
def audit_backends() -> "list[Backend]":
    """Return the backend."""
    return [HFTrainer()]


@hookimpl
def audit_training_backends() -> "list[TrainingBackend]":
    """Return it as one that trains, too."""
    return [HFTrainer()]
