"""Kinds of damage that are planted into a run that was really trained, and what finds each: the table of the page.

The run: LoRA with dropout on a tiny Llama, 12 steps over two files, saved every 3 steps; checkpoint-6 is damaged and
rehearsed. A damage changes the files of the checkpoint, or what the next leg would be trained with.
"""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.backends.hf_trainer.continuous import Continuous, examples
from tests.backends.hf_trainer.rehearsed import edit_config, trained

STEP = 6
ARGUMENTS = 'save_steps = 3\nsave_total_limit = 20\nlr_scheduler_type = "linear"\nuse_cpu = true\n'
MODEL = '[model]\nname_or_path = "base"\n'
SCHEDULE = "[schedule]\ntotal_steps = 40\n"
NEVER, BEFORE, RESTORED, DATA = "never", "before", "restored", "data"


class Home(NamedTuple):
    """A copy of the run that is damaged, and another run that was trained in the same way from another seed."""

    shop: Continuous
    other: Continuous

    @property
    def checkpoint(self) -> Path:
        return self.shop.run / f"checkpoint-{STEP}"


class Damage(NamedTuple):
    """One kind of damage, and what finds it.

    ``rules``: of `audit verify` over the files alone, without seals. ``first``: the first step that differs, or NEVER,
    BEFORE (found by the ledger before anything is loaded), RESTORED, DATA (the data is not as it was: no step is
    judged). ``quantity``: one that differs there. ``elsewhere``: also found within tolerances. ``why``: of what is not
    found. ``faint``: by rounding alone, so that the step depends on the machine.
    """

    title: str
    plant: Callable[[Home], object]
    rules: tuple[str, ...] = ()
    first: int | str = NEVER
    quantity: str = ""
    elsewhere: bool = True
    why: str = ""
    faint: bool = False


DAMAGES: dict[str, Damage] = {}


def damage(title: str, **expected: Any) -> Callable[[Callable[[Home], object]], Callable[[Home], object]]:
    """Put a function into the table."""

    def add(plant: Callable[[Home], object]) -> Callable[[Home], object]:
        DAMAGES[plant.__name__] = Damage(title, plant, **expected)
        return plant

    return add


def base(home: Path, seed: int) -> Path:
    """Save a tiny Llama with random weights as the base model."""
    import transformers

    transformers.set_seed(seed)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.LlamaConfig(**shape, vocab_size=96, max_position_embeddings=32)
    transformers.LlamaForCausalLM(config).save_pretrained(home)
    return home


def run_of(home: Path, seed: int) -> Continuous:
    """Train the run."""
    base(home / "base", 0)
    files = {"a.jsonl": examples(24, 1), "b.jsonl": examples(24, 2)}
    return trained(home, files, model=MODEL, arguments=ARGUMENTS, more=SCHEDULE, seed=seed)


def _tensors(path: Path, edit: Callable[[Any], None]) -> None:
    from safetensors.torch import load_file, save_file

    found = load_file(path)
    for tensor in found.values():
        edit(tensor)
    save_file(found, path, metadata={"format": "pt"})


def _torch(path: Path, edit: Callable[[Any], None]) -> None:
    import torch

    found = torch.load(path, weights_only=True)
    edit(found)
    torch.save(found, path)


def _from(source: Path, home: Home, name: str) -> None:
    shutil.copyfile(source / name, home.checkpoint / name)


ADAPTER, OPTIMIZER, SCHEDULER, RNG = "adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"


@damage("optimizer of another run, same step and shape", first=8, quantity="gradient norm")
def optimizer_of_another_run(home: Home) -> None:
    _from(home.other.run / f"checkpoint-{STEP}", home, OPTIMIZER)


@damage("first moments halved", first=8, quantity="gradient norm")
def moments_halved(home: Home) -> None:
    def halve(found: Any) -> None:
        for entry in found["state"].values():
            entry["exp_avg"] *= 0.5

    _torch(home.checkpoint / OPTIMIZER, halve)


@damage("weights of another run, same step", first=7, quantity="loss")
def weights_of_another_run(home: Home) -> None:
    _from(home.other.run / f"checkpoint-{STEP}", home, ADAPTER)


@damage("random weights of the same scale", first=7, quantity="loss")
def random_weights(home: Home) -> None:
    import torch

    torch.manual_seed(9)
    _tensors(home.checkpoint / ADAPTER, lambda tensor: tensor.copy_(torch.randn_like(tensor) * tensor.std()))


