"""One peer over the pictures of one labelled folder, its outputs brought to their places."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from evaluation.annotations import AnnotationError, LabelledPicture
from evaluation.judge import locate
from evaluation.peers.environment import command, variables
from evaluation.peers.tools import POSTFIX, Peer
from evaluation.picture import PictureUnreadable
from pipeline.errors import ConfigurationError

START_TIMEOUT_S = 120
PICTURE_TIMEOUT_S = 60
FRUITLESS_RUNS = 3
NO_OUTPUT = "no output, no message"


@dataclass(frozen=True, slots=True)
class PeerRun:
    """What a peer did with a folder.

    Attributes:
        pictures: how many it was given.
        failed: the pictures without an output, each with what the peer said of it.
        cpu_s: processor time of all its processes, start included.
    """

    pictures: int
    failed: tuple[tuple[str, str], ...]
    cpu_s: float

    @property
    def cpu_s_a_picture(self) -> float:
        """Processor time for one picture."""
        return self.cpu_s / self.pictures


@dataclass(frozen=True, slots=True)
class _Staged:
    """A picture under a plain name in a folder where the peer may write."""

    image: str
    link: Path

    @property
    def output(self) -> Path:
        return self.link.with_name(f"{self.link.stem}{POSTFIX}{self.link.suffix}")


def run_peer(
    peer: Peer,
    environment: Path,
    pictures: Sequence[LabelledPicture],
    originals: Path,
    outputs: Path,
) -> PeerRun:
    """Give ``pictures`` to ``peer`` and leave its outputs under the relative paths of their labels.

    A peer that crashes on a picture is started again on those after it. Outputs of earlier runs
    are removed first.

    Args:
        peer: the tool.
        environment: where it is installed.
        pictures: which of the labelled folder's.
        originals: the labelled folder; only read.
        outputs: made if need be.

    Raises:
        ConfigurationError: the peer is not installed, or writes nothing.
        AnnotationError: a label's path leads out of its folder.
        PictureUnreadable: a labelled picture is missing.
    """
    start = command(peer, environment)
    outputs.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=outputs, prefix=".peer-") as folder:
        staged = [
            _stage(one.image, originals, Path(folder) / f"{number:06d}")
            for number, one in enumerate(pictures)
        ]
        for one in staged:
            (outputs / one.image).unlink(missing_ok=True)
        before = children_s()
        failed = _run_all(peer, start, variables(environment), staged)
        cpu_s = children_s() - before
        for one in staged:
            if one.output.is_file():
                (outputs / one.image).parent.mkdir(parents=True, exist_ok=True)
                one.output.replace(outputs / one.image)
    return PeerRun(len(staged), failed, cpu_s)


def _stage(image: str, originals: Path, link: Path) -> _Staged:
    """Link a picture under a name of digits, which nothing that a peer writes can have.

    Beside ``a.jpg`` a file ``a_anonymized.jpg`` could be a picture of the set: through a link of
    that name a peer would overwrite it.
    """
    relative = PurePosixPath(image)
    if relative.is_absolute() or ".." in relative.parts:
        raise AnnotationError(f"{image} leads out of its folder", where=str(originals))
    source = locate(originals, image)
    if source is None:
        raise PictureUnreadable("the labelled picture is missing", where=str(originals / image))
    link = link.with_suffix(source.suffix)
    link.symlink_to(source.resolve())
    return _Staged(image, link)


def _run_all(
    peer: Peer, start: Sequence[str], environment: dict[str, str], staged: Sequence[_Staged]
) -> tuple[tuple[str, str], ...]:
    failed: list[tuple[str, str]] = []
    waiting, fruitless = list(staged), 0
    while waiting:
        status, lines = _call([*start, *(str(one.link) for one in waiting)], environment)
        left = [one for one in waiting if not one.output.is_file()]
        if status == 0:
            failed += [(one.image, _said_of(one, lines)) for one in left]
            break
        said = lines[-1] if lines else "no message"
        fruitless = fruitless + 1 if len(left) == len(waiting) else 0
        if fruitless == FRUITLESS_RUNS:
            raise ConfigurationError(
                f"{peer.name} ends with status {status} and writes nothing ({said})",
                where=str(start[0]),
            )
        failed += [(one.image, f"status {status}: {said}") for one in left[:1]]
        waiting = left[1:]
    if staged and len(failed) == len(staged):
        raise ConfigurationError(
            f"{peer.name} wrote nothing for {len(staged)} pictures ({failed[0][1]})",
            where=str(start[0]),
        )
    return tuple(failed)


def _call(arguments: Sequence[str], environment: dict[str, str]) -> tuple[int, list[str]]:
    """Exit status and what the peer said, errors last; a peer that hangs is ended."""
    limit = START_TIMEOUT_S + PICTURE_TIMEOUT_S * len(arguments)
    try:
        done = subprocess.run(
            arguments,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        return -1, [f"no end within {limit} s"]
    said = b"\n".join((done.stdout, done.stderr)).decode("utf-8", "replace")
    return done.returncode, said.strip().splitlines()


def _said_of(one: _Staged, lines: Sequence[str]) -> str:
    """The last line that names a picture, by the name that we know it by."""
    about = [line for line in lines if one.link.name in line]
    if not about:
        return NO_OUTPUT
    return about[-1].replace(str(one.link), one.image).replace(one.link.name, one.image)


def children_s() -> float:
    """Processor time of all ended processes that this one has started."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
