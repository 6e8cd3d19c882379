"""Make complete, sound runs for tests, and change one thing in them."""

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

from audit.backend.names import name_of
from audit.formats.damage import Damage
from audit.formats.safetensors import read_safetensors
from audit.formats.torch_archive import read_torch
from audit.storage import BytesReader
from audit.testing import run_files as content
from audit.testing.arguments import training_args_bytes
from audit.testing.json_files import safetensors_bytes, state_bytes, trainer_state_text
from audit.testing.run_files import Plan
from audit.testing.torch_files import FakeTensor, Made, rebuild, torch_archive_bytes


def make_run(
    path: str | os.PathLike[str],
    steps: Sequence[int] = (100, 200, 300),
    *,
    rank: int = 4,
    layers: int = 2,
    max_steps: int | None = None,
    save_steps: int | None = None,
    logging_steps: int = 10,
    schedule: str = "linear",
    learning_rate: float = 1e-4,
    limit: int | None = None,
    fp16: bool = False,
    world: int = 1,
    full: bool = False,
    best: bool = False,
    seed: int = 0,
    **arguments: Any,
) -> str:
    """Write checkpoints of a LoRA run as transformers 5 writes them; return the run's path.

    ``max_steps`` is the last of ``steps`` and ``save_steps`` the first unless they are given. ``schedule``: linear,
    cosine, constant. ``limit`` is save_total_limit (nothing is deleted: give the steps that are left). ``world``
    processes each write their random numbers. ``full`` fine-tunes a whole model. ``best`` evaluates at each save.
    Further keywords are fields of the training arguments.
    """
    run = os.fspath(path)
    total, every = max_steps or max(steps), save_steps or min(steps)
    plan = Plan(
        run, rank, layers, total, every, logging_steps, schedule, learning_rate, limit, fp16, world, full, best, seed
    )
    for step in sorted(steps):
        make_checkpoint(plan, step, arguments)
    return run


def make_checkpoint(plan: Plan, step: int, arguments: dict[str, Any] | None = None) -> str:
    """Write one checkpoint of a run, files in Trainer's order; return its path."""
    checkpoint = os.path.join(plan.path, name_of(step))
    os.makedirs(checkpoint, exist_ok=True)
    files: dict[str, bytes] = _model_files(plan, step)
    files["training_args.bin"] = _arguments(plan, arguments or {})
    files["optimizer.pt"] = content.optimizer(plan, step)
    files["scheduler.pt"] = content.scheduler(plan, step)
    if plan.fp16:
        files["scaler.pt"] = content.scaler(step)
    for rank in range(plan.world):
        stem = "rng_state" if plan.world == 1 else f"rng_state_{rank}"
        files[f"{stem}.pth"] = content.generators(plan, step, stem)
    files["trainer_state.json"] = _state(plan, step)
    for name, data in files.items():
        _write(os.path.join(checkpoint, name), data)
    if plan.world > 1:  # or a random state that a test takes away right now would look as if it were still to come
        state = os.path.join(checkpoint, "trainer_state.json")
        written = os.stat(state).st_mtime_ns - 1_000_000_000
        os.utime(state, ns=(written, written))
    return checkpoint


def _model_files(plan: Plan, step: int) -> dict[str, bytes]:
    weights = safetensors_bytes(content.weights(plan, step))
    if plan.full:
        config = {
            "architectures": ["LlamaForCausalLM"], "dtype": "float32", "hidden_size": 16, "intermediate_size": 32,
            "model_type": "llama", "num_attention_heads": 2, "num_hidden_layers": plan.layers,
            "tie_word_embeddings": True, "transformers_version": "5.23.0", "vocab_size": 32,
        }  # fmt: skip
        return {
            "config.json": _json(config),
            "generation_config.json": _json({"_from_model_config": True, "transformers_version": "5.23.0"}),
            "model.safetensors": weights,
        }
    config = {
        "alpha_pattern": {}, "auto_mapping": None, "base_model_name_or_path": "base/tiny", "bias": "none",
        "fan_in_fan_out": False, "inference_mode": True, "init_lora_weights": True, "layers_pattern": None,
        "layers_to_transform": None, "lora_alpha": 2 * plan.rank, "lora_dropout": 0.0, "modules_to_save": None,
        "peft_type": "LORA", "peft_version": "0.21.2", "r": plan.rank, "rank_pattern": {}, "revision": None,
        "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM", "use_dora": False, "use_rslora": False,
    }  # fmt: skip
    readme = b"---\nbase_model: base/tiny\nlibrary_name: peft\n---\n\n# Model Card for Model ID\n"
    return {"README.md": readme, "adapter_model.safetensors": weights, "adapter_config.json": _json(config)}


