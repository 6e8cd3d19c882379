"""One damaged run at a time: what is drawn, what the audit says of it, and what must hold whatever was drawn."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from audit.api import verify
from audit.findings import Severity
from audit.judging.guard import consult
from audit.manager import Registry
from audit.options import Options
from audit.report import Report
from tests.campaign.layouts import Layout, copied, made
from tests.campaign.operators import OPERATORS, Inapplicable, Spot
from tests.campaign.oracle import why_not

RANKS = ("sound", "suspect", "broken")
SECONDS = 60
"""Processor time in which any instance is judged; most take a tenth of a second."""
OPTIONAL = ("rng_state", "scaler.pt")
"""Files without which Trainer goes on, with other dropout masks or another scale: a warning, no refusal."""
TIMES = 4
"""How often a byte is read at most: its file is parsed, scanned, and compared with another."""


class Draw(NamedTuple):
    """One damage: the operator, the checkpoint and the file by their places, and the seed of what it does there."""

    operator: str
    checkpoint: int
    file: int
    other: int
    seed: str


class Judged(NamedTuple):
    """What became of one instance. ``read``: a resume reads the damaged file; ``file`` is its path in the run."""

    draw: Draw
    file: str
    read: bool
    quick: bool
    full: bool
    sealed: bool
    rules: tuple[str, ...]
    verdict: str
    newest: bool
    problems: tuple[str, ...]


class Bench:
    """A sound run of one layout, once as it was written and once with seals, and what is tried on copies of them."""

    def __init__(self, layout: Layout, place: Path, registry: Registry) -> None:
        self.layout, self.place, self.registry = layout, place, registry
        self.clean = made(layout, place)
        self.sealed = copied(self.clean, place / "sealed")
        self.verify(self.sealed, ledger=True)
        self.newest = layout.checkpoints(self.clean)[-1].name

    def verify(self, run: Path, depth: str = "full", ledger: bool = False) -> Report:
        """Judge a run; a rule that takes more than its processor time is stopped, and counts as crashed."""
        with limited():
            options = Options(depth=depth, ledger=ledger, settle_seconds=0)
            return verify(run, options, registry=self.registry)

    def draw(self, operator: str, chance: Random) -> Draw:
        """Choose a place; mostly in the newest checkpoint."""
        checkpoints = self.layout.checkpoints(self.clean)
        last = len(checkpoints) - 1
        at = last if chance.random() < 0.7 else chance.randrange(len(checkpoints))
        file = chance.randrange(len(self.layout.files(checkpoints[at])))
        other = chance.choice([number for number in range(len(checkpoints)) if number != at])
        return Draw(operator, at, file, other, str(chance.random()))

    def damage(self, run: Path, draw: Draw, as_rot: bool = False) -> Path:
        """Do it, and return the file it was done to; ``as_rot`` puts its times back. Raises Inapplicable."""
        if self.layout.single and OPERATORS[draw.operator].removes:
            raise Inapplicable  # a checkpoint less, which nothing has to report
        checkpoints = self.layout.checkpoints(run)
        files = self.layout.files(checkpoints[draw.checkpoint])
        spot = Spot(
            files[draw.file], self.layout.files(checkpoints[draw.other])[draw.file], tuple(files), Random(draw.seed)
        )
        times = os.stat(spot.file)
        OPERATORS[draw.operator].operator(spot)
        if as_rot and spot.file.is_file() and not spot.file.is_symlink():
            os.utime(spot.file, ns=(times.st_atime_ns, times.st_mtime_ns))
        return spot.file

    def drawn(self, operator: str, chance: Random, avoid: Draw | None = None) -> Draw | None:
        """A draw at which the operator can do something, and not at the file of ``avoid``; None if none was met."""
        for _ in range(40):
            draw = self.draw(operator, chance)
            if avoid is not None and draw[1:3] == avoid[1:3]:
                continue
            try:
                self.damage(copied(self.clean, self.place / "tried"), draw)
            except Inapplicable:
                continue
            return draw
        return None

    def judge(self, draw: Draw) -> Judged:
        """Put one damage to every judge."""
        run = copied(self.clean, self.place / "run-of-one")
        path = self.damage(run, draw)
        changed = tree(run) != tree(self.clean)
        problems = []
        quick, full, again = self.verify(run, "quick"), self.verify(run), self.verify(run)
        problems += crashes(quick) + crashes(full)
        if said(full) != said(again):
            problems.append("two reports of one input")
        if full.bytes_read > TIMES * (size := sum(size for _, size in sizes(run))):
            problems.append(f"{full.bytes_read} bytes were read of {size}")
        handed, wrong = self.guard(run)
        problems += wrong
        sealed_run = copied(self.sealed, self.place / "run-of-one")
        # A checkpoint of one file whose time is new may have been saved again, and its seal is then of another save.
        self.damage(sealed_run, draw, as_rot=self.layout.single or float(draw.seed) < 0.5)
        sealed = self.verify(sealed_run, ledger=True)
        problems += crashes(sealed)
        kind = OPERATORS[draw.operator]
        checkpoint = self.layout.checkpoints(self.clean)[draw.checkpoint]
        inside = path.relative_to(run / checkpoint.name).as_posix()
        read = self.layout.is_read(inside) and not kept(self.clean, sealed_run, path, run)
        if kind.harmless:
            if serious(full) or serious(sealed):
                problems.append(f"a false alarm: {serious(full) or serious(sealed)}")
        elif changed and read:
            if not serious(sealed):
                problems.append("a file that a resume reads was changed, and the seal does not say so")
            if not kind.untold and not serious(full):
                problems.append("this kind of damage always leaves a trace, and nothing was found")
        return Judged(
            draw, path.relative_to(run).as_posix(), read, bool(serious(quick)), bool(serious(full)), bool(serious(sealed)),
            serious(full), full.verdict, handed == self.newest, tuple(problems),
        )  # fmt: skip

    def judge_pair(self, one: Draw, two: Draw) -> tuple[str, str, str, list[str]]:
        """Verdicts on the first, the second and both, and what did not hold."""
        verdicts = []
        problems = []
        for draws in ((one,), (two,), (one, two)):
            run = copied(self.clean, self.place / "run-of-two")
            for draw in draws:
                self.damage(run, draw)
            report = self.verify(run)
            problems += crashes(report)
            verdicts.append(report.verdict)
        problems += self.guard(run)[1]
        if RANKS.index(verdicts[2]) < max(RANKS.index(verdict) for verdict in verdicts[:2]):
            problems.append(f"both are {verdicts[2]}, alone they are {verdicts[0]} and {verdicts[1]}")
        first, second, both = verdicts
        return first, second, both, problems

    def guard(self, run: Path) -> tuple[str | None, list[str]]:
        """What the guard hands out, and what is wrong with it by other means than the audit's."""
        with limited():
            options = Options(settle_seconds=0, ledger=False)
            decision = consult(str(run), options=options, registry=self.registry).decision
        problems: list[str] = []
        if decision.checkpoint is None:
            return None, problems
        place = run / decision.checkpoint
        clean = self.clean / decision.checkpoint
        expected = self.layout.files(clean) if clean.exists() else []
        for path in expected:
            inside = path.relative_to(clean).as_posix()
            subject = place / inside if inside != "." else place
            if not self.layout.is_read(inside) or (inside.startswith(OPTIONAL) and not subject.is_file()):
                continue
            if problem := why_not(subject):
                problems.append(f"the guard hands out {decision.checkpoint}, whose {inside} {problem}")
        return decision.checkpoint, problems


