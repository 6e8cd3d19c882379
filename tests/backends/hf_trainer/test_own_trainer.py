"""A trainer that the configuration names: trl's and the user's, killed and continued, and what is refused of one."""

import random
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import audit
from audit.errors import AuditError, ConfigError
from audit_hf_trainer.settings import check, one_process
from tests.backends.hf_trainer.continuous import LORA, Continuous
from tests.backends.hf_trainer.letters import VOCABULARY, letters

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")

MODEL = """
[model]
name_or_path = "base"
[trainer]
"""
FACTORY = """
import transformers

def make_trainer(model, args, train_dataset, eval_dataset, processing_class, callbacks, options):
    def tokens(row):
        ids = processing_class(row["text"])["input_ids"]
        return {"input_ids": ids, "labels": ids}

    return transformers.Trainer(
        model=model,
        args=args,
        train_dataset=train_dataset.map(tokens, remove_columns=["text"]),
        data_collator=transformers.DataCollatorForSeq2Seq(processing_class),
        callbacks=callbacks,
    )

class Model:
    @classmethod
    def from_pretrained(cls, path, **options):
        made = transformers.LlamaForCausalLM.from_pretrained(path, **options)
        made.config.made_by = "mine"
        return made

class Own(transformers.Trainer):
    def __init__(self, *, model, train_dataset, processing_class, **more):
        assert model.config.made_by == "mine"
        tokens = train_dataset.map(lambda row: {"input_ids": processing_class(row["text"])["input_ids"]})
        tokens = tokens.remove_columns("text")
        super().__init__(model=model, train_dataset=tokens, processing_class=processing_class, **more)

    def compute_loss(self, model, inputs, **more):
        loss = super().compute_loss(model, inputs, **more)
        return (2 * loss[0], *loss[1:]) if isinstance(loss, tuple) else 2 * loss

def collate(rows):
    import torch

    longest = max(len(row["input_ids"]) for row in rows)
    filled = [row["input_ids"] + [0] * (longest - len(row["input_ids"])) for row in rows]
    seen = [[1] * len(row["input_ids"]) + [0] * (longest - len(row["input_ids"])) for row in rows]
    taught = [row["input_ids"] + [-100] * (longest - len(row["input_ids"])) for row in rows]
    made = {"input_ids": filled, "attention_mask": seen, "labels": taught}
    return {name: torch.tensor(values) for name, values in made.items()}

def masked(rows):
    import torch

    made = collate(rows)
    hidden = torch.rand(made["labels"].shape) < 0.3
    return {**made, "labels": torch.where(hidden, -100, made["labels"])}
"""


def text(file: int, row: int) -> dict[str, Any]:
    return {"text": f"q {file} {row}! " + "yes " * (row % 4 + 1)}


def messages(file: int, row: int) -> dict[str, Any]:
    answer = {"role": "assistant", "content": "yes " * (row % 4 + 1)}
    return {"messages": [{"role": "user", "content": f"q {file} {row}!"}, answer]}


def completion(file: int, row: int) -> dict[str, Any]:
    return {"prompt": f"q {file} {row}! ", "completion": "yes " * (row % 4 + 1)}


def preference(file: int, row: int) -> dict[str, Any]:
    return {"prompt": f"q {file} {row}! ", "chosen": "yes " * (row % 3 + 1), "rejected": "no " * (row % 4 + 1)}


KINDS = {
    "SFT, text": ('class = "trl.SFTTrainer"', text, ""),
    "SFT, messages": ('class = "trl.SFTTrainer"', messages, ""),
    "SFT, prompt and completion": ('class = "trl.SFTTrainer"', completion, "completion_only_loss = true"),
    "DPO": ('class = "trl.DPOTrainer"', preference, "beta = 0.2"),
    "factory": ('factory = "mine:make_trainer"', text, ""),
    "a collator that draws": ('class = "mine:Own"\ncollator = "mine:masked"', text, ""),
    "own classes": ('class = "mine:Own"\ncollator = "mine:collate"', text, ""),
}


def base(home: Path) -> None:
    import transformers

    letters().save_pretrained(home / "base")
    transformers.set_seed(1)
    config = transformers.LlamaConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=VOCABULARY,
        max_position_embeddings=256,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(home / "base")
    (home / "mine.py").write_text(FACTORY)


