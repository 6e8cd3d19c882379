"""The tables of the configuration, from the installed libraries without keeping them in memory.

The process that guards a training waits for weeks; with torch it would take half a gigabyte for a list of names.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from audit.plugin import AuditError


def schema() -> Mapping[str, Mapping[str, Any]]:
    """Return the schema of [model], [adapter] and [arguments]; see :mod:`audit_hf_trainer.training.fields`.

    Raises AuditError if the libraries are missing.
    """
    if "transformers" in sys.modules or int(os.environ.get("WORLD_SIZE", "1")) > 1:  # they are loaded in any case
        from audit_hf_trainer.training import fields

        return fields.schema()
    asked = subprocess.run(
        [sys.executable, "-P", "-c", "from audit_hf_trainer.training.fields import main; main()"],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        answer = json.loads(asked.stdout.splitlines()[-1])
    except (ValueError, IndexError) as error:
        said = next((line for line in reversed(asked.stderr.splitlines()) if line.strip()), f"code {asked.returncode}")
        raise AuditError(f"transformers and peft cannot be loaded: {said.strip()}") from error
    if "error" in answer:
        raise AuditError(answer["error"])
    found: Mapping[str, Mapping[str, Any]] = answer["schema"]
    return found
