"""What going back to a checkpoint would give up (``audit train --back-to``), and whether that is possible."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from audit.audit_dir import PINNED, QUARANTINE, pinned_names
from audit.backend.names import order, step_of, without_number
from audit.errors import AuditError
from audit.judging.auditor import Auditor
from audit.judging.resume import provable
from audit.ledger.batch_events import LegBegun
from audit.ledger.batches import Batch
from audit.ledger.events import SealTaken
from audit.ledger.records import Records, read_records
from audit.ledger.store import Row
from audit.ledger.timeline import Timeline
from audit.manager import Registry
from audit.options import Options
from audit.retention.pins import linked
from audit.retention.quarantine import held
from audit.training.batch_log import BatchLog
from audit.training.data_files import DataFiles
from audit.training.held_file import HeldFiles
from audit.training.run_state import TrainRefused


class Target(NamedTuple):
    """A checkpoint that the run may go back to. ``place`` is relative to the run, empty if it is in the run itself."""

    checkpoint: str
    step: int
    place: str

    def __str__(self) -> str:
        home, place = os.path.split(self.place)
        numbered = f" as {place}" if place not in ("", self.checkpoint) else ""
        where = {PINNED: " (its pin)", QUARANTINE: f" (in quarantine{numbered})"}.get(home, "")
        return f"{self.checkpoint}{where}"


class WayBack(NamedTuple):
    """What is given up: ``aside`` are the checkpoints that are moved to quarantine, ``reached`` the newest step.

    ``again`` are the batches that are trained again, as a whole or from the step of the target on; ``drop`` those that
    are never trained again. Of a group of which a file is dropped they are its files.
    """

    target: Target
    aside: tuple[str, ...]
    reached: int
    again: tuple[Batch, ...]
    drop: tuple[Batch, ...]

    @property
    def nothing(self) -> bool:
        """Whether the run is there already."""
        return not (self.aside or self.again or self.drop or self.target.place or self.reached > self.target.step)


class Surveyor:
    """Finds ways back in one run, judged by ``options``; nothing is changed or recorded."""

    def __init__(
        self, run: str, options: Options, registry: Registry, log: BatchLog, files: DataFiles, held_files: HeldFiles
    ) -> None:
        self._run, self._options, self._registry, self._log = run, options, registry, log
        self._files, self._held_files = files, held_files

    def find(self, timeline: Timeline, name: str, drop: tuple[str, ...], skip_lost: bool) -> WayBack:
        """Return what going back to the checkpoint ``name`` gives up. Raises TrainRefused, which says what can be."""
        named = os.path.basename(name.rstrip("/"))
        name = without_number(named) or named
        only = named if named != name else None  # checkpoint-80.1, as audit quarantine --list calls it
        records, _ = read_records(self._run, write=False)
        self._check(timeline, name)
        problem = records.unusable or records.edited
        if problem:
            raise AuditError(f"--back-to: {problem}")
        rows = self._log.rows()
        reasons = []
        for target in self._places():
            if target.checkpoint == name and only in (None, os.path.basename(target.place)):
                reason = self._why_not(target, records, rows)
                if reason is None:
                    return self._measured(target, timeline, drop, skip_lost)
                reasons.append(f"{target} {reason}")
        there = self._proven(records, rows, name)
        why = "; ".join(reasons) or f"there is no {named} in the run, its pins or its quarantine"
        can = (
            f"it can go back to: {', '.join(map(str, there))}"
            if there
            else "there is no checkpoint that it can go back to"
        )
        raise TrainRefused(f"{self._run}: --back-to: {why}; {can}")

    def proven(self, timeline: Timeline) -> list[Target]:
        """Return the checkpoints that the run may go back to, by step, every byte of them read. Raises AuditError."""
        records, _ = read_records(self._run, write=False)
        if records.unusable or records.edited:
            return []
        found = []
        for target in self._proven(records, self._log.rows()):
            try:
                self._check(timeline, target.checkpoint)
            except TrainRefused:
                continue
            found.append(target)
        return found

    def _proven(self, records: Records, rows: tuple[Row, ...], but: str = "") -> list[Target]:
        there: dict[str, Target] = {}
        for item in self._places():
            if item.checkpoint != but and item.checkpoint not in there and not self._why_not(item, records, rows):
                there[item.checkpoint] = item
        return list(there.values())

    def _check(self, timeline: Timeline, name: str) -> None:
        """Refuse what would leave files that are neither trained nor waiting. Raises TrainRefused."""
        step = step_of(name)
        if step is None:
            return
        if step < timeline.adopted:
            raise TrainRefused(
                f"{self._run}: --back-to: the steps up to {timeline.adopted} were adopted, and the ledger does not record "
                "which files they are of: go back to a later checkpoint, or start a new run"
            )
        last = timeline.returns[-1] if timeline.returns else None
        if timeline.is_given_up(step) and last is not None and last.dropped:
            raise TrainRefused(
                f"{self._run}: --back-to: {name} was trained on {', '.join(last.dropped)}, dropped when the run went back "
                f"to {last.checkpoint}: it can go back to that one or an earlier one"
            )

    def _places(self) -> Iterator[Target]:
        """Yield what may be gone back to, by step; of one step that in the run first, then the pin, then the newest."""
        found = [Target(name, step, "") for name in os.listdir(self._run) if (step := step_of(name)) is not None]
        found += [
            Target(name, step, os.path.join(PINNED, name))
            for name in pinned_names(self._run)
            if (step := step_of(name)) is not None
        ]
        found += [
            Target(item.name, step, os.path.join(QUARANTINE, item.place))
            for item in held(self._run)
            if (step := step_of(item.name)) is not None
        ]
        for target in sorted(found, key=_preference):
            if not os.path.islink(os.path.join(self._run, target.place or target.checkpoint)):
                yield target

    def _why_not(self, target: Target, records: Records, rows: tuple[Row, ...]) -> str | None:
        """Return why the run cannot go back to a checkpoint, None if it can: every byte of it is read."""
        if _abandoned(target, rows):
            return "is of steps that were given up before, and the ledger does not record what they were trained on"
        known = (
            records._replace(given_up={})  # it may be what is wanted
            if not target.place
            else Records(seals=records.seals, scans=records.scans, accepted=records.accepted)
        )
        with self._under_its_name(target) as path:
            run, report = Auditor(self._options, self._registry).judge(path, known)
            proven = provable(run.judged, report)
        if report.crashed:
            raise AuditError(f"rule {report.crashed[0].rule} crashed: {report.crashed[0].reason}; please report this")
        if proven:
            return None
        worst = next((item for item in report.findings if item.checkpoint == target.checkpoint), None)
        return f"is not proven{f': {worst.message} ({worst.rule})' if worst is not None else ''}"

    @contextmanager
    def _under_its_name(self, target: Target) -> Iterator[str]:
        """Give the path of a checkpoint that ends with its name: what has a number in quarantine is linked for this."""
        path = os.path.join(self._run, target.place or target.checkpoint)
        if os.path.basename(path) == target.checkpoint:
            yield path
            return
        with linked(self._run, path, target.checkpoint) as linked_path:
            yield linked_path

    def _measured(self, target: Target, timeline: Timeline, drop: tuple[str, ...], skip_lost: bool) -> WayBack:
        step = target.step
        steps = {name: found for name in os.listdir(self._run) if (found := step_of(name)) is not None}
        aside = tuple(sorted((name for name, found in steps.items() if found > step), key=order))
        later = {leg.batch for leg in timeline.legs if leg.first_step >= step}
        open_ = [*timeline.redo, *(item for item in timeline.batches if item.digest in later or item.step > step)]
        owner = timeline.owner(step)
        if owner is not None and not owner.whole_at(step):
            open_ += [item for item in timeline.batches if item.digest == owner.batch]
        over = timeline.over
        known = {item.digest: item for item in open_ if item.digest not in over}
        dropped = tuple(dict.fromkeys(item for name in drop for item in self._named(name, known, timeline, target)))
        gone = {item.digest for item in dropped}
        again = tuple(
            left
            for item in known.values()
            for left in (item.files if any(part.batch in gone for part in item.parts) else (item,))
            if left.digest not in gone
        )
        lost = [file.file for item in again for file in item.files if self._file_of(file) is None]
        if lost and not skip_lost:
            raise TrainRefused(
                f"{self._run}: --back-to: {', '.join(lost)} would be trained again, but is neither in the inbox nor in "
                "done: put it back into the inbox, drop it (--drop), or give it up with --skip-lost"
            )
        reached = max([*steps.values(), *(item.step for item in timeline.batches if item.trained)], default=step)
        return WayBack(target, aside, reached, again, dropped)

    def _named(self, name: str, known: dict[str, Batch], timeline: Timeline, target: Target) -> list[Batch]:
        """Return what is named: a batch, a file of a group, or all of them; nothing if it was dropped before.

        Raises TrainRefused.
        """
        file = os.path.basename(name)

        def meant(item: Batch) -> bool:
            return item.file == file or (len(name) >= 8 and item.digest.startswith(name))

        found = [part for item in known.values() for part in item.files if meant(part)]
        groups = [item for item in known.values() if item.parts and (meant(item) or set(found) & set(item.files))]
        if not found and len(groups) == 1:
            found = list(groups[0].files)
            self._check_group(name, groups[0], timeline, target)
            return found
        if len(found) == 1 or (not found and file in timeline.dropped.values()):
            for group in groups:
                self._check_group(name, group, timeline, target)
            return found
        if found:
            digests = ", ".join(item.digest[:12] for item in found)
            raise TrainRefused(
                f"{self._run}: --drop {name}: is the name of {len(found)} batches; give a digest: {digests}"
            )
        trained = (item for item in timeline.batches if item.trained)
        before = next((item for item in trained if file in (item.file, *(part.file for part in item.parts))), None)
        if before is not None:
            why = f"was trained by step {before.step}: "
            earlier = f"go back to a checkpoint of step {before.first_step} or earlier"
            why += earlier if before.first_step else "nothing comes before it, so start a new run without it"
        else:
            why = "was never begun; move it out of the inbox"
        after = ", ".join(item.file for item in known.values()) or "nothing"
        raise TrainRefused(f"{self._run}: --drop {name}: {why}; what follows {target.checkpoint} is {after}")

    def _check_group(self, name: str, group: Batch, timeline: Timeline, target: Target) -> None:
        """Refuse to drop a file of a group that is trained in part: it is unknown which of its examples are left."""
        past = timeline.trained(group.digest, target.step)
        if past is None or not past[1]:
            return
        ways = f"go back to a checkpoint of step {group.first_step} or earlier, or " if group.first_step else ""
        raise TrainRefused(
            f"{self._run}: --drop {name}: was trained together with other files ({group.file}), and some of that is in "
            f"{target.checkpoint}: {ways}move it out of done first, then go back with --skip-lost, which sets the other "
            "files of the group aside"
        )

    def _file_of(self, batch: Batch) -> object | None:
        return self._files.find(batch) or self._held_files.find(batch.file, batch.digest)


def _preference(target: Target) -> tuple[tuple[int, str], int, int]:
    """Sorts by step; then what is in the run, its pin, what was moved to quarantine last."""
    home, _, place = target.place.rpartition(os.sep)
    number = place.removeprefix(target.checkpoint).removeprefix(".")
    return order(target.checkpoint), ("", PINNED, QUARANTINE).index(home), -int(number or 0)


def _abandoned(target: Target, rows: tuple[Row, ...]) -> bool:
    """Whether training went on from an earlier step since a checkpoint was sealed: it is not of this history then.

    What is not in the run must have been sealed, or nobody knows when it was saved.
    """
    sealed = None
    for number, row in enumerate(rows):
        if isinstance(row.event, SealTaken) and row.event.checkpoint == target.checkpoint:
            sealed = number if row.event.files is not None else None
    if sealed is None:
        return bool(target.place)
    begun = (row.event for row in rows[sealed:] if isinstance(row.event, LegBegun))
    return any(event.first_step < target.step for event in begun)
