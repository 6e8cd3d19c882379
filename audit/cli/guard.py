"""``audit guard RUN``: what may be resumed from."""

import argparse
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from audit.audit_dir import LOCK
from audit.cli.documents import add_format, write_document
from audit.cli.options import RUN, add_shared, laid_over, options_of
from audit.cli.parser import one_line
from audit.cli.progress import Progress
from audit.cli.values import decimal, processes, whole
from audit.errors import AuditError
from audit.judging.decision import MAX_AGE_DAYS, Limits, notes_on
from audit.judging.guard import Guarded, consult
from audit.manager import Registry, load
from audit.options import Options
from audit.storage import scheme_of, without_secrets

if TYPE_CHECKING:
    from audit.judging.processes import Processes
    from audit.retention.lock import Holder
    from audit.training.next_leg import NextLeg

EXAMPLES = (
    ("audit guard current_model/", "print the checkpoint to resume from; exit code 1 if there is none"),
    ("audit guard current_model/ --strict", "accept only the newest checkpoint"),
    ("audit guard current_model/ --max-rollback 500", "go back at most 500 steps"),
    (
        "audit guard current_model/ --config train.toml",
        "also refuse if the planned training does not fit the checkpoint",
    ),
    ("audit guard current_model/ --processes 8", "also refuse if 8 processes cannot resume from it"),
    (
        "audit guard s3://bucket/current_model --fetch current_model/",
        "copy the checkpoint to resume from out of an object store",
    ),
    ("audit guard current_model/ --format json", "print the decision and the report behind it as JSON"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", metavar="RUN", help=RUN)
    parser.add_argument("--strict", action="store_true", help="accept only the newest checkpoint")
    parser.add_argument("--allow-fresh", action="store_true", help="start over at step 0 if nothing can be resumed")
    parser.add_argument("--allow-missing", action="store_true", help="start at step 0 if RUN does not exist")
    parser.add_argument(
        "--max-rollback",
        type=whole("a number of steps", most=10**15 - 1),
        metavar="STEPS",
        help="refuse to go back more than STEPS steps",
    )
    parser.add_argument(
        "--lineage", metavar="CHECKPOINT", help="if RUN holds several trainings, use the one that CHECKPOINT belongs to"
    )
    parser.add_argument(
        "--exact", action="store_true", help="accept only a checkpoint from which training continues bit for bit"
    )
    parser.add_argument(
        "--max-age",
        type=decimal("a number of days", 0, 1e6),
        default=MAX_AGE_DAYS,
        metavar="DAYS",
        help=f"reread the checkpoint if it was last read more than DAYS days ago (default: {MAX_AGE_DAYS:g})",
    )
    parser.add_argument(
        "--processes", type=processes, metavar="N", help="number of processes that will resume; refuse if they cannot"
    )
    parser.add_argument(
        "--fetch",
        metavar="DIR",
        help="of a run behind a URL: copy the checkpoint to DIR, compare every byte, and print its path there",
    )
    add_format(parser)
    add_shared(parser, "guard", "the path")


def call(arguments: argparse.Namespace) -> int:
    """Print the checkpoint's path alone on stdout, the reasons on stderr; 1 if there is none."""
    registry = load()
    limits = Limits(
        arguments.strict,
        arguments.max_rollback,
        arguments.allow_fresh,
        arguments.lineage,
        arguments.exact,
        arguments.max_age,
        arguments.allow_missing,
    )
    remote = scheme_of(arguments.run) is not None
    if arguments.fetch is not None and not remote:
        raise AuditError(f"--fetch {arguments.fetch}: {arguments.run} is on this machine already")
    if arguments.fetch is not None and scheme_of(arguments.fetch) is not None:
        raise AuditError(f"--fetch {without_secrets(arguments.fetch)}: is a URL; name a directory of this machine")
    if remote and _trains(arguments.config):
        raise AuditError(
            f"--config {arguments.config}: audit train needs a run on this machine; fetch it with --fetch DIR first"
        )
    leg = _next_leg(arguments, registry) if _trains(arguments.config) else None
    options = leg.options if leg else options_of(arguments, registry)
    if arguments.fetch is not None and options.depth != "full":
        raise AuditError("--fetch compares every byte; leave out --depth quick")
    asked = leg or _processes(arguments, options, registry)
    holder = None if remote else _holder(arguments.run)
    with Progress(arguments.run, quiet=arguments.quiet > 0) as progress:
        guarded = consult(
            arguments.run,
            leg.limits(limits) if leg else limits,
            options,
            registry=registry,
            progress=progress.advance,
            veto=asked.veto if asked else None,
        )
    if holder is not None:
        said = f"{arguments.run} {holder}; start no second training beside it"
        guarded = guarded._replace(report=guarded.report._replace(notes=(*guarded.report.notes, said)))
    if asked is not None:
        for text in asked.lines:
            _say(text)
    decision = guarded.decision
    if decision.misnamed:
        raise AuditError(f"{arguments.run}: {decision.refusal}")
    path = _path(arguments.run, decision.checkpoint) if decision.checkpoint else None
    if arguments.fetch is not None and decision.checkpoint is not None:
        from audit.retention.fetching import fetch

        path = fetch(arguments.run, decision.checkpoint, arguments.fetch, options, registry)
    if arguments.format == "json":
        write_document(_document(path, guarded), as_is=True)
    elif path is not None:
        sys.stdout.buffer.write(os.fsencode(path) + b"\n")  # a name may contain any bytes
    _explain(arguments.run, guarded, arguments.allow_fresh, arguments.quiet > 0)
    return int(decision.refusal is not None)


def _holder(run: str) -> "Holder | None":
    if not os.path.lexists(os.path.join(run, LOCK)):
        return None
    from audit.retention.lock import holder_of

    return holder_of(run)


def _trains(config: str | None) -> bool:
    if config is None:
        return False
    from audit.training.config import is_train_config

    return is_train_config(config)


def _next_leg(arguments: argparse.Namespace, registry: Registry) -> "NextLeg":
    from audit.training.config import read_train_config
    from audit.training.next_leg import NextLeg

    config, trainer = read_train_config(arguments.config, registry)
    options = laid_over(config.verify, arguments, registry)
    return NextLeg(arguments.run, config._replace(verify=options), trainer, registry, arguments.processes)


def _processes(arguments: argparse.Namespace, options: Options, registry: Registry) -> "Processes | None":
    if not arguments.processes:
        return None
    from audit.judging.processes import Processes

    return Processes(arguments.run, arguments.processes, options, registry)


def _explain(run: str, guarded: Guarded, allowed: bool, quiet: bool) -> None:
    decision = guarded.decision
    for item in decision.skipped:
        _say(f"skipped {item.checkpoint}: {item.reason}")
    for note in (*notes_on(decision), *guarded.report.notes):
        _say(f"note: {note}")
    if decision.refusal is not None:
        _say(f"refused: {run}: {decision.refusal}")
        if decision.dead_end and not quiet:
            _say(f"to go on: {_ways_on(run)}")
    elif decision.fresh and not quiet:
        _say(f"start fresh: {'--allow-fresh was given' if allowed else 'nothing has been trained here'}")


def _ways_on(run: str) -> str:
    """What can be done where there is nothing to resume from."""
    from audit.retention.quarantine import held, replacing

    aside = 0
    with suppress(AuditError):  # the ways are the same
        aside = len(held(run)) if scheme_of(run) is None else 0
    ways = [f"move {replacing(run)}"]
    if aside:
        ways.append(f"look at the {aside} in quarantine (audit quarantine {run} --list)")
    return "; ".join([*ways, "or start over at step 0 (--allow-fresh)"])


def _say(text: str) -> None:
    print(one_line(text), file=sys.stderr)


def _document(path: str | None, guarded: Guarded) -> Mapping[str, Any]:
    from audit.reporters.json import document

    decision = guarded.decision
    return {
        "decision": "refused" if decision.refusal else "fresh" if decision.fresh else "resume",
        "checkpoint": decision.checkpoint,
        "path": path,
        "step": decision.step,
        "behind": decision.behind,
        "judged": not decision.unread if decision.checkpoint else None,
        "reason": decision.refusal,
        "skipped": [item._asdict() for item in decision.skipped],
        "report": document(guarded.report),
    }


def _path(run: str, checkpoint: str) -> str:
    return os.path.join(run, checkpoint)