def shop_of(home: Path, kind: str, counts: tuple[int, ...], more: str = "") -> Continuous:
    if "trl." in KINDS[kind][0]:
        pytest.importorskip("trl", reason="the extra trl is not installed")
    trainer, make, arguments = KINDS[kind]
    model = MODEL.replace("[trainer]", 'class = "mine:Model"\n[trainer]') if "collator" in trainer else MODEL
    shop = Continuous(home, model=f"{model}{trainer}", adapter=LORA, arguments=f"use_cpu = true\n{arguments}\n{more}")
    base(home)
    for file, count in enumerate(counts):
        shop.drop(f"{file}.jsonl", [make(file, row) for row in range(count)])
    return shop


def check_same(shop: Continuous, straight: Path, kind: str, counts: tuple[int, ...]) -> None:
    """Every example once, in the steps of its own file, and the bits of a training that nobody disturbed."""
    base(straight)
    other = shop.straight(straight)
    assert shop.state() == other.state()
    assert {item["state"] for item in shop.rows()} == {"retired"}
    tokenizer = letters()
    found: Counter[tuple[str, ...]] = Counter()
    for rows in shop.trained().values():
        found.update(re.search(r"q (\d+) (\d+)!", tokenizer.decode(ids)).groups() for ids in rows)  # type: ignore[union-attr]
    times = 2 if kind == "DPO" else 1  # the chosen and the rejected answer
    assert found == {(str(file), str(row)): times for file, count in enumerate(counts) for row in range(count)}


@pytest.mark.parametrize("kind", ["factory", "own classes"])
def test_what_ones_own_code_trains_is_proven(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    shop = shop_of(tmp_path / "shop", kind, (6, 3))
    base(tmp_path / "done")
    done = shop.straight(tmp_path / "done")

    assert (done.step, done.waiting()) == (3, [])
    assert [row["step"] for row in done.logged() if "loss" in row] == [1, 2, 3]
    assert audit.verify(str(done.run)).findings == ()


def test_trl_killed_in_the_middle_ends_in_the_same_bits(tmp_path: Path) -> None:
    shop = shop_of(tmp_path / "shop", "DPO", (9, 5))
    with shop.held(3) as held:
        held.process.kill()
    shop.call()
    check_same(shop, tmp_path / "straight", "DPO", (9, 5))


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(KINDS))
def test_five_batches_killed_at_random_end_in_the_same_bits(kind: str, tmp_path: Path) -> None:
    chance = random.Random(kind)
    counts = (9, 5, 8, 1, 7)
    shop = shop_of(tmp_path / "shop", kind, counts)
    for step in sorted(chance.sample(range(1, 11), 4)):
        with shop.held(step) as held:
            held.end_session()
    shop.call()
    check_same(shop, tmp_path / "straight", kind, counts)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"trainer": {}}, "trainer: set either class"),
        ({"trainer": {"class": "a.B", "factory": "a:b"}}, "trainer: set either class"),
        ({"trainer": {"factory": "a:b", "collator": "a:c"}}, "trainer.collator: the factory gives"),
        ({"trainer": {"class": "a.B", "options": {}}}, "trainer.options: is what a factory gets"),
        ({"model": {"name_or_path": "a", "class": "a.B"}}, r"model.class: needs the table \[trainer\]"),
        ({"model": {"random": {}, "class": "a.B"}, "trainer": {"class": "a.B"}}, "model.class: is for"),
    ],
)
def test_what_does_not_go_together_is_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=f"^{reason}"):
        check({"model": {"random": {}}, "schedule": {}, **settings})


