"""adapter/shape-mismatch: the tensors of an adapter against each other and against its configuration."""

import json
from pathlib import Path
from typing import Any

import pytest

from audit.findings import Outcome
from audit.testing.judging import check, outcome, report
from audit.testing.runs import edit_arguments, edit_json, edit_tensors, make_run
from audit.testing.torch_files import FakeTensor

FILE = "adapter_model.safetensors"
LAYER = "base_model.model.model.layers.0.self_attn"
STEPS = (100, 200, 300)


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def edit(run: str, step: int, change: Any) -> None:
    edit_tensors(Path(run, f"checkpoint-{step}", FILE), change)


def configure(run: str, *steps: int, **changes: Any) -> None:
    for step in steps or STEPS:
        edit_json(Path(run, f"checkpoint-{step}", "adapter_config.json"), **changes)


def cut(tensor: FakeTensor, rows: int) -> FakeTensor:
    size = len(tensor.data) // tensor.shape[0]
    return tensor._replace(shape=(rows, *tensor.shape[1:]), data=tensor.data[: rows * size])


def test_one_lost_tensor_is_found_by_its_partner(run: str) -> None:
    edit(run, 300, lambda tensors: tensors.pop(f"{LAYER}.q_proj.lora_A.weight"))
    (finding,) = report(run, "adapter", "optimizer", "weights", depth="full").findings
    assert finding.rule == "adapter/shape-mismatch"
    assert "1 of 4 modules have lora_B and no lora_A: model.layers.0.self_attn.q_proj" in finding.message
    assert finding.blocks_resume


def test_all_lora_b_lost_is_one_finding(run: str) -> None:
    def drop(tensors: dict[str, FakeTensor]) -> None:
        for name in [name for name in tensors if ".lora_B." in name]:
            del tensors[name]

    edit(run, 300, drop)
    (finding,) = report(run, "adapter", "optimizer", "weights").findings
    assert "4 of 4 modules have lora_A and no lora_B" in finding.message


def test_a_letter_of_a_name_that_flipped_is_found(run: str) -> None:
    edit(
        run,
        300,
        lambda tensors: tensors.update({f"{LAYER}.q_prnj.lora_A.weight": tensors.pop(f"{LAYER}.q_proj.lora_A.weight")}),
    )
    assert len(check(run, "adapter/shape-mismatch")) == 1


def test_one_tensor_of_another_rank_is_found(run: str) -> None:
    edit(
        run,
        300,
        lambda tensors: tensors.update(
            {f"{LAYER}.q_proj.lora_A.weight": cut(tensors[f"{LAYER}.q_proj.lora_A.weight"], 2)}
        ),
    )
    (finding,) = report(run, "adapter", "optimizer", "weights").findings
    assert "rank 2 and lora_B has rank 4" in finding.message


def test_an_edited_rank_in_the_configuration_is_one_finding(run: str) -> None:
    configure(run, 300, r=8)
    (finding,) = report(run, "adapter", "optimizer", "weights").findings
    assert finding.rule == "adapter/shape-mismatch"
    assert "4 of 4 modules do not have the configured rank 8: model.layers.0.self_attn.q_proj has 4" in finding.message


def test_edited_targets_are_one_finding(run: str) -> None:
    configure(run, 300, target_modules=["k_proj", "v_proj"])
    (finding,) = report(run, "adapter", "optimizer", "weights").findings
    assert finding.rule == "adapter/shape-mismatch"
    assert "2 of 4 modules are not in target_modules (k_proj, v_proj)" in finding.message


def test_targets_that_the_model_does_not_have_are_legitimate(run: str) -> None:
    configure(run, target_modules=["q_proj", "v_proj", "gate_proj"])
    assert not check(run, "adapter/shape-mismatch")


