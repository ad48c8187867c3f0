"""Which of a data set's class names are faces or plates."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from evaluation.annotations import AnnotationError
from evaluation.label_formats.raw import RawBox
from pipeline.errors import ConfigurationError
from serving.geometry import LABELS, Label

# Usual names; case, spaces, "-" and "_" do not matter. Heads are not among them: a box around
# the hair or the back of a head is no face.
USUAL_NAMES: Mapping[str, Label] = {
    "face": "face",
    "faces": "face",
    "human face": "face",
    "person face": "face",
    "with mask": "face",
    "without mask": "face",
    "mask weared incorrect": "face",
    "plate": "plate",
    "plates": "plate",
    "licence": "plate",
    "license": "plate",
    "licence plate": "plate",
    "license plate": "plate",
    "licence plates": "plate",
    "license plates": "plate",
    "number plate": "plate",
    "number plates": "plate",
    "vehicle registration plate": "plate",
    "LP": "plate",
}

# Those that also say how a face is covered, in the words of ``LabelledBox.occlusion``.
_OCCLUSIONS = {
    "withmask": "mask",
    "withoutmask": "none",
    "maskwearedincorrect": "mask_incorrect",
}


def resolve(
    names: Iterable[str], classes: Mapping[str, Label | None] | None, where: str
) -> dict[str, Label | None]:
    """The class of each of the names; None for those to be left out.

    Args:
        names: as the data set spells them.
        classes: goes before the usual names; None as class leaves a name's boxes out.
        where: the file that names the classes.

    Raises:
        AnnotationError: names that are neither usual nor in ``classes``, all of them listed.
        ConfigurationError: ``classes`` itself is wrong.
    """
    known: dict[str, Label | None] = {_plain(name): label for name, label in USUAL_NAMES.items()}
    known.update(_own(classes or {}))
    names = tuple(dict.fromkeys(names))
    if unknown := [name for name in names if _plain(name) not in known]:
        raise AnnotationError(
            f"classes that are neither known as faces nor as plates: {', '.join(unknown)}",
            where=where,
            fix="Say for each whether it is a face, a plate or neither: --class NAME=face, "
            "NAME=plate or NAME=none",
        )
    return {name: known[_plain(name)] for name in names}


def occlusion(box: RawBox) -> str | None:
    """How the object is covered: as annotated, else as its class name says."""
    return box.occlusion or _OCCLUSIONS.get(_plain(box.name))


def _own(classes: Mapping[str, Label | None]) -> dict[str, Label | None]:
    chosen: dict[str, Label | None] = {}
    for name, label in classes.items():
        if label is not None and label not in LABELS:
            raise ConfigurationError(
                f"{label!r} is no class; known: {', '.join(LABELS)}", where=f"class {name}"
            )
        if chosen.setdefault(_plain(name), label) != label:
            raise ConfigurationError(
                "the name is given two classes (case, spaces, - and _ do not matter)",
                where=f"class {name}",
            )
    return chosen


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()
