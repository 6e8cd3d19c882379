"""What the three rules over damaged files share."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, Damage, DamageKind, File, FileFormat, Severity, Violation

# Written by transformers, tokenizers and PEFT for people who load the model; a resume reads none of them.
WRITTEN_BESIDE = frozenset(
    {
        "adapter_config.json", "added_tokens.json", "chat_template.json", "config.json", "generation_config.json",
        "normalizer.json", "preprocessor_config.json", "processor_config.json", "special_tokens_map.json",
        "tokenizer.json", "tokenizer_config.json", "trainer_state.json", "training_args.bin",
        "video_preprocessor_config.json", "vocab.json",
    }
)  # fmt: skip

REMEDY_UNREAD = "A resume does not read this file, but the directory is damaged: restore it from a copy."


def malformed(checkpoint: Checkpoint, *formats: FileFormat) -> dict[str, tuple[File, Damage]]:
    """Return the malformed files of these formats by path."""
    return {
        file.path: (file, damage)
        for file, damage in checkpoint.damages
        if damage.kind is DamageKind.MALFORMED and file.format in formats
    }


def report(checkpoint: Checkpoint, path: str, message: str) -> Iterator[Violation]:
    """Report damage of one file; its severity depends on who reads the file.

    What a resume reads is an error that blocks it. What Trainer writes and never reads is an error. An unknown file is
    a warning, and an unknown ``.bin`` or ``.ckpt`` is not reported: that extension means little.
    """
    if path in checkpoint.layout.read_by_resume:
        yield Violation(message, file=path)
    elif path.rpartition("/")[2] in WRITTEN_BESIDE or path == checkpoint.backend.arguments_file:
        yield Violation(message, file=path, blocks_resume=False, remedy=REMEDY_UNREAD)
    elif not path.lower().endswith((".bin", ".ckpt")):
        yield Violation(message, file=path, severity=Severity.WARNING, blocks_resume=False, remedy=REMEDY_UNREAD)
