"""``audit hub``: push, list, verify, pull, prune. Parse, call, print."""

import argparse
from typing import Any

from audit.plugin import (
    ConfigError,
    Options,
    RefusedError,
    Terminal,
    find_config,
    human_bytes,
    load_plugins,
    locate_run,
    read_config,
)
from audit_hub import pruning, pulling, pushing, verifying
from audit_hub.queue import Push, planned, pushes_of
from audit_hub.settings import DEADLINE_SECONDS, DEFAULT_REPO, settings_of
from audit_hub.working import FIRST_PAUSE, Patience

EXAMPLES = (
    ("audit hub push current_model/", "push the newest proven checkpoint to a private repository of its own"),
    ("audit hub push current_model/ --checkpoint 300 --dry-run", "show where it would go, and how much is on the Hub"),
    (
        "audit hub push current_model/ --repo '{user}/{prefix}' --folder 'checkpoint-{step}'",
        "one repository with a folder for each checkpoint",
    ),
    ("audit hub push current_model/ --pending --wait 3600", "try for an hour to push all that waits"),
    (
        "audit hub push current_model/ --checkpoint 300 --delete-local",
        "and delete it here once every byte was read back",
    ),
    ("audit hub list current_model/", "what is on the Hub, what waits and why"),
    (
        "audit hub verify me/run-300-20261127_120000",
        "compare what the Hub has recorded with the seal in the repository",
    ),
    ("audit hub verify me/run-300-20261127_120000 --depth full", "download every file and compare its bytes"),
    ("audit hub pull me/run-300-20261127_120000 current_model/", "bring the checkpoint back, verified, to resume from"),
    (
        "audit hub prune current_model/ --keep 3 --dry-run",
        "which of the pushed checkpoints would be removed from the Hub",
    ),
)
RUN = "output directory of a trainer, which holds checkpoint-N directories"
REPO = "repository OWNER/NAME; OWNER/NAME@REVISION for a branch or a commit of it"
CHECKPOINT = "which one: N, or checkpoint-N"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the five actions."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, title="actions", description="")
    _configure_push(actions.add_parser("push", help="upload a proven checkpoint, or all that wait"))
    listing = actions.add_parser("list", help="list the pushes of a run: state, repository, size, why one waits")
    listing.add_argument("run", metavar="RUN", help=RUN)
    verify = actions.add_parser("verify", help="compare a repository with the seal of what was pushed")
    verify.add_argument("repo", metavar="REPO", help=REPO)
    verify.add_argument("--run", metavar="RUN", help="take the seal of this run's ledger, and record the result there")
    verify.add_argument("--checkpoint", metavar="N", help=f"{CHECKPOINT} (default: all in the repository)")
    _depth(verify)
    pull = actions.add_parser("pull", help="download a checkpoint into a run, verified, to resume from")
    pull.add_argument("repo", metavar="REPO", help=REPO)
    pull.add_argument("run", metavar="RUN", help=f"{RUN}; made if missing")
    pull.add_argument("--checkpoint", metavar="N", help=f"{CHECKPOINT} (default: the newest in the repository)")
    prune = actions.add_parser("prune", help="remove old pushes of a run from the Hub")
    prune.add_argument("run", metavar="RUN", help=RUN)
    prune.add_argument("--keep", type=_count, required=True, metavar="N", help="how many of the newest steps to keep")
    prune.add_argument("--dry-run", action="store_true", help="show what would be removed without removing it")
    for action in actions.choices.values():
        action.add_argument(
            "--format",
            choices=("console", "json"),
            default="console",
            help="console: text for people (default); json: for scripts",
        )
        action.add_argument("-q", "--quiet", action="count", default=0, help="print only what went wrong")
        if action is not listing:
            action.add_argument(
                "--deadline",
                type=_seconds,
                metavar="SECONDS",
                help=f"end a try after so long (default: {DEADLINE_SECONDS:g}, and 1 more for each MB)",
            )


