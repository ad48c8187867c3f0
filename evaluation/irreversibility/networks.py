"""Small networks that are trained against a redaction: one names people, one restores faces."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from evaluation.irreversibility.attackers import Guess, resized
from evaluation.irreversibility.observations import Observations

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

# Side of what the networks look at; a blur leaves nothing finer.
SIDE_PX = 16
_BATCH = 128
_SEED = 7


class _Namer(nn.Module):
    """Convolutions with residuals, an average and a linear layer: person by person a logit."""

    def __init__(self, channels: int, people: int) -> None:
        super().__init__()
        widths = (24, 48, 96)
        layers: list[nn.Module] = []
        before = channels
        for width in widths:
            layers += [
                nn.Conv2d(before, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                _Residual(width),
                nn.MaxPool2d(2),
            ]
            before = width
        side = SIDE_PX // 2 ** len(widths)
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3))
        self.head = nn.Linear(before * side * side, people)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [n, people] of [n, channels, SIDE_PX, SIDE_PX]."""
        return self.head(self.body(x))


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` and what the path adds."""
        return x + self.path(x)


class _Restorer(nn.Module):
    """A small U-Net: what was there, from what is shown."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.first, self.second, self.third = _twice(channels, 24), _twice(24, 48), _twice(48, 96)
        self.back_second, self.back_first = _twice(96 + 48, 48), _twice(48 + 24, 24)
        self.last = nn.Conv2d(24, out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[n, out, h, w] of [n, channels, h, w]."""
        fine = self.first(x)
        half = self.second(nn.functional.max_pool2d(fine, 2))
        quarter = self.third(nn.functional.max_pool2d(half, 2))
        half = self.back_second(torch.cat([_doubled(quarter), half], dim=1))
        fine = self.back_first(torch.cat([_doubled(half), fine], dim=1))
        return self.last(fine)


def _twice(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
        nn.Conv2d(after, after, 3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    )


def _doubled(x: torch.Tensor) -> torch.Tensor:
    return nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def named(seen: Observations, copies: str, *, steps: int) -> Guess:
    """Who it is, by a network trained on redacted pictures of everybody.

    Args:
        copies: ``one`` copy at any place, which the network is told; or ``all``: the averages of
            all runs at every place, place by place.
        steps: batches of 128 to train on.
    """
    inputs, chips = _inputs(seen, copies)
    identities, known = seen.identities[chips], seen.known[chips]
    people = int(identities.max()) + 1
    torch.manual_seed(_SEED)
    net = _Namer(inputs.shape[1], people)
    _train(net, inputs[known], torch.from_numpy(identities[known]), nn.CrossEntropyLoss(), steps)
    return Guess(_run(net, inputs[~known]), identities[~known])


def restored(
    seen: Observations, clear: Observations, copies: str, *, steps: int, each: int = 4
) -> tuple[Floats, NDArray[np.int64]]:
    """Faces as a network sees them that was trained to undo the redaction.

    It is trained on the known pictures, redacted by the attacker, and restores the probes.

    Args:
        copies, steps: as for :func:`named`.
        each: for ``one``: how many copies of each chip are restored.

    Returns:
        Pictures [n, side, side, channels] of probes, and the number of the chip that each shows.
    """
    inputs, chips = _inputs(seen, copies)
    target = resized(clear.crops[:, 0, 0], 2 * SIDE_PX)
    wanted = torch.from_numpy(target.transpose(0, 3, 1, 2).astype(np.float32) / 128 - 1)
    known = seen.known[chips]
    torch.manual_seed(_SEED)
    net = nn.Sequential(
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
        _Restorer(inputs.shape[1], target.shape[3]),
    )
    _train(net, inputs[known], wanted[chips[known]], nn.L1Loss(), steps, lit=False)
    order = np.random.default_rng(_SEED).permutation(np.flatnonzero(~known))
    rank = {chip: order[chips[order] == chip][:each] for chip in np.unique(chips[order])}
    pick = np.concatenate(list(rank.values()))
    made = (_run(net, inputs[torch.from_numpy(pick)]) + 1) * 128
    return made.transpose(0, 2, 3, 1), chips[pick]


def _inputs(seen: Observations, copies: str) -> tuple[torch.Tensor, NDArray[np.int64]]:
    """Samples [n, channels, SIDE_PX, SIDE_PX] about -1..1 and the chip each is of."""
    chips, places, runs = seen.crops.shape[:3]
    flat = resized(seen.crops.reshape(-1, *seen.crops.shape[3:]), SIDE_PX)
    shaped = flat.reshape(chips, places, runs, *flat.shape[1:]).astype(np.float32) / 128 - 1
    if copies == "all":
        means = shaped.mean(axis=2).transpose(0, 1, 4, 2, 3)
        joined = means.reshape(chips, -1, SIDE_PX, SIDE_PX)
        return torch.from_numpy(np.ascontiguousarray(joined)), np.arange(chips)
    # the place on the grid, as constant planes
    across = round(places**0.5)
    angles = 2 * np.pi * np.arange(across) / across
    row, column = np.divmod(np.arange(places), across)
    where = np.stack([f(angles[i]) for i in (row, column) for f in (np.sin, np.cos)], axis=1)
    planes = np.broadcast_to(
        where[None, :, None, :, None, None].astype(np.float32),
        (chips, places, runs, 4, SIDE_PX, SIDE_PX),
    )
    joined = np.concatenate([shaped.transpose(0, 1, 2, 5, 3, 4), planes], axis=3)
    samples = joined.reshape(-1, joined.shape[3], SIDE_PX, SIDE_PX)
    return torch.from_numpy(samples), np.repeat(np.arange(chips), places * runs)


def _train(
    net: nn.Module,
    inputs: torch.Tensor,
    wanted: torch.Tensor,
    loss: nn.Module,
    steps: int,
    *,
    lit: bool = True,
) -> None:
    """Adam with one cycle of learning rates; light and fine noise vary as between photographs."""
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.02)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=3e-3, total_steps=steps)
    generator = torch.Generator().manual_seed(_SEED)
    net.train()
    for _ in range(steps):
        pick = torch.randint(len(inputs), (min(_BATCH, len(inputs)),), generator=generator)
        batch = inputs[pick]
        if lit:
            light = 1 + 0.05 * torch.randn((len(pick), 1, 1, 1), generator=generator)
            shift = 0.03 * torch.randn((len(pick), 1, 1, 1), generator=generator)
            batch = batch * light + shift
        optimiser.zero_grad()
        loss(net(batch), wanted[pick]).backward()
        optimiser.step()
        cycle.step()


def _run(net: nn.Module, inputs: torch.Tensor) -> Floats:
    net.eval()
    with torch.no_grad():
        parts = [net(part).numpy() for part in inputs.split(1024)]
    return np.concatenate(parts).astype(np.float32)
