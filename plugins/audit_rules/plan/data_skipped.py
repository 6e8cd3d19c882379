"""plan/data-skipped."""

from collections.abc import Iterator, Mapping
from math import ceil
from typing import Any

from audit.plugin import NotApplicable, Plan, Severity, Violation, rule


@rule(
    Severity.ERROR,
    remedy="Set ignore_data_skip = true, in the command and in [arguments]; a batch that was begun then continues at example "
    "{skip_examples}; the command itself must skip to it.",
    explained_by=("plan/nothing-to-train",),
)
def data_skipped(plan: Plan, arguments: Mapping[str, Any], epoch_steps: int, named_file: str) -> Iterator[Violation]:
    """Trainer would skip the beginning of the new file, as if it had been trained before.

    A resume assumes the same data as before and skips ``global_step % steps of an epoch`` batches of it. In a new file
    these examples are silently never trained: 40 of 60 rows in one measured run, 13 of 60 in another. They are lost at
    every boundary, unless the division has no remainder. In a batch that was begun, as many steps must be skipped as
    were trained of it: fewer repeats examples, more loses them.

    Not checked if `audit train` controls the order of the data, nor with ``ignore_data_skip``: then the command is
    responsible.
    """
    plan.only_where_the_trainer_decides("controls the order of the data, and nothing is skipped")
    if arguments.get("ignore_data_skip") is True:
        return
    done, first, per_step = plan.request.first_step, plan.request.data.first, plan.examples_per_step
    skipped = done % epoch_steps
    if not first:
        if skipped:
            yield Violation(
                f"Trainer would skip the first {skipped} of {epoch_steps} steps of {named_file}, some {skipped * per_step} examples "
                f"that were never trained: step {done} is not a multiple of its {epoch_steps} steps",
                expected=0,
                actual=skipped,
            )
        return
    if plan.request.data.epochs > 1:
        raise NotApplicable("the batch was begun, and is trained for several epochs")
    trained = ceil(first / per_step)
    rest = max(1, epoch_steps - trained)
    if skipped != trained and done % rest:  # the whole file is passed on, or the rest of it
        yield Violation(
            f"{trained} steps of {named_file} are trained, and Trainer would skip {skipped} (or {done % rest} of the rest): "
            f"examples would be {'repeated' if skipped < trained else 'lost'}",
            expected=trained,
            actual=skipped,
        )
