"""What was trained in a run, as its ledger records it: which example in which step.

:mod:`audit.ledger.timeline_rows` makes these values of the rows of a ledger. A run without batches has an empty
timeline, for which the types of its parts are not imported.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from audit.ledger.back_events import GoingBack
    from audit.ledger.batch_events import Changed, Known
    from audit.ledger.batches import Batch, Leg, Return, SetAside


class Timeline(NamedTuple):
    """``legs`` in the order of their steps; ``batches`` in the order of their first legs; ``aside``: not trained.

    ``redo`` are batches whose steps were given up when the run went back, in the order in which they are trained again.
    ``adopted``: the steps up to this one may be of no batch; ``adopted_files``: names by digest of files that count as
    trained. A person said so, see :class:`audit.ledger.batch_events.Adopted`.

    ``returns``: how the run was taken back; ``returning``: the one that is not finished, without the batches whose
    files were moved already; ``given_up``: steps after this one are given up, though no leg was begun since; None: no
    such step. ``dropped``: files that are never to be trained again, by the digests of their bytes and of their rows.
    ``changes``: settings that a person changed, in order; :meth:`settings_at` has those that are in effect.
    """

    legs: "tuple[Leg, ...]" = ()
    batches: "tuple[Batch, ...]" = ()
    aside: "tuple[SetAside, ...]" = ()
    redo: "tuple[Batch, ...]" = ()
    adopted: int = 0
    adopted_files: Mapping[str, str] = {}
    returns: "tuple[Return, ...]" = ()
    returning: "GoingBack | None" = None
    given_up: int | None = None
    dropped: Mapping[str, str] = {}
    changes: "tuple[Changed, ...]" = ()

    @property
    def over(self) -> frozenset[str]:
        """The digests of the batches of which nothing more will be trained: rejected, or their data file is lost."""
        return frozenset(leg.batch for leg in self.legs if leg.over)

    def is_given_up(self, step: int) -> bool:
        """Return whether the run was taken back to before ``step``, and nothing was trained since."""
        return self.given_up is not None and step > self.given_up

    def owner(self, step: int) -> "Leg | None":
        """Return the leg whose batch goes on after ``step``, None if there is none.

        A batch that is complete at ``step`` is returned until another one begins.
        """
        index = bisect_right(self.legs, step, key=lambda leg: leg.first_step)
        return self.legs[index - 1] if index else None

    def base_at(self, step: int) -> Mapping[str, str] | None:
        """Return the identity of the base model that the steps up to ``step`` were trained on, None if unknown."""
        return next((leg.base for leg in reversed(self.legs) if leg.base and leg.first_step < step), None)

    def beyond(self, step: int) -> "tuple[Batch, ...]":
        """Return the batches that follow the owner of ``step``: those begun later, and those given up."""
        owner = self.owner(step)
        later = dict.fromkeys(leg.batch for leg in self.legs if leg.first_step > step)
        known = {item.digest: item for item in self.batches}
        over = self.over
        ahead = [known[digest] for digest in later if digest not in over and (owner is None or digest != owner.batch)]
        return (*ahead, *(item for item in self.redo if item.digest not in later))

    def held_out_at(self, step: int) -> str | None:
        """Return the digest of the file on which ``step`` was evaluated, None if that is not known."""
        leg = self.owner(step - 1)
        return leg.held_out if leg is not None else None

    def is_comparable(self, step: int, until: int | None = None) -> bool:
        """Return whether an evaluation at ``step`` is of the held-out file of the newest leg, or of that at ``until``.

        What was evaluated without a known file is comparable if that leg's is not known either.
        """
        newest = self.held_out_at(until) if until is not None else self.legs[-1].held_out if self.legs else None
        return newest is None or self.held_out_at(step) == newest

    def settings_at(self, step: int) -> Mapping[str, float]:
        """Return the changed settings that the checkpoint of ``step`` was trained with."""
        found: dict[str, float] = {}
        for leg in self.legs:
            if leg.first_step < step:
                found.update(leg.changes)
        return found

    def wanted_at(self, step: int) -> Mapping[str, float]:
        """Return the changed settings that a batch which begins at ``step`` is to be trained with."""
        return {name: value for item in self.changes if item.step <= step for name, value in item.settings.items()}

    def changed_between(self, name: str, before: int, after: int) -> bool:
        """Whether a setting was changed after the step ``before`` and before the step ``after``."""
        return any(name in leg.changes and before <= leg.first_step < after for leg in self.legs if leg.changes)

    def begins_between(self, before: int, after: int) -> bool:
        """Whether a leg begins after one of two logged steps and before the other."""
        index = bisect_left(self.legs, before, key=lambda leg: leg.first_step)
        return index < len(self.legs) and self.legs[index].first_step < after

    def unseen(self, step: int) -> bool:
        """Whether ``step`` trained examples that no step before had: it is in the first epoch of its batch."""
        owner = self.owner(step - 1)
        if owner is None or owner.examples is None or owner.examples_per_step is None:
            return True
        epochs = owner.epochs
        return owner.example_at(step - 1) * epochs < owner.examples

    def trained(self, digest: str, step: int) -> "tuple[Leg, int] | None":
        """Return the last leg of a batch up to ``step``, and how many of its examples were trained by then.

        None if none were. Another batch may have followed before it was complete, if its file was gone.
        """
        end = step
        for leg in reversed(self.legs):
            if leg.first_step > step:
                continue
            if leg.batch == digest:
                return leg, leg.example_at(end)
            end = leg.first_step
        return None

    def known(self, digest: str) -> "tuple[Known, ...]":
        """Return the errors that were in the run before the first step of a batch."""
        return next((leg.known for leg in self.legs if leg.batch == digest), ())

    def of_rows(self, rows: str | None) -> "Batch | None":
        """Return the batch that was trained to its end on these rows, whatever the bytes of its file; None if none."""
        if rows is None:
            return None
        from audit.ledger.batch_events import RETIRED

        digests = {leg.batch for leg in self.legs if leg.rows == rows}
        digests |= {part.batch for leg in self.legs for part in leg.parts if part.rows == rows}
        found = (file for item in self.batches for file in item.files)
        return next((item for item in found if item.digest in digests and item.state == RETIRED), None)

    def batch(self, digest: str) -> "Batch | None":
        """Return the batch of this data file; of a batch of several files, the part that is this one."""
        known = (*self.batches, *self.redo)
        found = next((item for item in known if item.digest == digest), None)
        if found is not None:
            return found
        parts = [item.file_of(part) for item in known for part in item.parts if part.batch == digest]
        return max(parts, key=lambda item: item.trained, default=None)  # it may have been in one that was given up

    def before(self, step: int) -> "tuple[Batch, ...]":
        """Return the data files that were trained to their end up to ``step``, in the order of their first legs."""
        over = self.over
        ended = (item for item in self.batches if item.trained and item.digest not in over)
        return tuple(file for item in ended if item.step <= step for file in item.files)
