"""resume/data-order."""

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from audit.plugin import Checkpoint, NotApplicable, Severity, Violation, rule
from audit_rules.resume._interrupted import at_end, in_legs

if TYPE_CHECKING:
    from audit.plugin import TrainerState

_NO_LENGTH = 2**31
"""From so many epochs on the data has no length: Trainer sets ``num_train_epochs`` to ``sys.maxsize`` then."""
_ROUNDING = 1e-6


@rule(
    Severity.INFO,
    remedy="Resume from a checkpoint at the end of an epoch if each example must be trained once; or train with "
    'train_sampling_strategy = "random" and use_seedable_sampler, whose order Trainer restores.',
    breaks_exactness=True,
)
def data_order(checkpoint: Checkpoint, state: "TrainerState", arguments: Mapping[str, Any]) -> Iterator[Violation]:
    """A resume goes on with other examples than the interrupted epoch had left.

    Trainer 5.24 skips as many batches as were trained of the epoch. In the second epoch and later that is right only if
    the order of the epoch is drawn again as it was, as the seedable sampler does. With ``group_by_length``, and with
    ``use_seedable_sampler=False``, the order comes from the random state at the beginning of the epoch, which no
    checkpoint has: some examples are trained twice, others not at all, without a word. With ``dispatch_batches`` the
    number of the epoch does not reach the sampler through the one that skips (accelerate 1.15,
    ``DataLoaderDispatcher.set_epoch``), and the order is that of the first epoch. A data set without a length (a
    stream) that was read to its end and begun again is skipped from its very beginning, by all steps so far.

    Measured: after a resume within the first epoch or at the end of one, training goes on bit for bit, within a later
    one not. GRPO, RLOO and the distillation of trl 1.16 shuffle with a generator that is seeded once and goes on from
    epoch to epoch (``RepeatSampler``); no checkpoint has it. After a resume the order of the first epoch comes again,
    also at the end of an epoch. Not checked if `audit train` controls the order, nor with ``ignore_data_skip``, where
    the program provides the data. What the files do not say is not judged: a collator that draws random numbers (masked
    language modelling) has drawn those of one batch ahead at each save, so that a resume within an epoch masks other
    tokens.
    """
    if arguments.get("ignore_data_skip") is True:
        raise NotApplicable("with ignore_data_skip the program provides the data")
    found = _otherwise(state, arguments)
    if found is not None and not at_end(state) and not in_legs(checkpoint):
        yield found._replace(file=checkpoint.backend.state_file)


def _otherwise(state: "TrainerState", arguments: Mapping[str, Any]) -> Violation | None:
    """How the rest of the interrupted epoch would differ, None if it would not."""
    if state.epoch is None or not 1 <= state.epoch < math.inf:  # the JSON of Python has NaN and Infinity
        return None
    if state.num_train_epochs is not None and state.num_train_epochs >= _NO_LENGTH:
        if _at_end_of_pass(state):
            return None
        return Violation(
            "The data has no length and is not read for the first time: a resume would skip all steps so far from its "
            "beginning, and train other examples than are left",
            remedy="Train on a stream that is not read twice, or on a data set with a length, if each example must be "
            "trained once.",
        )
    within = abs(state.epoch - round(state.epoch)) > _ROUNDING
    if _generates(arguments):  # trl's trainers that generate have a sampler of their own
        if not arguments.get("shuffle_dataset", True):
            return None
        return Violation(
            "A resume would go on with the order of the first epoch, in which trl's sampler begins again"
            + (": some examples of this one would be trained twice, others not at all" if within else ""),
            remedy="Resume from a checkpoint of the first epoch, or train with shuffle_dataset = False, if the order "
            "must be that of a training which was not interrupted.",
        )
    why = _drawn_anew(arguments)
    if not why or not within:
        return None
    return Violation(
        f"A resume within this epoch would draw its order anew ({why}): some examples would be trained twice, others "
        "not at all"
    )


def _generates(arguments: Mapping[str, Any]) -> bool:
    """Whether it is a trainer with a ``RepeatSampler``. SFT has ``shuffle_dataset``, too, and shuffles once."""
    return "num_generations" in arguments or ("shuffle_dataset" in arguments and "max_completion_length" in arguments)


def _drawn_anew(arguments: Mapping[str, Any]) -> str:
    """Which argument makes the order of an epoch depend on the random state at its beginning, "" if none does."""
    strategy = arguments.get("train_sampling_strategy", "random")
    if strategy == "group_by_length" or arguments.get("group_by_length") is True:
        return "group_by_length"
    config = arguments.get("accelerator_config")
    if strategy != "random" or not isinstance(config, Mapping):
        return ""
    if config.get("dispatch_batches") is True:
        return "dispatch_batches is true"
    return "use_seedable_sampler is false" if config.get("use_seedable_sampler") is False else ""


def _at_end_of_pass(state: "TrainerState") -> bool:
    """Whether a stream was just read to its end: of each pass Trainer counts the steps as parts of ``max_steps``."""
    if not state.max_steps or state.epoch is None:
        return False
    passes = int(state.epoch)
    within = (state.epoch - passes) * state.max_steps
    return abs(state.global_step - within - within * passes) < _ROUNDING * state.max_steps
