"""Which tensor of the merged model comes from where: every tensor of the adapter is used once, every target found."""

import json
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import NamedTuple

from audit.formats.pickle_values import ITEM_SIZES
from audit.formats.tensors import Tensor
from audit.merging.adapter import Adapter, Update
from audit.merging.base import SINGLE, Base, Shard
from audit.merging.fitting import fitted
from audit.merging.refusals import refuse
from audit.text import human_bytes

DTYPES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
"""What can be merged into and written, by torch's name; the codes are those of safetensors."""

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
"""The two tensors that are untied; models that call them otherwise are not."""

_ENDS = frozenset(
    {"embed_tokens", "wte", "word_embeddings", "embed_in", "tok_embeddings", "lm_head", "embed_out", "output_layer"}
)
"""What the input embedding and the output layer are called in the models of transformers."""

COPIED, CONVERTED, MERGED, REPLACED = "copied", "converted", "merged", "replaced"


class Output(NamedTuple):
    """One tensor of the merged model, from ``source`` in the file ``shard`` of the base.

    ``update`` is added to it, or ``saved`` replaces it. ``equal`` is a copy of the base's tensor in the adapter: if it
    differs, the adapter does not belong to this base.
    """

    name: str
    dtype: str
    source: Tensor
    shard: Shard
    update: Update | None = None
    saved: Tensor | None = None
    equal: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The same as that of the base's tensor."""
        return self.source.shape

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return self.source.nbytes if self.kind == COPIED else prod(self.shape) * ITEM_SIZES[self.dtype]

    @property
    def kind(self) -> str:
        """What is done: copied, converted, merged or replaced."""
        if self.update is not None:
            return MERGED
        if self.saved is not None:
            return REPLACED
        return COPIED if self.dtype == self.source.dtype else CONVERTED


class File(NamedTuple):
    """One file to be written: ``head`` is all before the first tensor, ``outputs`` are in the order of the file."""

    name: str
    head: bytes
    outputs: tuple[Output, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.head) + sum(output.nbytes for output in self.outputs)


class Plan(NamedTuple):
    """The files of weights; ``index_text`` is that of their index, None if there is one file alone.

    ``dtype`` is torch's name of the type that all is converted to, None if each tensor keeps its own; ``untied``: the
    output layer gets weights of its own.
    """

    files: tuple[File, ...]
    index_text: bytes | None
    dtype: str | None
    untied: bool

    @property
    def outputs(self) -> Iterator[Output]:
        """All tensors."""
        return (output for file in self.files for output in file.outputs)

    @property
    def size(self) -> int:
        """Bytes of all files of weights."""
        return sum(file.size for file in self.files)


def plan_merge(
    adapter: Adapter,
    base: Base,
    where: str,
    *,
    dtype: str | None = None,
    max_shard_size: int | None = None,
    untie: bool = False,
) -> Plan:
    """Return what is to be written. Raises RefusedError if adapter and base do not fit each other.

    Without options the files have the names, the order and the headers of the base's. ``dtype`` is torch's name.
    """
    adapter = fitted(adapter, base, where)
    untied = _untied(adapter, base, where, untie)
    code = DTYPES[dtype] if dtype else None
    outputs = [_output(shard, tensor, adapter, code, where) for shard in base.shards for tensor in shard.tensors]
    if untied:
        shard, tensor = base.places[EMBEDDING]
        outputs.append(_output(shard, tensor, adapter, code, where, HEAD))
    names = {output.name for output in outputs}
    for name in (*adapter.updates, *adapter.saved, *adapter.copies):
        if name not in names:
            refuse(where, f"is for a tensor {name}, which the base {base.path} does not have", _NO_TARGET)
    if max_shard_size is None and not untied and all(item.dtype == item.source.dtype for item in outputs):
        by_shard: dict[str, list[Output]] = {shard.name: [] for shard in base.shards}
        for item in outputs:
            by_shard[item.shard.name].append(item)
        files = tuple(File(shard.name, shard.head, tuple(by_shard[shard.name])) for shard in base.shards)
        return Plan(files, base.index_text, None, False)
    return _laid_out(outputs, base, max_shard_size, dtype, untied)


_NO_TARGET = (
    "give the base that it was trained on with --base; if this is it, transformers renames its tensors while loading: "
    "merge with peft (merge_and_unload)"
)


