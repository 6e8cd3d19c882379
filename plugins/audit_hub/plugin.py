"""Registers ``audit hub``, and the table ``[hub]`` of ``audit train``."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from audit.plugin import Command, Observer, hookimpl

if TYPE_CHECKING:
    from audit.plugin import Options


class Hub:
    """Pushes the checkpoint of each batch that ``audit train`` has proven."""

    table = "hub"

    def schema(self) -> Mapping[str, Any]:
        from audit_hub.settings import SCHEMA

        return SCHEMA

    def check(self, settings: Mapping[str, Any]) -> None:
        from audit_hub.settings import settings_of

        settings_of(settings)

    def starting_table(self) -> str:
        from audit_hub.settings import STARTING

        return STARTING

    def begin(
        self, run: str, settings: Mapping[str, Any], home: str, options: "Options"
    ) -> Callable[[Mapping[str, Any]], str | None]:
        from audit_hub.background import pushing

        return pushing(run, settings, options)


@hookimpl
def audit_commands() -> dict[str, Command]:
    """Return ``audit hub``."""
    return {
        "hub": Command(
            "push checkpoints to the Hugging Face Hub, verify them there, pull them back", "audit_hub.command"
        )
    }


@hookimpl
def audit_observers() -> list[Observer]:
    """Return what pushes checkpoints of ``audit train``."""
    return [Hub()]
