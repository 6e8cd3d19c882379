"""``audit plan CONFIG``: what `audit train` would do, and whether it would work."""

import argparse
import os
from collections.abc import Iterator, Mapping
from typing import Any

from audit.cli.documents import add_format, write_document
from audit.cli.options import add_quiet, add_training
from audit.cli.parser import one_line, write
from audit.cli.table import table, wrapped
from audit.cli.values import processes
from audit.facts.space import Space
from audit.findings import Finding, Severity
from audit.judging.decision import rollback
from audit.manager import load
from audit.text import human_bytes
from audit.training.config import read_train_config
from audit.training.data_files import ignored
from audit.training.forecast import Forecast, PlannedLeg, forecast

EXAMPLES = (
    (
        "audit plan train.toml",
        "steps, checkpoints and disk space for the waiting files; exit code 1 if it would not work",
    ),
    ("audit plan train.toml --processes 8", "plan for torchrun --nproc-per-node 8 -m audit train"),
    ("audit plan train.toml --decay", "plan with the learning-rate schedule ending with these files"),
    ("audit plan train.toml --format json", "print the plan as JSON"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("config", metavar="CONFIG", help="TOML file, as for audit train")
    parser.add_argument(
        "--processes",
        type=processes,
        metavar="N",
        help="number of training processes (default: WORLD_SIZE, the number of the last training, or 1)",
    )
    add_training(parser)
    parser.add_argument(
        "--adopt", action="store_true", help="as for audit train: continue a run that the ledger does not record"
    )
    parser.add_argument(
        "--change",
        metavar="SETTING",
        action="append",
        default=[],
        help="as for audit train: use the configuration's value",
    )
    add_format(parser)
    add_quiet(parser)


def call(arguments: argparse.Namespace) -> int:
    """Print the plan; 0 if it would work, 1 if not, whatever the training would end with. Nothing is recorded."""
    registry = load()
    config, trainer = read_train_config(arguments.config, registry)
    world = os.environ.get("WORLD_SIZE", "")
    found = forecast(
        config,
        trainer,
        registry,
        processes=arguments.processes or (int(world) if world.isdigit() and int(world) > 0 else None),
        decay=arguments.decay,
        skip_lost=arguments.skip_lost,
        adopt=arguments.adopt,
        allow_fresh=arguments.allow_fresh,
        change=tuple(arguments.change),
    )
    if arguments.format == "json":
        write_document(document(found), as_is=True)
    else:
        write("".join(wrapped(line, 4) for line in _lines(found, arguments.quiet > 0)), None)
    return 0 if found.works else 1


def document(forecast: Forecast) -> Mapping[str, Any]:
    """Return the plan as docs/plan.md describes it."""
    plan, space = forecast.plan, forecast.plan.optional("space") if forecast.legs else None
    schedule = plan.optional("schedule")
    return {
        "config": forecast.config.path,
        "run": forecast.config.run,
        "backend": plan.trainer.name,
        "base_model": plan.optional("base_model"),
        "processes": plan.given_processes,
        "works": forecast.works,
        "resume": {
            "checkpoint": forecast.checkpoint,
            "step": forecast.step,
            "behind": forecast.decision.behind,
            "skipped": [item._asdict() for item in forecast.decision.skipped],
        },
        "files": [_file(leg) for leg in forecast.legs],
        "later": list(forecast.later),
        "set_aside": [item._asdict() for item in forecast.aside],
        "totals": _totals(forecast),
        "schedule": None
        if schedule is None
        else {
            "type": schedule.kind,
            "horizon": schedule.horizon or None,
            "first_rate": forecast.first_rate,
            "last_rate": forecast.last_rate,
        },
        "disk": None if space is None else _disk(space),
        "refusal": forecast.refusal,
        "findings": [{**item._asdict(), "severity": item.severity.value} for item in forecast.findings],
        "outcomes": [
            {
                "rule": item.rule,
                "file": leg.work.file.name if leg is not None else None,
                "outcome": item.outcome.value,
                "reason": item.reason,
            }
            for leg, judgement in zip(forecast.legs or (None,), forecast.judgements, strict=False)
            for item in judgement.outcomes
        ],
        "notes": list(forecast.notes),
    }


def _file(leg: PlannedLeg) -> Mapping[str, Any]:
    request = leg.work.request
    return {
        "file": leg.work.file.name,
        "rows": leg.rows,
        "epochs": leg.work.epochs,
        "first_example": request.data.first,
        "examples": leg.examples,
        "steps": leg.steps,
        "first_step": request.first_step + 1,
        "last_step": request.last_step,
        "steps_of_an_epoch": leg.plan.optional("epoch_steps"),
        "checkpoints": leg.saves.number,
        "at_most": not leg.saves.certain,
        "save_every": leg.saves.every or None,
        "parts": [source.file.name for source in leg.work.own] if len(leg.work.own) > 1 else [],
        "replayed": leg.work.replayed,
        "rows_tried": leg.tried,
    }


def _totals(forecast: Forecast) -> Mapping[str, Any]:
    legs = forecast.legs
    known = not any(leg.steps is None for leg in legs) and not forecast.later
    return {
        "files": len(legs) + len(forecast.later),
        "examples": _sum([leg.examples for leg in legs]) if known else None,
        "steps": _sum([leg.steps for leg in legs]) if known else None,
        "last_step": (legs[-1].work.request.last_step if legs else forecast.step) if known else None,
        "checkpoints": _sum([leg.saves.number for leg in legs]) if known else None,
    }


def _sum(values: list[int | None]) -> int | None:
    return None if None in values else sum(value for value in values if value is not None)


def _disk(space: Space) -> Mapping[str, Any]:
    return {
        "needed_bytes": space.need.bytes,
        "free_bytes": space.free.bytes,
        "needed_inodes": space.need.inodes,
        "free_inodes": space.free.inodes,
        "checkpoint_bytes": space.one.bytes,
        "checkpoint_source": space.source,
        "save_total_limit": space.limit,
    }


# -- for people -------------------------------------------------------------------------------------------------------


def _lines(forecast: Forecast, quiet: bool) -> Iterator[str]:
    if not quiet:
        yield from _what(forecast)
    for item in forecast.aside:
        verb = "would be set aside" if item.event == "rejected" else "would not be trained again"
        yield one_line(f"{item.file}: {verb}: {item.reason}")
    for finding, more in _folded(forecast.findings):
        others = f" (and {more} more {'file' if more == 1 else 'files'})" if more else ""
        yield one_line(f"{finding.severity.value}: {finding.rule}: {finding.message}{others}")
        yield one_line(f"    {finding.remedy}")
    if forecast.refusal is not None:
        yield one_line(f"refused: {forecast.refusal}")
    if not quiet:
        for note in forecast.notes:
            yield one_line(f"note: {note}")
        yield _conclusion(forecast)


def _conclusion(forecast: Forecast) -> str:
    if forecast.works:
        return "this would work"
    if forecast.refusal is None and not any(item.severity is Severity.ERROR for item in forecast.findings):
        names = ", ".join(item.file for item in forecast.aside)
        return one_line(f"this would not work for all files: {names} would be set aside (exit code 1)")
    return "this would not work"


def _what(forecast: Forecast) -> Iterator[str]:
    config, plan = forecast.config, forecast.plan
    yield one_line(f"{config.run}, trained by {plan.trainer.name}{_team(forecast)}")
    for item in forecast.decision.skipped:
        yield one_line(f"    {item.checkpoint} cannot be resumed from: {item.reason}")
    if forecast.refusal is None or forecast.legs:
        begins = "starts fresh" if forecast.checkpoint is None else f"resumes from {forecast.checkpoint}"
        behind = f", {rollback(forecast.decision)}" if forecast.decision.behind else ""
        yield one_line(f"{begins}{behind}{_middle(forecast)}")
    base = plan.optional("base_model")
    if base is not None:
        yield one_line(f"base model: {base}")
    if forecast.legs:
        yield ""
        yield from _table(forecast)
        yield from _mixed(forecast)
        yield ""
        yield from _schedule(forecast)
        yield from _space(forecast)
    elif forecast.refusal is None:
        yield one_line(f"no file is waiting in {config.data.inbox}")
    for name, reason in ignored(config.data):
        yield one_line(f"{name}: ignored: {reason}")


def _mixed(forecast: Forecast) -> Iterator[str]:
    """What is trained with a file."""
    for leg in forecast.legs:
        work = leg.work
        if len(work.own) > 1:
            yield one_line(f"{work.file.name}: {', '.join(source.file.name for source in work.own)}")
        if work.replayed:
            many = len(work.drawn)
            what = f"{work.replayed} row{'s' * (work.replayed != 1)} of {many} earlier file{'s' * (many != 1)}"
            yield one_line(f"{work.file.name}: {what} among them (data.replay)")


def _team(forecast: Forecast) -> str:
    if not forecast.plan.owned or forecast.plan.given_processes == 1:
        return ""
    return f" on {forecast.plan.given_processes} processes"


def _middle(forecast: Forecast) -> str:
    leg = forecast.legs[0] if forecast.legs else None
    if leg is None or not leg.work.request.data.first:
        return ""
    return f", in {leg.work.file.name} at example {leg.work.request.data.first + 1} of {leg.work.examples}"


def _table(forecast: Forecast) -> Iterator[str]:
    rows: list[tuple[Any, ...]] = [
        (
            leg.work.file.name,
            leg.rows,
            leg.work.epochs,
            leg.examples,
            leg.plan.optional("epoch_steps"),
            leg.steps,
            f"{leg.work.request.first_step + 1}..{_or_dash(leg.work.request.last_step)}",
            _saves(leg),
        )
        for leg in forecast.legs
    ]
    rows += [(name, None, None, None, None, None, "-", "-") for name in forecast.later]
    totals = _totals(forecast)
    if len(rows) > 1:
        rows.append(
            ("total", None, None, totals["examples"], None, totals["steps"], "", _or_dash(totals["checkpoints"]))
        )
    heads = ("file", "rows", "epochs", "examples", "steps/epoch", "steps", "from..to", "checkpoints")
    yield from table(heads, rows, drop=("steps/epoch", "rows", "epochs")).splitlines()


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)


def _saves(leg: PlannedLeg) -> str:
    if leg.saves.number is None:
        return "-"
    return f"{leg.saves.number}" if leg.saves.certain else f"up to {leg.saves.number}"


def _schedule(forecast: Forecast) -> Iterator[str]:
    schedule = forecast.plan.optional("schedule")
    if schedule is None:
        return
    first, last = forecast.first_rate, forecast.last_rate
    leg = forecast.legs[-1].work.request
    end = f", ends at step {schedule.horizon}" if forecast.config.total_steps is not None else ""
    rates = ""
    if first is not None:
        rates = f", {first:.6g} at step {forecast.step + 1}"
    if last is not None and leg.last_step is not None and leg.last_step > forecast.step + 1:
        rates += f", {last:.6g} at step {leg.last_step}"
    yield f"learning rate: {schedule.kind}{rates}{end}"


def _space(forecast: Forecast) -> Iterator[str]:
    space = forecast.plan.optional("space")
    if space is None:
        yield "disk: unknown, as the size or the number of checkpoints is not known"
        return
    kept = f"save_total_limit {space.limit}" if space.limit else "all kept"
    yield (
        f"disk: {human_bytes(space.need.bytes)} at peak ({kept}; one checkpoint is {human_bytes(space.one.bytes)}, {space.source}), "
        f"{human_bytes(space.free.bytes)} free"
    )
    if space.free.inodes is not None:
        yield f"files: {space.need.inodes} at peak, {space.free.inodes} free"


def _folded(findings: tuple[Finding, ...]) -> Iterator[tuple[Finding, int]]:
    """The first finding of each rule, and how many files have the same."""
    for rule in dict.fromkeys(item.rule for item in findings):
        same = [item for item in findings if item.rule == rule]
        yield same[0], len(same) - 1
