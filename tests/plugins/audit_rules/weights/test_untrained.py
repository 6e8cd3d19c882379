"""A lora_B that is still zero."""

from pathlib import Path

import pytest

from audit.findings import Outcome
from audit.testing.judging import check, outcome
from audit.testing.runs import edit_optimizer, edit_tensors, make_run
from audit.testing.torch_files import FakeTensor

FILE = "adapter_model.safetensors"


def zero(tensors: dict[str, FakeTensor], part: str) -> None:
    for name, tensor in tensors.items():
        if part in name:
            tensors[name] = tensor._replace(data=bytes(len(tensor.data)))


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def test_lora_b_of_zeros_is_an_adapter_that_was_not_trained(run: str) -> None:
    edit_tensors(Path(run, "checkpoint-300", FILE), lambda tensors: zero(tensors, ".lora_B."))
    (finding,) = check(run, "weights/untrained")
    assert "all 4 lora_B" in finding.message
    assert "300 steps" in finding.message
    assert finding.actual == 0
    assert not finding.blocks_resume


def test_an_adapter_of_nothing_but_zeros_blocks_a_resume(run: str) -> None:
    edit_tensors(Path(run, "checkpoint-300", FILE), lambda tensors: zero(tensors, ".lora_"))
    (finding,) = check(run, "weights/untrained")
    assert "contents of the file are lost" in finding.message
    assert finding.blocks_resume


def test_one_lora_b_of_several_is_not_an_untrained_adapter(run: str) -> None:
    edit_tensors(Path(run, "checkpoint-300", FILE), lambda tensors: zero(tensors, "layers.0.self_attn.q_proj.lora_B"))
    assert not check(run, "weights/untrained")


def test_zeros_after_the_first_step_of_a_warm_up_are_legitimate(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (1,), max_steps=10)
    edit_tensors(Path(run, "checkpoint-1", FILE), lambda tensors: zero(tensors, ".lora_B."))
    assert outcome(run, "weights/untrained", "checkpoint-1").outcome is Outcome.NOT_APPLICABLE


def test_zeros_are_legitimate_while_the_learning_rate_is_zero(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", learning_rate=0.0, schedule="constant")
    for step in (100, 200, 300):
        edit_tensors(Path(run, f"checkpoint-{step}", FILE), lambda tensors: zero(tensors, ".lora_B."))
    assert not check(run, "weights/untrained")
    assert "learning rate" in str(outcome(run, "weights/untrained", "checkpoint-300").reason)


def test_zeros_are_legitimate_while_the_fp16_scaler_skips_every_update(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (4,), max_steps=40, logging_steps=1, fp16=True)
    edit_tensors(Path(run, "checkpoint-4", FILE), lambda tensors: zero(tensors, ".lora_B."))
    edit_optimizer(Path(run, "checkpoint-4"), lambda value: value["state"].clear())
    assert outcome(run, "weights/untrained", "checkpoint-4").outcome is Outcome.NOT_APPLICABLE


def test_matrices_without_values_are_the_finding_of_another_rule(run: str) -> None:
    def empty(tensors: dict[str, FakeTensor]) -> None:
        tensors.update({name: FakeTensor("F32", (0,), b"") for name in tensors})

    edit_tensors(Path(run, "checkpoint-300", FILE), empty)
    assert not check(run, "weights/untrained")
    assert len(check(run, "weights/hollow")) == 1


def test_a_layer_that_is_saved_whole_does_not_make_a_lost_adapter_a_sound_one(run: str) -> None:
    def lose(tensors: dict[str, FakeTensor]) -> None:
        zero(tensors, ".lora_")
        (one, *_) = tensors.values()
        tensors["base_model.model.lm_head.weight"] = one._replace(data=b"\x01" * len(one.data))
        empty = FakeTensor(one.dtype, (0, 4), b"")
        tensors["base_model.model.model.layers.0.mlp.lora_A.weight"] = empty

    edit_tensors(Path(run, "checkpoint-300", FILE), lose)

    (finding,) = check(run, "weights/untrained")

    assert "contents of the file are lost" in finding.message