@pytest.mark.parametrize("pattern", ["q_proj", "self_attn.q_proj", "^model.layers.0.self_attn.q_proj"])
def test_a_rank_pattern_gives_a_module_its_own_rank(run: str, pattern: str) -> None:
    def narrow(tensors: dict[str, FakeTensor]) -> None:
        for layer in (0, 1):
            stem = f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora"
            if layer == 0 or not pattern.startswith("^"):
                tensors[f"{stem}_A.weight"] = cut(tensors[f"{stem}_A.weight"], 2)
                tensors[f"{stem}_B.weight"] = FakeTensor("F32", (16, 2), tensors[f"{stem}_B.weight"].data[:128])

    for step in STEPS:
        edit(run, step, narrow)
    configure(run, rank_pattern={pattern: 2})
    assert not check(run, "adapter/shape-mismatch")
    configure(run, rank_pattern={pattern: 3})
    assert len(check(run, "adapter/shape-mismatch")) == 3


def test_a_regular_expression_is_not_run(run: str) -> None:
    configure(run, target_modules="(a+)+$", rank_pattern={"(.*)*x": 2})
    assert not check(run, "adapter/shape-mismatch")


def test_experts_in_one_tensor_stack_their_ranks(run: str) -> None:
    configure(run, r=2, target_parameters=["mlp.experts.gate_up_proj"])
    assert not check(run, "adapter/shape-mismatch")


def test_a_lost_magnitude_of_dora_is_found(run: str) -> None:
    def add(tensors: dict[str, FakeTensor]) -> None:
        for name in [name for name in tensors if ".lora_A." in name]:
            vector = FakeTensor("F32", (16,), bytes([0, 0, 128, 63]) * 16)
            tensors[name.replace("lora_A.weight", "lora_magnitude_vector")] = vector

    for step in STEPS:
        edit(run, step, add)
    configure(run, use_dora=True)
    assert not check(run, "adapter/shape-mismatch")
    edit(run, 300, lambda tensors: tensors.pop(f"{LAYER}.v_proj.lora_magnitude_vector"))
    (finding,) = check(run, "adapter/shape-mismatch")
    assert "1 of 4 modules have no lora_magnitude_vector" in finding.message


def test_a_module_to_save_that_is_not_there_is_found(run: str) -> None:
    configure(run, modules_to_save=["lm_head", "score"])
    head = {"base_model.model.lm_head.weight": FakeTensor("F32", (2, 2), b"\0\0\x80?" * 4)}
    for step in STEPS:
        edit(run, step, lambda tensors: tensors.update(head))
    assert not check(run, "adapter/shape-mismatch")
    edit(run, 300, lambda tensors: tensors.pop("base_model.model.lm_head.weight"))
    (finding,) = check(run, "adapter/shape-mismatch")
    assert "modules_to_save (lm_head, score)" in finding.message


def test_a_tensor_that_came_from_nowhere_is_found(run: str) -> None:
    def add(tensors: dict[str, FakeTensor]) -> None:
        for part in ("lora_A", "lora_B"):
            tensors[f"{LAYER}.self.q_proj.{part}.weight"] = tensors[f"{LAYER}.q_proj.{part}.weight"]

    edit(run, 300, add)
    (finding,) = check(run, "adapter/shape-mismatch")
    assert "2 tensors in it are not in checkpoint-200" in finding.message


def test_embeddings_saved_from_some_checkpoint_on_are_legitimate(run: str) -> None:
    table = FakeTensor("F32", (2, 2), b"\0\0\x80?" * 4)
    edit(run, 300, lambda tensors: tensors.update({"base_model.model.model.embed_tokens.weight": table}))
    assert not check(run, "adapter/shape-mismatch")


def test_another_layer_saved_from_some_checkpoint_on_is_not(run: str) -> None:
    table = FakeTensor("F32", (2, 2), b"\0\0\x80?" * 4)
    edit(run, 300, lambda tensors: tensors.update({"base_model.model.score.weight": table}))
    (finding,) = check(run, "adapter/shape-mismatch")
    assert "1 tensors in it are not in checkpoint-200: base_model.model.score.weight" in finding.message


def test_an_adapter_that_was_configured_anew_is_not_compared_with_the_one_before(run: str) -> None:
    def drop(tensors: dict[str, FakeTensor]) -> None:
        for name in [name for name in tensors if "v_proj" in name]:
            del tensors[name]

    edit(run, 300, drop)
    assert "4 tensors of checkpoint-200 are not in it" in check(run, "adapter/shape-mismatch")[0].message
    configure(run, 300, target_modules=["q_proj"])
    assert not check(run, "adapter/shape-mismatch")


