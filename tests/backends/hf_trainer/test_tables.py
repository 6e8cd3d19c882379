"""The tables of the configuration come from the installed libraries, and leave nothing of them in memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

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
assert {"type": "boolean"} in schema["arguments"]["properties"]["fsdp"]["anyOf"]
print(sorted({"torch", "transformers", "peft"} & sys.modules.keys()))
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "checkpoint-audit"


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


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each time that the libraries are asked."""
    pytest.importorskip("transformers", reason="the extra hf is not installed")
    monkeypatch.delitem(sys.modules, "transformers", raising=False)
    count: list[int] = []

    def answer(*_: object, **__: object) -> "subprocess.CompletedProcess[str]":
        count.append(1)
        said = json.dumps({"schema": {"model": {}, "adapter": {}, "arguments": {"from": len(count)}}})
        return subprocess.CompletedProcess([], 0, f"{said}\n", "")

    monkeypatch.setattr(subprocess, "run", answer)
    return count


def test_the_libraries_are_asked_once_until_they_change(asked: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    assert tables.schema()["arguments"] == {"from": 1}
    assert tables.schema()["arguments"] == {"from": 1}
    assert len(asked) == 1
    real = os.stat

    def newer(path: str, **more: bool) -> os.stat_result:
        found = real(path, **more)
        if not str(path).endswith("training_args.py"):
            return found
        return os.stat_result((*found[:6], found.st_size + 1, *found[7:10]))

    monkeypatch.setattr(os, "stat", newer)
    assert tables.schema()["arguments"] == {"from": 2}


@pytest.mark.parametrize("kept", ["", "[]", "{}", '{"model": 1, "adapter": {}, "arguments": {}}', "[" * 100000])
def test_what_is_kept_and_makes_no_sense_is_asked_anew(kept: str, asked: list[int], cache: Path) -> None:
    tables.schema()
    (file,) = cache.iterdir()
    file.write_text(kept)
    assert tables.schema()["arguments"] == {"from": 2}
    assert tables.schema()["arguments"] == {"from": 2}


def test_without_a_place_to_keep_it_it_is_asked_each_time(asked: list[int], cache: Path) -> None:
    cache.write_text("a file")
    tables.schema()
    assert tables.schema()["arguments"] == {"from": 2}
