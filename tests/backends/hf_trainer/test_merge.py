"""``audit merge`` against peft: the same bits for every kind of adapter, and the same answers."""

import json
import os
import platform
import random
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from audit.errors import AuditError, RefusedError
from audit.merging import arithmetic, blocks
from audit.merging.merge import Choices, merge
from tests.audit.cli.conftest import command
from tests.backends.hf_trainer.fitting import convolutions, data_file, fit, gpt2, libraries_hush, llama, lora

pytest.importorskip("peft", reason="the extra hf is not installed")

SHAPE: Mapping[str, Any] = {"hidden_size": 64, "intermediate_size": 96, "tie_word_embeddings": False}
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
KINDS: Mapping[str, Mapping[str, Any]] = {
    "lora": {"target_modules": ALL, "r": 16},
    "rslora": {"target_modules": ALL, "r": 8, "use_rslora": True},
    "patterns": {
        "target_modules": ALL,
        "rank_pattern": {"q_proj": 2, "layers.1.mlp.down_proj": 6},
        "alpha_pattern": {"v_proj": 5, "layers.0.mlp.up_proj": 3},
    },
    "dora": {"target_modules": ALL, "use_dora": True},
    "saved": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head", "embed_tokens"]},
    "dora with saved": {"target_modules": ["q_proj", "o_proj"], "use_dora": True, "modules_to_save": ["lm_head"]},
    "embedding and head": {"target_modules": ["q_proj", "embed_tokens", "lm_head"]},
    "dora on the embedding": {"target_modules": ["q_proj", "embed_tokens"], "use_dora": True, "r": 8},
}
SAME_SUMS = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="another library of linear algebra adds in another order"
)
DTYPES = ("float32", "bfloat16", "float16")
EVERYDAY = {("lora", "bfloat16"), ("dora", "float32"), ("embedding and head", "bfloat16"), ("saved", "float32")}


def made(
    home: Path,
    dtype: str,
    adapter: Mapping[str, Any],
    tied: bool = False,
    model: Any = None,
    headless: bool = False,
    **saving: Any,
) -> tuple[str, str]:
    """Save a base (``headless``: without its output layer), train an adapter for it; return the run and the base."""
    import torch

    base, run = str(home / "base"), str(home / "run")
    model = llama(**{**SHAPE, "tie_word_embeddings": tied}) if model is None else model
    model = model.to(getattr(torch, dtype))
    with libraries_hush():
        (model.base_model if headless else model).save_pretrained(base, **saving)
    model.config._name_or_path = base
    fit(
        run,
        lora(model, **adapter),
        max_steps=2,
        save_steps=2,
        logging_steps=1,
        max_grad_norm=0.0 if dtype == "float16" else 1.0,
    )
    return run, base


def adapted(base: str, run: str, dtype: str = "auto") -> Any:
    """Load the base with the adapter, as peft does."""
    import peft
    import transformers

    with libraries_hush():
        model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
        return peft.PeftModel.from_pretrained(model, os.path.join(run, "checkpoint-2"))


def weights(path: str) -> dict[str, tuple[str, bytes]]:
    """Return the type and the bytes of every tensor of a saved model."""
    import safetensors
    import torch

    found = {}
    for name in sorted(os.listdir(path)):
        if name.endswith(".safetensors"):
            with safetensors.safe_open(os.path.join(path, name), "pt") as file:
                for key in file.keys():  # noqa: SIM118 - a safe_open is no dictionary
                    tensor = file.get_tensor(key)
                    found[key] = (str(tensor.dtype), tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return found


def differing(mine: dict[str, tuple[str, bytes]], other: dict[str, tuple[str, bytes]]) -> list[str]:
    assert mine.keys() == other.keys()
    return [name for name in mine if mine[name] != other[name]]


def answers(model: Any) -> Any:
    import torch

    model.eval()
    with torch.no_grad():
        return model(input_ids=torch.arange(40).reshape(4, 10)).logits.float()


def loaded(path: str, dtype: str = "auto") -> Any:
    import transformers

    with libraries_hush():
        return transformers.AutoModelForCausalLM.from_pretrained(path, dtype=dtype)


@SAME_SUMS
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        pytest.param(kind, dtype, marks=() if (kind, dtype) in EVERYDAY else pytest.mark.slow)
        for kind in KINDS
        for dtype in DTYPES
    ],
)
def test_it_has_the_bits_of_peft_and_answers_as_the_adapter_does(kind: str, dtype: str, tmp_path: Path) -> None:
    run, base = made(tmp_path, dtype, KINDS[kind])

    found = merge(run, str(tmp_path / "out"), Choices(base=base))

    model = adapted(base, run)
    before = answers(model)
    with libraries_hush():
        model.merge_and_unload().save_pretrained(tmp_path / "peft")
    assert differing(weights(str(tmp_path / "out")), weights(str(tmp_path / "peft"))) == []
    after = answers(loaded(found.path))
    assert after.shape == before.shape
    assert (after - before).abs().max() < {"float32": 2e-5, "float16": 2e-2, "bfloat16": 0.2}[dtype]
    assert found.document["merge"]["tensors"]["merged"] > 0
    assert all(item["update_ratio"] is None or item["update_ratio"] > 0 for item in found.document["merge"]["changed"])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_rank_above_192_differs_from_peft_in_the_last_bits_at_most(dtype: str, tmp_path: Path) -> None:
    """MKL sums over so many in one go on some processors, in blocks on others."""
    import torch

    run, base = made(tmp_path, dtype, {"target_modules": ["q_proj", "down_proj"], "r": 256, "use_rslora": True})
    merge(run, str(tmp_path / "out"), Choices(base=base))
    with libraries_hush():
        other = adapted(base, run).merge_and_unload().state_dict()
    mine = loaded(str(tmp_path / "out")).state_dict()
    for name, tensor in mine.items():
        wanted = other[name].double()
        allowed = 2 * torch.finfo(tensor.dtype).eps * wanted.abs() + 2e-6
        assert bool(((tensor.double() - wanted).abs() <= allowed).all()), name


