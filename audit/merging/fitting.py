"""The targets of an adapter as the files of its base have them: under which names, and which are stored transposed.

Facts: transformers 5.24. A model that was saved without its head is stored without the prefix of the model with one
(``base_model_prefix``: the ``gpt2`` of the Hub has ``h.0.attn.c_attn.weight``), and loads into both. The layers of
GPT-2 and its kin are ``Conv1D``, whose weight is in x out; all other layers are ``Linear``, out x in.
peft 0.21, ``tuners/lora/layer.py``, ``dispatch_default``: ``fan_in_fan_out`` in the configuration is that of the layer
that was made last, so it says nothing of the others.
"""

from collections.abc import Mapping
from typing import TypeVar

from audit.merging.adapter import Adapter, Update
from audit.merging.base import Base
from audit.merging.refusals import refuse

T = TypeVar("T")
_CONV1D_MODELS = frozenset({"gpt2", "openai-gpt", "imagegpt", "decision_transformer"})
_CONV1D_LAYERS = frozenset({"c_attn", "q_attn", "c_proj", "c_fc"})


def fitted(adapter: Adapter, base: Base, where: str) -> Adapter:
    """Return the adapter with the names of the base's files, and updates that know which way they are stored.

    A name that fits nothing stays as it is. Raises RefusedError if an update may be either way.
    """
    adapter = _renamed(adapter, base)
    updates = {name: _turned(update, name, adapter, base, where) for name, update in adapter.updates.items()}
    return adapter._replace(updates=updates)


def _renamed(adapter: Adapter, base: Base) -> Adapter:
    """Take the prefix off the names, if the base was saved without its head."""
    names = {*adapter.updates, *adapter.saved, *adapter.copies}
    missing = {name for name in names if name not in base.places}
    prefix = min(missing, default="").partition(".")[0] + "."
    inner = {name: name.removeprefix(prefix) for name in missing}
    stored = any(name.startswith(prefix) for name in base.places)
    if not missing or stored or any(new == old or new not in base.places for old, new in inner.items()):
        return adapter

    def renamed(part: Mapping[str, T]) -> dict[str, T]:
        return {inner.get(name, name): item for name, item in part.items()}

    return adapter._replace(
        updates=renamed(adapter.updates), saved=renamed(adapter.saved), copies=renamed(adapter.copies)
    )


def _turned(update: Update, name: str, adapter: Adapter, base: Base, where: str) -> Update:
    """Return the update of a layer, transposed if that is a Conv1D."""
    if update.embedding or update.convolution or name not in base.places:
        return update
    if base.config.get("model_type") in _CONV1D_MODELS:
        turned = update.module.rpartition(".")[2] in _CONV1D_LAYERS
    else:
        straight = (update.b.shape[0], update.a.shape[1])
        shape = base.places[name][1].shape
        turned = adapter.settings.fan_in_fan_out and shape == straight[::-1]
        if turned and shape == straight:
            kind = base.config.get("model_type")
            refuse(where, f"fan_in_fan_out is set, and of a {kind} it is not known whether {name} is stored transposed")
    return update._replace(transposed=turned)
