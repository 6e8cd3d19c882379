"""Change the code a little, many times, and see whether its tests notice: ``tox run -e mutants``.

``tox run -e mutants -- audit/judging/decision.py --mutants 40`` for one module, ``--seed 7`` for another sample.
cosmic-ray makes the changes in a copy of the checkout; each is judged by the module's own tests. What was judged is
kept in ``--session``: the same command goes on from there, and tries survivors again if their tests have changed. A
survivor that does what the code does is listed in equivalent.toml, with the reason.
"""

import argparse
import datetime as dt
import hashlib
import json
import platform
import sys
import textwrap
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from tests.mutation.checkout import Checkout, Ended, copied, tests_of
from tests.mutation.mutants import Mutant, change, diff, mutants_of, mutated, sample

ROOT = Path(__file__).parents[2]
EQUIVALENT = Path(__file__).with_name("equivalent.toml")
NO_TESTS = 5
"""pytest's exit code for a file in which every test is slow."""
COUNT = "of each module, at most; of the default list twice as many of the core (default: 6)"
PAGE = ROOT / "docs" / "mutants.md"
DEFAULT = (
    *(f"audit/judging/{name}.py" for name in ("decision", "guard", "acceptance", "outcomes", "resume")),
    "plugins/audit_rules/**/*.py",
    *(f"audit/ledger/{name}.py" for name in ("records", "timeline", "timeline_rows", "seals", "store")),
    *(f"audit/training/{name}.py" for name in ("session", "run_state", "conclusion", "held_file")),
    *(f"audit/training/{name}.py" for name in ("filing", "inbox", "drafting")),
)


class Judged(NamedTuple):
    """A mutant, and what became of it: ``killed``, ``timeout``, ``survived`` or ``equivalent``."""

    module: str
    outcome: str
    line: int
    diff: str


