"""The names of the package: what they are, however often and in whichever order they are asked for."""

import subprocess
import sys

import pytest

import audit


@pytest.mark.parametrize("name", [name for name in audit.__all__ if name[0].islower()])
def test_a_function_of_the_package_is_no_module_of_the_same_name(name: str) -> None:
    script = f"import audit, audit.api, audit.cli\nassert callable(audit.{name})\nassert callable(audit.{name})"

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
