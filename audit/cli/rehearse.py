"""``audit rehearse RUN``: the proof of a backup is to restore it."""

import argparse
import os
import sys
import time
from functools import partial

from audit.backend.training import TrainingBackend
from audit.cli.documents import add_format, write_document
from audit.cli.options import LOCAL_RUN, add_quiet
from audit.cli.parser import one_line, write
from audit.cli.table import wrapped
from audit.cli.values import seconds, steps
from audit.errors import AuditError
from audit.facts.listing import locate
from audit.judging.auditor import Auditor, refuse_unread
from audit.ledger.records import read_records
from audit.manager import Registry, load
from audit.options import Options
from audit.rehearsal.report import RehearsalReport, document, lines
from audit.training.config import TrainConfig, read_train_config
from audit.training.rehearsal import STEPS, TIMEOUT, Asked
from audit.training.rehearsal_together import rehearse_together
from audit.training.together import GRACE_SECONDS, follows
from audit.training.training_process import Stopped

CONFIG = "train.toml"
EXAMPLES = (
    ("audit rehearse current_model/", "restore what the guard would hand out, and train 5 steps of it again"),
    ("audit rehearse current_model/ --checkpoint 400", "rehearse checkpoint-400"),
    ("audit rehearse current_model/ --steps 0", "restore and compare only"),
    ("audit rehearse current_model/ --format json", "print what was compared, and what differs, as JSON"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", metavar="RUN", help=LOCAL_RUN)
    parser.add_argument(
        "--checkpoint", metavar="N", help="step or name of the checkpoint (default: the one that audit guard prints)"
    )
    parser.add_argument(
        "--steps",
        type=steps,
        metavar="K",
        help=f"steps to train again, 0: only restore (default: {STEPS}, or up to the end of a mean of losses)",
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=TIMEOUT,
        metavar="SECONDS",
        help=f"end the rehearsal after so many seconds (default: {TIMEOUT:g})",
    )
    parser.add_argument(
        "--config", metavar="FILE", default=CONFIG, help=f"configuration of audit train (default: ./{CONFIG})"
    )
    parser.add_argument("--no-ledger", action="store_true", help="do not record the result in the run's ledger")
    add_format(parser)
    add_quiet(parser, "the result")


def call(arguments: argparse.Namespace) -> int:
    """Rehearse; 0 the same, 1 something differs, 2 it cannot be rehearsed."""
    begun = False
    try:
        registry = load()
        config, trainer = _config(arguments, registry)
        asked = Asked(arguments.checkpoint, arguments.steps, arguments.timeout, not arguments.no_ledger)
        begun = True
        return rehearse_together(config, trainer, registry, asked, partial(_show, arguments))
    except Stopped:
        print("ended by SIGTERM", file=sys.stderr)
        return 143
    except AuditError:
        if not begun and follows():
            time.sleep(GRACE_SECONDS)
            return 2
        raise


def _config(arguments: argparse.Namespace, registry: Registry) -> tuple[TrainConfig, TrainingBackend]:
    """Return the configuration by which the run is trained. Raises AuditError."""
    root, _ = locate(arguments.run)
    refuse_unread(Auditor(Options(), registry).open_quick(root))
    if not os.path.exists(arguments.config) and arguments.config == CONFIG:
        if not read_records(root, write=False)[0].batches.legs:
            raise AuditError(
                f"{arguments.run}: its ledger records no leg of audit train, which a rehearsal repeats; what another "
                "program trained is rehearsed by audit_hf_trainer.rehearse(), with a trainer that you make"
            )
        raise AuditError(
            f"there is no {CONFIG} here; give the configuration by which {arguments.run} is trained: --config FILE"
        )
    config, trainer = read_train_config(arguments.config, registry)
    if os.path.realpath(config.run) != os.path.realpath(arguments.run):
        raise AuditError(f"{arguments.config}: trains {config.run}, not {arguments.run}; give its own with --config")
    return config._replace(run=arguments.run), trainer


def _show(arguments: argparse.Namespace, report: RehearsalReport) -> None:
    if arguments.format == "json":
        write_document(document(report))
    else:
        text = "".join(wrapped(one_line(line), 4) for line in lines(report, arguments.quiet > 0))
        write(text, None)
