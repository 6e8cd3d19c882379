"""The examples of docs/data.md are what it says they are: each is read, tokenized and trained."""

import re
from pathlib import Path

import pytest

from audit.backend.training import BadData, LegData
from audit.data.row_formats import FORMATS
from audit.data.rows import inspect
from audit.errors import ConfigError
from tests.backends.hf_trainer.letters import PLAIN, VOCABULARY, letters

PAGE = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
SECTIONS = re.findall(r"^### (\S+)\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL)
EXAMPLES = [(name, rows) for name, text in SECTIONS for rows in re.findall(r"```jsonl\n(.*?)```", text, re.DOTALL)]
REFUSALS = re.findall(r"^inbox/monday.jsonl:(\d+): (.*)$", PAGE, re.MULTILINE)
TEMPLATE = PLAIN.replace("message['content']", "message['content'] or message['tool_calls']")


def test_every_format_has_its_section_and_examples() -> None:
    assert {name for name, _ in EXAMPLES} == {name for name, _ in SECTIONS} == set(FORMATS)


@pytest.mark.parametrize(("name", "rows"), EXAMPLES)
def test_an_example_is_of_the_format_of_its_section(name: str, rows: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(rows, encoding="utf-8")

    assert inspect(str(tmp_path / "a.jsonl"))[:2] == (len(rows.splitlines()), name)


@pytest.mark.parametrize("loss_on", [None, "all", "completion"])
@pytest.mark.parametrize(("name", "rows"), EXAMPLES)
def test_an_example_is_learned(name: str, rows: str, loss_on: str | None, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="the extra hf is not installed")
    pytest.importorskip("transformers", reason="the extra hf is not installed")
    pytest.importorskip("datasets", reason="the extra hf is not installed")
    from audit_hf_trainer.training.data import collate, examples
    from tests.backends.hf_trainer.fitting import llama

    (tmp_path / "a.jsonl").write_text(rows, encoding="utf-8")
    data = LegData(str(tmp_path / "a.jsonl"), options={"loss_on": loss_on})
    if loss_on == "completion" and (name == "text" or "input_ids" in rows.splitlines()[0]):  # neither tells one
        with pytest.raises((BadData, ConfigError)):
            examples(data, letters(), VOCABULARY, str(tmp_path / "scratch"))
        return
    if name == "preference":  # of a pair no single text is learned: trl's DPOTrainer does that
        with pytest.raises(ConfigError, match=r"trl\.DPOTrainer"):
            examples(data, letters(TEMPLATE), VOCABULARY, str(tmp_path / "scratch"))
        return
    found = examples(data, letters(TEMPLATE), VOCABULARY, str(tmp_path / "scratch"))
    batch = collate([found[index] for index in range(len(found))], 0)
    model = llama(vocab_size=VOCABULARY, max_position_embeddings=1024)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    assert losses[-1] < losses[0]


@pytest.mark.parametrize(("number", "reason"), REFUSALS)
def test_a_refusal_that_the_page_shows_is_one_that_is_given(number: str, reason: str, tmp_path: Path) -> None:
    broken = {
        "7": '{"prompt": "a", "completion": "b"}',
        "12": '{"messages": [{"role": "user", "content": "2 + 2'.ljust(48, "?"),
        "3": '{"input_ids": [1, 2.0]}',
    }[number]
    before = '{"input_ids": [1, 2]}' if number == "3" else '{"messages": [{"role": "user", "content": "a"}]}'
    (tmp_path / "a.jsonl").write_text("\n".join([before] * (int(number) - 1) + [broken]), encoding="utf-8")

    with pytest.raises(BadData) as caught:
        inspect(str(tmp_path / "a.jsonl"))
    assert (str(caught.value.row), caught.value.reason) == (number, reason)