def _untied(adapter: Adapter, base: Base, where: str, untie: bool) -> bool:
    """Whether the output layer gets weights of its own. Raises RefusedError if an update would reach both unasked."""
    touched = adapter.updates.keys() | adapter.saved.keys()
    rows = {name for name, update in adapter.updates.items() if update.embedding}
    ends = sorted(rows | {name for name in touched if name.rpartition(".")[0].rpartition(".")[2] in _ENDS})
    if not base.tied or not ends:
        if untie:
            refuse(where, "changes neither of two tied tensors, so there is nothing to untie", "leave --untie out")
        return False
    what = f"changes {' and '.join(ends)}, and in this base the embedding is the output layer, too"
    if not set(ends) <= {EMBEDDING, HEAD} or EMBEDDING not in base.places or HEAD in base.places:
        refuse(
            where,
            f"{what}; it is not stored as {EMBEDDING} alone, so --untie cannot separate them",
            "use base and adapter as they are: merged by any tool, the update would reach both",
        )
    if not untie:
        size = human_bytes(base.places[EMBEDDING][1].nbytes)
        refuse(where, what, f"--untie writes both, {size} more, and answers as the adapter does")
    return True


def _output(shard: Shard, source: Tensor, adapter: Adapter, code: str | None, where: str, name: str = "") -> Output:
    name = name or source.name
    update, saved, equal = adapter.updates.get(name), adapter.saved.get(name), adapter.copies.get(name)
    floating = source.dtype in DTYPES.values()
    if code and source.dtype.startswith(("F", "BF")) and not floating:
        refuse(where, f"the base's {name} is of the type {source.dtype}, which --dtype cannot convert", "leave it out")
    output = Output(name, code if code and floating else source.dtype, source, shard, update, saved, equal)
    if (update or saved) and not floating:
        refuse(
            where,
            f"the base's {name} is of the type {source.dtype}; only float32, bfloat16 and float16 are merged into",
            "give the unquantised base with --base",
        )
    for part in (update, saved, equal):
        if part is not None and part.shape != source.shape:
            refuse(where, f"{name} is {list(part.shape)} in it and {list(source.shape)} in the base", _OTHER_BASE)
    for tensor in (*(update.tensors if update else ()), *filter(None, (saved, equal))):
        if tensor.dtype not in DTYPES.values():
            refuse(where, f"its tensor {tensor.name} is of the type {tensor.dtype}")
    for tensor in update.tensors if update else ():
        if prod(tensor.shape) > _MOST_VALUES:
            refuse(where, f"its matrix {tensor.name} is larger than any real one: {list(tensor.shape)}")
    return output


_MOST_VALUES = 1 << 28
"""Values of a matrix of an adapter, which is held whole: 1 GiB in float32. Rank 1024 on 262 144 tokens has as many."""

_OTHER_BASE = (
    "give the base that it was trained on with --base; if its embeddings were resized for training, save the resized "
    "base first"
)


def _laid_out(outputs: Sequence[Output], base: Base, most: int | None, dtype: str | None, untied: bool) -> Plan:
    """Put tensors into new files: those of the base, or files of at most ``most`` bytes of tensors each."""
    groups: list[list[Output]] = []
    size = 0
    for output in outputs:
        full = size + output.nbytes > most if most is not None else groups and groups[-1][-1].shard is not output.shard
        if not groups or full:
            groups.append([])
            size = 0
        groups[-1].append(output)
        size += output.nbytes
    metadata = base.shards[0].metadata if base.shards else {}
    count = len(groups)
    files = tuple(
        _file(SINGLE if count == 1 else f"model-{number:05}-of-{count:05}.safetensors", group, metadata)
        for number, group in enumerate(groups, 1)
    )
    if count == 1:
        return Plan(files, None, dtype, untied)
    weights = {output.name: file.name for file in files for output in file.outputs}
    total = sum(output.nbytes for output in outputs)
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weights.items()))}
    return Plan(files, (json.dumps(index, indent=2) + "\n").encode(), dtype, untied)


def _file(name: str, outputs: Sequence[Output], metadata: Mapping[str, str]) -> File:
    """The header as the library ``safetensors`` writes it: padded so that tensors begin at a multiple of 8 bytes."""
    ordered = sorted(outputs, key=lambda item: -ITEM_SIZES.get(item.dtype, 1))
    header: dict[str, object] = {"__metadata__": {"format": "pt", **metadata}}
    end = 0
    for output in ordered:
        header[output.name] = {
            "dtype": output.dtype,
            "shape": list(output.shape),
            "data_offsets": [end, end := end + output.nbytes],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return File(name, len(text).to_bytes(8, "little") + text, tuple(ordered))
