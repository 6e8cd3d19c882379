"""security/secret."""

from collections.abc import Iterator
from typing import Any

from audit.plugin import Checkpoint, Run, Severity, Violation, credentials, is_token_placeholder, rule, secret_hint
from audit_rules.security._secrets import texts


@rule(
    Severity.WARNING,
    remedy="Revoke the token, pass a new one in the environment (HF_TOKEN), and do not publish these checkpoints.",
)
def secret(run: Run) -> Iterator[Violation]:
    """The checkpoint has a token or a key in clear text.

    Checkpoints are copied, shared and pushed to hubs. Trainer 5.23 saves ``hub_token`` in ``training_args.bin``, even
    if nothing is ever pushed. The training arguments, and JSON and text files of up to 1 MiB, are searched for tokens
    of the usual services (Hugging Face, OpenAI, Anthropic, GitHub, GitLab, Amazon, Google, Slack), private keys, and
    long random values of ``..._KEY``, ``..._TOKEN`` and ``..._SECRET``. Vocabularies are skipped: a hundred thousand
    words match anything.

    Only the first four characters are ever shown. The same token in the same file of several checkpoints is one
    finding, for the newest of them.
    """
    places: dict[tuple[str, str, str], list[Checkpoint]] = {}
    for checkpoint in run.judged:
        for place in _of(checkpoint):
            places.setdefault(place, []).append(checkpoint)
    for (path, name, found), holders in places.items():
        others = f" (and of {len(holders) - 1} more)" if len(holders) > 1 else ""
        yield Violation(
            f"{path} of {holders[-1].name}{others} has what looks like a secret{name}: {secret_hint(found)}",
            checkpoint=holders[-1].name,
            file=path,
        )


def _of(checkpoint: Checkpoint) -> Iterator[tuple[str, str, str]]:
    """Return (file, where in it, secret) for every secret of one checkpoint, each once."""
    path = checkpoint.run.backend.arguments_file
    arguments = checkpoint.optional("arguments") or {}
    found: dict[str, str] = {}
    for name in ("hub_token", "push_to_hub_token"):
        value = arguments.get(name)
        if isinstance(value, str) and not is_token_placeholder(value):
            found.setdefault(value, f", {name}")
    for token in _inside(arguments):
        found.setdefault(token, "")
    yield from ((path, name, token) for token, name in found.items())
    # The log of a state is long and has only numbers: the rest is searched.
    state_file = checkpoint.run.backend.state_file
    document = checkpoint.optional("state_document")
    yield from ((state_file, "", token) for token in _inside(document.document if document else None))
    for path, file in (checkpoint.optional("files") or {}).items():
        if path != state_file:
            yield from ((path, "", token) for token in file.secrets)


def _inside(values: Any) -> Iterator[str]:
    for text in texts(values):
        yield from credentials(text.encode("utf-8", "replace"))
