"""A text reader (PP-OCRv4, Apache-2.0) and a network trained to read redacted plates."""

from __future__ import annotations

import string

import cv2
import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from serving.pypi import PyPiMember, fetch_members

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

SYMBOLS = string.ascii_uppercase + string.digits
READER = PyPiMember(
    "rapidocr-onnxruntime",
    "1.4.4",
    "wheel",
    "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
    "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
    "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
)
_READER_PX = 48
_BATCH = 128
_SEED = 11


class TextReader:
    """Reads one line of text, for instance a plate."""

    def __init__(self) -> None:
        (path,) = fetch_members([READER], log=print)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        # index 0 says "nothing here", the last one is a space
        letters = self._session.get_modelmeta().custom_metadata_map["character"].splitlines()
        self._symbols = ["", *letters, " "]

    def __call__(self, line: Pixels) -> str:
        """The capitals and digits in ``line`` uint8 [h, w, 3] RGB."""
        width = max(round(line.shape[1] * _READER_PX / line.shape[0]), 16)
        kind = cv2.INTER_AREA if line.shape[0] > _READER_PX else cv2.INTER_CUBIC
        resized = cv2.resize(line[:, :, ::-1], (width, _READER_PX), interpolation=kind)
        values = (resized.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)[None]
        (found,) = self._session.run(None, {self._session.get_inputs()[0].name: values})
        best = found[0].argmax(axis=1)
        # one symbol may be seen several times in a row (connectionist temporal classification)
        changed = np.r_[True, best[1:] != best[:-1]]
        text = "".join(self._symbols[index] for index in best[changed])
        return "".join(symbol for symbol in text.upper() if symbol in SYMBOLS)


def train_reader(shown: Floats, texts: list[str], probes: Floats, *, steps: int) -> list[str]:
    """What a network reads in ``probes`` that was trained on redacted plates.

    Args:
        shown: [n, h, w] redacted plates, grey levels; ``texts`` say what was on them, all of one
            length.
        probes: [m, h, w] others.
        steps: batches of 128.
    """
    length = len(texts[0])
    wanted = torch.tensor([[SYMBOLS.index(symbol) for symbol in text] for text in texts])
    torch.manual_seed(_SEED)
    height, width = shown.shape[1:]
    net = nn.Sequential(
        *_block(1, 24),
        *_block(24, 48),
        *_block(48, 96),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(96 * (height // 8) * (width // 8), length * len(SYMBOLS)),
    )
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.02)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=3e-3, total_steps=steps)
    generator = torch.Generator().manual_seed(_SEED)
    inputs = _scaled(shown)
    net.train()
    for _ in range(steps):
        pick = torch.randint(len(inputs), (_BATCH,), generator=generator)
        logits = net(inputs[pick]).reshape(-1, len(SYMBOLS))
        optimiser.zero_grad()
        nn.functional.cross_entropy(logits, wanted[pick].reshape(-1)).backward()
        optimiser.step()
        cycle.step()
    net.eval()
    with torch.no_grad():
        best = net(_scaled(probes)).reshape(len(probes), length, -1).argmax(dim=2)
    return ["".join(SYMBOLS[index] for index in row) for row in best.tolist()]


def _block(before: int, after: int) -> list[nn.Module]:
    return [
        nn.Conv2d(before, after, 3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
        nn.MaxPool2d(2),
    ]


def _scaled(levels: Floats) -> torch.Tensor:
    """[n, 1, h, w], each about -1..1 around its own mean: light is no text."""
    centred = levels - levels.mean(axis=(1, 2), keepdims=True)
    return torch.from_numpy((centred / 64)[:, None].astype(np.float32))
