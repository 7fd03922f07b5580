"""Backbones by name, and how each is filled with pretrained weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from mitosis_core.encoders.efficientnet_lite import EfficientNetLite0, load_package
from mitosis_core.encoders.encoder_net import EncoderNet
from mitosis_core.encoders.resnet import ResNet, load_torchvision
from mitosis_core.encoders.thin_resnet import ThinResNet50, load_onnx
from mitosis_core.errors import UnusableModel
from mitosis_core.weights import find_weights


@dataclass(frozen=True)
class Encoder:
    """build() gives a module with `channels` and `strides` whose forward takes RGB 0..255 to one map per stride."""

    title: str
    build: Callable[[], EncoderNet]
    pretrain: Callable[[EncoderNet], None]


def _pretrain_thin_resnet50(net: EncoderNet) -> None:
    assert isinstance(net, ThinResNet50)
    load_onnx(net, find_weights("thin_resnet50"))


def _pretrain_efficientnet_lite0(net: EncoderNet) -> None:
    assert isinstance(net, EfficientNetLite0)
    load_package(net, find_weights("efficientnet_lite0"))


def _pretrain_resnet(name: str, net: EncoderNet) -> None:
    assert isinstance(net, ResNet)
    load_torchvision(net, find_weights(name))


ENCODERS: dict[str, Encoder] = {
    "thin_resnet50": Encoder("Thin ResNet-50", ThinResNet50, _pretrain_thin_resnet50),
    "efficientnet_lite0": Encoder("EfficientNet-Lite0", EfficientNetLite0, _pretrain_efficientnet_lite0),
    "resnet18": Encoder("ResNet-18", partial(ResNet, 18), partial(_pretrain_resnet, "resnet18")),
    "resnet50": Encoder("ResNet-50", partial(ResNet, 50), partial(_pretrain_resnet, "resnet50")),
}


def build_encoder(name: str, *, pretrained: bool) -> EncoderNet:
    """Raises UnusableModel for an unknown name or when the weights cannot be had."""
    if name not in ENCODERS:
        raise UnusableModel(f"There is no encoder “{name}”; there are {', '.join(ENCODERS)}.")
    encoder = ENCODERS[name].build()
    if pretrained:
        ENCODERS[name].pretrain(encoder)
    return encoder
