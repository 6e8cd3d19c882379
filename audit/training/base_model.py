"""Which base model a training uses, as far as its backend says."""

from collections.abc import Mapping

from audit.backend.training import Note, TrainingBackend
from audit.training.config import TrainConfig
from audit.training.events import Emit


class BaseModel:
    """The base model of one call. ``unread``: its weights were not there when a leg began; they were downloaded."""

    def __init__(self, config: TrainConfig, trainer: TrainingBackend, emit: Emit) -> None:
        self._config, self._trainer, self._emit = config, trainer, emit
        self.unread = self._told = False

    def identity(self) -> Mapping[str, str] | None:
        """Return the identity of the base model, None if the backend does not say."""
        asked = getattr(self._trainer, "base_identity", None)
        return asked(self._config.settings, self._config.seed) if asked is not None else None

    def at_begin(self) -> Mapping[str, str] | None:
        """Return the identity as a leg begins. Its name is told once: a path may be another one than was meant."""
        asked = getattr(self._trainer, "base_model", None)
        name = asked(self._config.settings) if asked is not None and not self._told else None
        self._told = True
        if name is not None:
            self._emit(Note(f"base model: {name}"))
        found = self.identity()
        self.unread = found is not None and "weights" not in found
        return found
