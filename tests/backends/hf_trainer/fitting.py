"""Tiny models and one call that trains them with the real Trainer, for the table of configurations."""

import contextlib
import json
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

VOCABULARY = 96
LENGTH = 12


def rows(count: int = 24, seed: int = 0) -> list[dict[str, list[int]]]:
    """Make rows that a tiny model learns something from: token ids that climb by a stride of 1 to 3."""
    chance = random.Random(seed)
    made = []
    for _ in range(count):
        start, stride = chance.randrange(VOCABULARY), chance.randrange(1, 4)
        ids = [(start + stride * position) % VOCABULARY for position in range(LENGTH)]
        made.append({"input_ids": ids, "labels": ids})
    return made


def data_file(path: str, examples: Sequence[Sequence[int]]) -> str:
    """Write rows of token ids as JSONL and return the path."""
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps({"input_ids": list(ids)}) + "\n" for ids in examples)
    return path


def llama(**fields: Any) -> Any:
    """Build a Llama of 2 layers, hidden size 16, with the same random weights each time."""
    import transformers

    transformers.set_seed(0)
    shape = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 32,
    }
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**shape, **fields}))


def gpt2(**fields: Any) -> Any:
    """Build a GPT-2, whose output layer is tied to its embedding."""
    import transformers

    transformers.set_seed(0)
    shape = {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": VOCABULARY, "n_positions": 32}
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(**{**shape, "bos_token_id": 0, "eos_token_id": 0, **fields})
    )


def mixtral() -> Any:
    """Build a mixture of 4 experts, of which many see no token in a step."""
    import transformers

    transformers.set_seed(0)
    return transformers.MixtralForCausalLM(
        transformers.MixtralConfig(
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            num_local_experts=4,
            vocab_size=VOCABULARY,
            max_position_embeddings=32,
        )
    )


def plain_module() -> Any:
    """Build a module that transformers knows nothing of."""
    import torch

    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(VOCABULARY, 16)
            self.head = torch.nn.Linear(16, VOCABULARY)

        def forward(self, input_ids: Any, labels: Any = None, **unused: Any) -> dict[str, Any]:
            logits = self.head(self.embedding(input_ids))
            loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
            return {"loss": loss, "logits": logits}

    torch.manual_seed(0)
    return Plain()


def convolutions() -> Any:
    """Build a module with convolutions over one, two and three dimensions, and one of a single point."""
    import torch

    class Convolutions(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(VOCABULARY, 16)
            self.line = torch.nn.Conv1d(16, 32, 3, padding=1)
            self.plane = torch.nn.Conv2d(32, 48, 3, padding=1)
            self.point = torch.nn.Conv2d(48, 16, 1, bias=False)
            self.space = torch.nn.Conv3d(16, 16, (1, 3, 3), padding=(0, 1, 1))
            self.head = torch.nn.Linear(16, VOCABULARY)

        def forward(self, input_ids: Any, labels: Any = None, **unused: Any) -> dict[str, Any]:
            line = torch.relu(self.line(self.embedding(input_ids).transpose(1, 2)))
            plane = self.point(torch.relu(self.plane(line.unflatten(2, (3, 4)))))
            space = self.space(plane.unsqueeze(2)).flatten(2)
            logits = self.head(space.transpose(1, 2))
            loss = None if labels is None else torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
            return {"loss": loss, "logits": logits}

    torch.manual_seed(0)
    return Convolutions()


def lora(base: Any = None, **fields: Any) -> Any:
    """Put a LoRA adapter of rank 4 on a tiny Llama (or on ``base``)."""
    import peft

    settings = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM", **fields}
    return adapt(peft.LoraConfig(**settings), base)


def adapt(config: Any, base: Any = None, **options: Any) -> Any:
    """Make a PeftModel of a tiny Llama (or of ``base``)."""
    import peft

    with libraries_hush():
        return peft.get_peft_model(llama() if base is None else base, config, **options)


def _stack(batch: list[dict[str, list[int]]]) -> dict[str, Any]:
    import torch

    return {name: torch.tensor([row[name] for row in batch]) for name in batch[0]}


def fit(
    run: str,
    model: Any,
    *,
    resume: str | bool | None = None,
    before: Callable[[Any], None] | None = None,
    **more: Any,
) -> Any:
    """Train with the real Trainer and return it; ``before`` gets it before it trains. See :func:`made`."""
    trainer = made(run, model, **more)
    with libraries_hush():
        if before:
            before(trainer)
        trainer.train(resume_from_checkpoint=resume)
    return trainer


def made(
    run: str,
    model: Any,
    *,
    data: Any = None,
    callbacks: Sequence[Any] = (),
    optimizer: Callable[[Any], Any] | None = None,
    scores: Sequence[float] = (),
    processing_class: Any = None,
    evaluate: bool = False,
    **arguments: Any,
) -> Any:
    """Return a Trainer.

    ``data`` is a data set (by default :func:`rows`); ``scores`` is the sequence of a made-up metric ``score``, one
    value an evaluation.
    """
    import transformers

    fields = {
        "output_dir": run,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "max_steps": 9,
        "save_steps": 3,
        "logging_steps": 1,
        **arguments,
    }
    told = iter(scores)
    with libraries_hush():
        trainer = transformers.Trainer(
            model=model,
            args=transformers.TrainingArguments(**fields),
            train_dataset=rows() if data is None else data,
            eval_dataset=rows(4, seed=99) if evaluate or scores else None,
            callbacks=list(callbacks),
            processing_class=processing_class,
            data_collator=_stack,
            optimizers=(optimizer(model) if optimizer else None, None),
            compute_metrics=(lambda prediction: {"score": next(told)}) if scores else None,
        )
        trainer.remove_callback(transformers.PrinterCallback)
    return trainer


@contextlib.contextmanager
def libraries_hush() -> Iterator[None]:
    """Silence the libraries: their warnings are not what these tests are about."""
    import transformers

    log = transformers.utils.logging
    before = log.get_verbosity()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.set_verbosity(before)
