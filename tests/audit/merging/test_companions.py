"""The files beside the weights: whose they are, and what is changed in the configuration."""

import json
import os
from pathlib import Path

from audit.merging.companions import _changed
from audit.merging.merge import Choices, merge
from audit.merging.plan import Plan
from tests.audit.merging.models import make_base, make_merge


def test_configuration_and_tokenizer_come_from_the_base_byte_for_byte(tmp_path: Path) -> None:
    run, base = make_merge(tmp_path)
    Path(base, "modeling_mine.py").write_text("code = 1")

    merge(run, str(tmp_path / "out"), Choices(base=base))

    came = {"config.json", "generation_config.json", "tokenizer.json", "modeling_mine.py"}
    assert set(os.listdir(tmp_path / "out")) == came | {"model.safetensors", "merge.json"}
    for name in came:
        assert Path(base, name).read_bytes() == (tmp_path / "out" / name).read_bytes()


def test_the_tokenizer_that_was_trained_with_comes_first_and_code_never_from_the_checkpoint(tmp_path: Path) -> None:
    run, base = make_merge(tmp_path)
    Path(base, "special_tokens_map.json").write_text("{}")
    checkpoint = Path(run, "checkpoint-100")
    (checkpoint / "tokenizer.json").write_text('{"trained": true}')
    (checkpoint / "chat_template.jinja").write_text("{{ messages }}")
    (checkpoint / "modeling_mine.py").write_text("code = 2")
    (checkpoint / "config.json").write_text('{"model_type": "other"}')

    merge(run, str(tmp_path / "out"), Choices(base=base))

    assert (tmp_path / "out" / "tokenizer.json").read_text() == '{"trained": true}'
    assert (tmp_path / "out" / "chat_template.jinja").read_text() == "{{ messages }}"
    assert not (tmp_path / "out" / "special_tokens_map.json").exists()
    assert not (tmp_path / "out" / "modeling_mine.py").exists()
    assert json.loads((tmp_path / "out" / "config.json").read_text())["model_type"] == "llama"


def test_another_type_is_in_the_configuration_and_its_parts(tmp_path: Path) -> None:
    run, _ = make_merge(tmp_path)
    base = make_base(tmp_path / "old", text_config={"model_type": "llama", "torch_dtype": "float32"}, rope={"a": 1})

    merge(run, str(tmp_path / "out"), Choices(base=base, dtype="bfloat16"))

    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["dtype"], config["text_config"]["torch_dtype"], config["rope"]) == ("bfloat16", "bfloat16", {"a": 1})
    assert "dtype" not in config["text_config"]


def test_what_is_untied_says_so() -> None:
    plan = Plan((), None, None, untied=True)
    config = {"tie_word_embeddings": True, "text_config": {"model_type": "a", "tie_word_embeddings": True}}
    assert _changed(config, plan) == {
        "tie_word_embeddings": False,
        "text_config": {"model_type": "a", "tie_word_embeddings": False},
    }


def test_the_index_of_the_base_comes_along(tmp_path: Path) -> None:
    run, _ = make_merge(tmp_path)
    base = make_base(tmp_path / "sharded", shards=3)
    merge(run, str(tmp_path / "out"), Choices(base=base))
    index = "model.safetensors.index.json"
    assert (tmp_path / "out" / index).read_bytes() == Path(base, index).read_bytes()
