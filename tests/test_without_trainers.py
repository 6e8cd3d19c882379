"""``audit verify`` where no trainer, no torch and no safetensors can be imported."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"accelerate", "peft", "safetensors", "torch", "transformers"}:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Blocker())
from audit.cli import run
code = run(sys.argv[1:])
print(*sys.modules, file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with one checkpoint of an adapter, without the optimizer; written byte by byte."""
    checkpoint = tmp_path / "current_model" / "checkpoint-3"
    checkpoint.mkdir(parents=True)
    names = [f"base_model.model.layers.0.self_attn.q_proj.lora_{half}.weight" for half in "AB"]
    header = {
        name: {"dtype": "F32", "shape": [2, 2], "data_offsets": [16 * i, 16 * (i + 1)]} for i, name in enumerate(names)
    }
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    weights = struct.pack("<Q", len(text)) + text + struct.pack("<8f", *(0.5 + i for i in range(8)))
    (checkpoint / "adapter_model.safetensors").write_bytes(weights)
    (checkpoint / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 2}))
    (checkpoint / "rng_state.pth").write_bytes(b"no archive")
    history = [{"step": step, "epoch": step / 3, "loss": 2.0 / step, "learning_rate": 1e-3} for step in (1, 2, 3)]
    state = {
        "global_step": 3,
        "max_steps": 3,
        "epoch": 1.0,
        "logging_steps": 1,
        "save_steps": 3,
        "log_history": history,
    }
    (checkpoint / "trainer_state.json").write_text(json.dumps(state))
    return checkpoint.parent


def verify(run: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-c", PROGRAM, "verify", str(run), "--format", "json", *options]
    return subprocess.run(command, cwd=run.parent, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("depth", ["quick", "full"])
def test_a_broken_checkpoint_is_found(run: Path, depth: str) -> None:
    done = verify(run, "--depth", depth, "--no-ledger")

    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert report["verdict"] == "broken"
    assert "files/missing-optimizer" in {finding["rule"] for finding in report["findings"]}
    assert "error" not in {outcome["outcome"] for outcome in report["outcomes"]}


def test_a_quick_verification_loads_nothing_that_is_slow_to_load(run: Path) -> None:
    done = verify(run, "--depth", "quick", "--no-ledger")

    modules = set(done.stderr.splitlines()[-1].split())
    assert "audit.judging.engine" in modules
    assert modules & {"blake3", "importlib.metadata", "jsonschema", "numpy", "rich"} == set()
