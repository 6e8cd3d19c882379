"""Which models transformers saves under other names than they have in memory.

    python -m tests.backends.hf_trainer.saved_names survey >5.24.0.json
    python -m tests.backends.hf_trainer.saved_names table 4.57.6.json ... 5.24.0.json \
        >plugins/audit_rules/weights/_saved_names.py

``survey`` builds every model class of the auto mappings with its default configuration on torch's meta device (no
weights, no memory) and compares the names of ``state_dict()`` with those that ``save_pretrained`` would write; run it
once for each version of transformers. ``table`` puts the surveys together, the oldest first.

A model whose parts are chosen by its configuration (a vision tower of any class) may have one name in memory and
another time on disk; of those only names count whose first part no name in memory has.
"""

import json
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import redirect_stdout
from itertools import zip_longest
from typing import Any

KEPT = 2
"""Patterns that the table keeps of a class as it is made, and of what only a loaded one has: those of most tensors."""
HEAD = '''"""Models that transformers saves under other names than they have in memory; written by a survey, not by hand.

See ``tests/backends/hf_trainer/saved_names.py``. {count} model classes; the newest version has {built} that can be built.
"""

VERSIONS = {versions}
"""The versions of transformers that were surveyed, the oldest first."""

'''


def pattern_of(name: str) -> str:
    """A tensor's name with every number replaced: ``model.layers.#.mlp.weight``."""
    return re.sub(r"(?<=\.)\d+(?=\.|$)", "#", name)


def model_classes() -> Iterator[tuple[type, type]]:
    """Yield every model class of the auto mappings with its configuration's class."""
    from transformers.models.auto import modeling_auto

    seen = set()
    for name in sorted(vars(modeling_auto)):
        if not (name.startswith("MODEL_") and name.endswith("MAPPING")):
            continue
        mapping = getattr(modeling_auto, name)
        for config in list(mapping.keys()):
            try:
                found = mapping[config]
            except (AttributeError, ImportError, ValueError):  # named by the mapping, missing in this version
                continue
            for model in found if isinstance(found, (tuple, list)) else (found,):
                if model is not None and (model, config) not in seen:
                    seen.add((model, config))
                    yield model, config


def names_on_disk(model: Any) -> list[set[str]]:
    """The names that ``save_pretrained`` writes: of a model that was made, and of one that was loaded."""
    names = list(model.state_dict())
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import revert_weight_conversion
    except ImportError:  # transformers 4
        return [set(_names_of_4(model, names))]
    made = set(revert_weight_conversion(model, dict(model.state_dict())))
    model._weight_conversions = get_model_conversion_mapping(model, add_legacy=False) or None
    return [made, set(revert_weight_conversion(model, dict(model.state_dict())))]


def _names_of_4(model: Any, names: Iterable[str]) -> Iterator[str]:
    """What ``PreTrainedModel.save_pretrained`` of transformers 4.57 does with names."""
    from transformers import modeling_utils

    classes = [cls.__name__.lower() for cls in type(model).__mro__[:-1]]
    mapping = {}
    if any(allowed in name for name in classes for allowed in modeling_utils.VLMS):
        mapping = {there: here for here, there in model._checkpoint_conversion_mapping.items()}
    for name in names:
        for here, there in mapping.items():
            name, found = re.subn(here, re.sub(r"\(.*\)", "", there.lstrip("^")), name)
            if found:
                break
        yield name


def not_loaded(model: Any) -> list[Counter[str]]:
    """Patterns of names on disk that the model does not have in memory, with the number of tensors of each.

    The first are those of a model that was made, the second those that only one that was loaded may have.
    """
    from transformers import AutoConfig

    names = set(model.state_dict())
    here = {pattern_of(name) for name in names}
    tops = {name.partition(".")[0] for name in names}
    composed = AutoConfig in getattr(type(model.config), "sub_configs", {}).values()
    found: list[Counter[str]] = []
    for saved in names_on_disk(model):
        lost = {name for name in saved - names if not (composed and name.partition(".")[0] in tops)}
        known = here.union(*found)
        found.append(Counter(pattern for name in lost if (pattern := pattern_of(name)) not in known))
    return found


def survey() -> dict[str, Any]:
    """Build every model, and return the version, the number of models and what is not loaded of which."""
    import torch
    import transformers

    built, found = 0, {}
    renaming = transformers.__version__.startswith("4.")  # where a class says itself what it renames
    for model_class, config_class in model_classes():
        if renaming and not getattr(model_class, "_checkpoint_conversion_mapping", None):
            continue
        try:
            config: Any = config_class()
            with torch.device("meta"):
                model = model_class(config)
            lost = not_loaded(model)
        except Exception:  # models that need more than their configuration, or a package that is not here
            continue
        built += 1
        if any(lost):
            found[f"{model_class.__name__} {config.model_type}"] = lost
    return {"version": transformers.__version__, "built": built, "found": found}


def table(surveys: list[dict[str, Any]]) -> str:
    """The module of the table: class and model type, the first and the last version, patterns of names on disk."""
    versions = [item["version"] for item in surveys]
    rows = {}
    for key in sorted({key for item in surveys for key in item["found"]}):
        having = [item for item in surveys if key in item["found"]]
        kept: list[str] = []
        for parts in zip_longest(*(item["found"][key] for item in having), fillvalue={}):
            common = [name for name in parts[-1] if all(name in part for part in parts) and name not in kept]
            kept += sorted(common, key=lambda name: (-parts[-1][name], name))[:KEPT]
        places = [versions.index(item["version"]) for item in having]
        if kept and len(places) == places[-1] - places[0] + 1:
            rows[key] = (versions[places[0]], versions[places[-1]], tuple(sorted(kept)))
    text = HEAD.format(count=len(rows), built=surveys[-1]["built"], versions=_tuple(versions))
    text += "# fmt: off\nNAMES: dict[str, tuple[str, str, tuple[str, ...]]] = {\n"
    for key, (first, last, names) in rows.items():
        lines = "".join(f"        {json.dumps(name)},\n" for name in names)
        text += f"    {json.dumps(key)}: ({json.dumps(first)}, {json.dumps(last)}, (\n{lines}    )),\n"
    end = "By class and model type: the first and the last version, and patterns of names on disk."
    return f'{text}}}\n# fmt: on\n"""{end}"""\n'


def _tuple(texts: Sequence[str]) -> str:
    return f"({', '.join(map(json.dumps, texts))}{',' if len(texts) == 1 else ''})"


def main() -> None:
    if sys.argv[1] == "survey":
        warnings.simplefilter("ignore")
        with redirect_stdout(sys.stderr):  # some models print
            found = survey()
        json.dump(found, sys.stdout, indent=1)
        return
    surveys = []
    for path in sys.argv[2:]:
        with open(path, encoding="utf-8") as file:
            surveys.append(json.load(file))
    sys.stdout.write(table(surveys))


if __name__ == "__main__":
    main()
