"""``audit train CONFIG``: train every batch in the inbox, so that nothing can go wrong unseen."""

import argparse
import gc
import time
from signal import Signals

from audit.backend.training import Note
from audit.cli.options import add_training
from audit.cli.parser import complain
from audit.cli.progress_of_training import Lines, Screen
from audit.errors import AuditError
from audit.manager import load
from audit.training.config import read_train_config
from audit.training.events import Emit, Event, TrainingError, TrainingRefused, TrainingStopped
from audit.training.going_back import taken_back, way_back
from audit.training.loop import TrainOptions, train
from audit.training.notifying import notified
from audit.training.observing import observed
from audit.training.run_state import TrainRefused
from audit.training.together import GRACE_SECONDS, follows

EXAMPLES = (
    ("audit train train.toml", "train the files in the inbox, then exit"),
    ("audit train train.toml --watch", "keep running as a daemon"),
    (
        "audit train train.toml --back-to checkpoint-40 --drop bad.jsonl",
        "give up what follows, and train the rest again",
    ),
    (
        "audit train train.toml --change learning_rate",
        "train on with the learning rate that is now in the configuration",
    ),
    ("audit train train.toml --decay", "the files are the last ones: decay the learning rate (warmup_stable_decay)"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("config", metavar="CONFIG", help="TOML file that describes run, data, model and arguments")
    parser.add_argument("--watch", action="store_true", help="keep running as a daemon and train each new file")
    add_training(parser)
    parser.add_argument(
        "--adopt",
        action="store_true",
        help="continue a run that the ledger does not record: no file in the inbox was trained in its steps, those in done were",
    )
    parser.add_argument(
        "--accept",
        metavar="RULE",
        action="append",
        default=[],
        help="accept what this rule finds in a trained batch, which is not proven otherwise; needs --reason",
    )
    parser.add_argument("--reason", metavar="TEXT", help="why the findings are accepted; recorded in the ledger")
    parser.add_argument(
        "--change",
        metavar="SETTING",
        action="append",
        default=[],
        help="from the next batch on, use the configuration's value of a setting (learning_rate, weight_decay, ...) that a "
        "resume otherwise takes from the checkpoint; may be repeated",
    )
    parser.add_argument(
        "--back-to",
        metavar="CHECKPOINT",
        help="give up what follows this proven checkpoint: later checkpoints go to quarantine, their files are trained again",
    )
    parser.add_argument(
        "--drop",
        metavar="FILE",
        action="append",
        default=[],
        help="with --back-to: a file that is not trained again, now or ever; may be repeated",
    )
    parser.add_argument("--dry-run", action="store_true", help="with --back-to: only say what would be given up")
    parser.add_argument("--allow-dropped", action="store_true", help="train dropped files that are in the inbox again")
    parser.add_argument(
        "--log-format",
        choices=("console", "json"),
        default="console",
        help="json: one object per line (default: console)",
    )
    parser.add_argument("-q", "--quiet", action="count", default=0, help="print only what went wrong")
    parser.add_argument(
        "-v", "--verbose", action="count", default=0, help="show what the training prints instead of a progress bar"
    )


def call(arguments: argparse.Namespace) -> int:
    """Train; 0 all trained and proven, 1 a batch failed or was set aside, 130 or 143 after a signal."""
    if bool(arguments.accept) != bool((arguments.reason or "").strip()):
        raise AuditError("--accept and --reason belong together: name the rule, and say why")
    if arguments.back_to is None and (arguments.drop or arguments.dry_run):
        raise AuditError("--drop and --dry-run need --back-to CHECKPOINT; audit plan shows what would be trained")
    gc.enable()  # a daemon lives for weeks
    options = TrainOptions(
        watch=arguments.watch,
        decay=arguments.decay,
        skip_lost=arguments.skip_lost,
        allow_fresh=arguments.allow_fresh,
        adopt=arguments.adopt,
        accept=tuple(arguments.accept),
        reason=arguments.reason or "",
        back_to=arguments.back_to,
        drop=tuple(arguments.drop),
        allow_dropped=arguments.allow_dropped,
        change=tuple(arguments.change),
        show_output=arguments.verbose > 0,
    )
    json_wanted = arguments.log_format == "json"
    shown = Lines() if json_wanted else Screen(arguments.quiet > 0, bar=arguments.verbose == 0, stamped=arguments.watch)
    with shown:
        begun = False
        try:
            registry = load()
            config, trainer = read_train_config(arguments.config, registry)
            begun = True
            if arguments.dry_run:
                shown.show(taken_back(way_back(config, registry, arguments.back_to, options.drop, options.skip_lost)))
                return 0

            def go(emit: Emit) -> int:
                return observed(config, registry, emit, lambda emit: train(config, trainer, registry, emit, options))

            stopped = []

            def show(event: Event) -> None:
                stopped.extend([event] if isinstance(event, TrainingStopped) else [])
                shown.show(event)

            code = notified(config, show, go)
            if code > 128 and not stopped and not arguments.watch and not arguments.quiet:
                shown.show(Note(f"stopped by {Signals(code - 128).name}; run the same command to continue"))
            return code
        except TrainRefused as error:
            shown.close()
            if arguments.log_format == "json":
                shown.show(TrainingRefused(str(error)))
            else:
                complain("train", error)
            return 1
        except AuditError as error:
            if not begun and follows():
                time.sleep(GRACE_SECONDS)  # the launcher ends the others as soon as one has ended
                return 2
            if arguments.log_format == "json":
                shown.show(TrainingError(str(error)))
            raise
