"""Batches that one process trained after each other end in the bits of batches with a process each."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from audit_hf_trainer.settings import one_process
from tests.backends.hf_trainer.continuous import Continuous, examples


def test_where_libraries_keep_something_each_leg_has_a_process() -> None:
    assert one_process({"model": {"random": {}}, "arguments": {"bf16": True}})
    assert not one_process({"arguments": {"torch_compile": True}})
    assert not one_process({"arguments": {"deepspeed": "ds.json"}})
    assert not one_process({"model": {"trust_remote_code": True}})


def test_one_process_trains_what_several_do(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the extra hf is not installed")
    pytest.importorskip("peft", reason="the extra hf is not installed")
    together, alone = Continuous(tmp_path / "together"), Continuous(tmp_path / "alone")
    for number in range(3):
        rows = examples(9, number)
        together.drop(f"{number}.jsonl", rows)
        alone.drop(f"{number}.jsonl", rows)
        alone.call()
    together.call()

    together.check(alone)
    assert len({item.who for item in together.passes()}) == 1
    assert len({item.who for item in alone.passes()}) == 3
    with pytest.raises(ProcessLookupError):
        os.kill(int(together.passes()[0].who.partition(".")[0]), 0)


@pytest.mark.slow
def test_the_process_that_waits_loads_no_library(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the extra hf is not installed")
    pytest.importorskip("peft", reason="the extra hf is not installed")
    shop = Continuous(tmp_path)
    for number in range(2):  # the second one is planned on a checkpoint with an adapter
        shop.drop(f"{number}.jsonl", examples(5, number))
    code = f"import sys; from audit.cli import run; code = run(['train', {str(shop.config)!r}])"
    end = "; sys.exit(code or any(name in sys.modules for name in ('torch', 'transformers', 'peft')))"
    done = subprocess.run([sys.executable, "-c", code + end], check=False, env=shop.environment())
    assert done.returncode == 0
    assert shop.waiting() == []
