"""Which parts of a file the scan looks at, and what for: tensors of safetensors files, records of torch archives."""

from audit.facts.file import File, FileFormat
from audit.formats.damage import Damage
from audit.formats.tensors import Tensor
from audit.scan import Span

PAGE = 4096
"""Bytes. What a lost page leaves; shorter runs of zeros happen in sound weights of a full model."""

LORA_RUN = 256
"""Bytes. No dense LoRA matrix of 481 real and made checkpoints held that many zero bytes in a row, unless damaged."""

SPARSE = ("embed", "wte", "wpe", "expert", "lm_head", "position", "shared.", "mask")
"""Parts of names of tensors in which rows of zeros are normal: padding and unseen tokens, experts never chosen."""


def spans_of(file: File, weights: bool) -> list[Span]:
    """Return the spans of one file, sorted by offset; none if its format is unknown or it is damaged.

    ``weights``: the trainer would load weights from it (``Checkpoint.holds_weights``).

    Spans are named by tensor in a safetensors file, by record (``data/3``, ``data.pkl``) in a torch archive. Runs of
    zeros are looked for only in weights: moments of tokens never seen, random states and scalars hold many.
    """
    if file.format == FileFormat.SAFETENSORS and not isinstance(file.content, Damage):
        return [
            Span(tensor.name, tensor.offset, tensor.nbytes, tensor.dtype, None, zero_run(tensor))
            for tensor in file.safetensors.tensors.values()
        ]
    # Accelerate's random states are an archive of torch that is named .pkl.
    if file.format in (FileFormat.TORCH, FileFormat.PICKLE) and hasattr(file.content, "records"):
        return _records(file, weights)
    return []


def _records(file: File, weights: bool) -> list[Span]:
    from audit.formats.torch_archive import tensors

    archive = file.archive
    held = file.optional("weights") if weights else None
    shortest: dict[int, int] = {}
    if held is not None:
        by_record: dict[str, list[int]] = {}
        for tensor in tensors(held).values():
            by_record.setdefault(file.span_name(tensor.name), []).append(zero_run(tensor))
        shortest = {archive.records[name].offset: 0 if 0 in runs else max(runs) for name, runs in by_record.items()}
    little = archive.byteorder == "little"
    spans = []
    for name, record in archive.records.items():
        dtype = archive.dtypes.get(name[5:]) if little and name.startswith("data/") else None
        crc = record.crc if archive.crc_written else None
        spans.append(Span(name, record.offset, record.size, dtype, crc, shortest.get(record.offset, 0)))
    return sorted(spans, key=lambda span: span.offset)


def zeros_are_normal(tensor: Tensor) -> bool:
    """Whether a sound tensor of weights may hold runs of zeros: vectors, embeddings, experts, output heads, masks."""
    return len(tensor.shape) < 2 or any(part in tensor.name for part in SPARSE)


def zero_run(tensor: Tensor) -> int:
    """Return the shortest run of zero bytes to look for in a tensor of weights, 0 for none."""
    if zeros_are_normal(tensor):
        return 0
    if ".lora_B." in tensor.name:  # short enough to see which rows of a small matrix are zero
        return max(16, min(LORA_RUN, tensor.nbytes // 4))
    return LORA_RUN if ".lora_A." in tensor.name else PAGE


__all__ = ["LORA_RUN", "PAGE", "spans_of", "zero_run", "zeros_are_normal"]