@damage("random state of another checkpoint", first=7, quantity="loss")
def random_state_of_another(home: Home) -> None:
    _from(home.shop.run / "checkpoint-3", home, RNG)


@damage("every weight with noise of 0.1 %", first=7, quantity="loss")
def noise(home: Home) -> None:
    import torch

    torch.manual_seed(9)
    _tensors(home.checkpoint / ADAPTER, lambda tensor: tensor.mul_(1 + 1e-3 * torch.randn_like(tensor)))


@damage("every weight with noise of a millionth", first=8, quantity="gradient norm", elsewhere=False, faint=True)
def small_noise(home: Home) -> None:
    import torch

    torch.manual_seed(9)
    _tensors(home.checkpoint / ADAPTER, lambda tensor: tensor.mul_(1 + 1e-6 * torch.randn_like(tensor)))


@damage("random state missing", rules=("files/missing-rng-state",), first=7, quantity="loss")
def random_state_missing(home: Home) -> None:
    (home.checkpoint / RNG).unlink()


@damage("optimizer state missing", rules=("files/missing-optimizer",), first=RESTORED, quantity="schedule")
def optimizer_missing(home: Home) -> None:
    (home.checkpoint / OPTIMIZER).unlink()


@damage("schedule missing", rules=("files/missing-scheduler",), first=RESTORED, quantity="optimizer state")
def scheduler_missing(home: Home) -> None:
    (home.checkpoint / SCHEDULER).unlink()


@damage("schedule of an older checkpoint", rules=("scheduler/step-mismatch",), first=7, quantity="learning rate")
def scheduler_older(home: Home) -> None:
    _from(home.shop.run / "checkpoint-3", home, SCHEDULER)


@damage("optimizer state of an older checkpoint", rules=("optimizer/unchanged",), first=8, quantity="gradient norm")
def optimizer_older(home: Home) -> None:
    _from(home.shop.run / "checkpoint-3", home, OPTIMIZER)


@damage("weights of an older checkpoint", rules=("weights/unchanged",), first=7, quantity="loss")
def weights_older(home: Home) -> None:
    _from(home.shop.run / "checkpoint-3", home, ADAPTER)


@damage("base model exchanged under its path", first=BEFORE, quantity="base model")
def base_exchanged(home: Home) -> None:
    shutil.rmtree(home.shop.home / "base")
    base(home.shop.home / "base", 1)


@damage("adapter scaled otherwise (`lora_alpha`)", first=7, quantity="loss")
def alpha(home: Home) -> None:
    edit_config(home.shop, "[adapter]\nr = 4", "[adapter]\nr = 4\nlora_alpha = 32")


@damage("dropout off", first=7, quantity="loss")
def dropout_off(home: Home) -> None:
    edit_config(home.shop, "lora_dropout = 0.2", "lora_dropout = 0.0")


@damage("batch of 2 x accumulation 2 made 4 x 1", first=7, quantity="gradient norm")
def batches(home: Home) -> None:
    edit_config(home.shop, "per_device_train_batch_size = 2", "per_device_train_batch_size = 4")
    edit_config(home.shop, "gradient_accumulation_steps = 2", "gradient_accumulation_steps = 1")


@damage("loss over completions only, by labels that are masked", first=DATA)
def labels_masked(home: Home) -> None:
    _rows(home, lambda rows: [{**row, "labels": [-100, *row["input_ids"][1:]]} for row in rows])


@damage("cosine instead of linear schedule", first=8, quantity="learning rate")
def cosine(home: Home) -> None:
    edit_config(home.shop, '"linear"', '"cosine"')


@damage("gradients clipped at another norm (`max_grad_norm`)", first=8, quantity="gradient norm")
def clipping(home: Home) -> None:
    edit_config(home.shop, "[arguments]", "[arguments]\nmax_grad_norm = 0.01")


@damage("another implementation of the same optimizer (`adamw_torch_fused`)", faint=True, why="it computes the same")
def fused(home: Home) -> None:
    edit_config(home.shop, "[arguments]", '[arguments]\noptim = "adamw_torch_fused"')


@damage(
    "learning rate doubled, weight decay 0.1, beta2 0.95",
    why="Trainer goes on with the values in optimizer.pt and scheduler.pt: nothing is trained otherwise",
)
def settings(home: Home) -> None:
    edit_config(home.shop, "learning_rate = 0.01", "learning_rate = 0.02\nweight_decay = 0.1\nadam_beta2 = 0.95")


@damage(
    "end of the schedule moved (`schedule.total_steps`)",
    why="the ledger has the end of each leg, and it is trained by that",
)
def horizon(home: Home) -> None:
    edit_config(home.shop, "total_steps = 40", "total_steps = 80")


