"""Models that transformers saves under other names: the table of ``weights/not-loaded`` against the real Trainer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.testing.judging import check
from audit_rules.weights._saved_names import NAMES
from tests.backends.hf_trainer.fitting import libraries_hush, llama, mixtral

pytest.importorskip("transformers", reason="the extra hf is not installed")


def vit(seed: int) -> Any:
    """Build a ViT of one layer with random weights."""
    import transformers

    transformers.set_seed(seed)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return transformers.ViTForImageClassification(transformers.ViTConfig(image_size=8, patch_size=4, **shape))


def trainer(run: str, model: Any, **more: Any) -> Any:
    """Make a Trainer of 4 steps that saves after 2 and 4."""
    import torch
    import transformers

    chance = torch.Generator().manual_seed(0)
    rows = [{"pixel_values": torch.randn(3, 8, 8, generator=chance), "labels": place % 2} for place in range(8)]
    arguments = transformers.TrainingArguments(
        run, max_steps=4, save_steps=2, per_device_train_batch_size=2, learning_rate=1e-2, report_to=[], use_cpu=True
    )
    return transformers.Trainer(model, arguments, train_dataset=rows, **more)


def weights_at_the_first_step(run: str, model: Any) -> dict[str, Any]:
    """Resume from checkpoint-2 and return the weights before the first update."""
    import transformers

    held: dict[str, Any] = {}

    class Look(transformers.TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, model: Any = None, **unused: Any) -> None:
            held.update(held or {name: value.clone() for name, value in model.state_dict().items()})

    with libraries_hush():
        trainer(run, model, callbacks=[Look()]).train(resume_from_checkpoint=f"{run}/checkpoint-2")
    return held


def test_a_resume_skips_what_was_renamed_unless_the_model_was_loaded_from_the_checkpoint(tmp_path: Path) -> None:
    import torch
    import transformers

    run = str(tmp_path / "run")
    with libraries_hush():
        trainer(run, vit(0)).train()
    (finding, _) = check(run, "weights/not-loaded")
    assert finding.blocks_resume

    fresh = vit(1)
    made = {name: value.clone() for name, value in fresh.state_dict().items()}
    right: Any = transformers.ViTForImageClassification.from_pretrained(f"{run}/checkpoint-2")
    saved = {name: value.clone() for name, value in right.state_dict().items()}

    skipped = weights_at_the_first_step(run, fresh)
    untouched = [name for name, value in skipped.items() if torch.equal(value, made[name])]
    assert any(".attention." in name for name in untouched)
    assert len(untouched) < len(made)

    loaded = weights_at_the_first_step(run, right)
    assert all(torch.equal(value, saved[name]) for name, value in loaded.items())


@pytest.mark.parametrize("name", ["llama", "mixtral", "vit"])
def test_the_table_says_what_this_version_of_transformers_renames(name: str) -> None:
    from tests.backends.hf_trainer.saved_names import not_loaded

    makers: dict[str, Callable[[], Any]] = {"llama": llama, "mixtral": mixtral, "vit": lambda: vit(0)}
    model = makers[name]()
    lost = set().union(*not_loaded(model))
    row = NAMES.get(f"{type(model).__name__} {model.config.model_type}")
    assert (row is not None) == bool(lost)
    assert row is None or set(row[2]) <= lost
