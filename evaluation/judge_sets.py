"""Whole labelled sets judged, several pictures at once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2

from evaluation.annotations import LabelledPicture
from evaluation.judge import JudgedPicture, judge_file
from pipeline.errors import ConfigurationError
from serving.geometry import Box

MOST_PROCESSES = 8


def judge_set(
    pictures: Sequence[LabelledPicture],
    originals: Path,
    outputs: Path,
    *,
    name: str,
    redacted: Mapping[str, Sequence[Box]] | None = None,
    processes: int | None = None,
) -> tuple[JudgedPicture, ...]:
    """Judge the outputs of one labelled set.

    Args:
        pictures: the labels.
        originals: folder with the pictures.
        outputs: folder with the same relative paths.
        name: of the set.
        redacted: for each picture the boxes that were found, see :func:`evaluation.judge.judge`;
            None where the tool does not say.
        processes: how many pictures are judged at once; the number of cores, at most 8, by
            default. 1 judges in this process.

    Raises:
        ConfigurationError: a folder is missing, or not one output is there.
        AnnotationError: labels of another picture.
        PictureUnreadable: an original cannot be decoded.
    """
    require_folders(originals, outputs)
    judge_one = partial(_judge, originals=originals, outputs=outputs, name=name)
    boxes = [None if redacted is None else redacted.get(one.image, ()) for one in pictures]
    most = processes or min(os.cpu_count() or 1, MOST_PROCESSES)
    workers = min(most, max(1, len(pictures) // 4))
    if workers == 1:
        verdicts = [judge_one(*one) for one in zip(pictures, boxes, strict=True)]
    else:
        # A fresh interpreter: forking a process that runs threads (OpenCV's) may deadlock.
        with ProcessPoolExecutor(
            workers, mp_context=get_context("forkserver"), initializer=_one_thread
        ) as pool:
            verdicts = list(pool.map(judge_one, pictures, boxes, chunksize=4))
    if pictures and all(verdict.status == "not_published" for verdict in verdicts):
        raise ConfigurationError(
            "none of the labelled pictures has an output here",
            where=str(outputs),
            fix="Outputs must keep the relative path of their originals",
        )
    return tuple(verdicts)


def require_folders(*folders: Path) -> None:
    """See that ``folders`` are there.

    Raises:
        ConfigurationError: one is not.
    """
    for folder in folders:
        if not folder.is_dir():
            raise ConfigurationError("there is no such folder", where=str(folder))


def _judge(
    picture: LabelledPicture,
    redacted: Sequence[Box] | None,
    *,
    originals: Path,
    outputs: Path,
    name: str,
) -> JudgedPicture:
    return judge_file(picture, originals, outputs, set_name=name, redacted=redacted)


def _one_thread() -> None:
    cv2.setNumThreads(1)
