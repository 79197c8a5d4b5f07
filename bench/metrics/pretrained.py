"""Pretrained extractors: what torch-fidelity registers, its Inception behind clean-fid's resizing.

The libraries' classes are used as they are, with two changes that leave their numbers alone:
weights are read by :func:`bench.metrics.weight_files.read_tensors`, for torch-fidelity itself would
run code that hides in a file, and the Inception's normalisations are folded into its convolutions,
which then run channels last (on a CPU 1.5 times as fast). In float32 features then
differ as far from the exact ones as those of the library do, by some 2e-6.
"""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.metrics.extractor_card import ExtractorCard, ViewInputs, hub_folder
from bench.metrics.view import View, fold
from bench.metrics.weight_files import read_tensors


def _rgb(levels: Tensor, top: int) -> Tensor:
    """Returns levels 0..top as uint8 in 0..255 of three channels."""
    if top != 255:
        levels = (levels.to(torch.float32) * (255 / top)).round().to(torch.uint8)
    return levels.expand(-1, 3, -1, -1)


def _preprocess(top: int) -> str:
    scale = "v" if top == 255 else f"round(v * 255 / {top})"
    return f"{scale} in uint8, grey repeated to 3 channels, then as the library does"


def _registered_name(card: ExtractorCard) -> str:
    """Returns the name under which torch-fidelity registers an extractor."""
    file = card.weights[0]
    if card.dimension == 2048 and card.classes == 1008:
        return "inception-v3-compat"
    return "vgg16" if file.startswith("vgg16") else file.rpartition("-")[0]


class TorchFidelity(View):
    """What torch-fidelity registers: its features, and its unbiased logits if it has classes."""

    resize = "TensorFlow 1's bilinear, not antialiased, not rounded (torch-fidelity)"

    def __init__(self, inputs: ViewInputs) -> None:
        super().__init__()
        from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

        card, content, name = inputs.card, inputs.content, _registered_name(inputs.card)
        kind = FEATURE_EXTRACTORS_REGISTRY[name]
        if not name.startswith("clip"):  # TorchScript, whose digest is published
            read_tensors(content)
        layers = [kind.get_default_feature_layer_for_metric("prc")]
        layers += ["logits_unbiased"] if card.classes else []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            file = io.BytesIO(content)
            self.network = kind(name, layers, feature_extractor_weights_path=file).eval()
        if card.classes:
            fold_inception(self.network)
        self.top = inputs.levels - 1
        self.preprocess = _preprocess(self.top)

    def forward(self, levels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Returns features (B, D) and logits (B, classes)."""
        found = self.network(_rgb(levels, self.top).contiguous(memory_format=torch.channels_last))
        return found if len(found) == 2 else (found[0], None)


class CleanInception(View):
    """The reference Inception on images that clean-fid resized."""

    resize = "PIL bicubic, antialiased, in floats, clipped to 0..255 (clean-fid)"

    def __init__(self, inputs: ViewInputs) -> None:
        super().__init__()
        from cleanfid.resize import build_resizer

        inner = TorchFidelity(inputs)
        self.network, self.top, self.preprocess = inner.network, inner.top, inner.preprocess
        self.resizer = build_resizer("clean")

    def forward(self, levels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns features (B, 2048) and logits (B, 1008)."""
        images = _rgb(levels, self.top).permute(0, 2, 3, 1).cpu().numpy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            resized = np.stack([self.resizer(image) for image in images])
        x = torch.from_numpy(resized).to(levels.device).permute(0, 3, 1, 2)
        x = ((x - 128) / 128).contiguous(memory_format=torch.channels_last)
        for name, layer in self.network.named_children():
            if name == "fc":
                break
            x = layer(x)
        features = x.flatten(1)
        return features, features @ self.network.fc.weight.T


class DinoV2(View):
    """DINOv2 by the code and the weights that torch.hub fetched before; nothing is fetched here."""

    resize = TorchFidelity.resize

    def __init__(self, inputs: ViewInputs) -> None:
        super().__init__()
        from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2

        hub, folder = inputs.card.weights[0].removesuffix("_pretrain.pth"), _repository()
        network: Any = torch.hub.load(str(folder), hub, source="local", pretrained=False)
        network.load_state_dict(read_tensors(inputs.content))
        # Its constructor would ask the network for the newest code.
        view = FeatureExtractorDinoV2.__new__(FeatureExtractorDinoV2)
        nn.Module.__init__(view)
        view.model, view.features_list = network, ["dinov2"]
        view.feature_extractor_internal_dtype = torch.float32
        self.network, self.top = view, inputs.levels - 1
        self.preprocess = _preprocess(self.top)

    def forward(self, levels: Tensor) -> tuple[Tensor, None]:
        """Returns features (B, D)."""
        return self.network(_rgb(levels, self.top))[0], None


def _repository() -> Path:
    for name in ("facebookresearch_dinov2_main", "facebookresearch_dinov2_master"):
        if (hub_folder() / name).is_dir():
            return hub_folder() / name
    raise ValueError(
        f"the code of facebookresearch/dinov2 is not in {hub_folder()}: torch.hub.load fetches it "
        "once"
    )


def fold_inception(network: nn.Module) -> None:
    """Folds the normalisations of an Inception into its convolutions, to run channels last."""
    pairs = [
        (part, "conv", "bn")
        for part in network.modules()
        if hasattr(part, "conv") and hasattr(part, "bn")
    ]
    fold(network, pairs)
    network.to(memory_format=torch.channels_last)