def test_another_method_than_lora_is_compared_with_the_checkpoint_before_alone(run: str) -> None:
    configure(run, peft_type="PROMPT_TUNING")
    assert outcome(run, "adapter/shape-mismatch", "checkpoint-100").outcome is Outcome.NOT_APPLICABLE
    assert outcome(run, "adapter/shape-mismatch", "checkpoint-300").outcome is Outcome.PASS


def turn(tensors: dict[str, FakeTensor]) -> None:
    for module in ("q_proj", "v_proj"):
        name = f"{LAYER}.{module}.lora_A.weight"
        tensors[name] = tensors[name]._replace(shape=tensors[name].shape[::-1])


@pytest.mark.parametrize("method", ["LORA", "LOHA", "IA3"])
def test_a_tensor_of_another_shape_than_before_does_not_load(run: str, method: str) -> None:
    configure(run, peft_type=method, target_parameters=["mlp.experts.gate_up_proj"], r=None)
    edit(run, 300, turn)

    (finding,) = report(run, "adapter", "optimizer", "weights").findings

    assert finding.rule == "adapter/shape-mismatch"
    assert finding.blocks_resume
    if method != "LORA":
        assert f"2 tensors have another shape than in checkpoint-200: {LAYER}.q_proj" in finding.message
        assert "is [16, 4], there [4, 16]" in finding.message


def test_a_head_may_grow_with_the_vocabulary_in_another_session(run: str) -> None:
    head = "base_model.model.lm_head.weight"
    for step, rows in zip(STEPS, (4, 4, 8), strict=True):
        tensor = FakeTensor("F32", (rows, 4), b"\0\0\x80?" * 4 * rows)
        edit(run, step, lambda tensors, tensor=tensor: tensors.update({head: tensor}))
    assert "another shape than in checkpoint-200" in check(run, "adapter/shape-mismatch")[0].message

    edit_arguments(Path(run, "checkpoint-300"), learning_rate=0.5)
    assert not check(run, "adapter/shape-mismatch")


@pytest.mark.parametrize("value", [None, 4.5, "4", [4], {"a": 1}, True])
def test_a_configuration_with_a_nonsensical_rank_does_not_crash_the_rule(run: str, value: object) -> None:
    path = Path(run, "checkpoint-300", "adapter_config.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "r": value, "target_modules": [1, None]}))
    assert outcome(run, "adapter/shape-mismatch", "checkpoint-300").outcome is not Outcome.ERROR


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"r": 2}, True),  # a multiple is right of stacked experts alone
        ({"r": 2, "target_parameters": ["experts.down_proj"]}, False),
        ({"r": 3, "target_parameters": ["experts.down_proj"]}, True),
        ({"r": 0, "target_parameters": ["experts.down_proj"]}, True),
    ],
)
def test_the_rank_of_stacked_experts_is_a_multiple(run: str, changes: dict[str, Any], found: bool) -> None:
    configure(run, **changes)

    assert bool(check(run, "adapter/shape-mismatch")) is found


@pytest.mark.parametrize("value", [None, 4.5, "2", [2], True])
def test_a_nonsensical_value_in_the_rank_pattern_counts_for_nothing(run: str, value: object) -> None:
    configure(run, rank_pattern={"q_proj": value})

    assert check(run, "adapter/shape-mismatch") == []


def test_an_adapter_that_trains_tokens_alone_has_no_matrices(run: str) -> None:
    tokens = FakeTensor("F32", (2, 16), b"\0\0\x80?" * 32)

    def replace(tensors: dict[str, FakeTensor]) -> None:
        tensors.clear()
        tensors["base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"] = tokens

    for step in STEPS:
        edit(run, step, replace)
    assert "it has no LoRA matrix" in check(run, "adapter/shape-mismatch")[0].message

    configure(run, target_modules=[], trainable_token_indices=[1, 2])
    assert check(run, "adapter/shape-mismatch") == []
