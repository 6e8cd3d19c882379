"""What an adapter does to its base, by its configuration and the names of its tensors."""

import re
from math import sqrt
from typing import Any

import pytest

from audit.errors import RefusedError
from audit.formats.tensors import Tensor
from audit.merging.adapter import means, read_adapter, read_settings

CONFIG = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "peft_version": "0.21.2"}
Q = "base_model.model.model.layers.0.self_attn.q_proj"


def held(*named: tuple[str, tuple[int, ...]]) -> dict[str, Tensor]:
    return {name: Tensor(name, "F32", shape, 0, 0) for name, shape in named}


PAIR = held((f"{Q}.lora_A.weight", (4, 16)), (f"{Q}.lora_B.weight", (16, 4)))


def test_the_scaling_is_alpha_over_rank_or_over_its_root() -> None:
    assert read_settings(CONFIG, "x").scaling_of("model.layers.0.self_attn.q_proj") == 2.0
    assert read_settings({**CONFIG, "use_rslora": True}, "x").scaling_of("q_proj") == 8 / sqrt(4)


def test_patterns_mean_a_name_or_its_end_and_the_first_one_counts() -> None:
    patterns = {"rank_pattern": {"q_proj": 2, "layers.1.q_proj": 8}, "alpha_pattern": {"^model.layers.1.q_proj": 3}}
    settings = read_settings({**CONFIG, **patterns}, "x")

    assert settings.rank_of("model.layers.1.q_proj") == 2
    assert settings.rank_of("model.layers.1.xq_proj") == 4
    assert settings.scaling_of("model.layers.1.q_proj") == 1.5
    assert settings.scaling_of("model.layers.0.q_proj") == 4.0
    assert not means("^q_proj", "model.q_proj")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"peft_type": "LOHA"}, "peft_type is 'LOHA', and only LORA is merged"),
        ({"target_parameters": ["experts"]}, "uses 'target_parameters', which audit merge does not support"),
        ({"layer_replication": [[0, 4]]}, "uses 'layer_replication'"),
        ({"trainable_token_indices": [1]}, "uses 'trainable_token_indices'"),
        ({"something_new": 1}, "uses 'something_new'"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights is 'pissa_niter_4', which changes the base"),
        ({"fan_in_fan_out": "yes"}, "fan_in_fan_out is 'yes'"),
        ({"bias": "all"}, "trains biases"),
        ({"lora_bias": True}, "trains biases"),
        ({"r": 0}, "r is 0 and lora_alpha 8"),
        ({"lora_alpha": "8"}, "lora_alpha '8'"),
        ({"rank_pattern": {".*q_proj": 2}}, "rank_pattern has the regular expression '.*q_proj'"),
        ({"rank_pattern": {"q_proj": -2}}, "no number above 0"),
        ({"alpha_pattern": [1]}, "alpha_pattern is not an object"),
        ({"modules_to_save": "lm_head"}, "modules_to_save is not a list"),
    ],
)
def test_what_is_not_merged_is_refused_with_what_to_do(change: dict[str, Any], said: str) -> None:
    with pytest.raises(RefusedError, match=re.escape(said)) as raised:
        read_settings({**CONFIG, **change}, "a/adapter_config.json")
    assert str(raised.value).startswith("a/adapter_config.json: ")
    assert ";" in str(raised.value)


def test_keys_of_other_methods_that_are_not_used_do_no_harm() -> None:
    unused: dict[str, Any] = {
        "eva_config": None,
        "loftq_config": {},
        "megatron_core": "megatron.core",
        "use_qalora": False,
    }
    assert read_settings({**CONFIG, **unused, "qalora_group_size": 16, "some_future_key": None}, "x").rank == 4


def test_every_tensor_is_assigned_to_one_of_the_base() -> None:
    settings = read_settings({**CONFIG, "modules_to_save": ["lm_head"]}, "x")
    more = held(
        ("base_model.model.lm_head.weight", (32, 16)),
        ("base_model.model.model.embed_tokens.lora_embedding_A", (4, 32)),
        ("base_model.model.model.embed_tokens.lora_embedding_B", (16, 4)),
        ("base_model.model.model.embed_tokens.base_layer.weight", (32, 16)),
    )

    found = read_adapter(settings, {**PAIR, **more}, "x")

    assert list(found.updates) == ["model.layers.0.self_attn.q_proj.weight", "model.embed_tokens.weight"]
    assert [update.embedding for update in found.updates.values()] == [False, True]
    assert list(found.saved) == ["lm_head.weight"]
    assert list(found.copies) == ["model.embed_tokens.weight"]


