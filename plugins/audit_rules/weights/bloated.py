"""weights/bloated."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, FileFormat, NotApplicable, Severity, Violation, WeightFile, rule


@rule(
    Severity.WARNING,
    remedy="Clone the tensors before saving (tensor.clone()), or save as safetensors; what is stored here is sound.",
)
def bloated(
    checkpoint: Checkpoint, weights: tuple[WeightFile, ...], *, ratio: float = 1.5, slack: int = 1 << 20
) -> Iterator[Violation]:
    """A weight file stores far more bytes than its tensors have.

    ``torch.save`` writes the whole storage of a tensor that is a view of a larger one: an adapter taken from a base
    model brings the base model with it, and every checkpoint is that large. safetensors cannot do this.

    Reported if the records are ``ratio`` times as large as the tensors in them, and ``slack`` bytes larger.
    """
    if checkpoint.layout.parts:
        raise NotApplicable("the file holds more than the weights")
    looked = False
    for item in weights:
        file = checkpoint.files[item.file]
        if file.format != FileFormat.TORCH:
            continue
        looked = True
        stored = sum(record.size for name, record in file.archive.records.items() if name.startswith("data/"))
        needed: dict[tuple[str, int], int] = {}
        for tensor in item.tensors.values():
            place = (file.span_name(tensor.name), tensor.offset)
            needed[place] = max(needed.get(place, 0), tensor.nbytes)
        used = sum(needed.values())
        if stored > ratio * used and stored - used > slack:
            yield Violation(
                f"{item.file} stores {stored} bytes for tensors of {used} bytes",
                item.file,
                expected=used,
                actual=stored,
            )
    if not looked:
        raise NotApplicable("safetensors files hold nothing but their tensors")
