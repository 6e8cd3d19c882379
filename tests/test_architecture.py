"""Who may import whom. The layers are in docs/architecture.md; packages and modules are found, not listed."""

import ast
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("backends", "plugins")
HEAVY = {"accelerate", "datasets", "peft", "safetensors", "tokenizers", "torch", "transformers", "trl"}
SLOW_TO_LOAD = {"jsonschema", "model_signing", "numpy", "pyarrow", "rich"}
FACE = "audit.plugin"
MAY_BE_HEAVY = ("training", "callback")
MAY_LOAD_NUMPY = ("audit.scan", "audit.merging.arithmetic", "audit.merging.blocks", "audit.merging.proof")


class Import(NamedTuple):
    """One import: the dotted name, its line, and whether it is paid for as soon as the module is loaded."""

    name: str
    line: int
    at_load: bool


def layers_of(document: str) -> dict[str, int]:
    """Return the layer of each core module, 0 at the top, from the block marked "layers" in the document."""
    block = document.partition("<!-- layers -->")[2].partition("```text\n")[2].partition("```")[0]
    return {name: height for height, line in enumerate(block.splitlines()) for name in line.split()}


def imports(tree: ast.AST, at_load: bool = True) -> Iterator[Import]:
    """Yield the imports of a module; those that only a type checker sees count, too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, at_load)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield Import(f"{'.' * node.level}{node.module or ''}.{alias.name}", node.lineno, at_load)
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for child in node.body:
                yield from imports(ast.Module([child], []), at_load=False)
            for child in node.orelse:
                yield from imports(ast.Module([child], []), at_load)
        else:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports(node, at_load and not inside)


def violations(module: str, tree: ast.AST, layers: dict[str, int], rooms: set[str]) -> list[str]:
    """Return what is wrong with the imports of ``module``, one line each."""
    return [
        f"{module}:{item.line}: imports {item.name.rstrip('.')}: {reason}"
        for item in imports(tree)
        if (reason := _wrong(module, item, layers, rooms))
    ]


def _wrong(module: str, item: Import, layers: dict[str, int], rooms: set[str]) -> str | None:
    home, target = module.partition(".")[0], item.name.partition(".")[0]
    if target == "":
        return "relative"
    if target in ROOMS:
        return "a room is no package"
    if target in rooms and target != home:
        return "rooms do not know each other" if home in rooms else "the core knows no room"
    if target in HEAVY and not (home in rooms and _may_be_heavy(module)):
        return "heavy libraries belong in the training or callback module of a room's package"
    if target == home in rooms and item.at_load and _may_be_heavy(item.name) and not _may_be_heavy(module):
        return "heavy libraries are loaded when somebody asks for what needs them"
    if target in SLOW_TO_LOAD and item.at_load and not _may_load(module, target):
        return "imported inside the function that needs it, start-up stays fast"
    if target == "audit" and home in rooms and ".".join(item.name.split(".")[:2]) != FACE:
        return f"of the core, plugins import {FACE} alone"
    if target == "pluggy" and module not in ("audit.manager", "audit.hookspecs"):
        return "the manager alone calls pluggy"
    if target == home == "audit":
        return _direction(module, item, layers)
    return None


def _may_be_heavy(module: str) -> bool:
    """Whether it is the training package or the callback of a package in a room."""
    return module.split(".")[1:2] in [[name] for name in MAY_BE_HEAVY]


def _may_load(module: str, target: str) -> bool:
    if _may_be_heavy(module):
        return True
    return target == "numpy" and module.startswith(MAY_LOAD_NUMPY)


def _direction(module: str, item: Import, layers: dict[str, int]) -> str | None:
    if module == "audit":
        return None  # the public names: imported at their first use
    own, other = module.split(".")[1], item.name.split(".")[1]
    for name in (own, other):
        if name not in layers:
            return f"'{name}' is in no layer of docs/architecture.md"
    if layers[other] < layers[own] or (layers[other] == layers[own] and other != own):
        return f"'{other}' is {'above' if layers[other] < layers[own] else 'beside'} '{own}' in docs/architecture.md"
    return None


def modules() -> dict[str, Path]:
    """Return every module that the project ships, by its dotted name."""
    found = {}
    for base in (ROOT, *(ROOT / room for room in ROOMS)):
        for package in sorted(base.glob("audit" if base == ROOT else "*/")):
            for path in sorted(package.rglob("*.py")):
                parts = path.relative_to(base).with_suffix("").parts
                found[".".join(parts).removesuffix(".__init__")] = path
    return found


def modules_imported(tree: ast.AST, known: Container[str]) -> set[str]:
    """Return the modules among ``known`` that a module imports, for a type checker alone, too."""
    found = set()
    for item in imports(tree):
        name = item.name
        while name and name not in known:
            name = name.rpartition(".")[0]
        if name.count("."):  # `audit` itself imports its public names at their first use
            found.add(name)
    return found


def circles(arrows: Mapping[str, Iterable[str]]) -> list[tuple[str, str]]:
    """Return pairs of modules that need each other, however many others are between."""
    reached: dict[str, set[str]] = {}
    for start in arrows:
        seen: set[str] = set()
        left = [start]
        while left:
            for target in arrows.get(left.pop(), ()):
                if target not in seen:
                    seen.add(target)
                    left.append(target)
        reached[start] = seen
    return sorted((one, other) for one in reached for other in reached[one] if one < other and one in reached[other])


def room_packages() -> set[str]:
    return {path.parent.name for room in ROOMS for path in (ROOT / room).glob("*/__init__.py")}


LAYERS = layers_of((ROOT / "docs/architecture.md").read_text())
MODULES = modules()
SOME_ROOMS = {"audit_rules", "audit_hf_trainer", "audit_hub", "audit_trackers"}


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text())

    assert violations(module, tree, LAYERS, room_packages()) == []


def test_no_two_modules_need_each_other() -> None:
    arrows = {name: modules_imported(ast.parse(path.read_text()), MODULES) - {name} for name, path in MODULES.items()}

    assert circles(arrows) == []


def test_a_circle_is_seen_however_long_it_is() -> None:
    assert circles({"a": ["b"], "b": ["c"], "c": ["d"], "d": []}) == []
    assert circles({"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]}) == [("a", "b"), ("a", "c"), ("b", "c")]


def test_every_module_of_the_core_has_a_layer() -> None:
    core = {name.split(".")[1] for name in MODULES if name.startswith("audit.")}

    assert core - LAYERS.keys() == set()


def test_the_picture_names_nothing_that_is_gone() -> None:
    core = {name.split(".")[1] for name in MODULES if name.startswith("audit.")}

    assert LAYERS.keys() - core == set()


TESTED_BY = {
    # values, which have no behaviour of their own
    "errors": "cli/test_parser",
    "findings": "judging/test_engine",
    "options": "test_config",
    "page": "views/test_curves",
    "report": "reporters/test_json",
    "version": "cli/test_process",
    "backend.files": "facts/test_checkpoint",
    "training.notify_config": "training/test_notifying",
    "backend.training": "training/test_session",
    "backend.rehearsal": "training/test_messages",
    "data.thrift": "data/test_parquet_pages",
    "facts.directory": "facts/test_checkpoint",
    "facts.recorded": "facts/test_checkpoint",
    "facts.scanned_run": "facts/test_run",
    "formats.damage": "formats/test_pickles",
    "formats.tensors": "formats/test_safetensors",
    "scan.values": "scan/test_scan",
    "fleet.rows": "fleet/test_tasks",
    # what is best looked at through another module
    "__main__": "cli/test_process",
    "api": "judging/test_guard",
    "hookspecs": "test_manager",
    "cli.backends": "cli/test_rules_explain_backends",
    "cli.explain": "cli/test_rules_explain_backends",
    "cli.list": "cli/test_list_and_show",
    "cli.progress": "cli/test_process",
    "cli.rules": "cli/test_rules_explain_backends",
    "cli.show": "cli/test_list_and_show",
    "cli.progress_of_fleet": "cli/test_fleet",
    "fleet.engines.dask": "fleet/engines/test_clusters",
    "fleet.engines.ray": "fleet/engines/test_clusters",
    "fleet.engines.window": "fleet/engines/test_clusters",
    "fleet.gathering": "fleet/test_passes",
    "fleet.store": "fleet/test_passes",
    "fleet.worker": "fleet/test_supervised",
    "formats.history": "formats/test_trainer_state",
    "formats.intake": "formats/test_json_text",
    "formats.optimizer": "formats/test_checkpoint_files",
    "formats.pickle_calls": "formats/test_pickles",
    "formats.pickle_names": "formats/test_pickles",
    "formats.pickle_opcodes": "formats/test_pickles",
    "formats.pickle_values": "formats/test_pickles",
    "formats.rng": "formats/test_checkpoint_files",
    "formats.scheduler": "formats/test_checkpoint_files",
    "formats.state_split": "formats/test_trainer_state",
    "formats.torch_loader": "formats/test_against_torch",
    "formats.torch_names": "formats/test_against_torch",
    "formats.training_args": "formats/test_checkpoint_files",
    "formats.zip_directory": "formats/test_torch_archive",
    "judging.decision": "judging/test_guard",
    "judging.outcome_parts": "judging/test_outcomes",
    "judging.outcome_text": "judging/test_outcomes",
    "ledger.back_events": "ledger/test_events",
    "ledger.batch_events": "ledger/test_events",
    "ledger.batch_row": "ledger/test_events",
    "ledger.checksums": "cli/test_seal",
    "ledger.json_values": "ledger/test_events",
    "ledger.push_events": "ledger/test_events",
    "ledger.losses": "../plugins/audit_rules/ledger/test_rows_missing",
    "ledger.scans": "ledger/test_seals",
    "backend.protocol": "backend/test_layout",
    "ledger.batches": "ledger/test_timeline",
    "ledger.timeline_rows": "ledger/test_timeline",
    "merging.ledger_rows": "merging/test_merge",
    "merging.refusals": "merging/test_adapter",
    "merging.weight_files": "merging/test_proof",
    "reporters.plugin": "test_manager",
    "reporters.words": "reporters/test_console",
    "scan.blocks": "scan/test_scan",
    "scan.floats": "scan/test_scan",
    "scan.threads": "scan/test_scan",
    "scan.zeros": "scan/test_scan",
    "testing.arguments": "formats/test_against_torch",
    "testing.json_files": "formats/test_safetensors",
    "testing.judging": "../test_custom_rule",
    "testing.run_files": "formats/test_against_torch",
    "testing.runs": "formats/test_against_torch",
    "testing.torch_files": "formats/test_against_torch",
    "training.base_model": "training/test_preflight",
    "training.rehearsal_draft": "training/test_rehearsal",
    "training.way_back": "training/test_going_back",
    "views.best": "cli/test_best",
    "views.comparison": "cli/test_diff",
    "views.export": "cli/test_export",
    "views.summary": "cli/test_list_and_show",
}
"""Modules of the core whose tests are not in ``tests/audit/<folder>/test_<module>.py``, and where they are."""


def test_every_module_of_the_core_is_tested_where_its_name_says_or_the_table_does() -> None:
    missing, needless = [], []
    for name, path in MODULES.items():
        if not name.startswith("audit.") or path.name == "__init__.py":
            continue
        inside = name.removeprefix("audit.")
        own = ROOT / "tests" / "audit" / "/".join([*inside.split(".")[:-1], f"test_{inside.rpartition('.')[2]}.py"])
        told = ROOT / "tests" / "audit" / f"{TESTED_BY.get(inside, 'nowhere')}.py"
        if own.is_file() and inside in TESTED_BY:
            needless.append(inside)
        elif not own.is_file() and not told.resolve().is_file():
            missing.append(inside)

    assert (missing, needless) == ([], [])
    assert [name for name in TESTED_BY if f"audit.{name}" not in MODULES] == []


def test_few_files_are_outside_the_folders_of_the_core() -> None:
    assert len(list((ROOT / "audit").glob("*.py"))) <= 18


def test_both_rooms_have_packages() -> None:
    rooms = {path.parts[-3] for room in ROOMS for path in (ROOT / room).glob("*/__init__.py")}

    assert rooms == set(ROOMS)


@pytest.mark.parametrize(
    ("module", "source", "reason"),
    [
        ("audit.judging.engine", "import audit_rules", "the core knows no room"),
        ("audit.judging.engine", "def f():\n    from audit_rules.files import x", "the core knows no room"),
        ("audit_rules.a", "import audit_hf_trainer.layout", "rooms do not know each other"),
        ("audit_rules.a", "from audit.rules import rule", "audit.plugin alone"),
        ("audit_rules.a", "import audit", "audit.plugin alone"),
        ("audit_hf_trainer.callback", "def f():\n    from audit import verify", "audit.plugin alone"),
        ("audit_hf_trainer.callback", "if TYPE_CHECKING:\n    from audit.report import Report", "audit.plugin alone"),
        ("audit.errors", "from audit.judging.engine import judge", "'judging' is above 'errors'"),
        ("audit.errors", "from audit.findings import Finding", "'findings' is beside 'errors'"),
        ("audit.errors", "def f():\n    from audit import judging", "'judging' is above 'errors'"),
        (
            "audit.errors",
            "if TYPE_CHECKING:\n    from audit.judging.engine import judge",
            "'judging' is above 'errors'",
        ),
        ("audit.errors", "from audit.novelty import x", "'novelty' is in no layer"),
        ("audit.novelty", "from audit.errors import x", "'novelty' is in no layer"),
        ("audit.judging.engine", "from .errors import x", "relative"),
        ("audit.judging.engine", "import backends.audit_hf_trainer", "a room is no package"),
        ("audit.judging.engine", "def f():\n    import torch", "heavy libraries"),
        ("audit_hf_trainer.layout", "from transformers import Trainer", "heavy libraries"),
        ("audit_hub.background", "def f():\n    import transformers", "heavy libraries"),
        ("audit_hub", "from audit_hub.callback import HubCallback", "when somebody asks"),
        ("audit.training", "import torch", "heavy libraries"),
        ("audit_hf_trainer.plugin", "from audit_hf_trainer.callback import AuditCallback", "when somebody asks"),
        ("audit_hf_trainer", "from audit_hf_trainer.training import leg", "when somebody asks"),
        ("audit.judging.engine", "import numpy as np", "start-up stays fast"),
        ("audit.judging.engine", "class A:\n    from rich import print", "start-up stays fast"),
        ("audit.judging.engine", "if True:\n    import jsonschema", "start-up stays fast"),
        ("audit.judging.engine", "import pluggy", "the manager alone"),
    ],
)
def test_a_forbidden_import_is_seen(module: str, source: str, reason: str) -> None:
    (violation,) = violations(module, ast.parse(source), {"judging": 0, "errors": 1, "findings": 1}, SOME_ROOMS)

    assert reason in violation


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("audit.judging.engine", "from audit.errors import AuditError"),
        ("audit.judging.engine", "from audit.version import __version__"),
        ("audit.judging.engine", "from audit.judging.resume import resumable"),
        ("audit.judging.engine", "def f():\n    import numpy"),
        ("audit.judging.engine", "if TYPE_CHECKING:\n    import numpy"),
        ("audit.scan", "import numpy as np"),
        ("audit.manager", "import pluggy"),
        ("audit_rules.a", "from audit.plugin import rule\nfrom audit_rules.b import helper"),
        ("audit_hf_trainer.plugin", "def f():\n    from audit import plugin"),
        ("audit_hf_trainer.plugin", "def f():\n    from audit_hf_trainer.callback import AuditCallback"),
        ("audit_hf_trainer", "if TYPE_CHECKING:\n    from audit_hf_trainer.callback import AuditCallback"),
        ("audit_hf_trainer.training.leg", "import torch, numpy"),
        ("audit_hf_trainer.callback", "from transformers import TrainerCallback"),
        # its class is one that Trainer calls, so it needs its base; see docs/architecture.md
        ("audit_hub.callback", "from transformers import TrainerCallback"),
        ("audit_trackers.callback", "from transformers import TrainerCallback"),
    ],
)
def test_an_allowed_import_is_let_through(module: str, source: str) -> None:
    layers = {"manager": 0, "judging": 0, "scan": 0, "errors": 1, "version": 1}

    assert violations(module, ast.parse(source), layers, SOME_ROOMS) == []