def test_what_code_of_ones_own_keeps_nobody_knows() -> None:
    assert one_process({"trainer": {"class": "trl.SFTTrainer"}})
    assert not one_process({"trainer": {"factory": "mine:make_trainer"}})
    assert not one_process({"trainer": {"class": "mine.Trainer"}})
    assert not one_process({"trainer": {"class": "trl.SFTTrainer", "collator": "mine:collate"}})


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere_at_all:make", "trainer.factory: there is no module nowhere_at_all, neither in "),
        ("mine_two:mke", "trainer.factory: mine_two has no mke; did you mean 'make'"),
        ("mine_two:number", "trainer.factory: mine_two:number is not a class or a function"),
        ("make", 'trainer.factory: make is no name; write "module:name"'),
        ("mine_bad:make", "trainer.factory: mine_bad cannot be imported: ValueError: odd"),
    ],
)
def test_a_name_that_leads_nowhere_is_one_line(
    name: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from audit_hf_trainer.training.own import named

    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine_two.py").write_text("number = 1\ndef make():\n    pass\n")
    (tmp_path / "mine_bad.py").write_text("raise ValueError('odd')\n")
    with pytest.raises(AuditError, match="^" + re.escape(reason)) as caught:
        named(name, "trainer.factory", {"trainer": {"modules": str(tmp_path)}})
    assert "\n" not in str(caught.value)


def trainer_of(home: Path, base_class: Any = None, **changes: Any) -> Any:
    import torch
    import transformers

    fields = {"output_dir": str(home), "use_cpu": True, "max_steps": 3, "ignore_data_skip": True, "report_to": "none"}
    arguments = transformers.TrainingArguments(**{**fields, **changes})
    return (base_class or transformers.Trainer)(torch.nn.Linear(1, 1), arguments, train_dataset=[1, 2, 3])


def refused(trainer: Any, home: Path, count: int = 3) -> str:
    import transformers

    from audit_hf_trainer.training.own import checked

    arguments = trainer_of(home).args
    with pytest.raises(ConfigError) as caught:
        checked(trainer, arguments, count, "trainer.factory", transformers)
    return str(caught.value)


def test_what_audit_train_has_to_own_is_checked_on_the_trainer(tmp_path: Path) -> None:
    import datasets
    import transformers

    from audit_hf_trainer.training.own import NUMBER, checked

    class Shuffles(transformers.Trainer):
        def _get_train_sampler(self, *unused: Any) -> Any:
            return None

    checked(trainer_of(tmp_path), trainer_of(tmp_path).args, 3, "trainer.factory", transformers)
    assert "is a int, not a transformers.Trainer" in refused(3, tmp_path)
    assert "Shuffles has a _get_train_sampler of its own" in refused(trainer_of(tmp_path, Shuffles), tmp_path)
    assert "changed the argument max_steps to 5" in refused(trainer_of(tmp_path, max_steps=5), tmp_path)
    assert "changed the argument ignore_data_skip to False" in refused(
        trainer_of(tmp_path, ignore_data_skip=False), tmp_path
    )
    assert "makes 3 examples of 4" in refused(trainer_of(tmp_path), tmp_path, 4)
    moved = trainer_of(tmp_path)
    moved.train_dataset = datasets.Dataset.from_dict({NUMBER: [0, 2, 1]})
    assert "changes the order of the examples" in refused(moved, tmp_path)
    endless = trainer_of(tmp_path)
    endless.train_dataset = iter([])
    assert "cannot be counted" in refused(endless, tmp_path)
    early = trainer_of(tmp_path)
    early.add_callback(transformers.EarlyStoppingCallback())
    assert "has an EarlyStoppingCallback, which ends the training of a file before" in refused(early, tmp_path)


def test_a_callback_that_ends_the_training_is_named_as_the_cause(tmp_path: Path) -> None:
    shop = shop_of(tmp_path / "shop", "factory", (9,))
    (shop.home / "mine.py").write_text(f"""{FACTORY}
class Stops(transformers.TrainerCallback):
    def on_step_end(self, args, state, control, **unused):
        control.should_training_stop = state.global_step == 2

def stopping(**given):
    return make_trainer(**{{**given, "callbacks": [*given["callbacks"], Stops()]}})
""")
    shop.config.write_text(shop.config.read_text().replace("make_trainer", "stopping"))

    said = shop.call(code=1).stderr

    assert "training ended at step 2, before step" in said
    assert "the trainer or one of its callbacks set should_training_stop" in said


@pytest.mark.slow
def test_plan_and_data_say_what_they_cannot_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from audit.cli import run

    shop = shop_of(tmp_path / "shop", "DPO", (9,))
    assert run(["data", str(shop.inbox / "0.jsonl"), "--config", str(shop.config)]) == 0
    told = capsys.readouterr().out
    assert "preference" in told
    assert "tokenizes rows itself" in told
    assert run(["plan", str(shop.config)]) == 0
    assert "0.jsonl" in capsys.readouterr().out


def test_a_dataset_that_draws_is_refused() -> None:
    from audit_hf_trainer.training.own import check_examples

    class Drawing(list[int]):
        def __getitem__(self, index: Any) -> Any:
            return super().__getitem__(index) + random.randrange(2)

    with pytest.raises(ConfigError, match=r"^trainer.factory: its dataset draws random numbers as an example is read"):
        check_examples(Drawing([1, 2]), 2, "trainer.factory")
    assert check_examples([1, 2], 2, "trainer.factory") == [1, 2]
