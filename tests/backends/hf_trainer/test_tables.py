"""The tables of the configuration come from the installed libraries, and leave nothing of them in memory."""

import subprocess
import sys

import pytest

from audit.errors import AuditError
from audit_hf_trainer import tables

ASK = """
import sys
from audit_hf_trainer.plugin import HFTrainer
schema = HFTrainer().schema()
assert schema["arguments"]["properties"]["learning_rate"] == {"type": "number"}
assert schema["adapter"]["properties"]["r"] == {"type": "integer"}
assert "cosine" in schema["arguments"]["properties"]["lr_scheduler_type"]["enum"]
assert "refuse" in schema["arguments"]["properties"]["max_steps"]
print(sorted({"torch", "transformers", "peft"} & sys.modules.keys()))
"""


def test_every_field_is_there_and_no_library_stays_in_memory() -> None:
    pytest.importorskip("transformers", reason="the extra hf is not installed")
    asked = subprocess.run([sys.executable, "-P", "-c", ASK], capture_output=True, text=True, check=True)
    assert asked.stdout == "[]\n"


def test_where_the_libraries_break_at_import_their_last_word_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = subprocess.CompletedProcess([], 1, "", "Traceback\nRuntimeError: no kernel image\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: broken)
    monkeypatch.delitem(sys.modules, "transformers", raising=False)
    with pytest.raises(AuditError, match="transformers and peft cannot be loaded: RuntimeError: no kernel image"):
        tables.schema()


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = subprocess.CompletedProcess([], 0, '\n{"error": "needs peft"}\n', "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: missing)
    monkeypatch.delitem(sys.modules, "transformers", raising=False)
    with pytest.raises(AuditError, match="needs peft"):
        tables.schema()
