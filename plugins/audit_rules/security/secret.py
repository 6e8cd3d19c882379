"""security/secret."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, Run, Severity, Violation, rule, secret_hint
from audit_rules._more import and_more


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
        for place in checkpoint.secrets:
            places.setdefault(place, []).append(checkpoint)
    for (path, name, found), holders in places.items():
        others = and_more(holders, " (and of {} more)")
        yield Violation(
            f"{path} of {holders[-1].name}{others} has what looks like a secret{name}: {secret_hint(found)}",
            checkpoint=holders[-1].name,
            file=path,
        )
