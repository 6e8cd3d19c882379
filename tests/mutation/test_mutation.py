"""The script finds what tests do not notice; and the tests of one small module notice everything."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("cosmic_ray", reason="cosmic-ray is not installed")

from tests.mutation import checkout
from tests.mutation.__main__ import DEFAULT, EQUIVALENT, ROOT, Judged, Session, modules, table, until_one_fails
from tests.mutation.mutants import Mutant, change, mutants_of, mutated, sample

TOY = {
    "toys/sums.py": """def below(numbers, limit):
    total = 0
    while numbers:
        numbers = numbers[1:]
        total += 1
    return total < limit
""",
    "tests/toys/test_sums.py": """from toys.sums import below

def test_few_are_below():
    assert below([5, 5], 3)
    assert not below([5, 5, 5, 5], 3)
""",
}


def run(*arguments: str, root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.mutation", "--root", str(root), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    for name, text in TOY.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    return tmp_path / "project"


def outcomes(lines: list[str]) -> dict[tuple[str, int], str]:
    rows = [json.loads(line) for line in lines]
    return {(row["operator"], row["occurrence"]): row["outcome"] for row in rows}


def test_it_kills_ends_endless_loops_shows_what_survived_and_tries_that_again_when_tests_changed(toy: Path) -> None:
    session = toy / "session"
    asked = ("toys/sums.py", "--mutants", "99", "--patience", "0.5", "--session", str(session))
    done = run(*asked, root=toy)
    lines = session.read_text().splitlines()
    first = outcomes(lines)

    assert done.returncode == 1, done.stderr
    assert "-    return total < limit\n+    return total <= limit" in done.stdout
    assert first["ReplaceComparisonOperator_Lt_LtE", 0] == "survived"  # no test has exactly three
    assert first["ReplaceComparisonOperator_Lt_GtE", 0] == "killed"
    assert first["NumberReplacer", 3] == "timeout"  # numbers[0:] never gets shorter
    assert (toy / "toys/sums.py").read_text() == TOY["toys/sums.py"]

    (toy / "tests/toys/test_sums.py").write_text(
        TOY["tests/toys/test_sums.py"] + "    assert not below([5, 5, 5], 3)\n    assert below([5], 2)\n"
    )
    session.write_text("\n".join(lines[:-1]) + "\n")  # it was interrupted before the last
    done = run(*asked, root=toy)
    tried = outcomes(session.read_text().splitlines()[len(lines) - 1 :])

    assert tried.keys() == {key for key, outcome in first.items() if outcome == "survived"} | {list(first)[-1]}
    assert tried["ReplaceComparisonOperator_Lt_LtE", 0] == "killed"


class Fails:
    """A checkout in which the tests of one file fail."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked: list[list[str]] = []

    def test(self, files: list[str], processor: float, wall: float) -> checkout.Ended:
        self.asked.append(list(files))
        found = self.name in files
        return checkout.Ended(
            int(found), 0.1, False, f"1 failed\nFAILED {self.name}::test_it - assert" if found else ""
        )


def test_the_file_that_failed_is_run_first_and_alone_for_the_next_mutant() -> None:
    tests, there = ["test_a.py", "test_b.py", "test_c.py"], Fails("test_c.py")
    seconds = dict.fromkeys(tests, 1.0)

    assert [until_one_fails(there, tests, seconds, 1).code for _ in range(2)] == [1, 1]  # type: ignore[arg-type]
    assert there.asked == [["test_a.py"], ["test_b.py", "test_c.py"], ["test_c.py"]]
    there = Fails("another")
    assert until_one_fails(there, tests, seconds, 1).code == 0  # type: ignore[arg-type]
    assert there.asked == [["test_c.py"], ["test_a.py", "test_b.py"]]


def test_modules_of_which_least_was_judged_come_first(tmp_path: Path) -> None:
    session = Session(tmp_path / "session")
    for module, occurrence in (("a", 0), ("a", 1), ("b", 0)):
        session.keep(module, "digest", "digest", Mutant("SwapIn", occurrence, ((1, 0), (1, 2))), "killed")

    assert sorted("abc", key=Session(tmp_path / "session").judged) == ["c", "b", "a"]


def test_tests_that_fail_without_a_mutant_are_an_error(toy: Path) -> None:
    (toy / "tests/toys/test_sums.py").write_text("def test_nothing():\n    assert 1 == 2\n")
    done = run("toys/sums.py", root=toy)

    assert done.returncode == 1
    assert "the tests fail without a mutant" in done.stderr
    assert "assert 1 == 2" in done.stderr


