"""An optimizer of other parameters."""

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import pytest

from audit.testing.judging import check, report
from audit.testing.runs import edit_json, edit_optimizer, edit_tensors, edit_torch, make_run
from audit.testing.torch_files import FakeTensor

Value = dict[str, Any]

FILE = "adapter_model.safetensors"

RULE = "optimizer/parameter-mismatch"


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def place(run: str, step: int = 300) -> Path:
    return Path(run, f"checkpoint-{step}")


def everywhere(run: str, change: Callable[[Value], Any]) -> None:
    for step in (100, 200, 300):
        edit_optimizer(place(run, step), change)


def only(run: str) -> Any:
    """The one finding of all rules on optimizer, scheduler, weights and adapter."""
    (finding,) = report(run, "optimizer", "scheduler", "weights", "adapter").findings
    return finding


def reshape(entry: Value, *keys: str) -> None:
    for key in keys:
        entry[key] = FakeTensor("F32", (3, 16), entry[key].data[:192])


def sgd(value: Value) -> None:
    value["state"].clear()
    for group in value["param_groups"]:
        for key in ("betas", "eps", "amsgrad"):
            del group[key]
        group.update(momentum=0, dampening=0, nesterov=False)


def test_one_lost_state_is_found(run: str) -> None:
    edit_optimizer(place(run), lambda value: value["state"].pop(3) and None)
    finding = only(run)
    assert finding.rule == RULE
    assert "no state for 1 of 8 parameters that have one in checkpoint-200, first 3" in finding.message
    assert finding.blocks_resume


def test_one_lost_state_is_found_without_another_checkpoint(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (300,))
    edit_optimizer(place(run), lambda value: value["state"].pop(3) and None)
    assert "no state for 1 of its 8 parameters" in only(run).message


def test_a_module_that_is_never_used_has_no_state(run: str) -> None:
    def unused(tensors: dict[str, FakeTensor]) -> None:
        name = "base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight"
        tensors[name] = tensors[name]._replace(data=bytes(len(tensors[name].data)))

    def forget(value: Value) -> None:
        del value["state"][4], value["state"][5]

    for step in (100, 200, 300):
        edit_tensors(place(run, step) / FILE, unused)
    everywhere(run, forget)
    assert not check(run, RULE)


def test_a_parameter_that_was_unfrozen_gets_its_state_later(run: str) -> None:
    edit_optimizer(place(run, 100), lambda value: value["state"].pop(0) and None)
    (finding,) = check(run, RULE)
    assert finding.checkpoint == "checkpoint-100"


def test_moments_of_another_shape_are_found(run: str) -> None:
    edit_optimizer(place(run), lambda value: reshape(value["state"][2], "exp_avg"))
    finding = only(run)
    assert finding.rule == RULE
    assert "exp_avg of shape [3, 16] for parameter 2, but [4, 16] in checkpoint-200" in finding.message


def test_moments_of_two_shapes_are_found_without_another_checkpoint(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (300,))
    edit_optimizer(place(run), lambda value: reshape(value["state"][2], "exp_avg_sq"))
    assert "shape [4, 16] and [3, 16] for parameter 2" in only(run).message


@pytest.mark.parametrize("moment", ["exp_avg", "exp_avg_sq"])
def test_a_moment_without_the_other_is_found(tmp_path: Path, moment: str) -> None:
    run = make_run(tmp_path / "run", (300,))
    edit_optimizer(place(run), lambda value: value["state"][3].pop(moment) and None)
    finding = only(run)
    assert finding.rule == RULE
    assert finding.message.endswith(f"has no {moment} for parameter 3, which has its other moment")


def test_an_optimizer_that_mixes_methods_has_states_of_two_kinds(run: str) -> None:
    """Lion for some parameters keeps one moment and no step."""

    def lion(value: Value) -> None:
        for key in ("step", "exp_avg_sq"):
            del value["state"][3][key]

    everywhere(run, lion)
    assert not check(run, RULE)


def test_moments_of_a_shape_that_no_tensor_has_are_found(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (300,))
    edit_optimizer(place(run), lambda value: reshape(value["state"][2], "exp_avg", "exp_avg_sq"))
    assert "moments of shape [3, 16]" in only(run).message


def test_a_missing_group_is_found(run: str) -> None:
    edit_optimizer(place(run), lambda value: value["param_groups"].pop() and None)
    finding = only(run)
    assert finding.rule == RULE
    assert "1 parameter groups, but scheduler.pt has 2 rates" in finding.message


def test_a_missing_group_is_found_by_the_first_rates_where_the_scheduler_keeps_no_last_ones(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (300,))
    edit_optimizer(place(run), lambda value: value["param_groups"].pop() and None)
    edit_torch(place(run) / "scheduler.pt", lambda values: {k: v for k, v in values.items() if k != "_last_lr"})
    (finding,) = check(run, RULE)
    assert "1 parameter groups, but scheduler.pt has 2 rates" in finding.message


def test_more_parameters_than_the_adapter_has_tensors_are_found(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (300,))

    def drop(tensors: dict[str, FakeTensor]) -> None:
        for name in [name for name in tensors if "layers.1" in name]:
            del tensors[name]

    edit_tensors(place(run) / FILE, drop)
    assert "trains 8 parameters, but the adapter has 4 tensors" in only(run).message


def with_frozen(value: Value, count: int = 40) -> None:
    """Made of all parameters of the model: ``AdamW(model.parameters())``."""
    listed = value["param_groups"][0]["params"]
    listed.extend(range(len(listed), count))


def test_an_optimizer_of_all_parameters_has_the_frozen_ones_without_a_state(run: str) -> None:
    everywhere(run, with_frozen)
    assert not check(run, RULE)