class Session:
    """What was judged, a line of JSON each, for the module and the tests as they were."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[tuple[object, ...], dict[str, Any]] = {}
        if path is not None and path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                self._known[row["module"], row["source"], row["operator"], row["occurrence"]] = row

    def outcome(self, module: str, source: str, tests: str, mutant: Mutant, stale: bool = False) -> str | None:
        """What became of a mutant; of one that survived other tests than those of today only if ``stale``."""
        row = self._known.get((module, source, mutant.operator, mutant.occurrence))
        return str(row["outcome"]) if row and (stale or row["outcome"] != "survived" or row["tests"] == tests) else None

    def judged(self, module: str) -> int:
        """How many mutants of a module were judged, of whatever source: those with the fewest come first."""
        return sum(key[0] == module for key in self._known)

    def keep(self, module: str, source: str, tests: str, mutant: Mutant, outcome: str) -> None:
        if self._path is not None:
            named = {"operator": mutant.operator, "occurrence": mutant.occurrence}
            row = {"module": module, "source": source, "tests": tests, **named, "outcome": outcome}
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def judge(
    checkout: Checkout, session: Session, module: str, count: int, seed: int, patience: float | None
) -> list[Judged]:
    """Judge a sample of the mutants of one module; without ``patience`` tell of those that were judged before.

    Raises RuntimeError if the tests fail without a mutant.
    """
    path = checkout.path / module
    source = path.read_text(encoding="utf-8")
    tests = tests_of(checkout.path, module)
    if not tests:
        raise RuntimeError(f"{module}: no test of it was found")
    digests = _digest([path]), _digest(checkout.path / name for name in tests)
    equivalent = {(row["module"], row["was"], row["becomes"]) for row in equivalents()}
    seconds: dict[str, float] = {}
    found = []
    for mutant in sample(mutants_of(source), count, f"{seed}:{module}"):
        other = mutated(source, mutant)
        if (module, *change(source, other)) in equivalent:
            outcome: str | None = "equivalent"
        else:
            outcome = session.outcome(module, *digests, mutant, stale=patience is None)
        if outcome is None and patience is None:
            continue
        if outcome is None and patience is not None:
            if not seconds:
                seconds = _measured(checkout, tests)
                tests = list(seconds)
            with checkout.changed(module, other):
                ended = until_one_fails(checkout, tests, seconds, patience)
            outcome = "timeout" if ended.timed_out else "killed" if ended.code else "survived"
            session.keep(module, *digests, mutant, outcome)
        found.append(Judged(module, str(outcome), mutant.place[0][0], diff(module, source, other)))
    return found


def until_one_fails(checkout: Checkout, tests: list[str], seconds: Mapping[str, float], patience: float) -> Ended:
    """Run the nearest file alone, then the others. The one that fails is the nearest of the next mutant.

    What many rules share is tested by the files of all of them, and to collect these takes longer than to run one.
    """
    first, others = tests[:1], tests[1:]
    ended = checkout.test(first, *_limits(first, seconds, patience))
    if others and not ended.code:
        ended = checkout.test(others, *_limits(others, seconds, patience))
        if ended.failed in others:
            tests.remove(ended.failed)
            tests.insert(0, ended.failed)
    return ended


def _limits(tests: Sequence[str], seconds: Mapping[str, float], patience: float) -> tuple[float, float]:
    """Return how long tests may take with a mutant, of processor time and by the clock: some times as long as without.

    One that waits for what never comes takes no processor time.
    """
    most = patience + 5 * sum(seconds[name] for name in tests)
    return most, 60 + 4 * most


def _measured(checkout: Checkout, tests: Sequence[str]) -> dict[str, float]:
    """Return how long each file with a test takes without a mutant. Raises RuntimeError if one fails."""
    seconds = {}
    for name in tests:
        ended = checkout.test([name], 3600, 3600, compile=True)
        if ended.code not in (0, NO_TESTS):
            raise RuntimeError(f"the tests fail without a mutant: {name}\n{ended.output}")
        if not ended.code:
            seconds[name] = ended.seconds
    return seconds


def equivalents() -> list[dict[str, str]]:
    """Return the mutants that were looked at and do what the code does."""
    rows: list[dict[str, str]] = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8")).get("mutant", [])
    return rows


def _digest(paths: Iterable[Path]) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def modules(root: Path, asked: Sequence[str]) -> list[str]:
    """Return the modules that are named, or match a pattern, relative to the root."""
    found = [path for pattern in asked for path in sorted(root.glob(pattern.removeprefix("./")))]
    named = [str(path.relative_to(root)) for path in found if path.suffix == ".py"]
    return [name for name in dict.fromkeys(named) if not name.endswith(("__init__.py", "/plugin.py"))]


def group(module: str) -> str:
    """Return what a module is counted with on the page: a family of rules, or itself."""
    parts = Path(module).parts
    return f"rules: {parts[2] if len(parts) > 3 else 'shared'}" if parts[1] == "audit_rules" else f"`{module}`"


def table(counted: Mapping[str, Iterable[Judged]]) -> str:
    """Return the counts as a Markdown table. Equivalent mutants are no part of the score."""
    lines = ["| module | mutants | killed | by timeout | survived | equivalent | score |"]
    lines.append("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    every = [row for rows in counted.values() for row in rows]
    for name, rows in [*counted.items(), ("all", every)]:
        count = Counter(row.outcome for row in rows)
        dead, alive = count["killed"] + count["timeout"], count["survived"]
        score = f"{dead / (dead + alive):.1%}" if dead + alive else ""
        lines.append(
            f"| {name} | {count.total()} | {dead} | {count['timeout']} | {alive} | {count['equivalent']} | {score} |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Judge mutants of the modules named on the command line. Exit code 1: some survived."""
    parser = argparse.ArgumentParser(
        "python -m tests.mutation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("modules", nargs="*", help="paths or patterns (default: guard, rules, ledger, training)")
    parser.add_argument("--mutants", type=int, default=6, metavar="N", help=COUNT)
    parser.add_argument("--seed", type=int, default=16, help="what the sample is drawn with (default: 16)")
    parser.add_argument("--session", type=Path, metavar="FILE", help="what was judged: go on from there")
    parser.add_argument("--patience", type=float, default=5, metavar="SECONDS", help="beyond 5 times a test's own time")
    parser.add_argument("--root", type=Path, default=ROOT, help="another project to mutate")
    parser.add_argument("--report", action="store_true", help="judge nothing: tell what the session has")
    parser.add_argument("--write", action="store_true", help="write docs/mutants.md")
    options = parser.parse_args()
    root = options.root.resolve()
    named = modules(root, options.modules or DEFAULT)
    if not named:
        parser.error(f"no module there: {' '.join(options.modules)}")

    sys.stdout.write(f"seed {options.seed}, up to {options.mutants} mutants of each of {len(named)} modules\n")
    session = Session(options.session)
    found: dict[str, list[Judged]] = {}
    with copied(root) as checkout:
        for module in sorted(named, key=session.judged):
            count = options.mutants if options.modules else _share(module, options.mutants)
            patience = None if options.report else options.patience
            found[module] = judge(checkout, session, module, count, options.seed, patience)
            for row in found[module]:
                if row.outcome == "survived":
                    sys.stdout.write(f"\nsurvived: {row.module}:{row.line}\n{row.diff}\n")
            counted = Counter(row.outcome for row in found[module])
            said = ", ".join(f"{number} {name}" for name, number in sorted(counted.items())) or "none"
            sys.stdout.write(f"{module}: {said}\n")
            sys.stdout.flush()
    found = {module: found[module] for module in named}
    sys.stdout.write("\n" + table({f"`{name}`": rows for name, rows in found.items()}))
    if options.write:
        PAGE.write_text(_page(found, options.mutants, options.seed), encoding="utf-8")
    return int(any(row.outcome == "survived" for rows in found.values() for row in rows))


def _share(module: str, mutants: int) -> int:
    """How many mutants of a module of the default list: a module of the core is larger than a rule."""
    return mutants if module.startswith("plugins/") else 2 * mutants


def _page(found: Mapping[str, Sequence[Judged]], mutants: int, seed: int) -> str:
    grouped: dict[str, list[Judged]] = {}
    for module, rows in found.items():
        if rows:  # with --report none of a module may be known
            grouped.setdefault(group(module), []).extend(rows)
    versions = f"Python {platform.python_version()}, cosmic-ray {version('cosmic-ray')}, pytest {version('pytest')}"
    day = dt.datetime.now(dt.UTC).date()
    lines = [
        "# Do the tests notice?",
        "",
        f"Written by `tox run -e mutants -- --mutants {mutants} --seed {seed} --write` on {day}; do not edit.",
        f"{versions}.",
        "",
        "cosmic-ray changes one operator, number, condition, loop or call of a module, and the module's own tests are run. A",
        "change that they do not notice has *survived*: a test is missing, or the line is needless. The sample is random: at",
        f"most {mutants} changes of a rule, twice as many of another module. Annotations, f-strings, assertions and what",
        "decorates a class are left alone.",
        "",
        table(grouped),
    ]
    untried = [f"`{module}`" for module, rows in found.items() if not rows and mutants_of((ROOT / module).read_text())]
    if untried:
        lines += [textwrap.fill(f"Not tried by this run: {', '.join(untried)}.", 120, break_on_hyphens=False), ""]
    alive = [row for rows in found.values() for row in rows if row.outcome == "survived"]
    if alive:
        lines += ["## Survivors", "", *(f"```diff\n{row.diff}\n```\n" for row in alive)]
    lines += [
        "## Equivalent",
        "",
        "These were looked at. They do what the code does, and are no part of the score.",
        "",
        "| module | was | becomes | because |",
        "| --- | --- | --- | --- |",
        *(
            f"| `{row['module']}` | {_code(row['was'])} | {_code(row['becomes'])} | {row['because']} |"
            for row in equivalents()
        ),
    ]
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