def test_the_tests_of_a_small_module_notice_everything() -> None:
    done = run("plugins/audit_rules/files/missing_optimizer.py", "--mutants", "4", root=ROOT)

    assert "missing_optimizer.py: 4 killed\n" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("source", "operators"),
    [
        ("def f(a: 'int | None' = None, *b: int | str) -> list[int] | None:\n    x: int | str\n", []),
        ("if TYPE_CHECKING:\n    a = 1\n", []),
        ("raise E(f'{a + 1} of {b}')\n", []),
        ("@dataclass(frozen=True)\nclass A:\n    pass\n", []),
        ("for a, b in zip(c, d, strict=True):\n    pass\n", ["ZeroIterationForLoop"]),
        ("a = b not in c\n", ["SwapIn"]),
        ("def f():\n    '''Text.'''\n    g(h)\n", ["DropCall"]),
        ("@rule(blocks=True)\ndef f():\n    pass\n", ["ReplaceTrueWithFalse"]),
    ],
)
def test_what_cannot_matter_is_left_alone(source: str, operators: list[str]) -> None:
    assert [mutant.operator for mutant in mutants_of(source)] == operators


@pytest.mark.parametrize(
    ("source", "becomes"),
    [
        ("a = b not in c\n", "a = b in c\n"),
        ("a = b in c\n", "a = b not in c\n"),
        ("if a:\n    g(h)\n", "if a:\n    pass\n"),
    ],
)
def test_an_operator_of_our_own_changes_one_thing(source: str, becomes: str) -> None:
    (mutant,) = [mutant for mutant in mutants_of(source) if mutant.operator in ("SwapIn", "DropCall")]

    assert mutated(source, mutant) == becomes


@pytest.mark.parametrize(
    ("caught", "becomes"),
    [
        ("OSError", ["{}"]),
        ("sqlite3.Error", ["{}"]),
        ("sqlite3.Error as error", ["{} as error"]),
        ("(OSError)", ["({})"]),
        ("(OSError, sqlite3.Error)", ["({}, sqlite3.Error)", "(OSError, {})"]),
    ],
)
def test_each_exception_that_is_caught_is_replaced(caught: str, becomes: list[str]) -> None:
    source = f"try:\n    a\nexcept {caught}:\n    b\n"
    found = [mutated(source, item) for item in mutants_of(source) if item.operator == "ExceptionReplacer"]

    assert found == [source.replace(caught, text.format("CosmicRayTestingException")) for text in becomes]


def test_a_change_is_the_lines_that_differ_without_the_white_space_around_them() -> None:
    assert change("if a:\n    g(h)\n", "if a:\n    pass\n") == ("g(h)", "pass")


def test_a_sample_is_the_same_for_a_seed_and_takes_no_place_twice_while_others_are_left() -> None:
    every = mutants_of("a = b < 1\nc = d < 2\ne = f < 3\n")
    few = sample(every, 6, "16")

    assert few == sample(every, 6, "16")
    assert few != sample(every, 6, "17")
    assert len({mutant.place for mutant in few}) == 6
    assert sorted(sample(every, 99, "16")) == sorted(every)


def test_the_score_leaves_out_what_is_equivalent() -> None:
    rows = [Judged("a", outcome, 1, "") for outcome in ("killed", "killed", "timeout", "survived", "equivalent")]

    assert "| a | 5 | 3 | 1 | 1 | 1 | 75.0% |" in table({"a": rows})


def test_every_module_that_is_mutated_has_tests() -> None:
    named = modules(ROOT, DEFAULT)

    assert len(named) > 100
    assert [name for name in named if not checkout.tests_of(ROOT, name)] == []
    assert checkout.tests_of(ROOT, "audit/judging/decision.py") == [
        "tests/audit/judging/test_guard.py"
    ]  # TESTED_BY says so
    assert "tests/plugins/audit_rules/test_loss_windows.py" in checkout.tests_of(
        ROOT, "plugins/audit_rules/loss/_windows.py"
    )


@pytest.mark.slow
def test_every_equivalent_mutant_is_still_one_of_the_code() -> None:
    rows = tomllib.loads(EQUIVALENT.read_text()).get("mutant", [])
    changes = {
        (module, *change(source, mutated(source, mutant)))
        for module in {row["module"] for row in rows}
        for source in [(ROOT / module).read_text(encoding="utf-8")]
        for mutant in mutants_of(source)
    }

    assert [row for row in rows if (row["module"], row["was"], row["becomes"]) not in changes] == []
    assert all(row["because"] for row in rows)
