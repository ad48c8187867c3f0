"""Ours over the pictures of one labelled set, one class alone, as the other tools are called."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from evaluation.annotations import LabelledPicture
from evaluation.labelled_sets import LabelledSet
from evaluation.peers.run import NO_OUTPUT, PICTURE_TIMEOUT_S, START_TIMEOUT_S, PeerRun, children_s
from evaluation.pipeline_run import gather
from pipeline.errors import ConfigurationError
from pipeline.policy import DEFAULT_POLICY, load_policy
from pipeline.result import Exit
from serving.geometry import LABELS, Label

NO_SCORE_REACHES = 1.0
# One process and float32: the processor time is all there, and any machine gives the same.
_COMMAND = ("run", "--engine", "local", "--runtime", "onnxruntime")


@dataclass(frozen=True, slots=True)
class Ours:
    """This pipeline under its default policy, but for one class only.

    Attributes:
        name: of its rows and its folder of outputs.
        label: the one class that it obscures.
    """

    name: str
    label: Label

    @property
    def command(self) -> tuple[str, ...]:
        """What is called, before the places."""
        return ("streetblur", *_COMMAND)

    @property
    def packages(self) -> tuple[str, ...]:
        """What its result depends on most, ``project==version`` each."""
        return tuple(f"{one}=={version(one)}" for one in ("streetblur", "onnxruntime"))


OURS: dict[str, Ours] = {
    one.name: one for one in (Ours("streetblur-faces", "face"), Ours("streetblur-plates", "plate"))
}


def run_ours(
    ours: Ours, pictures: Sequence[LabelledPicture], originals: Path, outputs: Path
) -> PeerRun:
    """As :func:`evaluation.peers.run.run_peer`, with a job of the pipeline.

    Raises:
        ConfigurationError: the job does not get through.
        PictureUnreadable: a labelled picture is missing.
    """
    outputs.mkdir(parents=True, exist_ok=True)
    for one in pictures:
        (outputs / one.image).unlink(missing_ok=True)
    with TemporaryDirectory(dir=outputs, prefix=".ours-") as folder:
        given, made = Path(folder) / "given", Path(folder) / "made"
        gather([LabelledSet("set", originals, tuple(pictures))], given)
        policy = Path(folder) / "policy.yaml"
        policy.write_text(_policy(ours.label), "utf-8")
        before = children_s()
        _call([*_COMMAND, "--policy", str(policy), str(given / "set"), str(made)], len(pictures))
        cpu_s = children_s() - before
        failed = []
        for one in pictures:
            if (made / one.image).is_file():
                (outputs / one.image).parent.mkdir(parents=True, exist_ok=True)
                (made / one.image).replace(outputs / one.image)
            else:
                failed.append((one.image, NO_OUTPUT))
    return PeerRun(len(pictures), tuple(failed), cpu_s)


def _policy(label: Label) -> str:
    """The default policy as YAML, with no detection of the other class."""
    rules = load_policy(DEFAULT_POLICY).model_dump(mode="json", exclude_defaults=True)
    for other in LABELS:
        if other != label:
            rules[other]["threshold"] = {0: NO_SCORE_REACHES}
    return yaml.safe_dump(rules)


def _call(arguments: Sequence[str], pictures: int) -> None:
    limit = START_TIMEOUT_S + PICTURE_TIMEOUT_S * pictures
    command = [sys.executable, "-m", "pipeline.cli", *arguments]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=limit
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigurationError(f"streetblur does not end within {limit} s") from error
    if done.returncode not in (Exit.COMPLETE, Exit.QUARANTINED):
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise ConfigurationError(
            f"streetblur ends with status {done.returncode}: {said[-1] if said else 'no message'}"
        )
