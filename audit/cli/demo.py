"""``audit demo``: train a tiny LoRA model in three batches offline, verify it, break it, show what is found."""

import argparse
import os
import sys
import tempfile

from audit.cli.parser import use_color
from audit.cli.progress_of_training import Screen
from audit.errors import AuditError
from audit.hookspecs import Context
from audit.judging.decision import notes_on
from audit.judging.verification import verify_report as verify
from audit.manager import load
from audit.report import SOUND
from audit.reporters import console
from audit.training.demo import BATCHES, STEPS, break_copies, train_batches
from audit.training.events import Event, FileDuplicate, FileRejected, FileRetired

EXAMPLES = (
    ("audit demo", "takes about a minute; needs pip install 'checkpoint-audit[hf]'"),
    ("audit demo --keep demo/", "keep the runs in demo/ to try other commands on"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--keep", metavar="DIR", help="work in DIR, which must not exist yet, and keep everything there"
    )


def call(arguments: argparse.Namespace) -> int:
    """Run the demonstration; 0 if the sound run is called sound and every broken copy broken."""
    if arguments.keep is None:
        with tempfile.TemporaryDirectory(prefix="audit-demo-") as scratch:
            return _demonstrate(scratch)
    if os.path.exists(arguments.keep):
        raise AuditError(f"--keep {arguments.keep}: is already there; name a new directory")
    os.makedirs(arguments.keep)
    return _demonstrate(arguments.keep)


def _demonstrate(scratch: str) -> int:
    registry = load()
    shown = Context(color=use_color(sys.stdout))
    print(f"Training a tiny LoRA model with Hugging Face Trainer: {BATCHES} batches of {STEPS} steps, offline.\n")
    print("$ audit train train.toml", flush=True)
    with Screen(quiet=False) as screen:
        run = train_batches(scratch, registry, lambda event: screen.show(_inside(event, scratch)))
    report = verify(run, registry=registry)
    failures = int(report.verdict != SOUND)
    print("\n$ audit verify current_model/")
    print(console.render([report._replace(path="current_model")], shown))
    for breakage in break_copies(run, scratch, registry):
        print(f"--- {breakage.title}\n    Trainer itself: {breakage.trainer}.\n\n$ audit verify current_model/")
        print(console.render([breakage.report._replace(path="current_model")], shown))
        print("$ audit guard current_model/")
        for skipped in breakage.decision.skipped:
            print(f"skipped {skipped.checkpoint}: {skipped.reason}")
        for note in notes_on(breakage.decision):
            print(f"note: {note}")
        print(f"current_model/{breakage.decision.checkpoint}\n", flush=True)
        failures += not (
            breakage.report.verdict != SOUND and _another(breakage.decision.checkpoint, report.resume_from)
        )
    if failures:
        print(
            f"{failures} step{'s' if failures != 1 else ''} of this demo did not end as expected; please report this."
        )
        return 1
    print("The sound run was called sound; every broken checkpoint was found and refused, and a sound one handed out.")
    return 0


def _inside(event: Event, scratch: str) -> Event:
    """The event with the path as a user would see it from the working directory."""
    if isinstance(event, FileRetired | FileRejected | FileDuplicate) and event.to:
        return event._replace(to=os.path.relpath(event.to, scratch))
    return event


def _another(handed_out: str | None, newest: str | None) -> bool:
    return handed_out is not None and handed_out != newest