def test_modules_to_save_are_meant_by_the_ends_of_names() -> None:
    settings = read_settings({**CONFIG, "modules_to_save": ["norm", "head"]}, "x")
    names = ("model.layers.0.input_layernorm", "model.norm", "lm_head", "model.layers.0.lm_head.dense")
    more = held(*((f"base_model.model.{name}.weight", (16,)) for name in (*names, "model.norms", "model.normal.dense")))

    found = read_adapter(settings, {**PAIR, **more}, "x")

    assert list(found.saved) == [f"{name}.weight" for name in names]
    assert list(found.copies) == ["model.norms.weight", "model.normal.dense.weight"]


@pytest.mark.parametrize(
    ("config", "tensors", "said"),
    [
        ({}, held(("q_proj.lora_A.weight", (4, 16))), "does not begin with base_model.model."),
        ({}, held((f"{Q}.lora_A.weight", (4, 16))), "has lora_A instead of one pair"),
        ({}, {**PAIR, **held((f"{Q}.lora_B.bias", (16,)))}, "of a kind that audit merge does not support"),
        ({}, {**PAIR, **held((f"{Q}.lora_A.default.weight", (4, 16)))}, "of a kind that audit merge does not support"),
        ({}, {**PAIR, **held((f"{Q}.lora_magnitude_vector", (16,)))}, "has a magnitude, and use_dora is False"),
        ({"use_dora": True}, PAIR, "has no magnitude, and use_dora is True"),
        ({"use_dora": True}, {**PAIR, **held((f"{Q}.lora_magnitude_vector", (4,)))}, "magnitude of shape [4]"),
        ({"r": 8}, PAIR, "its rank is 8"),
        (
            {"use_dora": True},
            held(
                (f"{Q}.lora_A.weight", (4, 3, 3, 3)),
                (f"{Q}.lora_B.weight", (16, 4, 1, 1)),
                (f"{Q}.lora_magnitude_vector", (1, 16, 1, 1)),
            ),
            "is a convolution with DoRA, which audit merge does not support; merge it with peft",
        ),
        (
            {},
            held((f"{Q}.lora_A.weight", (4, 4, 3, 3)), (f"{Q}.lora_B.weight", (16, 2, 1, 1))),
            "a convolution in groups, which peft does not merge either; use base and adapter as they are",
        ),
        (
            {},
            held((f"{Q}.lora_A.weight", (4, 3, 3, 3)), (f"{Q}.lora_B.weight", (16, 4, 3, 1))),
            "neither a linear layer nor a convolution",
        ),
        ({}, held((f"{Q}.lora_A.weight", (4, 3, 3)), (f"{Q}.lora_B.weight", (16, 4))), "neither a linear layer nor"),
        ({}, held(("base_model.model.norm.weight", (16,))), "holds nothing to merge"),
        ({"modules_to_save": ["q_proj"]}, {**PAIR, **held((f"{Q}.weight", (16, 16)))}, "both updated and replaced"),
    ],
)
def test_a_tensor_that_fits_nothing_is_refused(config: dict[str, Any], tensors: dict[str, Tensor], said: str) -> None:
    settings = read_settings({**CONFIG, **config}, "x")
    with pytest.raises(RefusedError, match=re.escape(said)):
        read_adapter(settings, tensors, "x")


def test_a_convolution_fits_a_weight_of_its_dimensions() -> None:
    tensors = held((f"{Q}.lora_A.weight", (4, 3, 5, 7)), (f"{Q}.lora_B.weight", (16, 4, 1, 1)))
    (update,) = read_adapter(read_settings(CONFIG, "x"), tensors, "x").updates.values()
    assert (update.shape, update.convolution, update.transposed) == ((16, 3, 5, 7), True, False)


def test_an_embedding_with_dora_has_a_magnitude_for_each_column() -> None:
    settings = read_settings({**CONFIG, "use_dora": True}, "x")
    tensors = held(
        (f"{Q}.lora_embedding_A", (4, 32)), (f"{Q}.lora_embedding_B", (16, 4)), (f"{Q}.lora_magnitude_vector", (16,))
    )
    (update,) = read_adapter(settings, tensors, "x").updates.values()
    assert update.magnitude is not None
    assert update.shape == (32, 16)
