"""What an argument needs and is not here is refused in one line that names its key, before anything is made."""

from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from audit.errors import ConfigError
from audit_hf_trainer.training import trial
from audit_hf_trainer.training.leg import libraries, quiet, training_arguments
from audit_hf_trainer.training.trial import tried
from tests.backends.hf_trainer.letters import VOCABULARY, letters
from tests.backends.hf_trainer.needing import SFT, refused, request_of

transformers = pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")

MISSING: dict[str, tuple[dict[str, Any], str]] = {
    "no such tracker": ({"report_to": ["tensorbord"]}, "arguments.report_to: 'tensorbord' is no tracker; did you mean"),
    "level": ({"log_level_replica": "warn"}, "arguments.log_level_replica: 'warn' is none of "),
    "workers": (
        {"dataloader_persistent_workers": True},
        "arguments.dataloader_persistent_workers: needs dataloader_nu",
    ),
    "no rows to evaluate": (
        {"eval_strategy": "steps", "eval_steps": 1},
        "arguments.eval_strategy: needs held-out rows",
    ),
    "backend": (
        {"torch_compile": True, "torch_compile_backend": "inducter"},
        "arguments.torch_compile_backend: 'induc",
    ),
    "mode": ({"torch_compile": True, "torch_compile_mode": "fast"}, "arguments.torch_compile_mode: 'fast' is none of "),
    "checkpointing": (
        {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrent": False}},
        "arguments.gradient_checkpointing_kwargs: torch takes no use_reentrent; did you mean 'use_reentrant'",
    ),
    "no such backend here": (
        {"torch_compile": True, "torch_compile_backend": "fx2trt"},
        "arguments.torch_compile_backend: torch has no fx2trt here; install what registers it",
    ),
}


@pytest.mark.parametrize(("arguments", "said"), MISSING.values(), ids=MISSING)
def test_what_is_not_there_is_refused_with_its_key(tmp_path: Path, arguments: dict[str, Any], said: str) -> None:
    text = refused(request_of(tmp_path / "run", arguments))
    assert text.startswith(said)
    assert "\n" not in text
    assert not (tmp_path / "run").exists()


SOUND: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing": ({}, {}),
    "workers": ({"dataloader_persistent_workers": True, "dataloader_num_workers": 1}, {}),
    "rows to evaluate": ({"eval_strategy": "steps", "eval_steps": 1}, {"eval": "held-out.jsonl"}),
    "compile": ({"torch_compile": True, "torch_compile_mode": "reduce-overhead"}, {}),
    "eager": ({"torch_compile": True, "torch_compile_backend": "eager"}, {}),
    "checkpointing": ({"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}, {}),
    "no push": ({"hub_strategy": "checkpoint"}, {}),
}


@pytest.mark.parametrize(("arguments", "data"), SOUND.values(), ids=SOUND)
def test_what_is_there_is_not(tmp_path: Path, arguments: dict[str, Any], data: dict[str, Any]) -> None:
    assert refused(request_of(tmp_path / "run", arguments, data)) == ""


@pytest.mark.parametrize(
    ("name", "module", "arguments", "said"),
    [
        (
            "is_liger_kernel_available",
            "transformers.utils",
            {"use_liger_kernel": True},
            "arguments.use_liger_kernel: needs",
        ),
        (
            "is_wandb_available",
            "transformers.integrations.integration_utils",
            {"report_to": ["wandb"]},
            "arguments.report_",
        ),
    ],
)
def test_a_package_is_asked_for_and_only_if_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str, arguments: dict[str, Any], said: str
) -> None:
    monkeypatch.setattr(f"{module}.{name}", lambda: False)
    assert refused(request_of(tmp_path, arguments)).startswith(said)
    assert "pip install " in refused(request_of(tmp_path, arguments))
    monkeypatch.setattr(f"{module}.{name}", lambda: True)
    assert refused(request_of(tmp_path, arguments)) == ""


def test_nobody_pushes_without_a_login_or_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = request_of(tmp_path, {"push_to_hub": True})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert refused(request).startswith("arguments.push_to_hub: nobody is logged in to the Hub here: hf auth login")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "a token")
    assert refused(request) == ""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert refused(request).startswith("arguments.push_to_hub: the Hub cannot be reached")


