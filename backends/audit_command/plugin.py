"""Any launcher as a backend that trains: axolotl, accelerate, torchrun, a script. It reads no checkpoints itself."""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from audit.plugin import hookimpl

# Every verification imports this module, and most ask for none of these.
if TYPE_CHECKING:
    from audit.plugin import LegRequest, LegResult, Team, Tell, TrainingBackend


class Command:
    """Runs ``command.argv`` for each leg; what it saves is read by the backend that recognises the run."""

    name = "command"
    title = "any launcher as a subprocess"
    reads_rows = False
    owns_order = False  # the command has to honour skip_examples and last_step itself

    def schema(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the tables [command] and [arguments]."""
        from audit_command.settings import SCHEMA

        return SCHEMA

    def check(self, settings: Mapping[str, Any]) -> None:
        """Refuse unknown placeholders, and those that would have no value."""
        from audit_command.settings import check

        check(settings)

    def examples_per_step(self, settings: Mapping[str, Any], processes: int) -> int | None:
        """Return the configured number: the processes are those of the command, not of the audit."""
        found = settings["command"].get("examples_per_step")
        return None if found is None else int(found)

    def arguments(self, request: "LegRequest") -> Mapping[str, Any] | None:
        """Return the table [arguments] with placeholders filled in; None without one."""
        from audit_command.settings import arguments_of

        return arguments_of(request)

    def team(self, settings: Mapping[str, Any]) -> "AbstractContextManager[Team]":
        """One process: the command starts its own. Raises AuditError if a launcher started several of this one."""
        from audit.plugin import Alone, AuditError

        if os.environ.get("RANK", "").isdigit() and os.environ.get("WORLD_SIZE", "1") not in ("", "1"):
            raise AuditError(
                "the backend 'command' cannot run under a launcher: put torchrun or accelerate launch in "
                "command.argv and call audit train directly"
            )
        return nullcontext(Alone())

    def train(self, request: "LegRequest", tell: "Tell") -> "LegResult":
        """Run the command once."""
        from audit_command.running import train

        return train(request, tell)


@hookimpl
def audit_training_backends() -> "list[TrainingBackend]":
    """Return the backend."""
    return [Command()]
