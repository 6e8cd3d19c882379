"""What is shipped, and that loading it is cheap. Judges the installed distribution: tox installs the wheel."""

import json
import os
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import audit

ROOT = Path(__file__).parents[1]
HEAVY = {"accelerate", "datasets", "peft", "safetensors", "tokenizers", "torch", "transformers", "trl"}
SLOW_TO_LOAD = {"blake3", "importlib.metadata", "isal", "jsonschema", "msgspec", "numpy", "pluggy", "rich"}
BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {heavy}:
            raise ModuleNotFoundError(f"{{name}} is blocked", name=name)

sys.meta_path.insert(0, Blocker())
"""


def distribution() -> metadata.Distribution:
    return metadata.distribution("checkpoint-audit")


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def sources() -> set[str]:
    """Return the files that the wheel must hold, as it names them: without the rooms."""
    packages = [ROOT / "audit", *(path for room in ("backends", "plugins") for path in (ROOT / room).iterdir())]
    return {
        path.relative_to(package.parent).as_posix()
        for package in packages
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture
def shipped() -> set[str]:
    """The files of the installed wheel. An editable install ships nothing; in tox that is a failure, not a skip."""
    origin = json.loads(distribution().read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable") and "TOX_ENV_NAME" not in os.environ:
        pytest.skip("installed in editable mode")
    return {file.as_posix() for file in distribution().files or () if "__pycache__" not in file.parts}


def python(code: str, cwd: Path) -> str:
    """Run code as a user would: isolated from the checkout, with what is installed."""
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_exactly_the_packages(shipped: set[str]) -> None:
    inside = {file for file in shipped if not file.startswith("..") and ".dist-info/" not in file}

    assert inside == sources()


def test_the_wheel_brings_its_license(shipped: set[str]) -> None:
    assert any(file.endswith(".dist-info/licenses/LICENSE") for file in shipped)


def test_every_package_says_that_it_is_typed() -> None:
    packages = {file.partition("/")[0] for file in sources()}

    assert {f"{package}/py.typed" for package in packages} <= sources()


def test_every_plugin_has_an_entry_point() -> None:
    modules = {
        f"{path.parent.name}.plugin" for room in ("backends", "plugins") for path in ROOT.glob(f"{room}/*/plugin.py")
    } | {"audit.reporters.plugin", "audit_hf_trainer.pytest_plugin"}
    registered = {point.value for point in distribution().entry_points if point.group in ("audit", "pytest11")}

    assert registered == modules


def test_the_coverage_of_every_package_is_measured() -> None:
    packages = {file.partition("/")[0] for file in sources()}
    coverage = project()["tool"]["coverage"]

    assert set(coverage["run"]["source_pkgs"]) == set(coverage["paths"]) == packages


def test_plugins_load_where_no_trainer_is_installed(tmp_path: Path) -> None:
    names = python(
        BLOCKER.format(heavy=HEAVY)
        + "from audit.manager import load\n"
        + "registry = load()\n"
        + "print([backend.name for backend in registry.backends], len(registry.rules) > 0)",
        tmp_path,
    )

    assert names.strip() == "['accelerate', 'deepspeed', 'hf-trainer', 'lightning', 'torch-dcp'] True"


def test_printing_the_version_loads_next_to_nothing(tmp_path: Path) -> None:
    printed, _, modules = python(
        "import sys\nfrom audit.cli import run\nrun(['--version'])\nprint(*sys.modules)", tmp_path
    ).partition("\n")

    assert printed == f"checkpoint-audit {audit.__version__}"
    assert (HEAVY | SLOW_TO_LOAD) & set(modules.split()) == set()


def test_the_version_is_written_once() -> None:
    assert distribution().version == audit.__version__


def test_the_core_needs_no_trainer() -> None:
    core = [Requirement(line) for line in project()["project"]["dependencies"]]

    assert {requirement.name for requirement in core} & HEAVY == set()


def test_all_that_the_project_asks_for_is_pinned_within_its_range() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    tables = project()
    asked = [
        *tables["project"]["dependencies"],
        *(line for extra in tables["project"]["optional-dependencies"].values() for line in extra),
        *(line for group in tables["dependency-groups"].values() for line in group if isinstance(line, str)),
    ]

    for requirement in map(Requirement, asked):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


@pytest.mark.skipif("TOX_ENV_NAME" not in os.environ, reason="tox alone promises what is installed")
def test_tox_installs_the_trainers_in_one_environment_and_not_in_the_other() -> None:
    installed = {name for name in ("torch", "transformers", "peft", "accelerate") if _is_installed(name)}

    assert len(installed) == (0 if os.environ["TOX_ENV_NAME"] == "without-torch" else 4)


def _is_installed(name: str) -> bool:
    return any(distribution.name == name for distribution in metadata.distributions())
