"""What `audit plan` and `audit train` say of arguments before anything is made."""

from pathlib import Path
from typing import Any

from audit.backend.training import LegData, LegRequest
from audit.errors import ConfigError
from audit_hf_trainer.training.leg import libraries, quiet, training_arguments
from audit_hf_trainer.training.needs import refuse_unmet
from tests.backends.hf_trainer.fitting import llama

SFT: dict[str, Any] = {"trainer": {"class": "trl.SFTTrainer", "modules": "."}}
DPO: dict[str, Any] = {"trainer": {"class": "trl.DPOTrainer", "modules": "."}}


def request_of(
    run: Path, arguments: dict[str, Any], data: dict[str, Any] | None = None, processes: int = 1, **more: Any
) -> LegRequest:
    settings = {"model": {"random": {}}, "arguments": {"use_cpu": True, **arguments}, "schedule": {}, **more}
    return LegRequest(str(run), None, 0, 4, LegData("", None, 1, 0, data or {}), settings, processes=processes)


def refused(request: LegRequest) -> str:
    """The words of the refusal, "" if there is none."""
    with libraries() as (torch, found, _), quiet(found):
        try:
            refuse_unmet(request, training_arguments(request, torch, found), found)
        except ConfigError as error:
            return str(error)
    return ""


def saved_base(home: Path) -> str:
    """Save a tiny model in ``home`` and return its path."""
    made = str(home / "base")
    llama().save_pretrained(made)
    return made