def crashes(report: Report) -> list[str]:
    """Rules that crashed."""
    return [f"{item.rule} crashed" for item in report.crashed]


def serious(report: Report) -> tuple[str, ...]:
    """The rules that found something at or above warning."""
    return tuple(sorted({item.rule for item in report.findings if item.severity is not Severity.INFO}))


def said(report: Report) -> Any:
    """All of a report but how long it took."""
    return (*report._replace(seconds=0.0, outcomes=()), list(report.outcomes))


def sizes(run: Path) -> Iterator[tuple[str, int]]:
    """The files of a run and their sizes."""
    return ((str(path.relative_to(run)), path.lstat().st_size) for path in sorted(run.rglob("*")) if not path.is_dir())


def tree(run: Path) -> dict[str, object]:
    """What is in a run: links by their target, files by their bytes."""
    return {
        str(path.relative_to(run)): os.readlink(path)
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else None
        for path in run.rglob("*")
        if ".audit" not in path.parts
    }


def kept(clean: Path, sealed_run: Path, path: Path, run: Path) -> bool:
    """Whether the sealed file has the bytes that it had: something was added beside it."""
    name = path.relative_to(run)
    now, before = sealed_run / name, clean / name
    return now.is_file() and not now.is_symlink() and now.read_bytes() == before.read_bytes()


@contextmanager
def limited(seconds: float = SECONDS) -> Iterator[None]:
    """Raise TimeoutError after so much processor time of this process."""

    def stop(number: int, frame: object) -> None:
        raise TimeoutError(f"more than {seconds} s of processor time")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
