"""``audit train`` over three batches, killed in between, with every kind of schedule, model, data and saving."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.backends.hf_trainer.continuous import LLAMA, LORA, Continuous, examples

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")
pytestmark = pytest.mark.slow

BASE = 0.01
LAST = 13
WARM = "warmup_steps = 4\n"
SCHEDULES = {
    "constant_with_warmup": (WARM, ""),
    "linear": (WARM, "[schedule]\ntotal_steps = 20"),
    "cosine": ("", "[schedule]\ntotal_steps = 13"),
    "warmup_stable_decay": (WARM, "[schedule]\ndecay_steps = 4"),
}
WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "and",
    "the",
    "dog",
    "lay",
    "by",
    "the",
    "door",
    "while",
    "rain",
    "fell",
]
TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}> {{ message['content'] }} {{ eos_token }} {% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def filled(home: Path, **parts: str) -> Continuous:
    """Batches of 5, 4 and 4 steps; the last steps of the first and the third have one example."""
    shop = Continuous(home, **parts)
    for number, count in enumerate((17, 16, 13)):
        shop.drop(f"{number}.jsonl", examples(count, number))
    return shop


def killed(shop: Continuous, *steps: int, options: tuple[str, ...] = ()) -> None:
    for step in steps:
        with shop.held(step, *options) as held:
            held.process.kill()


def expected(kind: str, steps: int, warmup: int, **options: Any) -> list[float]:
    """The rates that transformers' own schedule gives each step, never interrupted."""
    import torch
    import transformers

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE)
    schedule = transformers.get_scheduler(kind, optimizer, warmup, steps, scheduler_specific_kwargs=options)
    rates = []
    for _ in range(LAST):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return rates


@pytest.mark.parametrize("kind", list(SCHEDULES))
def test_the_rate_is_that_of_one_training_and_so_are_the_bits(kind: str, tmp_path: Path) -> None:
    arguments, schedule = SCHEDULES[kind]
    decays = kind == "warmup_stable_decay"
    shop = filled(tmp_path / "shop", arguments=f'{arguments}lr_scheduler_type = "{kind}"', more=schedule)
    options = ("--decay",) if decays else ()
    killed(shop, 3, 7, 11, options=options)
    shop.call()  # what --decay said once, holds

    shop.check(shop.straight(tmp_path / "straight", decay=decays))
    total = {"linear": 20}.get(kind, LAST)
    more = {"num_decay_steps": 4} if decays else {}
    assert shop.rates() == pytest.approx(expected(kind, total, 4 if arguments else 0, **more))


def test_the_plateau_goes_on_until_the_decay_is_asked_for(tmp_path: Path) -> None:
    shop = Continuous(
        tmp_path / "shop",
        arguments=f'{WARM}lr_scheduler_type = "warmup_stable_decay"',
        more="[schedule]\ndecay_steps = 6",
    )
    for number, count in enumerate((17, 16)):
        shop.drop(f"{number}.jsonl", examples(count, number))
    killed(shop, 7)
    shop.call()
    assert shop.rates()[4:] == [BASE] * 5
    shop.drop("2.jsonl", examples(13, 2))
    killed(shop, 11, options=("--decay",))  # the decay is cut to the 4 steps that are left
    shop.call()

    shop.check()
    assert shop.rates() == pytest.approx(expected("warmup_stable_decay", LAST, 4, num_decay_steps=4))
    shop.drop("3.jsonl", examples(4, 3))
    assert "the schedule ends at step 13" in shop.call(code=1).stderr


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with a tokenizer of words and a chat template, as one would download it."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    home = tmp_path_factory.mktemp("saved")
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(["<pad>", "<s>", "</s>", "<unk>", *WORDS]))}
    for role in ("<user>", "<assistant>"):
        vocabulary[role] = len(vocabulary)
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>"
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(home)
    transformers.set_seed(1)
    config = transformers.LlamaConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        vocab_size=len(vocabulary),
        max_position_embeddings=32,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(home)
    return home


def told(count: int, seed: int, form: str) -> list[Any]:
    """Rows of words, no two alike."""
    rows = []
    for number in range(count):
        words = [*WORDS[seed:], *WORDS[number % 7 : number % 7 + 2 + number // 7]]
        text = " ".join(words[: 4 + number % 9] + words[-2 - number // 7 :])
        answer = {"role": "assistant", "content": text}
        rows.append(
            {"text": text} if form == "text" else {"messages": [{"role": "user", "content": "the cat"}, answer]}
        )
    return rows


CONFIGURATIONS: dict[str, dict[str, str]] = {
    "full": {"adapter": ""},
    "saved model": {"model": 'name_or_path = "{saved}"'},
    "bfloat16": {"model": 'name_or_path = "{saved}"\ndtype = "bfloat16"'},
    "bfloat16, full": {"model": 'name_or_path = "{saved}"\ndtype = "bfloat16"', "adapter": ""},
    "text": {"model": 'name_or_path = "{saved}"', "form": "text"},
    "messages": {"model": 'name_or_path = "{saved}"', "form": "messages", "data": 'loss_on = "completion"'},
    "evaluation": {"data": 'eval = "eval.jsonl"', "arguments": 'eval_strategy = "steps"\neval_steps = 2'},
    "the best": {
        "data": 'eval = "eval.jsonl"',
        "arguments": 'eval_strategy = "steps"\neval_steps = 2\nmetric_for_best_model = "loss"\nsave_total_limit = 2',
    },
    "one is kept": {"arguments": "save_total_limit = 1"},
    "two are kept": {"arguments": "save_total_limit = 2"},
    "three epochs": {"data": "epochs = 3"},
}


@pytest.mark.parametrize("name", list(CONFIGURATIONS))
def test_killed_in_each_batch_it_ends_in_the_same_bits(name: str, tmp_path: Path, saved: Path) -> None:
    parts = dict(CONFIGURATIONS[name])
    model, form, epochs = parts.pop("model", None), parts.pop("form", None), 3 if name == "three epochs" else 1
    shop = Continuous(
        tmp_path / "shop",
        model=f"[model]\n{model.format(saved=saved)}\n" if model else LLAMA,
        adapter=parts.pop("adapter", LORA),
        **parts,
    )
    rows = "".join(json.dumps({"input_ids": row}) + "\n" for row in examples(6, 9))
    for place in (shop.home, tmp_path / "straight"):
        place.mkdir(exist_ok=True)
        (place / "eval.jsonl").write_text(rows)
    for number, count in enumerate((17, 10)):
        ids = [[value % 20 for value in row] for row in examples(count, number)] if model else examples(count, number)
        shop.drop(f"{number}.jsonl", told(count, number, form) if form else ids)
    killed(shop, 4, 7)
    shop.call()

    shop.check(shop.straight(tmp_path / "straight"), epochs=epochs)
    limit = {"one is kept": 1, "two are kept": 2}.get(name)
    if limit:
        assert len(list(shop.run.glob("checkpoint-*"))) == limit
    if "evaluation" in name:
        assert [row["step"] for row in shop.logged() if "eval_loss" in row] == [
            2,
            4,
            5,
            6,
            8,
        ]  # Trainer evaluates at the end of a leg, too
