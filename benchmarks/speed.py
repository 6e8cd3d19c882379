"""Measure what the project promises about speed, each bar beside a bare interpreter, in one call.

    python benchmarks/speed.py [--rounds 15] [--tree TREE] [--code CHECKOUT ...] [--only NAME ...]

Prints one Markdown table. Figures are processor time (user and system) of a whole process, or of one call inside a
process, in milliseconds: medians over all rounds, and the least. Within a round every command runs once, one after the
other, so a machine that is slow for a while is slow for all of them; a ratio is to the bare interpreter of the same
call of this script. Bytecode is written and the page cache is warm before the first round that counts.

``--tree`` adds the scan of a tree of ``make_tree.py`` beside the bare calls that it is made of. ``--code`` measures
the code of other checkouts (their PYTHONPATH) instead of what is installed: name two, and each has its column.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

HERE = os.path.dirname(os.path.abspath(__file__))
BARE = "python -c pass"
AUDIT = "from audit.cli import main; main()"
"""What the command ``audit`` is, as pip installs it."""
HOME = os.path.expanduser("~")
"""Where commands run: in a checkout Python would take the modules beside it."""
KEPT = (2, 10, 50, 100)
HOUR_NS = 3_600_000_000_000
SAVES = 5
"""Saves after which the run is verified, for one figure; the first is not counted."""


class Row(NamedTuple):
    """One line of the table: ``measure`` gives milliseconds, ``to`` names the row that it is compared with."""

    name: str
    measure: Callable[[dict[str, str]], float]
    bar: str = ""
    to: str = BARE


def spent(command: list[str], environment: dict[str, str]) -> float:
    """Run a command and return the processor time of the process in milliseconds. Raises CalledProcessError."""
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment, cwd=HOME)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    return (usage.ru_utime + usage.ru_stime) * 1e3


def told(command: list[str], environment: dict[str, str]) -> float:
    """Run a command and return the number that it prints: milliseconds that it measured itself."""
    return float(subprocess.run(command, stdout=subprocess.PIPE, env=environment, cwd=HOME, check=True).stdout)


def rows(home: str, tree: str | None) -> Iterator[Row]:
    """Make the runs that are measured below ``home``, and name what is measured."""
    python, audit = sys.executable, [sys.executable, "-c", AUDIT]
    run, fresh = os.path.join(home, "run"), os.path.join(home, "fresh")
    _make(run, 3)
    shutil.copytree(run, fresh)

    def first(environment: dict[str, str]) -> float:
        shutil.rmtree(os.path.join(fresh, ".audit"), ignore_errors=True)
        return spent([*audit, "verify", fresh], environment)

    def of(*command: str) -> Callable[[dict[str, str]], float]:
        return lambda environment: spent([*audit, *command], environment)

    yield Row(BARE, lambda environment: spent([python, "-c", "pass"], environment))
    yield Row("audit --version", of("--version"), "2.5 x")
    yield Row("audit verify, 3 checkpoints, the first time", first)
    yield Row("audit verify, 3 checkpoints, --no-cache", of("verify", "--no-cache", run))
    yield Row("audit verify, 3 checkpoints", of("verify", run), "6 x")
    yield Row("audit guard, 3 checkpoints, unchanged", of("guard", run), "5 x")
    inside = [python, os.path.abspath(__file__), "--inside"]
    one = os.path.join(home, "one")
    _make(one, 1)
    for name, tiny in (("one more run of 3 in the same process", run), ("one more run of 1 in the same process", one)):
        yield Row(name, _told([*inside, "tiny", tiny]), "12 ms", "")
    for kept in KEPT:
        saved = os.path.join(home, f"kept-{kept}")
        yield Row(f"verify after a save, {kept} kept", _after_a_save([*inside, "kept", saved], saved, kept), "", "")
        yield Row(f"verify after a save, {kept} and more", _after_a_save([*inside, "more", saved], saved, kept), "", "")
    if tree is not None:
        scan = [python, os.path.join(HERE, "scan_tree.py"), tree]
        yield Row("bare calls over TREE", lambda env: spent([*scan, "--bare"], env), "", "")
        verify = ("verify", tree, "--no-ledger", "--no-cache")
        yield Row("audit verify TREE", of(*verify), "1.2 x", "bare calls over TREE")


def _told(command: list[str]) -> Callable[[dict[str, str]], float]:
    return lambda environment: told(command, environment)


def _make(run: str, count: int) -> None:
    from audit.testing.runs import make_run

    make_run(run, range(100, 100 * count + 1, 100), max_steps=20_000)
    for place, _, names in os.walk(run, topdown=False):  # older than any save that goes on
        for name in ("", *names):
            path = os.path.join(place, name)
            info = os.stat(path)
            os.utime(path, ns=(info.st_atime_ns - HOUR_NS, info.st_mtime_ns - HOUR_NS))


def _after_a_save(command: list[str], run: str, kept: int) -> Callable[[dict[str, str]], float]:
    def measured(environment: dict[str, str]) -> float:
        if not os.path.isdir(run):
            _make(run, kept + SAVES)
        return told([*command, str(kept)], environment)

    return measured


def _inside(what: str, run: str, *arguments: str) -> float:
    """Return the median milliseconds of processor time of one call, in this process."""
    import audit

    times = []
    with tempfile.TemporaryDirectory() as home:
        if what == "tiny":
            for number in range(9):
                one = shutil.copytree(run, os.path.join(home, str(number)), ignore=shutil.ignore_patterns(".audit"))
                times.append(_timed(lambda run=one: audit.verify(run)))
            return statistics.median(times[2:])
        kept = int(arguments[0])
        names = sorted(os.listdir(run), key=lambda name: int(name.rpartition("-")[2]))
        for name in names[:kept]:
            shutil.copytree(os.path.join(run, name), os.path.join(home, name))
        audit.verify(home, audit.Options(settle_seconds=0))
        for oldest, newest in zip(names, names[kept:], strict=False):
            shutil.copytree(os.path.join(run, newest), os.path.join(home, newest))
            if what == "kept":
                shutil.rmtree(os.path.join(home, oldest))
            times.append(_timed(lambda: audit.verify(home, audit.Options(settle_seconds=0))))
        return statistics.median(times[1:])


def _timed(call: Callable[[], object]) -> float:
    begin = time.process_time()
    call()
    return (time.process_time() - begin) * 1e3


def environment_of(checkout: str | None) -> dict[str, str]:
    """Return the environment in which a checkout's code runs; what is installed, for None."""
    environment = {**os.environ, "NO_COLOR": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # or every module would be compiled each time
    if checkout is not None:
        where = os.path.abspath(checkout)
        environment["PYTHONPATH"] = os.pathsep.join([where, f"{where}/backends", f"{where}/plugins"])
    return environment


def main() -> None:
    if sys.argv[1:2] == ["--inside"]:
        print(_inside(*sys.argv[2:]))
        return
    parser = argparse.ArgumentParser(description="measure what the project promises about speed")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--tree", help="a tree of make_tree.py, to measure the scan, too")
    parser.add_argument("--code", action="append", metavar="CHECKOUT", help="measure this checkout; may be repeated")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="parts of names of rows")
    args = parser.parse_args()
    codes = [(os.path.basename(os.path.abspath(code)), environment_of(code)) for code in args.code or ()]
    codes = codes or [("installed", environment_of(None))]
    times: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as home:
        # Each checkout has runs of its own: what one remembers of a run is not what the other would.
        todo = {code: list(_wanted(os.path.join(home, code), args.tree, args.only)) for code, _ in codes}
        names = [row.name for row in todo[codes[0][0]]]
        for number in range(args.rounds + 1):
            for place, name in enumerate(names):
                for code, environment in codes:
                    milliseconds = todo[code][place].measure(environment)
                    if number:  # the first round writes bytecode and warms the page cache
                        times.setdefault((name, code), []).append(milliseconds)
    print(f"{args.rounds} rounds, {os.cpu_count()} cores, Python {sys.version.split()[0]}; milliseconds\n")
    head = [cell for code, _ in codes for cell in (code, "least", "ratio")]
    print("| " + " | ".join(["measured", "bar", *head]) + " |")
    print("| --- | --- |" + " --- |" * len(head))
    for row in todo[codes[0][0]]:
        cells = [row.name, row.bar]
        for code, _ in codes:
            mine = times[row.name, code]
            median = statistics.median(mine)
            ratio = f"{median / statistics.median(times[row.to, code]):.2f}" if row.to else ""
            cells += [f"{median:.1f}", f"{min(mine):.1f}", ratio]
        print("| " + " | ".join(cells) + " |")


def _wanted(home: str, tree: str | None, only: list[str]) -> Iterator[Row]:
    os.makedirs(home)
    for row in rows(home, tree):
        if row.name == BARE or not only or any(part in row.name for part in only):
            yield row


if __name__ == "__main__":
    main()