GPT2: Mapping[str, Mapping[str, Any]] = {
    "said": {"target_modules": ["c_attn", "c_proj", "c_fc"], "r": 16, "fan_in_fan_out": True},
    "a square weight": {"target_modules": r".*\.attn\.c_proj", "fan_in_fan_out": True},
    "and the output layer": {"target_modules": ["c_attn", "c_proj", "lm_head"]},
    "and the embedding": {"target_modules": ["c_fc", "wte"], "fan_in_fan_out": True, "use_rslora": True},
    "dora": {"target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True, "use_dora": True, "r": 16},
    "dora and the embedding": {"target_modules": ["c_fc", "wte"], "fan_in_fan_out": True, "use_dora": True},
    "dora and the output layer": {"target_modules": ["c_attn", "lm_head"], "use_dora": True},
    "and a module saved": {"target_modules": ["c_proj"], "fan_in_fan_out": True, "modules_to_save": ["lm_head"]},
}
GPT2_EVERYDAY = {("said", "bfloat16", False), ("and the output layer", "float32", False), ("said", "float32", True)}


@SAME_SUMS
@pytest.mark.parametrize(
    ("kind", "dtype", "headless"),
    [
        pytest.param(*case, marks=() if case in GPT2_EVERYDAY else pytest.mark.slow)
        for case in (
            *((kind, dtype, False) for kind in GPT2 for dtype in DTYPES),
            *(("said", dtype, True) for dtype in DTYPES),
        )
    ],
)
def test_the_layers_of_gpt2_have_the_bits_of_peft(kind: str, dtype: str, headless: bool, tmp_path: Path) -> None:
    model = gpt2(n_embd=32, tie_word_embeddings=headless)
    run, base = made(tmp_path, dtype, GPT2[kind], model=model, headless=headless)

    found = merge(run, str(tmp_path / "out"), Choices(base=base))

    model = adapted(base, run)
    before = answers(model)
    with libraries_hush():
        model.merge_and_unload().save_pretrained(tmp_path / "peft")
    other = weights(str(tmp_path / "peft"))
    if headless:
        other = {name.removeprefix("transformer."): tensor for name, tensor in other.items()}
    assert differing(weights(str(tmp_path / "out")), other) == []
    after = answers(loaded(found.path))
    assert (after - before).abs().max() < {"float32": 2e-5, "float16": 2e-2, "bfloat16": 0.2}[dtype]


CONVOLUTIONS: Mapping[str, Mapping[str, Any]] = {
    "all": {"target_modules": ["line", "plane", "point", "space", "head"], "r": 8},
    "rslora": {"target_modules": ["line", "space"], "use_rslora": True, "r": 2},
    "patterns": {"target_modules": ["plane", "point"], "rank_pattern": {"plane": 16}, "alpha_pattern": {"point": 3}},
    "a module saved": {"target_modules": ["plane"], "modules_to_save": ["line"]},
}


def convolved(home: Path, dtype: str, adapter: Mapping[str, Any]) -> tuple[str, str]:
    """Save a base with convolutions, train an adapter for it; return the run and the base."""
    import safetensors.torch
    import torch

    base, run = home / "base", str(home / "run")
    model = convolutions().to(getattr(torch, dtype))
    base.mkdir()
    (base / "config.json").write_text('{"model_type": "none of transformers"}')
    safetensors.torch.save_file(model.state_dict(), base / "model.safetensors", {"format": "pt"})
    norm = 0.0 if dtype == "float16" else 1.0
    fit(run, lora(model, task_type=None, **adapter), max_steps=2, save_steps=2, max_grad_norm=norm)
    return run, str(base)


@SAME_SUMS
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        pytest.param(kind, dtype, marks=() if (kind, dtype) == ("all", "bfloat16") else pytest.mark.slow)
        for kind in CONVOLUTIONS
        for dtype in DTYPES
    ],
)
def test_convolutions_have_the_bits_of_peft(kind: str, dtype: str, tmp_path: Path) -> None:
    import peft
    import safetensors.torch
    import torch

    run, base = convolved(tmp_path, dtype, CONVOLUTIONS[kind])
    original = safetensors.torch.load_file(os.path.join(base, "model.safetensors"))

    found = merge(run, str(tmp_path / "out"), Choices(base=base))

    other = convolutions().to(getattr(torch, dtype))
    other.load_state_dict(original)
    with libraries_hush():
        model = peft.PeftModel.from_pretrained(other, os.path.join(run, "checkpoint-2"))
        merged = model.merge_and_unload().state_dict()
    mine = safetensors.torch.load_file(tmp_path / "out" / "model.safetensors")
    assert mine.keys() == merged.keys()
    assert [name for name, tensor in mine.items() if not torch.equal(tensor, merged[name])] == []
    changed = [name for name, tensor in mine.items() if not torch.equal(tensor, original[name])]
    assert len(changed) >= found.document["merge"]["tensors"]["merged"] >= 1
    assert all(item["rows_recomputed"] for item in found.document["merge"]["changed"] if item["update_ratio"])


