"""``audit fleet ROOT...``: audit all runs below directories, into two tables; ``audit fleet report TABLE``."""

import argparse
import gc
import os
import sys
from collections.abc import Mapping
from typing import Any

from audit.cli.documents import add_format, write_document
from audit.cli.options import add_shared, options_of
from audit.cli.parser import one_line, write
from audit.cli.progress_of_fleet import FleetBar
from audit.cli.table import table
from audit.cli.values import processes, seconds, share, size, whole
from audit.errors import AuditError
from audit.fleet import engines
from audit.fleet.discovery import outermost
from audit.fleet.passes import Summary, gather, order_of, run_pass, shards, work_off
from audit.fleet.planning import BATCH, Choice
from audit.fleet.rows import FAILED, GONE, UNREAD, RunRow
from audit.fleet.store import Store
from audit.fleet.tables import require
from audit.fleet.tasks import SECONDS
from audit.manager import Registry, load
from audit.options import JOBS
from audit.page import is_page
from audit.text import human_bytes

TABLE = "fleet.parquet"
PAGE = "fleet.html"
REPORT = "report"
"""The first word that asks for a page; a directory of this name is ``./report``."""

EXAMPLES = (
    ("audit fleet /data/runs", "audit every run below a directory by its structure, into the tables of fleet.parquet"),
    ("audit fleet /data/runs --full 1%", "the same, and read every byte of another hundredth of the runs each time"),
    ("audit fleet s3://bucket/runs", "audit every run behind a URL"),
    ("audit fleet report fleet.parquet -o fleet.html", "write one page: the worst first, by rule, owner and age"),
    ("audit fleet /data/runs --engine ray", "audit on the Ray cluster that RAY_ADDRESS names"),
    ("audit fleet /data/runs --engine list", "write shards, and print their numbers, for a job array or xargs"),
    ("audit fleet fleet.parquet --shard 7", "audit the runs of one shard"),
    ("audit fleet fleet.parquet --gather", "put the tables together when all shards are done"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "names",
        nargs="+",
        metavar="ROOT",
        help="directory or URL below which runs are; or the word report and a table; with --shard or --gather: a table",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="PATH",
        help=f"directory of the tables (default: {TABLE}); of report: the page, - is stdout (default: {PAGE})",
    )
    parser.add_argument(
        "--engine",
        choices=(*engines.NAMES, engines.LIST),
        default="local",
        help="who audits: processes of this machine (default), Ray, Dask, or commands of yours that work off a list",
    )
    parser.add_argument("--workers", type=processes, metavar="N", help=f"processes that audit (default: {JOBS})")
    parser.add_argument(
        "--batch",
        type=whole("a number of runs from 1 to 99999", 1, 99_999),
        default=BATCH,
        metavar="N",
        help=f"runs in one batch or shard (default: {BATCH})",
    )
    parser.add_argument(
        "--depth", choices=("quick", "full"), help="quick: file structure only (default); full: read every byte"
    )
    parser.add_argument(
        "--full", type=share, metavar="SHARE", help="read every byte of this share of the runs, another one each time"
    )
    parser.add_argument(
        "--budget-bytes",
        type=_budget,
        metavar="SIZE",
        help="read at most so much in full, such as 500GB; the rest quick",
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=SECONDS,
        metavar="SECONDS",
        help=f"time for one run, at full depth more by its size (default: {SECONDS:g})",
    )
    parser.add_argument(
        "--shard",
        type=whole("the number of a shard"),
        metavar="K",
        help="audit shard K of a table made with --engine list",
    )
    parser.add_argument("--gather", action="store_true", help="put the tables together when all shards are done")
    parser.add_argument("--allow-missing", action="store_true", help="gather even if shards are not done")
    add_format(parser)
    add_shared(parser, "fleet", "the verdicts")


def call(arguments: argparse.Namespace) -> int:
    """Audit, or do the part of it that was asked for; exit codes as of verify."""
    gc.enable()  # main() disables it for short commands; with this one garbage would grow with the number of runs
    registry = load()
    if arguments.names[0] == REPORT:
        return _report(arguments, registry)
    if arguments.shard is not None and arguments.gather:
        raise AuditError("give --shard or --gather, not both")
    if arguments.shard is not None or arguments.gather:
        store = Store(_only(arguments.names, "a table of audit fleet"))
        store.check()
        require()
        return _shard(arguments, store) if arguments.shard is not None else _gather(arguments, registry, store)
    return _audit(arguments, registry)


def _budget(text: str) -> int:
    try:
        return size(text)
    except argparse.ArgumentTypeError as error:
        if "0" not in text:
            raise
        raise argparse.ArgumentTypeError(
            f"{error}; to read nothing in full, leave out --full and --depth full"
        ) from None


def _only(names: list[str], what: str) -> str:
    if len(names) != 1:
        raise AuditError(f"name {what}, and nothing else")
    return names[0]


def _audit(arguments: argparse.Namespace, registry: Registry) -> int:
    options = options_of(arguments, registry)
    outermost(arguments.names)  # a root that is not there is said before anything is made
    require()
    judging = order_of(options, registry, arguments.timeout)
    choice = Choice(
        arguments.depth or "quick", arguments.full or 0.0, arguments.budget_bytes, not options.cache, arguments.batch
    )
    store = Store(arguments.output or TABLE)
    with FleetBar(quiet=arguments.quiet > 0) as bar:
        if arguments.engine == engines.LIST:
            planned = shards(store, arguments.names, judging, choice, registry, bar)
        else:
            engine = engines.engine(arguments.engine)
            workers = arguments.workers or JOBS
            summary = run_pass(store, arguments.names, judging, choice, registry, engine, workers, bar)
    if arguments.engine != engines.LIST:
        return _told(arguments, "audit", store, summary, summary.code(options.fail_on))
    if arguments.format == "json":
        write_document({"action": "list", "table": store.path, "shards": planned.batches, "runs": planned.audited})
        return 0
    write("".join(f"{number}\n" for number in range(planned.batches)), None)
    if not arguments.quiet:
        how = f"audit fleet {store.path} --shard K, for each K; then audit fleet {store.path} --gather"
        print(one_line(f"{planned.audited} of {planned.runs} runs in {planned.batches} shards: {how}"), file=sys.stderr)
    return 0


def _shard(arguments: argparse.Namespace, store: Store) -> int:
    rows = work_off(store, arguments.shard)
    failed = sum(item.row.status == FAILED for item in rows)
    if arguments.format == "json":
        fields = {"action": "shard", "table": store.path, "shard": arguments.shard, "runs": len(rows), "failed": failed}
        write_document(fields)
    elif not arguments.quiet:
        write(
            f"shard {arguments.shard}: {len(rows)} runs{f', {failed} could not be audited' if failed else ''}\n", None
        )
    return 0


def _gather(arguments: argparse.Namespace, registry: Registry, store: Store) -> int:
    summary = gather(store, arguments.allow_missing)
    return _told(arguments, "gather", store, summary, summary.code(options_of(arguments, registry).fail_on))


def _told(arguments: argparse.Namespace, action: str, store: Store, summary: Summary, code: int) -> int:
    if arguments.format == "json":
        write_document({"action": action, "table": store.path, **_document(summary)})
    else:
        write(_text(summary) if arguments.quiet else _text(summary) + _details(summary, store), None)
    return code


def _document(summary: Summary) -> Mapping[str, Any]:
    fields = summary._asdict()
    worst = [
        {"run": row.run, "status": row.status, "verdict": row.verdict, "resume_from": row.resume_from,
         "errors": row.errors, "warnings": row.warnings, "rules": list(row.rules), "error": row.error}
        for row in summary.worst
    ]  # fmt: skip
    return {**fields, "reaching": {level.value: number for level, number in summary.reaching.items()}, "worst": worst}


def _text(summary: Summary) -> str:
    said = [f"{number} {verdict}" for verdict, number in summary.verdicts.items()]
    words = {FAILED: "could not be audited", UNREAD: "in a layout that is not read", GONE: "deleted meanwhile"}
    said += [f"{summary.statuses[status]} {text}" for status, text in words.items() if summary.statuses.get(status)]
    crashed = f"these rules crashed, so the audit is incomplete: {', '.join(summary.crashed)}\n"
    total = f"{summary.runs} run{'' if summary.runs == 1 else 's'}"
    count = summary.by_structure
    deep = f" ({count} by structure, without reading every byte: --depth full, --full 1%)" if count else ""
    return f"{total}: {', '.join(said)}{deep}\n" + (crashed if summary.crashed else "")


def _details(summary: Summary, store: Store) -> str:
    lost, superseded = human_bytes(summary.bytes_not_resumable), human_bytes(summary.bytes_superseded)
    lines = [f"{summary.audited} audited, {summary.taken} unchanged"]
    if summary.curbed:
        lines.append(f"{summary.curbed} were not read in full, for --budget-bytes")
    if summary.bytes:
        lines.append(
            f"{human_bytes(summary.bytes)} in checkpoints: {lost} not resumable, {superseded} superseded by newer ones"
        )
    if summary.worst:
        heads = ("WORST", "VERDICT", "RESUME FROM", "")
        lines.append(table(heads, [_cells(row) for row in summary.worst]).rstrip("\n"))
    lines.append(f"{store.path}: the tables; a page of them: audit fleet report {store.path}")
    return "\n".join(map(_printable, lines)) + "\n"


def _printable(text: str) -> str:
    return "\n".join(one_line(line) if "\x1b[" not in line else line for line in text.split("\n"))


def _cells(row: RunRow) -> tuple[Any, ...]:
    return row.run, row.verdict or row.status, row.resume_from or "nothing", row.error or ", ".join(row.rules)


def _report(arguments: argparse.Namespace, registry: Registry) -> int:
    from audit.fleet.view import view_of

    store = Store(_only(arguments.names[1:], f"the table after the word {REPORT}"))
    store.check()
    require()
    output = arguments.output or PAGE
    if arguments.output is None and os.path.lexists(output) and not is_page(output):
        raise AuditError(f"{output}: is there, and is not a page of ours, so it stays; name a file with -o")
    if output != "-" and os.path.realpath(output) == os.path.realpath(store.path):
        raise AuditError(f"--output {output}: is the table itself; name a file for the page")
    view = view_of(store, None if output == "-" else output)
    page = registry.fleet_page("html")(view)
    write(page, None if output == "-" else output)
    if output == "-":
        return 0
    if arguments.format == "json":
        size = len(page.encode("utf-8", "backslashreplace"))
        write_document({"action": REPORT, "table": store.path, "page": output, "runs": view.total.runs, "bytes": size})
    elif not arguments.quiet:
        print(one_line(f"{output}: {view.total.runs} runs, {view.total.broken} of them broken"))
    return 0
