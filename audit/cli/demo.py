"""``audit demo``: train a tiny LoRA model in three batches offline, verify it, break it, show what is found."""

import argparse
import os
import sys
import tempfile

from audit.cli.parser import use_color
from audit.demo import BATCHES, STEPS, break_copies, train_batches
from audit.errors import AuditError
from audit.manager import load
from audit.report import SOUND
from audit.reporters import console

EXAMPLES = (
    ("audit demo", "a minute; needs the extra hf: pip install 'checkpoint-audit[hf]'"),
    ("audit demo --keep demo/", "leave the runs in demo/, to try the other commands on"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--keep", metavar="DIR", help="work in this new directory and leave everything there")
    parser.add_argument("--backend", default="hf-trainer", metavar="NAME")


def call(arguments: argparse.Namespace) -> int:
    """Run the demonstration; 0 if the sound run is called sound and every broken copy broken."""
    if arguments.keep is None:
        with tempfile.TemporaryDirectory(prefix="audit-demo-") as scratch:
            return _demonstrate(scratch, arguments.backend)
    if os.path.exists(arguments.keep):
        raise AuditError(f"--keep {arguments.keep}: is already there; name a new directory")
    os.makedirs(arguments.keep)
    return _demonstrate(arguments.keep, arguments.backend)


def _demonstrate(scratch: str, backend_name: str) -> int:
    registry = load()
    backend = registry.backend(backend_name)
    run = os.path.join(scratch, "current_model")
    color = use_color(sys.stdout)
    failures = 0
    print(
        f"Training a tiny LoRA model with {backend.title}: {BATCHES} batches of {STEPS} steps, offline.\n", flush=True
    )
    report = None
    for batch in train_batches(run, backend, registry):
        report = batch.report
        print(
            f"  batch {batch.number}: steps {batch.first_step + 1} to {batch.last_step}, "
            f"loss {batch.first_loss:.3f} -> {batch.last_loss:.3f}, verdict {report.verdict}, "
            f"resume from {report.resume_from}",
            flush=True,
        )
        failures += report.verdict != SOUND
    assert report is not None
    print("\n$ audit verify current_model/")
    print(console.render([report._replace(path="current_model")], color=color))
    for breakage in break_copies(run, scratch, registry):
        print(f"--- {breakage.title}\n    Trainer itself: {breakage.trainer}.\n\n$ audit verify current_model/")
        print(console.render([breakage.report._replace(path="current_model")], color=color))
        print("$ audit guard current_model/")
        for skipped in breakage.decision.skipped:
            print(f"skipped {skipped.checkpoint}: {skipped.reason}")
        print(f"current_model/{breakage.decision.checkpoint}\n", flush=True)
        failures += not (breakage.report.verdict != SOUND and _older(breakage.decision.checkpoint, report.resume_from))
    if failures:
        print(f"{failures} step(s) of this demonstration did not end as they should; please report this.")
        return 1
    print("The sound run was called sound; every broken checkpoint was found and refused, an older one handed out.")
    return 0


def _older(handed_out: str | None, newest: str | None) -> bool:
    return handed_out is not None and handed_out != newest
