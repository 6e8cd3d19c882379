"""The content of each file of a made-up but consistent checkpoint: numbers that agree with each other."""

from math import cos, pi
from random import Random
from struct import pack
from typing import Any, NamedTuple

from audit.testing.torch_files import FakeTensor, Made, Name, torch_archive_bytes

_HIDDEN, _VOCABULARY = 16, 32


class Plan(NamedTuple):
    """What a made-up run is to look like; see :func:`audit.testing.runs.make_run`."""

    path: str
    rank: int
    layers: int
    max_steps: int
    save_steps: int
    logging_steps: int
    schedule: str
    learning_rate: float
    limit: int | None
    fp16: bool
    world: int
    full: bool
    best: bool
    seed: int


def random_of(plan: Plan, *parts: object) -> Random:
    """A generator that gives the same numbers for the same parts in every process."""
    return Random(f"{plan.seed}-{parts}")


def rate(plan: Plan, position: int) -> float:
    """Learning rate after ``position`` scheduler steps, as transformers' schedules compute it."""
    if plan.schedule == "constant":
        return plan.learning_rate
    if plan.schedule == "cosine":
        return plan.learning_rate * max(0.0, 0.5 * (1.0 + cos(pi * 0.5 * 2.0 * position / max(1, plan.max_steps))))
    return plan.learning_rate * max(0.0, float(plan.max_steps - position) / float(max(1, plan.max_steps)))


def shapes(plan: Plan) -> dict[str, tuple[int, ...]]:
    """Trainable tensors by their name in the weight file, in the order of the optimizer's parameters."""
    found: dict[str, tuple[int, ...]] = {}
    if not plan.full:
        for layer in range(plan.layers):
            for module in ("q_proj", "v_proj"):
                prefix = f"base_model.model.model.layers.{layer}.self_attn.{module}"
                found[f"{prefix}.lora_A.weight"] = (plan.rank, _HIDDEN)
                found[f"{prefix}.lora_B.weight"] = (_HIDDEN, plan.rank)
        return found
    found["model.embed_tokens.weight"] = (_VOCABULARY, _HIDDEN)
    for layer in range(plan.layers):
        for module in ("q_proj", "k_proj", "v_proj", "o_proj"):
            found[f"model.layers.{layer}.self_attn.{module}.weight"] = (_HIDDEN, _HIDDEN)
    # The optimizer numbers all parameters with weight decay before those without (norms).
    for layer in range(plan.layers):
        found[f"model.layers.{layer}.input_layernorm.weight"] = (_HIDDEN,)
    found["model.norm.weight"] = (_HIDDEN,)
    return found


def floats(generator: Random, shape: tuple[int, ...], scale: float, positive: bool = False) -> FakeTensor:
    """A float32 tensor of normal numbers, none of them zero."""
    count = 1
    for size in shape:
        count *= size
    values = [generator.gauss(0.0, scale) or scale for _ in range(count)]
    if positive:
        values = [value * value + 1e-12 for value in values]
    return FakeTensor("F32", shape, pack(f"<{count}f", *values))


def weights(plan: Plan, step: int) -> dict[str, FakeTensor]:
    """Weights of ``step``."""
    return {name: floats(random_of(plan, "w", step, name), shape, 0.02) for name, shape in shapes(plan).items()}


def optimizer(plan: Plan, step: int) -> bytes:
    """AdamW, fused, two groups; plain LoRA leaves the second (no weight decay) empty."""
    state = {
        index: {
            "step": FakeTensor("F32", (), pack("<f", step)),
            "exp_avg": floats(random_of(plan, "m", step, index), shape, 1e-3),
            "exp_avg_sq": floats(random_of(plan, "v", step, index), shape, 1e-3, positive=True),
        }
        for index, shape in enumerate(shapes(plan).values())
    }
    decayed = sum(len(shape) > 1 for shape in shapes(plan).values())
    group = {
        "weight_decay": 0.0, "lr": rate(plan, step), "betas": (0.9, 0.999), "eps": 1e-08, "amsgrad": False,
        "maximize": False, "foreach": None, "capturable": False, "differentiable": False, "fused": True,
        "decoupled_weight_decay": True, "initial_lr": plan.learning_rate,
    }  # fmt: skip
    groups = [
        {**group, "params": list(range(decayed))},
        {**group, "params": list(range(decayed, len(state)))},
    ]
    return torch_archive_bytes({"state": state, "param_groups": groups}, "optimizer")


def scheduler(plan: Plan, step: int) -> bytes:
    """LambdaLR, after ``step`` steps."""
    values = {
        "base_lrs": [plan.learning_rate] * 2,
        "last_epoch": step,
        "_step_count": step + 1,
        "_is_initial": False,
        "_get_lr_called_within_step": False,
        "_last_lr": [rate(plan, step)] * 2,
        "lr_lambdas": [{}, {}],
    }
    return torch_archive_bytes(values, "scheduler")


def scaler(step: int) -> bytes:
    """A gradient scaler that has not met an overflow."""
    values = {
        "scale": 65536.0 * 2 ** (step // 2000),
        "growth_factor": 2.0,
        "backoff_factor": 0.5,
        "growth_interval": 2000,
        "_growth_tracker": step % 2000,
    }
    return torch_archive_bytes(values, "scaler")


def generators(plan: Plan, step: int, root: str) -> bytes:
    """States of Python's, numpy's and torch's generators; all ranks hold the same."""
    source = random_of(plan, "rng", step)
    numpy_words, torch_words = ([source.getrandbits(32) for _ in range(624)] for _ in range(2))
    array = Made(
        "numpy._core.multiarray._reconstruct",
        (Name("numpy.ndarray"), (0,), b"b"),
        (1, (624,), Made("numpy.dtype", ("u4", False, True), (3, "<", None, None, None, -1, -1, 0)), False,
         pack("<624I", *numpy_words)),
    )  # fmt: skip
    torch = pack("<Q2iQ624Q3d2ifI", 42, 1, 1, 0, *torch_words, 0.0, 0.0, 0.0, 0, 0, 0.0, 0)
    values: dict[str, Any] = {
        "python": source.getstate(),
        "numpy": ("MT19937", array, 624, 0, 0.0),
        "cpu": FakeTensor("U8", (len(torch),), torch),
    }
    return torch_archive_bytes(values, root)


def history(plan: Plan, step: int) -> list[dict[str, Any]]:
    """Log entries up to ``step``: the learning rate is the one used for the step, as since transformers 4.51."""
    entries: list[dict[str, Any]] = []
    for at in range(1, step + 1):
        if at % plan.logging_steps == 0:
            noise = random_of(plan, "loss", at)
            entries.append(
                {
                    "epoch": at / plan.max_steps,
                    "grad_norm": 0.5 + 0.1 * noise.random(),
                    "learning_rate": rate(plan, at - 1),
                    "loss": 1.0 + 1.5 * 100 / (at + 100) + 0.01 * noise.random(),
                    "step": at,
                }
            )
        if plan.best and at % plan.save_steps == 0:
            entries.append(
                {
                    "epoch": at / plan.max_steps,
                    "eval_loss": eval_loss(at),
                    "eval_runtime": 0.25,
                    "eval_samples_per_second": 320.0,
                    "eval_steps_per_second": 40.0,
                    "step": at,
                }
            )
    return entries


def eval_loss(step: int) -> float:
    """Evaluation loss of ``step``; it falls, so the newest evaluation is the best."""
    return 1.1 + 1.5 * 100 / (step + 100)
