"""weights/not-loaded."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from audit.plugin import Checkpoint, Layout, NotApplicable, Severity, Violation, WeightFile, rule
from audit_rules._passage import went_on

_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?", re.ASCII)
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)", re.ASCII)


@rule(
    Severity.WARNING,
    blocks_resume=True,
    remedy="Load the model from this checkpoint itself, from_pretrained with its path, and then let Trainer resume from "
    "it; the guard of a script that does so is called with --ignore weights/not-loaded.",
    explained_by=("weights/other-model", "weights/prefix"),
)
def not_loaded(
    checkpoint: Checkpoint, layout: Layout, weights: tuple[WeightFile, ...], model_config: Mapping[str, Any]
) -> Iterator[Violation]:
    """The weights of a whole model have names on disk that it does not have in memory, so a resume skips them.

    ``save_pretrained`` writes the weights of many models under the names that their authors published, and
    ``from_pretrained`` renames them again: the experts of a mixture, layers of ViT and Segformer, the parts of a
    LLaVA. Trainer 5.24 loads a checkpoint by ``load_state_dict(strict=False)`` instead, on a resume and for
    ``load_best_model_at_end``: tensors of other names are passed over with a warning, and keep the values that the
    script made. Measured: 32 of 40 tensors of a ViT for image classification, 108 of 110 of a Segformer, experts and
    router of a Mixtral; the loss starts again, the step counts on. Adapters, FSDP and DeepSpeed are not concerned.

    Nothing is lost: ``from_pretrained`` reads all of it, so a run that is never resumed may ignore the warning.

    What is renamed is known from a survey of every model class of transformers 4.57 to 5.24; another version, another
    class and a model put together by its configuration are not judged. If the run was resumed and these very tensors
    continued, its program loads them, and it is an info. sentence-transformers loads by itself and is left out.
    """
    if layout.kind != "full" or "modules.json" in checkpoint.files:
        raise NotApplicable("not a whole model that Trainer loads")
    lost = _names_on_disk(model_config)
    total = sum(len(file.tensors) for file in weights)
    names = [name for file in weights for name in file.tensors if _NUMBER.sub("#", name) in lost]
    if not names:
        return
    known = went_on(checkpoint, frozenset(names), alone=True)
    yield Violation(
        f"transformers {model_config['transformers_version']} saves {_class(model_config)} under names that the model "
        f"does not have in memory, and Trainer skips them when it resumes: {names[0]} and at least {len(names) - 1} "
        f"more of {total} tensors",
        file=weights[0].file,
        actual=names[0],
        severity=Severity.INFO if known else None,
        blocks_resume=False if known else None,
    )


def _names_on_disk(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Patterns of names that this model has on disk only. Raises NotApplicable if nobody knows."""
    from audit_rules.weights._saved_names import NAMES, VERSIONS

    written = _version(config.get("transformers_version"))
    if written is None:
        raise NotApplicable("the model's configuration names no version of transformers")
    first, last, names = NAMES.get(f"{_class(config)} {config.get('model_type')}", ("", "", ()))
    for bound in (VERSIONS[-1], last):
        if bound and written[:2] > (_version(bound) or ())[:2]:
            raise NotApplicable(f"which names transformers {config['transformers_version']} changes is not known")
    return names if names and written >= (_version(first) or ()) else ()


def _class(config: Mapping[str, Any]) -> str:
    classes = config.get("architectures")
    return classes[0] if isinstance(classes, list) and classes and isinstance(classes[0], str) else "an unnamed class"


def _version(text: object) -> tuple[int, ...] | None:
    found = _VERSION.match(text) if isinstance(text, str) else None
    return tuple(int(part or 0) for part in found.groups()) if found else None
