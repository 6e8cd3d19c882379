"""``checkpoint-N`` <-> N: the name that Trainer gives a checkpoint's directory, and how its rotation recognises one.

``transformers.trainer_utils``: ``PREFIX_CHECKPOINT_DIR`` is the prefix, ``_re_checkpoint`` what a resume finds,
``rotate_checkpoints`` deletes by the glob ``checkpoint-*``.

Other trainers use other names. Which of them a run has is up to its backend; where files are kept, moved or counted
without one, every name counts that a backend of this package reads.
"""

import os
from collections.abc import Iterable

PREFIX = "checkpoint-"
TEMPORARY_PREFIX = "tmp-checkpoint-"
"""An older Trainer saved under this name and renamed the directory when it was complete."""

_OF_OTHERS = ("checkpoint_", "step_", "step-", "epoch_", "global_step_", "global_step")
"""accelerate's scripts and its automatic naming, torchtitan, DeepSpeed."""
_FILE_SUFFIX = ".ckpt"
_STEP_OF_FILE = r"(?:.*[-_ ])?step=([0-9]+)(?:[-_. ].*)?"
"""PyTorch Lightning: ``epoch=3-step=120.ckpt``, and ``epoch=3-step=120-v1.ckpt`` where that name was taken."""
_LONGEST_STEP = 18
"""Digits: a step that fits in 63 bits. Longer ones are made up, and SQLite and numpy could not hold them."""


def _digits(name: str, prefixes: Iterable[str]) -> str | None:
    """The digits of ASCII that are all of a name after one of the prefixes, None if there is something else."""
    for prefix in prefixes:
        digits = name[len(prefix) :]
        if name.startswith(prefix) and digits.isascii() and digits.isdigit():
            return digits
    return None


def _step(digits: str | None) -> int | None:
    return int(digits) if digits is not None and len(digits) <= _LONGEST_STEP else None


def name_of(step: int) -> str:
    """Return the name of the checkpoint of a step."""
    return f"{PREFIX}{step}"


def step_of(name: str) -> int | None:
    """Return N of ``checkpoint-N``, else None; ASCII digits only, at most 18."""
    return _step(_digits(name, (PREFIX,)))


def number_of(name: str) -> int | None:
    """Return N of the name that any trainer gives a checkpoint, else None; ASCII digits only, at most 18.

    It orders the checkpoints of a run. What it counts is up to the trainer: steps, epochs, saves.
    """
    digits = _digits(name, (PREFIX, *_OF_OTHERS))
    return step_of_file(name) if digits is None else _step(digits)


def step_of_file(name: str) -> int | None:
    """Return N of ``step=N`` in the name of a checkpoint that is a file, else None; ASCII digits only, at most 18."""
    if not is_checkpoint_file(name):
        return None
    import re  # few names need it

    found = re.fullmatch(_STEP_OF_FILE, name.removesuffix(_FILE_SUFFIX))
    return _step(found[1] if found else None)


def step_of_path(path: str) -> int | None:
    """Return N of a path, of any system, that ends with ``checkpoint-N``, else None."""
    return step_of(path.replace("\\", "/").rstrip("/").rpartition("/")[2])


def step_written_to(name: str) -> int | None:
    """Return N of a directory that a save of step N writes to, under its own name or the temporary one, else None."""
    return step_of(name.removeprefix("tmp-") if name.startswith(TEMPORARY_PREFIX) else name)


def is_checkpoint(name: str) -> bool:
    """Whether a directory of this name is meant as a checkpoint: any number of digits.

    For what the user names and for where nothing is written: a directory with a step of 30 digits is still
    no place for files of somebody else, though no trainer resumes from it.
    """
    return _digits(name, (PREFIX,)) is not None


def checkpoint_around(directory: str) -> str | None:
    """Return the name of the checkpoint that a directory is in, or is, links resolved; None if there is none."""
    return next((part for part in os.path.realpath(directory).split(os.sep) if is_checkpoint(part)), None)


def is_checkpoint_of_any(name: str) -> bool:
    """Whether some trainer calls a checkpoint so: any number of digits. A run may have such a name as well."""
    return _digits(name, (PREFIX, *_OF_OTHERS)) is not None or is_checkpoint_file(name)


def is_checkpoint_file(name: str) -> bool:
    """Whether some trainer saves a checkpoint as a file of this name, or as a directory in place of that file."""
    return name.endswith(_FILE_SUFFIX) and not name.startswith(".")


def order(name: str) -> tuple[int, str]:
    """Return a key that sorts checkpoints by number, of any number of digits; other names come first."""
    digits = _digits(name, (PREFIX, *_OF_OTHERS))
    return -1 if digits is None else int(digits), name


def is_rotated(name: str) -> bool:
    """Whether the rotation of a trainer takes a directory of this name for one of its own and deletes it in its turn.

    Also the sign that something was trained in a directory: ``checkpoint-best`` counts.
    """
    return name.startswith(PREFIX)


def is_trace(name: str) -> bool:
    """Whether a directory of this name shows that something was trained: of any trainer, rotated or not."""
    return is_rotated(name) or is_checkpoint_of_any(name)


def is_left_by_save(name: str) -> bool:
    """Whether a save, finished or not, leaves a directory of this name."""
    return name.startswith((PREFIX, TEMPORARY_PREFIX))


def without_number(place: str) -> str | None:
    """Return the name of a checkpoint that was moved to a free name: ``checkpoint-300`` of ``checkpoint-300.1``.

    None if it is no checkpoint; see :func:`audit.audit_dir.free_name`.
    """
    name, dot, number = place.partition(".")
    fits = is_checkpoint_of_any(name) and (not dot or (number.isascii() and number.isdigit()))
    return name if fits else None