def _configure_push(push: argparse.ArgumentParser) -> None:
    push.add_argument("run", metavar="RUN", help=RUN)
    what = push.add_mutually_exclusive_group()
    what.add_argument("--checkpoint", metavar="N", help=f"{CHECKPOINT} (default: the newest proven one)")
    what.add_argument("--pending", action="store_true", help="push what waits, and queue nothing new")
    push.add_argument("--repo", metavar="TEMPLATE", help=f"name of the repository (default: {DEFAULT_REPO})")
    push.add_argument("--folder", metavar="TEMPLATE", help="folder in the repository (default: none)")
    push.add_argument("--branch", metavar="TEMPLATE", help="branch of the repository (default: main)")
    push.add_argument("--prefix", metavar="NAME", help="{prefix} in the templates (default: the name of the run)")
    push.add_argument("--public", action="store_true", help="make a new repository public (default: private)")
    _depth(push)
    push.add_argument("--delete-local", action="store_true", help="delete it here once every byte was read back")
    push.add_argument("--dry-run", action="store_true", help="show what would be pushed, and where to")
    push.add_argument(
        "--wait",
        type=_seconds_or_none,
        default=0.0,
        metavar="SECONDS",
        help="go on trying for so long (default: 0, try once)",
    )
    push.add_argument(
        "--pause",
        type=_seconds,
        default=FIRST_PAUSE,
        metavar="SECONDS",
        help=f"seconds before the second try, doubled with each (default: {FIRST_PAUSE:g})",
    )


def _depth(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--depth",
        choices=("quick", "full"),
        default="quick",
        help="quick (default): compare what the Hub has recorded; full: download every byte and compare it",
    )


