"""What a model or an adapter needs and does not get is refused with its key, before weights are loaded."""

from pathlib import Path
from typing import Any

import pytest

from tests.backends.hf_trainer.fitting import llama
from tests.backends.hf_trainer.needing import refused, request_of, saved_base

transformers = pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved_base(tmp_path_factory.mktemp("model"))


OPTIONS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "attention": (
        {"attn_implementation": "flex_attention"},
        {"attn_implementation": "sdpa"},
        "model.options.attn_implementation: flex_attention cannot be trained on a CPU; use sdpa or eager",
    ),
    "object": ({"generation_config": {}}, {}, "model.options.generation_config: transformers takes an object"),
    "pair": (
        {"output_loading_info": True},
        {"output_loading_info": False},
        "model.options.output_loading_info: with it",
    ),
    "tuple": ({"return_dict": False}, {"return_dict": True}, "model.options.return_dict: "),
    "share": (
        {"attention_dropout": 2.0},
        {"attention_dropout": 1.0},
        "model.options.attention_dropout: 2.0 is not between 0 and 1",
    ),
    "norm": ({"rms_norm_eps": -1e-6}, {"rms_norm_eps": 0.0}, "model.options.rms_norm_eps: -1e-06 is negative"),
    "positions": (
        {"rope_parameters": {"rope_type": "default", "rope_theta": 0}},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1.0}},
        "model.options.rope_parameters.rope_theta: 0 is not more than 0",
    ),
    "no device": ({"device_map": "gpu"}, {"device_map": "cpu"}, "model.options.device_map: 'gpu' is no device"),
    "device of others": (
        {"device_map": {"": 99}},
        {"device_map": {"": "cpu"}},
        "model.options.device_map: there is no device 99 on this machine",
    ),
    "disk": ({"device_map": {"": "disk"}}, {"device_map": "auto"}, "model.options.device_map: weights on disk cannot"),
    "kind of files": (
        {"use_safetensors": False},
        {"use_safetensors": True},
        "model.options.use_safetensors: ",
    ),
    "variant": ({"variant": "fp16"}, {}, "model.options.variant: "),
}


@pytest.mark.parametrize(("bad", "good", "said"), OPTIONS.values(), ids=OPTIONS)
def test_an_option_that_cannot_work_is_refused_and_its_neighbour_is_not(
    tmp_path: Path, base: str, bad: dict[str, Any], good: dict[str, Any], said: str
) -> None:
    def told(options: dict[str, Any]) -> str:
        return refused(request_of(tmp_path, {}, model={"name_or_path": base, "options": options}))

    assert told(bad).startswith(said)
    assert told(good) == ""


def test_the_attention_is_refused_where_it_is_written(tmp_path: Path, base: str) -> None:
    request = request_of(tmp_path, {}, model={"name_or_path": base, "attn_implementation": "flex_attention"})
    assert refused(request).startswith("model.attn_implementation: flex_attention cannot be trained on a CPU")


def test_the_variant_that_is_there_is_not_refused(tmp_path: Path) -> None:
    llama().save_pretrained(tmp_path / "base", variant="fp16")
    model = {"name_or_path": str(tmp_path / "base"), "options": {"variant": "fp16"}}
    assert refused(request_of(tmp_path, {}, model=model)) == ""
