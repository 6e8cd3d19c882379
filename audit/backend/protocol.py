"""What the core asks of a trainer backend."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from audit.storage import DIRECTORY, Entry

if TYPE_CHECKING:
    from audit.backend.layout import Layout, Place

ITSELF = "the file"
"""The path, inside a checkpoint that is one file, of that file: the same in all, so that files can be compared.

It is a phrase, and no name of a file, because rules write it into their messages.
"""


class Backend(Protocol):
    """One trainer: its checkpoints on disk. What trains is an :class:`audit.backend.training.TrainingBackend`.

    ``state_file`` and ``arguments_file`` are "" if the trainer writes no such file. What else a backend may have is
    asked for by the functions of this module: ``last_written``, ``announces``, ``saves_over``, ``counts_steps``,
    ``wrote``, ``units``, ``parts``, ``values_in``, ``step_inside``, ``means_newest``, ``inexact``.
    """

    name: str
    title: str
    state_file: str
    arguments_file: str

    def checkpoint_step(self, name: str) -> int | None:
        """Return N for the name of a checkpoint directory that this trainer would resume from, else None."""
        ...

    def recognises(self, entries: Mapping[str, Entry]) -> bool:
        """Say from the names in a run's root whether this trainer wrote it."""
        ...

    def layout(
        self, entries: Mapping[str, Entry], arguments: Mapping[str, Any] | None, state: Mapping[str, Any] | None
    ) -> "Layout":
        """Assign roles to the files of one checkpoint. ``entries`` are keyed by path relative to it.

        A checkpoint that is one file has the single path ITSELF, and ``state`` is the dictionary in it; of a directory
        in its place it is that of the first file in ``values_in``.

        A backend with an attribute ``pointers``, names of short text files that name others (DeepSpeed's ``latest``),
        gets their texts by name as a fourth argument.
        """
        ...


def last_written(backend: Backend) -> tuple[str, ...]:
    """Return the files of which a save writes one last, relative to the checkpoint: with one of them it is complete.

    A backend says so by an attribute ``last_written``; without it, it is the trainer state.
    """
    return getattr(backend, "last_written", (backend.state_file,))


def last_in(backend: Backend, entries: Mapping[str, Entry]) -> Entry | None:
    """Return the file of a checkpoint that its save wrote last, None if it is not there."""
    return next((entries[name] for name in last_written(backend) if name in entries), None)


def announced_in(backend: Backend) -> str | None:
    """Return the file in the run's root that a save writes after everything else, None if there is none.

    A backend says so by an attribute ``announces``: DeepSpeed's ``latest``, which names the newest checkpoint.
    """
    return getattr(backend, "announces", None)


def saves_over(backend: Backend) -> bool:
    """Whether a save may go into a directory that is there already, and so leaves what it writes last until the end.

    A backend says so by an attribute ``saves_over``: Lightning's ``last.ckpt``.
    """
    return bool(getattr(backend, "saves_over", False))


def means_newest(backend: Backend, name: str) -> bool:
    """Whether a checkpoint of this name is meant to be the newest of its run, whatever its step.

    A backend with such names says so by a method ``means_newest(name)``: Lightning's ``last.ckpt``.
    """
    means = getattr(backend, "means_newest", None)
    return means is not None and bool(means(name))


def inexact_in(backend: Backend, name: str, files: Callable[[], Iterable[str]]) -> str:
    """Return why no file says that a resume from a checkpoint goes on bit for bit; "" if the rules judge that.

    A backend whose trainer saves no random states says so by an attribute ``inexact``; where it depends on the name of
    the checkpoint or on the names of what is in it, by a method ``inexact(name, files)``.
    """
    why = getattr(backend, "inexact", "")
    return str(why(name, frozenset(files())) if callable(why) else why)


def names_count_steps(backend: Backend, name: str) -> bool:
    """Whether N in the name of a checkpoint counts steps, rather than epochs or saves.

    A backend whose names may count something else says so by a method ``counts_steps(name)``.
    """
    counts = getattr(backend, "counts_steps", None)
    return counts is None or bool(counts(name))


def only_steps_counted(backend: Backend) -> bool:
    """Whether the names of all its checkpoints count steps."""
    return not hasattr(backend, "counts_steps")


def writers_of(claims: Sequence[Backend], checkpoints: Iterable[Mapping[str, Entry]]) -> Sequence[Backend]:
    """Return which of the backends that recognise a run by its names wrote it: one if the files tell.

    ``checkpoints`` are the entries of each checkpoint by relative path. A backend whose names other programs use as
    well has a method ``wrote(entries)``; the first checkpoint that one of them, and only one, wrote decides. A complete
    checkpoint of a backend without it comes first, wherever it is: Trainer's next save may still lack its state, and
    somebody else's directory in a run does not make the run theirs.
    """
    sure = [backend for backend in claims if unmistakable(backend)]
    if len(sure) == len(claims):
        return claims
    found: Sequence[Backend] = sure
    for entries in checkpoints:
        if any(last_in(backend, entries) is not None for backend in sure):
            return sure
        if found is sure:
            writers = [item for item in claims if not unmistakable(item) and item.wrote(entries)]  # type: ignore[attr-defined]
            found = writers if len(writers) == 1 else sure
    return found


def units(backend: Backend) -> tuple[str, ...]:
    """Return the kinds of entries of a run's root that may be checkpoints.

    A backend whose checkpoints are files, too, says so by an attribute ``units``, such as ``(FILE, DIRECTORY)``.
    """
    return getattr(backend, "units", (DIRECTORY,))


def parts(backend: Backend) -> "Mapping[str, Place]":
    """Return where in a checkpoint that is one file the state of each role is: the attribute ``parts`` of a backend."""
    return getattr(backend, "parts", {})


def values_in(backend: Backend) -> tuple[str, ...]:
    """Return the torch files of which the first one that a directory has holds what ``parts`` and a layout ask for.

    A backend whose checkpoints are files, or directories in their place, says so by an attribute ``values_in``; of a
    checkpoint that is one file it is that file.
    """
    return getattr(backend, "values_in", ())


def has_step_inside(backend: Backend, name: str) -> bool:
    """Whether an entry of this name is a checkpoint whose step is told by its content alone (``parts["step"]``).

    A backend with such names says so by a method ``step_inside(name)``.
    """
    inside = getattr(backend, "step_inside", None)
    return inside is not None and bool(inside(name))


def unmistakable(backend: Backend) -> bool:
    """Whether the names in a run's root are enough to recognise the trainer."""
    return not hasattr(backend, "wrote")