def call(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Do what was asked for; 1 if something is not as it should be, or was refused."""
    call = {"push": _push, "list": _list, "verify": _verify, "pull": _pull, "prune": _prune}[arguments.action]
    try:
        return call(arguments, terminal)
    except RefusedError as error:
        if arguments.format == "json":
            terminal.document(_document(arguments, refusal=str(error)))
        raise


def _push(arguments: argparse.Namespace, terminal: Terminal) -> int:
    given = {key: getattr(arguments, key) for key in ("repo", "folder", "branch", "prefix")}
    if arguments.pending and any(value is not None for value in given.values()):
        raise ConfigError(
            "--pending pushes what was queued, with the names that it was queued with; leave out the names"
        )
    depth = "full" if arguments.delete_local else arguments.depth
    table = {key: value for key, value in given.items() if value is not None}
    settings = settings_of(table | {"public": arguments.public, "depth": depth})
    with terminal.progress(arguments.run, arguments.quiet > 0) as progress:
        result = pushing.push(
            arguments.run,
            arguments.checkpoint,
            settings,
            _patience(arguments),
            _options(),
            pending=arguments.pending,
            delete_local=arguments.delete_local,
            dry_run=arguments.dry_run,
            progress=progress,
            say=lambda push, text: _say(arguments, terminal, push, text),
        )
    if arguments.format == "json":
        terminal.document(_document(arguments, pushes=result.pushes, deleted=result.deleted))
    elif not arguments.quiet:
        terminal.write("".join(f"{line}\n" for line in result.lines))
    for note in result.notes:
        terminal.note(note)
    return 0 if arguments.dry_run else int(not all(item.done and item.on_hub for item in result.pushes))


def _list(arguments: argparse.Namespace, terminal: Terminal) -> int:
    pushes = pushes_of(locate_run(arguments.run)[0])
    if arguments.format == "json":
        terminal.document(_document(arguments, pushes=pushes))
    elif not pushes:
        terminal.write("nothing was pushed\n")
    else:
        terminal.write("".join(f"{line}\n" for line in _table(pushes)) + f"{planned(pushes)}\n")
    return 0


def _verify(arguments: argparse.Namespace, terminal: Terminal) -> int:
    found = verifying.verify(
        arguments.repo,
        arguments.checkpoint,
        _patience(arguments),
        run=arguments.run,
        read_back=arguments.depth == "full",
    )
    if arguments.format == "json":
        terminal.document(_document(arguments, checkpoints=[item._asdict() for item in found]))
    for item in found:
        if arguments.format == "console" and not (arguments.quiet and item.problem is None):
            terminal.write(f"{item.line}\n")
    return int(any(item.problem is not None for item in found))


def _pull(arguments: argparse.Namespace, terminal: Terminal) -> int:
    with terminal.progress(arguments.run, arguments.quiet > 0) as progress:
        done = pulling.pull(
            arguments.repo, arguments.run, arguments.checkpoint, _patience(arguments), _options(), progress=progress
        )
    if arguments.format == "json":
        terminal.document(_document(arguments, pulled={**done._asdict(), "notes": list(done.notes)}))
    elif not arguments.quiet:
        proof = "proven and sealed" if done.proven else "not proven in this run; see audit verify"
        terminal.write(f"pulled  {done.path}  ({human_bytes(done.bytes)}; every byte as it was pushed; {proof})\n")
    for note in done.notes:
        terminal.note(note)
    return 0


def _prune(arguments: argparse.Namespace, terminal: Terminal) -> int:
    done = pruning.prune(locate_run(arguments.run)[0], arguments.keep, _patience(arguments), dry_run=arguments.dry_run)
    if arguments.format == "json":
        removed, kept = ([_row(item) for item in part] for part in (done.removed, done.kept))
        terminal.document(_document(arguments, removed=removed, kept=kept, dry_run=arguments.dry_run))
    elif not arguments.quiet:
        would = "would " if arguments.dry_run else ""
        for verb, part in (("remove" if would else "removed", done.removed), ("keep" if would else "kept", done.kept)):
            for item in part:
                only = (
                    "" if item.queued.checkpoint in done.local or verb.startswith("keep") else "; not in the run either"
                )
                size = human_bytes(item.queued.bytes)
                terminal.write(f"{would}{verb}  {item.queued.checkpoint}  {item.repo}  ({size}{only})\n")
        if not done.removed:
            terminal.write("nothing to remove\n")
    return 0


def _say(arguments: argparse.Namespace, terminal: Terminal, push: Push, text: str) -> None:
    """Print what became of a push, as soon as it is known."""
    good = push.state.state in ("pushed", "verified")
    if arguments.format == "json":
        return
    if not (good and arguments.quiet):
        terminal.write(f"{text}\n")


def _table(pushes: list[Push]) -> list[str]:
    rows = [("CHECKPOINT", "STATE", "SIZE", "REPOSITORY", "")]
    for item in pushes:
        state = item.state
        where = "/".join(part for part in (item.repo, item.queued.folder) if part)
        where += f"@{item.queued.branch}" if item.queued.branch != "main" else ""
        if item.given_up and item.on_hub:
            state = state._replace(reason=f"the run went back to {item.given_up} after it")
        why = f"{state.reason}{f'; again after {state.next}' if state.next else ''}" if state.reason else ""
        rows.append((item.queued.checkpoint, state.state, human_bytes(item.queued.bytes), where, why))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]).rstrip()
        for row in rows
    ]


def _row(push: Push) -> dict[str, Any]:
    queued, state = push.queued, push.state
    return {
        "id": queued.id, "checkpoint": queued.checkpoint, "step": queued.step, "state": state.state, "done": push.done,
        "repo": push.repo, "folder": queued.folder, "branch": queued.branch, "commit": state.commit,
        "private": queued.private, "bytes": queued.bytes, "read_back": queued.read_back, "tries": state.tries,
        "next": state.next, "reason": state.reason, "queued": push.time or None,
    }  # fmt: skip


def _document(arguments: argparse.Namespace, refusal: str | None = None, **fields: Any) -> dict[str, Any]:
    if "pushes" in fields:
        fields["pushes"] = [_row(item) for item in fields["pushes"]]
    run = getattr(arguments, "run", None)
    return {"action": arguments.action, "run": run, "refusal": refusal, **fields}


def _options() -> Options:
    path = find_config()
    return read_config(path, load_plugins()) if path else Options()


def _patience(arguments: argparse.Namespace) -> Patience:
    return Patience(
        wait=getattr(arguments, "wait", 0.0),
        deadline=arguments.deadline,
        pause=getattr(arguments, "pause", FIRST_PAUSE),
    )


def _count(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 7 else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of steps of at least 1")
    return number


def _seconds(text: str) -> float:
    seconds = _number(text)
    if not 0 < seconds < 1e7:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds


def _seconds_or_none(text: str) -> float:
    seconds = _number(text)
    if not 0 <= seconds < 1e7:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, 0 or more")
    return seconds


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -1.0
