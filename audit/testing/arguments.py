"""Write ``training_args.bin``."""

from typing import Any

from audit.testing.torch_files import Made, torch_archive_bytes

_ENUMS = {
    "lr_scheduler_type": "transformers.trainer_utils.SchedulerType",
    "optim": "transformers.training_args.OptimizerNames",
    "logging_strategy": "transformers.trainer_utils.IntervalStrategy",
    "eval_strategy": "transformers.trainer_utils.IntervalStrategy",
    "save_strategy": "transformers.trainer_utils.SaveStrategy",
    "hub_strategy": "transformers.trainer_utils.HubStrategy",
}
_DEFAULTS: dict[str, Any] = {
    "output_dir": "out", "per_device_train_batch_size": 2, "num_train_epochs": 3.0, "max_steps": -1,
    "learning_rate": 5e-05, "lr_scheduler_type": "linear", "lr_scheduler_kwargs": None, "warmup_steps": 0,
    "optim": "adamw_torch_fused", "optim_args": None, "weight_decay": 0.0, "adam_beta1": 0.9, "adam_beta2": 0.999,
    "adam_epsilon": 1e-08, "gradient_accumulation_steps": 1, "max_grad_norm": 1.0, "label_smoothing_factor": 0.0,
    "bf16": False, "fp16": False, "gradient_checkpointing": False, "auto_find_batch_size": False,
    "logging_strategy": "steps", "logging_steps": 10, "logging_first_step": False, "logging_nan_inf_filter": True,
    "report_to": [], "run_name": None, "eval_strategy": "no", "eval_steps": None, "per_device_eval_batch_size": 8,
    "save_only_model": False, "save_strategy": "steps", "save_steps": 100, "save_on_each_node": False,
    "save_total_limit": None, "enable_jit_checkpoint": False, "push_to_hub": False, "hub_token": None,
    "hub_model_id": None, "hub_strategy": "every_save", "load_best_model_at_end": False,
    "metric_for_best_model": None, "greater_is_better": None, "ignore_data_skip": False, "full_determinism": False,
    "seed": 42, "data_seed": None, "use_cpu": True, "dataloader_drop_last": False, "dataloader_num_workers": 0,
    "remove_unused_columns": True, "fsdp": None, "fsdp_config": None, "deepspeed": None, "debug": [],
    "resume_from_checkpoint": None, "local_rank": -1, "_n_gpu": 0, "deepspeed_plugin": None,
}  # fmt: skip


def training_args_bytes(
    class_name: str = "transformers.training_args.TrainingArguments", num_processes: int = 1, **fields: Any
) -> bytes:
    """Return the file that Trainer writes for training arguments with these fields, the others as by default.

    The enums among the fields are given as their values (``save_strategy="steps"``).
    """
    values = {**_DEFAULTS, **fields}
    for name, enum in _ENUMS.items():
        if isinstance(values[name], str):
            values[name] = Made(enum, (values[name],))
    kind = "NO" if num_processes == 1 else "MULTI_CPU"
    values["distributed_state"] = Made(
        "accelerate.state.PartialState",
        state={
            "_cpu": True,
            "backend": None if num_processes == 1 else "gloo",
            "device": Made("torch.device", ("cpu",)),
            "debug": False,
            "distributed_type": Made("accelerate.utils.dataclasses.DistributedType", (kind,)),
            "num_processes": num_processes,
            "process_index": 0,
            "local_process_index": 0,
            "fork_launched": False,
        },
    )
    values["_setup_devices"] = Made("torch.device", ("cpu",))
    return torch_archive_bytes(Made(class_name, state=values), "training_args")