def test_a_kernel_that_is_merged_the_wrong_way_round_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, base = convolved(tmp_path, "float32", CONVOLUTIONS["all"])
    right = arithmetic.product
    monkeypatch.setattr(arithmetic, "product", lambda b, a: right(b, a[:, ::-1].copy()))
    with pytest.raises(AuditError, match="is not what float64 gives"):
        merge(run, str(tmp_path / "out"), Choices(base=base))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_norms_of_rows_in_place_of_those_of_columns_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And so are magnitudes that belong to other columns, and a norm that lacks one row."""
    run, base = made(tmp_path, "float32", GPT2["dora"], model=gpt2(n_embd=32, tie_word_embeddings=False))
    right = arithmetic.with_squares
    for number, wrong in enumerate(
        (
            lambda sums, rows: right(sums, rows[:-1]),
            lambda sums, rows: right(sums, rows)[::-1].copy(),
            lambda sums, rows: sums + arithmetic.norms(rows).sum(),
        )
    ):
        monkeypatch.setattr(blocks, "with_squares", wrong)
        with pytest.raises(AuditError, match="is not what float64 gives"):
            merge(run, str(tmp_path / f"out{number}"), Choices(base=base))


def test_what_peft_says_of_layers_of_both_kinds_is_that_of_the_last_one(tmp_path: Path) -> None:
    """So a square Conv1D cannot be told from a Linear by shape and configuration."""
    run, _ = made(tmp_path, "float32", GPT2["and the output layer"], model=gpt2(tie_word_embeddings=False))
    config = json.loads(Path(run, "checkpoint-2", "adapter_config.json").read_text())
    assert config["fan_in_fan_out"] is False


@pytest.mark.slow
@pytest.mark.parametrize("targets", [["embed_tokens"], ["lm_head"], ["q_proj", "embed_tokens", "lm_head"]])
def test_what_is_tied_is_refused_and_untied_it_answers_as_the_adapter_does(targets: list[str], tmp_path: Path) -> None:
    run, base = made(tmp_path, "float32", {"target_modules": targets}, tied=True)
    with pytest.raises(RefusedError, match="--untie writes both"):
        merge(run, str(tmp_path / "out"), Choices(base=base))

    found = merge(run, str(tmp_path / "out"), Choices(base=base, untie=True))

    model = loaded(found.path)
    assert model.get_input_embeddings().weight.data_ptr() != model.get_output_embeddings().weight.data_ptr()
    assert (answers(model) - answers(adapted(base, run))).abs().max() < 2e-5


@SAME_SUMS
@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("kind", ["lora", "dora", "embedding and head"])
def test_another_type_has_the_bits_of_peft_in_float32_and_one_rounding(kind: str, dtype: str, tmp_path: Path) -> None:
    import torch

    stored = "bfloat16" if dtype == "float32" else "float32"
    run, base = made(tmp_path, stored, KINDS[kind])

    merge(run, str(tmp_path / "out"), Choices(base=base, dtype=dtype))

    with libraries_hush():
        model = adapted(base, run, "float32").merge_and_unload().to(getattr(torch, dtype))
        model.save_pretrained(tmp_path / "peft")
    assert differing(weights(str(tmp_path / "out")), weights(str(tmp_path / "peft"))) == []
    assert loaded(str(tmp_path / "out")).dtype == getattr(torch, dtype)


@pytest.mark.slow
def test_shards_come_out_as_they_went_in_or_as_asked_for(tmp_path: Path) -> None:
    run, base = made(tmp_path, "bfloat16", KINDS["lora"], max_shard_size="50KB")
    merge(run, str(tmp_path / "same"), Choices(base=base))
    merge(run, str(tmp_path / "other"), Choices(base=base, max_shard_size=80_000))

    names = sorted(name for name in os.listdir(base) if "safetensors" in name)
    assert len(names) > 2
    assert names == sorted(name for name in os.listdir(tmp_path / "same") if "safetensors" in name)
    assert weights(str(tmp_path / "same")) == weights(str(tmp_path / "other"))
    wanted = answers(adapted(base, run))
    for place in ("same", "other"):
        assert (answers(loaded(str(tmp_path / place))) - wanted).abs().max() < 0.2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("adapter", "said"),
    [
        ({"target_modules": ["q_proj"], "trainable_token_indices": [1, 5]}, "trainable_token_indices"),
        ({"target_modules": ["q_proj"], "init_lora_weights": "pissa"}, "changes the base before training"),
        ({"target_modules": ["q_proj"], "init_lora_weights": "olora"}, "changes the base before training"),
        ({"target_modules": ["o_proj"], "layer_replication": [[0, 2], [1, 2]]}, "layer_replication"),
        ({"target_modules": ["q_proj"], "target_parameters": ["mlp.up_proj.weight"]}, "target_parameters"),
    ],
)
def test_kinds_that_are_not_merged_are_refused_as_trainer_saves_them(
    adapter: Mapping[str, Any], said: str, tmp_path: Path
) -> None:
    run, base = made(tmp_path, "float32", adapter)
    with pytest.raises(RefusedError, match=said):
        merge(run, str(tmp_path / "out"), Choices(base=base))
    assert not (tmp_path / "out").exists()


def test_a_base_of_resized_embeddings_is_refused(tmp_path: Path) -> None:
    base, run = str(tmp_path / "base"), str(tmp_path / "run")
    with libraries_hush():
        model = llama(**SHAPE)
        model.save_pretrained(base)
        model.name_or_path = base  # where peft looks for the original size: it saves the embeddings then
        model.resize_token_embeddings(104)
    fit(run, lora(model), max_steps=2, save_steps=2)
    with pytest.raises(RefusedError, match=r"is \[104, 64\] in it and \[96, 64\] in the base"):
        merge(run, str(tmp_path / "out"), Choices(base=base))


@pytest.mark.slow
def test_audit_train_records_the_base_and_another_one_is_refused(tmp_path: Path) -> None:
    """One flipped byte anywhere in the base, as it is after the training, is another base."""
    base, flipped = tmp_path / "base", tmp_path / "flipped"
    with libraries_hush():
        llama(**SHAPE).save_pretrained(base)
    (tmp_path / "inbox").mkdir()
    data_file(str(tmp_path / "inbox" / "a.jsonl"), [[(i + k) % 96 for k in range(12)] for i in range(8)])
    config = tmp_path / "train.toml"
    config.write_text(
        f'run = "run"\n[data]\ninbox = "inbox"\n[model]\nname_or_path = "./base"\n[adapter]\nr = 4\n'
        f"target_modules = {ALL}\n[arguments]\nper_device_train_batch_size = 4\nlearning_rate = 1e-2\nuse_cpu = true\n"
    )
    subprocess.run(command(["train", str(config), "-q"]), check=True, capture_output=True)
    run = str(tmp_path / "run")

    found = merge(run, str(tmp_path / "out"), Choices(base=str(base)))

    assert found.document["merge"]["base"]["identity"] == ["config", "tensors", "weights"]
    assert found.notes == ()
    shutil.copytree(base, flipped)
    size = (base / "model.safetensors").stat().st_size
    for place in (*random.Random(0).sample(range(size), 12), 0, 9, size - 1):
        data = bytearray((base / "model.safetensors").read_bytes())
        data[place] ^= 4
        (flipped / "model.safetensors").write_bytes(data)
        with pytest.raises(AuditError):
            merge(run, str(tmp_path / "none"), Choices(base=str(flipped)))
    assert not (tmp_path / "none").exists()