def test_a_chat_template_is_a_file_or_that_of_a_tokenizer(tmp_path: Path) -> None:
    pytest.importorskip("trl", reason="the extra trl is not installed")
    letters().save_pretrained(tmp_path / "tokenizer")
    (tmp_path / "chat.jinja").write_text("{{ messages }}")
    (tmp_path / "chat.txt").write_text("{{ messages }}")

    def told(name: str) -> str:
        return refused(request_of(tmp_path, {"chat_template_path": str(tmp_path / name)}, **SFT))

    assert told("chat.jinja") == told("tokenizer") == ""
    assert told("none.jinja").startswith("arguments.chat_template_path: there is no file ")
    assert told("none").startswith("arguments.chat_template_path: there is no file ")
    assert told("chat.txt").startswith(f"arguments.chat_template_path: {tmp_path}/chat.txt is a file, and no .jinja")


def tiny(tmp_path: Path) -> str:
    """Write a model with its tokenizer; return its directory."""
    letters().save_pretrained(tmp_path / "base")
    config = transformers.LlamaConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=VOCABULARY
    )
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "base")
    return str(tmp_path / "base")


def test_a_model_needs_its_attention_and_its_quantization(tmp_path: Path) -> None:
    base = tiny(tmp_path)

    def told(**model: Any) -> str:
        request = request_of(tmp_path, {}, model={"name_or_path": base, **model})
        try:
            return tried(request) or ""
        except ConfigError as error:
            return str(error)

    assert told() == told(attn_implementation="eager") == ""
    assert told(attn_implementation="no_such").startswith("model.attn_implementation: ")
    assert told(options={"gguf_file": "none.gguf"}).startswith("model: cannot be built: ")
    if not transformers.utils.is_bitsandbytes_available():
        assert told(quantization={"load_in_4bit": True}).startswith("model: cannot be built: Using `bitsandbytes`")


def test_the_configuration_of_a_model_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = request_of(tmp_path, {}, model={"name_or_path": tiny(tmp_path)})
    read = []
    real = trial._config

    def counted(*given: Any) -> Any:
        read.append(given)
        return real(*given)

    monkeypatch.setattr(trial, "_config", counted)

    assert tried(request) is None
    assert len(read) == 1


def refused_by_the_class(run: Path, **arguments: Any) -> str:
    with libraries() as (torch, found, _), quiet(found), pytest.raises(ConfigError) as caught:
        training_arguments(request_of(run, arguments), torch, found)
    return str(caught.value)


def test_a_number_that_the_class_cannot_hold_is_refused_by_it(tmp_path: Path) -> None:
    def made(**fields: Any) -> None:  # ddp_timeout: only the first of a process is made into a time
        raise OverflowError("int too large")

    with libraries() as (torch, _, _), pytest.raises(ConfigError, match="refuses the training arguments: int too lar"):
        training_arguments(request_of(tmp_path, {}), torch, SimpleNamespace(TrainingArguments=made))


def test_a_file_that_the_class_reads_is_named_with_its_key(tmp_path: Path) -> None:
    there = str(tmp_path / "nothing.json")
    said = f"arguments.accelerator_config: {there}: No such file or directory; a path is relative to the configuration"
    assert refused_by_the_class(tmp_path, accelerator_config=there) == said


@pytest.mark.skipif(find_spec("deepspeed") is not None, reason="DeepSpeed is installed")
def test_deepspeed_is_not_here(tmp_path: Path) -> None:
    said = "arguments.deepspeed: needs deepspeed, which is not installed: pip install deepspeed"
    assert refused_by_the_class(tmp_path, deepspeed=str(tmp_path / "ds.json")) == said