def _arguments(plan: Plan, changes: dict[str, Any]) -> bytes:
    fields: dict[str, Any] = {
        "output_dir": plan.path,
        "max_steps": plan.max_steps,
        "save_steps": plan.save_steps,
        "logging_steps": plan.logging_steps,
        "learning_rate": plan.learning_rate,
        "lr_scheduler_type": plan.schedule,
        "save_total_limit": plan.limit,
        "fp16": plan.fp16,
        "use_cpu": not plan.fp16,
    }
    if plan.best:
        fields.update(eval_strategy="steps", eval_steps=plan.save_steps, load_best_model_at_end=True)
        fields.update(metric_for_best_model="loss", greater_is_better=False)
    return training_args_bytes(num_processes=plan.world, **{**fields, **changes})


def _state(plan: Plan, step: int) -> bytes:
    changes: dict[str, Any] = {"save_steps": plan.save_steps, "logging_steps": plan.logging_steps}
    if plan.best:
        changes["eval_steps"] = plan.save_steps
        at = step - step % plan.save_steps
        if at:
            changes.update(best_global_step=at, best_metric=content.eval_loss(at))
            changes["best_model_checkpoint"] = os.path.join(plan.path, name_of(at))
    return trainer_state_text(step, content.history(plan, step), plan.max_steps, **changes)


def _json(document: Any) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


# -- one change -----------------------------------------------------------------------------------------------------


def edit_state(checkpoint: str | os.PathLike[str], *, remove: Sequence[str] = (), **changes: Any) -> None:
    """Change values of ``trainer_state.json``, or ``remove`` keys. A value that is a function gets the old value."""
    path = os.path.join(checkpoint, "trainer_state.json")
    document = json.loads(_read(path))
    for name, value in changes.items():
        document[name] = value(document.get(name)) if callable(value) else value
    for name in remove:
        del document[name]
    _write(path, state_bytes(document))


def edit_json(path: str | os.PathLike[str], **changes: Any) -> None:
    """Change values of any JSON object, for example ``adapter_config.json``."""
    _write(os.fspath(path), _json({**json.loads(_read(os.fspath(path))), **changes}))


def edit_torch(path: str | os.PathLike[str], change: Callable[[Any], Any]) -> None:
    """Rewrite a torch file with ``change`` applied to its value; where that returns something, with the result.

    Tensors are :class:`~audit.testing.torch_files.FakeTensor`, objects :class:`~audit.testing.torch_files.Made`.
    """
    reader = BytesReader(_read(os.fspath(path)))
    archive = read_torch(reader)
    if isinstance(archive, Damage):
        raise TypeError(f"{os.fspath(path)} {archive.message}")
    value = rebuild(reader, archive, archive.value)
    changed = change(value)
    _write(os.fspath(path), torch_archive_bytes(value if changed is None else changed, archive.root))


def edit_optimizer(checkpoint: str | os.PathLike[str], change: Callable[[dict[str, Any]], Any]) -> None:
    """Rewrite ``optimizer.pt``; ``change`` gets ``{"state": ..., "param_groups": ...}``."""
    edit_torch(os.path.join(checkpoint, "optimizer.pt"), change)


def edit_scheduler(checkpoint: str | os.PathLike[str], **changes: Any) -> None:
    """Change values of ``scheduler.pt``."""
    edit_torch(os.path.join(checkpoint, "scheduler.pt"), lambda values: {**values, **changes})


def edit_arguments(checkpoint: str | os.PathLike[str], **changes: Any) -> None:
    """Change fields of ``training_args.bin``, given as the pickle holds them."""

    def change(made: Made) -> Made:
        return made._replace(state={**made.state, **changes})

    edit_torch(os.path.join(checkpoint, "training_args.bin"), change)


def edit_tensors(path: str | os.PathLike[str], change: Callable[[dict[str, FakeTensor]], Any]) -> None:
    """Rewrite a safetensors file after ``change`` has changed its dictionary of tensors in place."""
    reader = BytesReader(_read(os.fspath(path)))
    found = read_safetensors(reader)
    if isinstance(found, Damage):
        raise TypeError(f"{os.fspath(path)} {found.message}")
    tensors = {
        name: FakeTensor(tensor.dtype, tensor.shape, reader.read(tensor.offset, tensor.nbytes))
        for name, tensor in found.tensors.items()
    }
    change(tensors)
    _write(os.fspath(path), safetensors_bytes(tensors, found.metadata))
