"""The planned adapter is what PEFT would write, though PEFT is not loaded for it."""

import subprocess
import sys
from typing import Any

import pytest

from audit.errors import ConfigError
from audit_hf_trainer.planned_adapter import planned_adapter
from audit_rules.adapter.config_changed import IDENTITY, INITIALISATION

peft = pytest.importorskip("peft", reason="the extra hf is not installed")

SIMPLE = {"r": 4, "lora_alpha": 32, "target_modules": ["v_proj", "q_proj"], "lora_dropout": 0.1, "use_rslora": True}


@pytest.mark.parametrize(
    "table", [{}, SIMPLE, {"target_modules": "all-linear", "bias": "all"}, {"modules_to_save": ["lm_head", "embed"]}]
)
def test_it_is_what_peft_writes(table: dict[str, Any]) -> None:
    found = planned_adapter({"adapter": table})
    written = peft.LoraConfig(**{"task_type": "CAUSAL_LM", **table}).to_dict()

    assert found is not None
    for name in (*IDENTITY, INITIALISATION):
        if name in written:
            value = written[name]
            value = sorted(value) if isinstance(value, set) else getattr(value, "value", value)
            assert found[name] == value, name


def test_what_peft_checks_or_changes_is_left_to_peft() -> None:
    found = planned_adapter({"adapter": {"exclude_modules": ["b", "a"]}})
    assert found is not None
    assert found["exclude_modules"] == ["a", "b"]
    with pytest.raises(ConfigError, match="adapter: PEFT refuses it"):
        planned_adapter({"adapter": {"target_modules": "all-linear", "layers_to_transform": [1]}})
    with pytest.raises(ConfigError, match="adapter: PEFT refuses it"):
        planned_adapter({"adapter": {"rank": 4}})


def test_the_whole_model_has_none() -> None:
    assert planned_adapter({}) is None


def test_no_library_is_loaded_for_it() -> None:
    code = "import sys; from audit_hf_trainer.planned_adapter import planned_adapter as p; p({'adapter': {'r': 4}})"
    end = "; sys.exit(any(name in sys.modules for name in ('torch', 'peft', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", code + end], check=False).returncode == 0
