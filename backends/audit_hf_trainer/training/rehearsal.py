"""Rehearse a leg of ``audit train``: resume as it would, compare what was restored, train a few steps."""

import os
from typing import Any

from audit.plugin import LegRequest, Rehearsal, RehearsalRequest, Tell, scratch_directory
from audit_hf_trainer.settings import schedule_of
from audit_hf_trainer.training.effects import check_effects
from audit_hf_trainer.training.leg import failures, loaded, made_trainer, print_nothing

MEASURED = frozenset({"reduce_lr_on_plateau", "greedy"})
"""Schedules that follow what an evaluation measures."""
WORKERS = ("dataloader_num_workers", "dataloader_prefetch_factor", "dataloader_persistent_workers")
"""Examples are read in the process itself, which sees them so; they are the same."""


def rehearse(request: RehearsalRequest, tell: Tell) -> Rehearsal:
    """Restore and train as asked; see :class:`audit.backend.rehearsal.RehearsingBackend`."""
    leg = quieter(request.leg)
    with loaded(leg, tell) as (torch, transformers, peft):
        from audit_hf_trainer.training.watched import Watched

        watch = Watched(
            leg.resume_from or "",
            request.steps,
            tell,
            last=leg.last_step,
            first=leg.data.first,
            arrivals=request.arrivals,
            changed=bool(leg.changes),
            fresh=True,
        )
        with failures(leg, watch, torch), scratch_directory(leg.run, os.environ.get("RANK", "0")) as scratch:
            trainer = made_trainer(leg, tell, watch, scratch, torch, transformers, peft, watch)
            check_effects(trainer, allowed=(Watched,))
            watch.watch(trainer)
            print_nothing(trainer, transformers)
            return watch.run()


def quieter(leg: LegRequest) -> LegRequest:
    """Return the leg without what it would do beside training: saving, reporting, and evaluating if it may be."""
    arguments: dict[str, Any] = {
        **{key: value for key, value in leg.settings.get("arguments", {}).items() if key not in WORKERS},
        "report_to": "none",
        "push_to_hub": False,
        "save_strategy": "no",
    }
    options, settings = dict(leg.data.options), dict(leg.settings)
    if schedule_of(leg.settings) not in MEASURED:
        arguments = {**arguments, "eval_strategy": "no", "eval_on_start": False}
        options.pop("eval", None)
        settings.pop("guard", None)  # the best checkpoint is not kept where none is saved
    return leg._replace(settings={**settings, "arguments": arguments}, data=leg.data._replace(options=options))