@damage("another seed", why="the ledger has the seed of each leg, and it is trained by that")
def seed(home: Home) -> None:
    text = home.shop.config.read_text()
    home.shop.config.write_text(text.replace("seed = 42", "seed = 7"))


def _rows(home: Home, edit: Callable[[list[Any]], list[Any]]) -> None:
    path = home.shop.home / "done" / "b.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in edit(rows)))


@damage("rows of the data file shuffled", first=DATA)
def rows_shuffled(home: Home) -> None:
    _rows(home, lambda rows: random.Random(1).sample(rows, len(rows)))


@damage("one row fewer", first=DATA)
def row_fewer(home: Home) -> None:
    _rows(home, lambda rows: rows[:-1])


@damage("one row replaced, whether in the steps or not", first=DATA)
def row_replaced(home: Home) -> None:
    _rows(home, lambda rows: [*rows[:-1], {"input_ids": [5, 6, 7]}])


@damage("the data file deleted", first=DATA)
def data_deleted(home: Home) -> None:
    (home.shop.home / "done" / "b.jsonl").unlink()


@damage("attention `eager` instead of `sdpa`", first=9, quantity="gradient norm", elsewhere=False, faint=True)
def attention(home: Home) -> None:
    edit_config(home.shop, 'name_or_path = "base"', 'name_or_path = "base"\nattn_implementation = "eager"')


@damage("bf16 autocast instead of fp32", first=7, quantity="loss", elsewhere=False)
def bf16(home: Home) -> None:
    edit_config(home.shop, "[arguments]", "[arguments]\nbf16 = true")


# -- a script of one's own: no ledger, so all is told by what is restored and by the steps -----------------------------


class Change(NamedTuple):
    """What the script does otherwise than when the run was trained: ``more`` for :func:`fitting.made`."""

    title: str
    more: Callable[[], dict[str, Any]]
    first: int | str
    quantity: str = ""
    why: str = ""


def _labels(rows: list[Any]) -> list[Any]:
    return [{**row, "labels": [-100] * 6 + row["labels"][6:]} for row in rows]


def _permuted(rows: list[Any]) -> list[Any]:
    return [{key: [(number * 5 + 1) % 96 for number in ids] for key, ids in row.items()} for row in rows]


def _replaced(rows: list[Any], place: int) -> list[Any]:
    made = [7] * len(rows[0]["input_ids"])
    return [*rows[:place], {"input_ids": made, "labels": made}, *rows[place + 1 :]]


def _other_base() -> dict[str, Any]:
    import torch

    from tests.backends.hf_trainer.fitting import llama, lora

    model = llama()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.02 * torch.ones_like(value))
    return {"model": lora(model, lora_dropout=0.1)}


def changes() -> dict[str, Change]:
    """The table of the second part of the page; steps 4 and 5 are trained again."""
    from tests.backends.hf_trainer.fitting import rows

    data = rows()
    return {
        "rows_shuffled": Change("rows in another order", lambda: {"data": data[::-1]}, 4, "loss"),
        "row_fewer": Change("one row fewer", lambda: {"data": data[:-1]}, 4, "loss"),
        "data_seed": Change("another `data_seed`", lambda: {"data_seed": 7}, 4, "loss"),
        "skip": Change("`ignore_data_skip`", lambda: {"ignore_data_skip": True}, 4, "loss"),
        "labels": Change("labels masked by the collator", lambda: {"data": _labels(data)}, 4, "loss"),
        "tokens": Change("token ids permuted", lambda: {"data": _permuted(data)}, 4, "loss"),
        "batch": Change(
            "batch of 4 made 2 x accumulation 2",
            lambda: {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2},
            4,
            "gradient norm",
        ),
        "max_steps": Change("`max_steps` 40 instead of 9", lambda: {"max_steps": 40}, 5, "learning rate"),
        "base": Change("base model exchanged", _other_base, 4, "loss"),
        "rate": Change(
            "learning rate doubled",
            lambda: {"learning_rate": 2e-2},
            NEVER,
            why="Trainer goes on with the values in optimizer.pt and scheduler.pt",
        ),
        "outside": Change(
            "one row replaced that is in none of the two steps",
            lambda: {"data": _replaced(data, OUTSIDE)},
            NEVER,
            why="nobody looks at it: without a ledger, only what a step takes is seen",
        ),
    }


OUTSIDE = 0
"""A row of the first epoch that steps 4 and 5 do not take."""
