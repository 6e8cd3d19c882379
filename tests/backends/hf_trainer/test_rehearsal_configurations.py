"""No false alarm: what was trained in whatever way, and nothing else was done to, rehearses the same bit for bit."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")

from audit.errors import AuditError
from audit_hf_trainer import rehearse, straight_against_resumed
from tests.backends.hf_trainer.configurations import CONFIGURATIONS
from tests.backends.hf_trainer.continuous import examples
from tests.backends.hf_trainer.rehearsed import rehearsed, trained

pytestmark = pytest.mark.slow

MADE = {name: item for name, item in CONFIGURATIONS.items() if item.make is not None}
TRUE_ALARMS = {"moe": "weights", "only_model": "learning rate"}
"""Experts that Trainer 5.24 saves under other names and does not load; no optimizer state that could be resumed."""
NOT_JUDGED = {"limit_1", "best_limit_1", "best_not_loaded", "log_off", "one_step"}
"""No checkpoint is left with a logged step after it."""


@pytest.mark.parametrize("name", sorted(MADE.keys() - {"auto_batch_size"}))
def test_a_script_is_the_same(name: str, tmp_path: Path) -> None:
    item, run = MADE[name], str(tmp_path / "run")
    item.train(run)
    make = item.make
    assert make is not None

    def again() -> Any:
        return make(str(tmp_path / "elsewhere"))

    if name in NOT_JUDGED:
        with pytest.raises(AuditError, match="no step after it"):
            rehearse(again, run, exact=True)
    else:
        found = rehearse(again, run, exact=True)
        told = [difference.quantity for difference in found.judgement.differences[:1]]
        assert told == ([TRUE_ALARMS[name]] if name in TRUE_ALARMS else []), str(found)
    if name not in TRUE_ALARMS:
        straight = straight_against_resumed(again, 6, 3)
        assert straight.judgement.bit_for_bit, str(straight)


EVAL = 'eval = "eval.jsonl"'
CLEAN: dict[str, dict[str, Any]] = {
    "bf16": {"arguments": "bf16 = true\nuse_cpu = true"},
    "bf16_weights": {
        "model": "[model]\nrandom = { hidden_size = 16, intermediate_size = 32, vocab_size = 96 }\n",
        "adapter": "",
    },
    "full": {"adapter": ""},
    "no_dropout": {"adapter": "[adapter]\nr = 4\n"},
    "adafactor": {"arguments": 'optim = "adafactor"'},
    "sgd": {"arguments": 'optim = "sgd"'},
    "linear": {"arguments": 'lr_scheduler_type = "linear"', "more": "[schedule]\ntotal_steps = 20"},
    "warmup": {"arguments": 'lr_scheduler_type = "constant_with_warmup"\nwarmup_steps = 8'},
    "stable": {"arguments": 'lr_scheduler_type = "warmup_stable_decay"', "more": "[schedule]\ndecay_steps = 4"},
    "logged_every_fourth": {"arguments": "logging_steps = 4"},
    "epochs": {"data": "epochs = 2"},
    "in_order": {"data": "shuffle = false"},
    "group": {"data": "group = 40\nreplay = 0.5"},
    "workers": {"arguments": "dataloader_num_workers = 2"},
    "checkpointing": {"arguments": "gradient_checkpointing = true"},
    "clipped": {"arguments": "max_grad_norm = 0.01\nweight_decay = 0.1"},
    "evaluated": {"data": EVAL, "arguments": 'eval_strategy = "steps"\neval_steps = 2'},
    "plateau": {
        "data": EVAL,
        "arguments": 'eval_strategy = "steps"\neval_steps = 2\nlr_scheduler_type = "reduce_lr_on_plateau"\n'
        'metric_for_best_model = "eval_loss"\nlr_scheduler_kwargs = { patience = 0, factor = 0.5 }',
    },
}


@pytest.mark.parametrize("name", CLEAN)
def test_a_run_of_audit_train_is_the_same(name: str, tmp_path: Path) -> None:
    import json

    more = dict(CLEAN[name])
    more["arguments"] = f"save_steps = 3\nsave_total_limit = 20\n{more.get('arguments', '')}"
    home = tmp_path / "shop"
    (tmp_path / "eval.jsonl").write_text("".join(json.dumps({"input_ids": row}) + "\n" for row in examples(4, 9)))
    more["data"] = more.get("data", "").replace("eval.jsonl", str(tmp_path / "eval.jsonl"))
    shop = trained(home, **more)
    judged = set()
    for path in sorted(shop.run.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1])):
        found = rehearsed(shop, path.name)
        assert found.exit_code == 0, str(found)
        assert found.exact
        assert found.judgement.bit_for_bit, str(found)
        judged |= set(found.judgement.judged)
    assert judged == {"examples", "learning rate", "loss", "gradient norm"}
