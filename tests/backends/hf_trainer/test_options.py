"""`audit plan` names the option with which a model cannot be made or loaded, and refuses none that can."""

from pathlib import Path
from typing import Any

import pytest

from audit.errors import ConfigError
from audit_hf_trainer.training.trial import tried
from tests.backends.hf_trainer.needing import request_of, saved_base

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved_base(tmp_path_factory.mktemp("model"))


def told(run: Path, **model: Any) -> str:
    try:
        return tried(request_of(run, {}, model=model)) or ""
    except ConfigError as error:
        return str(error)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "attention": ({"attn_implementation": "no_such"}, "model.options.attn_implementation: "),
    "no type": ({"torch_dtype": "no_such"}, "model.options.torch_dtype: "),
    "no type either": ({"dtype": "no_such"}, "model: cannot be built: "),
    "whole numbers": ({"dtype": "int8"}, "model.options.dtype: "),
    "unknown": ({"low_cpu_mem": True}, "model.options.low_cpu_mem: "),
    "width": ({"hidden_size": 64}, "model.options.hidden_size: with it the model has tensors of other shapes"),
    "activation": ({"hidden_act": "no_such"}, "model.options.hidden_act: KeyError: "),
    "padding": ({"pad_token_id": 999}, "model.options.pad_token_id: AssertionError: "),
    "experts": ({"experts_implementation": "grouped_mm"}, "model.options.experts_implementation: "),
    "no method": ({"quantization_config": {"bits": 4}}, "model.options.quantization_config: has no quant_method"),
    "one of two": ({"use_cache": True, "hidden_act": "no_such"}, "model.options.hidden_act: "),
}


@pytest.mark.parametrize(("options", "said"), REFUSED.values(), ids=REFUSED)
def test_an_option_that_the_model_does_not_take_is_named(
    tmp_path: Path, base: str, options: dict[str, Any], said: str
) -> None:
    text = told(tmp_path, name_or_path=base, options=options)
    assert text.startswith(said)
    assert "\n" not in text


SOUND: dict[str, dict[str, Any]] = {
    "type": {"dtype": "bfloat16"},
    "type by its old name": {"torch_dtype": "auto"},
    "fewer layers": {"num_hidden_layers": 1},
    "other shapes are wanted": {"hidden_size": 64, "ignore_mismatched_sizes": True},
    "of the files": {"revision": "main", "trust_remote_code": True, "use_safetensors": True, "low_cpu_mem_usage": True},
    "attention": {"attn_implementation": "eager"},
}


@pytest.mark.parametrize("options", SOUND.values(), ids=SOUND)
def test_an_option_that_it_takes_is_not_refused(tmp_path: Path, base: str, options: dict[str, Any]) -> None:
    assert told(tmp_path, name_or_path=base, options=options) == ""


def test_a_random_model_of_wrong_fields_is_refused(tmp_path: Path) -> None:
    assert told(tmp_path, random={"hidden_act": "no_such"}).startswith("model.random: KeyError: ")
    assert told(tmp_path, random={"hidden_act": "gelu"}) == ""


def test_a_random_model_that_cannot_be_run_is_refused_with_the_field_at_fault(tmp_path: Path) -> None:
    def told(**fields: int) -> str:
        try:
            return tried(request_of(tmp_path, {}, model={"random": {"vocab_size": 96, **fields}})) or ""
        except ConfigError as error:
            return str(error)

    assert told(num_key_value_heads=3).startswith("model.random.num_key_value_heads: RuntimeError: ")
    assert told(num_key_value_heads=2) == ""
