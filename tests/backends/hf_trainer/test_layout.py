"""What the backend makes of the names in a checkpoint, over all forms that Trainer writes."""

from collections.abc import Mapping
from typing import Any

import pytest

from audit.backend.layout import Layout
from audit.storage import DIRECTORY, FILE, Entry
from audit_hf_trainer.plugin import HFTrainer

BASE = ("trainer_state.json", "training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth")
LORA = (*BASE, "README.md", "adapter_config.json", "adapter_model.safetensors")
FULL = (*BASE, "config.json", "generation_config.json", "model.safetensors")
SHARDED = (*BASE, "config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = "model.safetensors.index.json"
FSDP = (
    "trainer_state.json",
    "scheduler.pt",
    "rng_state_0.pth",
    "rng_state_1.pth",
    "pytorch_model_fsdp_0/",
    "pytorch_model_fsdp_0/.metadata",
    "pytorch_model_fsdp_0/__0_0.distcp",
    "pytorch_model_fsdp_0/__1_0.distcp",
    "optimizer_0/",
    "optimizer_0/.metadata",
    "optimizer_0/__0_0.distcp",
)
ZERO2 = (
    "trainer_state.json",
    "training_args.bin",
    "model.safetensors",
    "config.json",
    "scheduler.pt",
    "rng_state_0.pth",
    "rng_state_1.pth",
    "latest",
    "zero_to_fp32.py",
    "global_step4/",
    "global_step4/mp_rank_00_model_states.pt",
    "global_step4/zero_pp_rank_0_mp_rank_00_optim_states.pt",
    "global_step4/zero_pp_rank_1_mp_rank_00_optim_states.pt",
)
ONE = {"output_dir": "run", "push_to_hub": False, "num_processes": 1, "save_only_model": False}
TWO = {**ONE, "num_processes": 2}
MODERN = {"global_step": 4, "best_global_step": None}


def entries(*names: str) -> dict[str, Entry]:
    made = {}
    for name in names:
        path = name.rstrip("/")
        made[path] = Entry(path, DIRECTORY if name.endswith("/") else FILE, 1, 0, 0, 0)
    return made


def without(names: tuple[str, ...], *gone: str) -> dict[str, Entry]:
    return entries(*(name for name in names if name not in gone))


def lay(
    files: Mapping[str, Entry], arguments: Mapping[str, Any] | None = ONE, state: Mapping[str, Any] | None = MODERN
) -> Layout:
    return HFTrainer().layout(files, arguments, state)


@pytest.mark.parametrize(
    ("names", "arguments", "kind", "weights"),
    [
        (LORA, ONE, "adapter", ("adapter_model.safetensors",)),
        (FULL, ONE, "full", ("model.safetensors",)),
        ((*SHARDED, INDEX), ONE, "full", SHARDED[-2:]),
        (FSDP, None, "fsdp", ()),
        (ZERO2, TWO, "deepspeed", ()),
    ],
)
def test_a_whole_checkpoint_owes_nothing_that_is_not_there(
    names: tuple[str, ...], arguments: Mapping[str, Any] | None, kind: str, weights: tuple[str, ...]
) -> None:
    layout = lay(entries(*names), arguments)

    assert (layout.kind, layout.weights) == (kind, weights)
    assert (dict(layout.missing), layout.missing_rng, layout.shadowing) == ({}, (), ())


@pytest.mark.parametrize(
    ("names", "gone", "missing"),
    [
        (LORA, "adapter_model.safetensors", {"weights": "adapter_model.safetensors"}),
        (LORA, "adapter_config.json", {"adapter_config": "adapter_config.json"}),
        (LORA, "optimizer.pt", {"optimizer": "optimizer.pt"}),
        (LORA, "scheduler.pt", {"scheduler": "scheduler.pt"}),
        (LORA, "trainer_state.json", {"state": "trainer_state.json"}),
        (FULL, "model.safetensors", {"weights": "model.safetensors"}),
        (FULL, "config.json", {}),
        ((*SHARDED, INDEX), INDEX, {"weights": INDEX}),
        (FSDP, "pytorch_model_fsdp_0/.metadata", {"weights": "pytorch_model_fsdp_0/.metadata"}),
        (FSDP, "optimizer_0/.metadata", {"optimizer": "optimizer_0/.metadata"}),
        (FSDP, "scheduler.pt", {"scheduler": "scheduler.pt"}),
        (ZERO2, "latest", {"latest": "latest"}),
        (ZERO2, "scheduler.pt", {}),
        (ZERO2, "model.safetensors", {}),
        (ZERO2, ZERO2[-3], {"weights": ZERO2[-3]}),
        (ZERO2, ZERO2[-1], {"optimizer:1": ZERO2[-1]}),
    ],
)
def test_a_deleted_file_is_missed_in_its_role(names: tuple[str, ...], gone: str, missing: dict[str, str]) -> None:
    arguments = TWO if names is ZERO2 else ONE
    assert dict(lay(without(names, gone), arguments if names is not FSDP else None).missing) == missing


def test_both_files_of_an_adapter_gone_still_miss_an_adapter() -> None:
    layout = lay(without(LORA, "adapter_config.json", "adapter_model.safetensors"))
    assert layout.missing["weights"] == "adapter_model.safetensors"


def test_a_directory_in_place_of_a_file_is_no_file() -> None:
    layout = lay({**without(LORA, "optimizer.pt"), **entries("optimizer.pt/")})
    assert layout.optimizer is None
    assert layout.missing == {"optimizer": "optimizer.pt"}


def test_full_weights_beside_an_adapter_shadow_it() -> None:
    layout = lay(entries(*LORA, "model.safetensors"))
    assert (layout.kind, layout.weights, layout.shadowing) == (
        "adapter",
        ("adapter_model.safetensors",),
        ("model.safetensors",),
    )


def test_a_single_file_beside_shards_shadows_them() -> None:
    layout = lay(entries(*SHARDED, INDEX, "pytorch_model.bin"))
    assert (layout.weights, layout.shadowing) == (SHARDED[-2:], ("pytorch_model.bin",))


def test_safetensors_come_before_pickled_weights_of_the_same_model() -> None:
    layout = lay(entries(*FULL, "pytorch_model.bin"))
    assert (layout.weights, layout.shadowing) == (("model.safetensors",), ())


def test_a_full_model_with_an_adapter_in_a_folder_of_its_own_is_a_full_model() -> None:
    layout = lay(entries(*FULL, "copy/", "copy/adapter_config.json", "copy/adapter_model.bin"))
    assert (layout.kind, layout.adapters, layout.shadowing) == ("full", (), ())


def test_the_modules_of_sentence_transformers_have_weights_of_their_own() -> None:
    dense = ("1_Pooling/", "1_Pooling/config.json", "2_Dense/", "2_Dense/model.safetensors")
    assert lay(entries(*FULL, "modules.json", *dense)).weights == ("model.safetensors", "2_Dense/model.safetensors")
    assert lay(entries(*FULL, *dense)).weights == ("model.safetensors",)
    alone = lay(entries("modules.json", *dense, *(name for name in FULL if name != "model.safetensors")))
    assert (alone.weights, alone.missing["weights"]) == ((), "model.safetensors")


def test_adapters_in_sub_directories_are_found_by_either_of_their_files() -> None:
    files = entries(*LORA, "a/", "a/adapter_config.json", "b/", "b/adapter_model.bin", "notes/", "notes/x.txt")
    layout = lay(files)
    assert [adapter.name for adapter in layout.adapters] == ["default", "a", "b"]
    assert dict(layout.missing) == {
        "weights:a": "a/adapter_model.safetensors",
        "adapter_config:b": "b/adapter_config.json",
    }


def test_save_only_model_owes_only_the_model_and_the_state() -> None:
    files = without(LORA, "optimizer.pt", "scheduler.pt", "rng_state.pth")
    layout = lay(files, {**ONE, "save_only_model": True, "fp16": True})
    assert layout.weights_only
    assert (dict(layout.missing), layout.owed_rng) == ({}, ())


def test_a_finished_checkpoint_without_any_resume_state_is_weights_only() -> None:
    gone = ("optimizer.pt", "scheduler.pt", "rng_state.pth")
    assert lay(without(LORA, *gone)).weights_only
    assert not lay(without(LORA, "trainer_state.json", *gone)).weights_only, "a save that was cut short"


@pytest.mark.parametrize("arguments", [ONE, None])
@pytest.mark.parametrize("left", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_one_file_of_the_resume_state_proves_that_the_others_were_there(
    left: str, arguments: Mapping[str, Any] | None
) -> None:
    gone = {"optimizer.pt", "scheduler.pt", "rng_state.pth"} - {left}
    layout = lay(without(LORA, *gone), arguments)

    assert not layout.weights_only
    assert {*layout.missing.values(), *layout.missing_rng} == gone


@pytest.mark.parametrize(
    ("arguments", "state", "owed"),
    [
        ({"fp16": True}, MODERN, True),
        ({"fp16": True}, {"global_step": 4}, False),  # 4.31 to 4.49 never wrote it
        ({"fp16": True, "bf16": True}, MODERN, False),
        ({"fp16": False}, MODERN, False),
        ({"fp16": True, "_n_gpu": 0}, MODERN, False),  # accelerate makes no scaler on a CPU
        ({"fp16": True, "use_cpu": True}, MODERN, False),
        ({"fp16": True, "half_precision_backend": "apex"}, MODERN, False),
        ({"fp16": True, "half_precision_backend": "auto", "_n_gpu": 1}, MODERN, True),
    ],
)
def test_a_scaler_is_owed_where_one_existed_and_was_written(
    arguments: Mapping[str, Any], state: Mapping[str, Any], owed: bool
) -> None:
    assert ("scaler" in lay(entries(*LORA), {**ONE, **arguments}, state).missing) is owed


def test_each_rank_owes_its_random_state() -> None:
    files = {**without(LORA, "rng_state.pth"), **entries("rng_state_0.pth", "rng_state_2.pth", "rng_state_10.pth")}
    layout = lay(files, {**ONE, "num_processes": 4})
    assert layout.rng == ("rng_state_0.pth", "rng_state_2.pth", "rng_state_10.pth")
    assert layout.missing_rng == ("rng_state_1.pth", "rng_state_3.pth")


def test_without_arguments_the_highest_rank_gives_the_number_of_processes() -> None:
    files = {**without(LORA, "rng_state.pth", "training_args.bin"), **entries("rng_state_0.pth", "rng_state_3.pth")}
    layout = lay(files, None)
    assert (layout.world_size, layout.missing_rng) == (4, ("rng_state_1.pth", "rng_state_2.pth"))


@pytest.mark.parametrize("said", [10**9, 0, -1, True, "2", None])
def test_a_made_up_number_of_processes_is_not_believed(said: object) -> None:
    layout = lay(entries(*LORA), {**ONE, "num_processes": said})
    assert (layout.world_size, layout.missing_rng) == (1, ())


def test_versions_before_random_states_were_saved_owe_none() -> None:
    layout = lay(without(LORA, "rng_state.pth"), {"output_dir": "run"})
    assert layout.missing_rng == ()


def test_fsdp_in_one_file_owes_its_optimizer_in_one_file() -> None:
    names = ("trainer_state.json", "training_args.bin", "scheduler.pt", "rng_state.pth", "pytorch_model_fsdp.bin")
    layout = lay(entries(*names))
    assert (layout.kind, layout.weights) == ("fsdp", ("pytorch_model_fsdp.bin",))
    assert dict(layout.missing) == {"optimizer": "optimizer.bin"}
    assert lay(entries(*names, "optimizer.bin")).optimizer == "optimizer.bin"


def test_all_of_fsdp_deleted_is_still_missed_where_it_was_in_effect() -> None:
    names = ("trainer_state.json", "training_args.bin", "scheduler.pt", "rng_state.pth", "model.safetensors")
    layout = lay(entries(*names), {**ONE, "distributed_state": {"distributed_type": "FSDP"}})
    assert layout.missing == {"weights": "pytorch_model_fsdp.bin", "optimizer": "optimizer.bin"}


def test_fsdp_that_saves_only_the_model_owes_only_the_model() -> None:
    arguments = {**ONE, "save_only_model": True, "distributed_state": {"distributed_type": "FSDP"}}
    layout = lay(entries("trainer_state.json", "training_args.bin", "model.safetensors"), arguments)
    assert (layout.kind, dict(layout.missing)) == ("full", {})


def test_fsdp_in_the_arguments_alone_is_plain_training() -> None:
    assert lay(entries(*FULL), {**ONE, "fsdp": True}).kind == "full"


@pytest.mark.parametrize("sign", [{"deepspeed": "ds.json"}, {"distributed_state": {"distributed_type": "DEEPSPEED"}}])
def test_all_of_deepspeed_deleted_is_still_missed_where_the_arguments_name_it(sign: Mapping[str, Any]) -> None:
    names = tuple(name for name in ZERO2 if not name.startswith(("global_step", "latest")))
    layout = lay(entries(*names), {**TWO, **sign})
    assert layout.missing == {"weights": "global_step4/mp_rank_00_model_states.pt", "latest": "latest"}


def test_every_partition_of_zero_3_is_owed() -> None:
    names = (
        *(n for n in ZERO2 if "mp_rank_00_model" not in n),
        "global_step4/zero_pp_rank_1_mp_rank_00_model_states.pt",
    )
    assert lay(entries(*names), TWO).missing == {"weights:0": "global_step4/zero_pp_rank_0_mp_rank_00_model_states.pt"}


def test_optimizer_files_of_a_tpu_are_no_missing_optimizer() -> None:
    names = {**without(FULL, "optimizer.pt"), **entries("rank0-of-8-optimizer.pt")}
    assert dict(lay(names).missing) == {}


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("checkpoint-300", 300),
        ("checkpoint-0", 0),
        ("checkpoint-007", 7),
        ("checkpoint-", None),
        ("checkpoint-3-backup", None),
        ("checkpoint-٣", None),
        ("checkpoint-3\n", None),
        ("tmp-checkpoint-3", None),
        ("checkpoint-" + "9" * 30, None),
    ],
)
def test_the_step_is_read_as_trainer_reads_it(name: str, step: int | None) -> None:
    assert HFTrainer().checkpoint_step(name) == step


def test_a_run_is_recognised_by_a_checkpoint_directory_or_the_files_in_its_root() -> None:
    backend = HFTrainer()
    assert backend.recognises(entries("checkpoint-3/"))
    assert backend.recognises(entries("trainer_state.json"))
    assert not backend.recognises(entries("checkpoint-3", "model.safetensors", "checkpoint-best/"))


def test_latest_says_which_directory_of_deepspeed_is_loaded() -> None:
    names = (*ZERO2, "global_step9/", "global_step9/mp_rank_00_model_states.pt")
    files = entries(*names)

    newest = HFTrainer().layout(files, TWO, MODERN)
    named = HFTrainer().layout(files, TWO, MODERN, {"latest": "global_step4\n"})

    assert newest.sharded_weights == ("global_step9/mp_rank_00_model_states.pt",)
    assert named.sharded_weights == ("global_step4/mp_rank_00_model_states.pt",)
    assert named.missing == {}
    assert HFTrainer().layout(files, TWO, MODERN, {"latest": "../elsewhere"}) == newest