def test_one_of_all_parameters_that_lost_a_state_is_found(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (300,))
    edit_optimizer(place(run), with_frozen)
    edit_optimizer(place(run), lambda value: value["state"].pop(3) and None)
    assert "has no state for 1 of its 8 parameters" in only(run).message


def test_trained_weights_may_lie_in_a_file_of_their_own(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (300,))

    def drop(tensors: dict[str, FakeTensor]) -> None:
        for name in [name for name in tensors if "layers.1" in name]:
            del tensors[name]

    edit_tensors(place(run) / FILE, drop)
    (place(run) / "non_lora_trainables.bin").write_bytes((place(run) / "scheduler.pt").read_bytes())
    assert not check(run, RULE)


def test_the_file_of_an_sgd_run_is_found_in_an_adam_run(run: str) -> None:
    edit_optimizer(place(run), sgd)
    finding = only(run)
    assert finding.rule == RULE
    assert "is of SGD, but that of checkpoint-200 is of Adam" in finding.message


def test_an_sgd_run_whose_arguments_name_adam_is_legitimate(run: str) -> None:
    everywhere(run, sgd)
    assert not report(run, "optimizer").findings


def test_indices_out_of_order_are_found(run: str) -> None:
    edit_optimizer(place(run), lambda value: value["param_groups"][0]["params"].reverse())
    assert "out of order" in check(run, RULE)[0].message


def test_a_state_of_a_parameter_that_no_group_has_is_found(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (300,))
    edit_optimizer(place(run), lambda value: value["param_groups"][0]["params"].pop() and None)
    assert "1 parameters that are in no group" in check(run, RULE)[0].message


def test_one_tensor_lost_from_a_full_model_is_found_by_its_moments(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (300,), full=True)  # with one before it, weights/other-model names the tensor
    edit_tensors(
        place(run) / "model.safetensors", lambda tensors: tensors.pop("model.layers.0.self_attn.q_proj.weight") and None
    )
    finding = only(run)
    assert finding.rule == RULE
    assert "1 parameters of shape [16, 16] that are not among the saved weights" in finding.message


def test_frozen_weights_of_a_full_model_have_no_moments(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", full=True)
    frozen = {"model.vision.weight": FakeTensor("F32", (16, 4), b"\0\0\x80?" * 64)}
    for step in (100, 200, 300):
        edit_tensors(place(run, step) / "model.safetensors", lambda tensors: tensors.update(frozen))
    assert not check(run, RULE)


def add_parameter(value: Value, shape: tuple[int, ...] | None = None) -> None:
    """Train one parameter more; without a shape it gets no gradient, and has no moments."""
    groups, state = value["param_groups"], value["state"]
    index = sum(len(group["params"]) for group in groups)
    groups[-1]["params"].append(index)
    if shape is not None:
        moment = FakeTensor("F32", shape, b"\0\0\x80?" * prod(shape))
        state[index] = {**state[0], "exp_avg": moment, "exp_avg_sq": moment}


@pytest.mark.parametrize("shape", [(3, 7), (1,), ()])
def test_a_parameter_of_the_loss_is_in_no_file(shape: tuple[int, ...], tmp_path: Path) -> None:
    """Although a layer of the model that gets no gradient has no moments, and is larger."""
    run = make_run(tmp_path / "run", (300,), full=True)
    idle = {"pooler.weight": FakeTensor("F32", (16, 16), b"\0\0\x80?" * 256)}
    edit_tensors(place(run) / "model.safetensors", lambda tensors: tensors.update(idle))
    edit_optimizer(place(run), add_parameter)
    assert not check(run, RULE)

    edit_optimizer(place(run), lambda value: add_parameter(value, shape))
    assert f"1 parameters of shape {list(shape)} that are not among the saved weights" in only(run).message


def test_parameters_that_are_saved_as_one_tensor_are_among_the_weights(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (300,), full=True)

    def fuse(tensors: dict[str, FakeTensor]) -> None:
        parts = [tensors.pop(f"model.layers.0.self_attn.{name}_proj.weight") for name in "qkv"]
        tensors["model.layers.0.self_attn.qkv.weight"] = FakeTensor("F32", (48, 16), b"\0\0\x80?" * 768)
        assert {part.shape for part in parts} == {(16, 16)}

    edit_tensors(place(run) / "model.safetensors", fuse)
    assert not check(run, RULE)


def test_a_mixture_of_experts_is_saved_in_other_shapes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", full=True)

    def split(tensors: dict[str, FakeTensor]) -> None:
        del tensors["model.layers.0.self_attn.q_proj.weight"]
        tensors["model.layers.0.mlp.experts.0.weight"] = FakeTensor("F32", (2, 4), b"\0\0\x80?" * 8)

    for step in (100, 200, 300):
        edit_tensors(place(run, step) / "model.safetensors", split)
    assert not check(run, RULE)


@pytest.mark.parametrize("changes", [{"peft_type": "LOHA"}, {"target_parameters": ["mlp.experts.down_proj"]}])
def test_moments_of_fused_experts_and_of_other_methods_are_compared_in_their_shapes(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    run = make_run(tmp_path / "run", (300,))
    edit_json(place(run) / "adapter_config.json", **changes)
    assert not check(run, RULE)
    edit_optimizer(place(run), lambda value: reshape(value["state"][2], "exp_avg", "exp_avg_sq"))
    assert "too few tensors of the adapter have" in check(run, RULE)[0].message


def test_p_tuning_saves_what_its_encoder_makes(run: str) -> None:
    for step in (100, 200, 300):
        edit_json(place(run, step) / "adapter_config.json", peft_type="P_TUNING")
    everywhere(run, lambda value: reshape(value["state"][2], "exp_avg", "exp_avg_sq"))
    assert not check(run, RULE)
