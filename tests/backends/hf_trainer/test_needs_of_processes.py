"""What is for several processes is refused where one trains, and a plan for several of them is not."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from audit.errors import ConfigError
from audit_hf_trainer.training.needs_of_processes import refuse_processes
from tests.backends.hf_trainer.needing import SFT, refused, request_of

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")

ALONE: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "fsdp": ({"fsdp": True}, {}, "arguments.fsdp: is for several processes, and one trains: start them with torchrun"),
    "fsdp in words": ({"fsdp": "full_shard auto_wrap"}, {}, "arguments.fsdp: is for several processes"),
    "backend": ({"ddp_backend": "gloo"}, {}, "arguments.ddp_backend: is for several processes"),
    "tensor parallel": (
        {},
        {"model": {"name_or_path": "base", "options": {"tp_size": 2}}},
        "model.options.tp_size: is for several processes",
    ),
}


@pytest.mark.parametrize(("arguments", "more", "said"), ALONE.values(), ids=ALONE)
def test_one_process_is_refused_and_two_are_not(
    tmp_path: Path, arguments: dict[str, Any], more: dict[str, Any], said: str
) -> None:
    assert refused(request_of(tmp_path, arguments, **more)).startswith(said)
    assert refused(request_of(tmp_path, arguments, processes=2, **more)) == ""


def test_fsdp_that_is_off_needs_no_processes(tmp_path: Path) -> None:
    assert refused(request_of(tmp_path, {"fsdp": False})) == ""


def test_a_backend_that_torch_does_not_have_is_refused(tmp_path: Path) -> None:
    text = refused(request_of(tmp_path, {"ddp_backend": "glo"}, processes=2))
    assert text.startswith("arguments.ddp_backend: torch has no backend 'glo' on this machine; did you mean 'gloo'")


def test_fsdp_of_xla_needs_its_package(tmp_path: Path) -> None:
    text = refused(request_of(tmp_path, {"fsdp": True, "fsdp_config": {"xla": True}}, processes=2))
    assert text.startswith("arguments.fsdp_config: xla needs torch_xla, which is not installed")


def test_a_trainer_of_ones_own_trains_in_one_process(tmp_path: Path) -> None:
    pytest.importorskip("trl", reason="the extra trl is not installed")
    assert refused(request_of(tmp_path, {"bf16": False}, processes=2, **SFT)).startswith("trainer: 2 processes train")
    assert refused(request_of(tmp_path, {"bf16": False}, **SFT)) == ""


def test_fsdp_1_with_shards_would_lose_the_moments_at_each_batch(tmp_path: Path) -> None:
    def told(**config: Any) -> str:
        return refused(request_of(tmp_path, {"fsdp": True, "fsdp_config": config}, processes=2))

    for kind in ("SHARDED_STATE_DICT", "LOCAL_STATE_DICT"):
        assert told(version=1, state_dict_type=kind).startswith(
            "arguments.fsdp_config: accelerate does not load the optimizer's moments of FSDP version 1 from shards; set ver"
        )
    assert told(version=1) == told(state_dict_type="SHARDED_STATE_DICT") == ""


def test_deepspeed_needs_a_launcher_or_mpi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = SimpleNamespace(deepspeed="ds.json", fsdp=None, world_size=1)

    def told(processes: int = 1) -> str:
        try:
            refuse_processes(request_of(tmp_path, {}, processes=processes), arguments)
        except ConfigError as error:
            return str(error)
        return ""

    launched = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "LOCAL_RANK": "0"}
    for name in launched:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("audit_hf_trainer.training.needs_of_processes.find_spec", lambda name: None)
    assert told().startswith("arguments.deepspeed: needs a launcher, for one process too: torchrun --nproc-per-node 1 ")
    assert told(processes=2) == ""
    monkeypatch.setattr("audit_hf_trainer.training.needs_of_processes.find_spec", lambda name: name)
    assert told() == ""
    monkeypatch.setattr("audit_hf_trainer.training.needs_of_processes.find_spec", lambda name: None)
    for name, value in launched.items():
        assert told() != ""
        monkeypatch.setenv(name, value)
    assert told() == ""


def test_batches_that_are_split_leave_examples_out_and_one_process_splits_none(tmp_path: Path) -> None:
    split = {"accelerator_config": {"split_batches": True}}

    assert refused(request_of(tmp_path, split, processes=2)).startswith(
        "arguments.accelerator_config: with split_batches a step takes the examples of one process"
    )
    assert refused(request_of(tmp_path, split)) == ""
    assert refused(request_of(tmp_path, {"accelerator_config": {"split_batches": False}}, processes=2)) == ""
