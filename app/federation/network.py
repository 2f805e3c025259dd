"""The tensors of a planned network, told from the plan alone, without building it.

So a coordinator knows the names and shapes every update must have without torch. Source of names
and order: dynamic_network_architectures 0.4, architectures/unet.py and building_blocks/; each
tensor once, under its first name (`decoder.encoder.*` and `all_modules` are the same ones again).
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, replace

from app.domain.rounds import TensorSpec


class Architecture(enum.Enum):
    """The networks that a study may train, by nnU-Net's own class names."""

    PLAIN = "PlainConvUNet"
    RESIDUAL = "ResidualEncoderUNet"


class Role(enum.Enum):
    """What a tensor does in the network."""

    STEM = "stem"
    ENCODER = "encoder"
    BOTTLENECK = "bottleneck"
    DECODER = "decoder"
    UPSAMPLING = "upsampling"
    HEAD = "head"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPlan:
    """A U-Net as a plan describes it; one entry per stage from full resolution down.

    `kernels` and `strides` are per axis in the plan's (transposed) axis order. `encoder_depth` is
    convolutions or residual blocks per stage, `decoder_depth` convolutions per decoder stage,
    deepest first. `inputs` are image channels, and label channels in a cascade; `outputs` are
    labels or regions. `input_names` and `output_names` say what they mean, where that is known:
    layers of equal shape that read other images or mark other structures are not alike.
    """

    architecture: Architecture
    features: tuple[int, ...]
    kernels: tuple[tuple[int, ...], ...]
    strides: tuple[tuple[int, ...], ...]
    encoder_depth: tuple[int, ...]
    decoder_depth: tuple[int, ...]
    bias: bool
    affine: bool
    inputs: int
    outputs: int
    input_names: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()

    @property
    def stages(self) -> int:
        """Number of resolutions, full resolution included."""
        return len(self.features)

    def scale(self, stage: int) -> tuple[int, ...]:
        """Stride of a stage to full resolution, per axis."""
        axes = len(self.strides[0])
        return tuple(
            math.prod(stride[axis] for stride in self.strides[: stage + 1]) for axis in range(axes)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedTensor:
    """One tensor, and what it does where: `part` is its place among tensors of role and scale.

    `meaning` are the channels that it reads or the structures that it marks, for tensors that do.
    """

    spec: TensorSpec
    role: Role
    scale: tuple[int, ...]
    part: str
    meaning: tuple[str, ...] = ()


def tensors(network: NetworkPlan) -> tuple[PlacedTensor, ...]:
    """List every tensor of a network in the order of its parameters."""
    first, *encoder = _encoder(network)
    return (
        replace(first, meaning=network.input_names),
        *encoder,
        *(
            replace(tensor, meaning=network.output_names) if tensor.role is Role.HEAD else tensor
            for tensor in _decoder(network)
        ),
    )


def manifest(network: NetworkPlan) -> tuple[TensorSpec, ...]:
    """Names, shapes and types of what an update of this network holds."""
    return tuple(tensor.spec for tensor in tensors(network))


def parameters(network: NetworkPlan) -> int:
    """Number of weights of a network."""
    return sum(math.prod(tensor.spec.shape) for tensor in tensors(network))


class _Block:
    """Collects the tensors of one module; `prefix` is its name in the network."""

    def __init__(self, role: Role, scale: tuple[int, ...], prefix: str, place: str) -> None:
        self.role, self.scale, self.prefix, self.place = role, scale, prefix, place
        self.found: list[PlacedTensor] = []

    def add(self, name: str, shape: tuple[int, ...]) -> None:
        self.found.append(
            PlacedTensor(
                spec=TensorSpec(name=f"{self.prefix}.{name}", shape=shape),
                role=self.role,
                scale=self.scale,
                part=f"{self.place}.{name}" if self.place else name,
            )
        )

    def convolution(
        self, name: str, outputs: int, inputs: int, kernel: tuple[int, ...], *, bias: bool
    ) -> None:
        dot = f"{name}." if name else ""
        self.add(f"{dot}weight", (outputs, inputs, *kernel))
        if bias:
            self.add(f"{dot}bias", (outputs,))

    def normalised(
        self,
        name: str,
        network: NetworkPlan,
        outputs: int,
        inputs: int,
        kernel: tuple[int, ...],
        *,
        bias: bool,
    ) -> None:
        """Add a convolution with the normalisation behind it."""
        self.convolution(f"{name}.conv", outputs, inputs, kernel, bias=bias)
        if network.affine:
            self.add(f"{name}.norm.weight", (outputs,))
            self.add(f"{name}.norm.bias", (outputs,))


def _encoder(network: NetworkPlan) -> list[PlacedTensor]:
    found: list[PlacedTensor] = []
    inputs = network.inputs
    if network.architecture is Architecture.RESIDUAL:
        stem = _Block(Role.STEM, network.scale(0), "encoder.stem", "")
        inputs = network.features[0]
        stem.normalised(
            "convs.0", network, inputs, network.inputs, network.kernels[0], bias=network.bias
        )
        found += stem.found
    for stage, outputs in enumerate(network.features):
        role = Role.BOTTLENECK if stage == network.stages - 1 else Role.ENCODER
        scale, kernel = network.scale(stage), network.kernels[stage]
        for depth in range(network.encoder_depth[stage]):
            if network.architecture is Architecture.RESIDUAL:
                block = _Block(
                    role, scale, f"encoder.stages.{stage}.blocks.{depth}", f"blocks.{depth}"
                )
                stride = network.strides[stage] if depth == 0 else ()
                _residual(block, network, outputs, inputs, kernel, stride)
            else:
                first = stage == 0 and depth == 0
                block = _Block(Role.STEM if first else role, scale, f"encoder.stages.{stage}.0", "")
                block.normalised(
                    f"convs.{depth}", network, outputs, inputs, kernel, bias=network.bias
                )
            found += block.found
            inputs = outputs
    return found


def _residual(
    block: _Block,
    network: NetworkPlan,
    outputs: int,
    inputs: int,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
) -> None:
    block.normalised("conv1", network, outputs, inputs, kernel, bias=network.bias)
    block.normalised("conv2", network, outputs, outputs, kernel, bias=network.bias)
    if inputs != outputs:
        # The skip path pools first where the block strides, then projects without bias.
        place = 1 if any(step != 1 for step in stride) else 0
        ones = (1,) * len(kernel)
        block.normalised(f"skip.{place}", network, outputs, inputs, ones, bias=False)


def _decoder(network: NetworkPlan) -> list[PlacedTensor]:
    convolutions: list[PlacedTensor] = []
    upsampling: list[PlacedTensor] = []
    heads: list[PlacedTensor] = []
    ones = (1,) * len(network.kernels[0])
    for number in range(network.stages - 1):
        below = network.stages - 1 - number
        stage = below - 1
        outputs, scale = network.features[stage], network.scale(stage)
        inputs = 2 * outputs
        for depth in range(network.decoder_depth[number]):
            block = _Block(Role.DECODER, scale, f"decoder.stages.{number}", "")
            block.normalised(
                f"convs.{depth}",
                network,
                outputs,
                inputs,
                network.kernels[stage],
                bias=network.bias,
            )
            convolutions += block.found
            inputs = outputs
        transposed = _Block(Role.UPSAMPLING, scale, f"decoder.transpconvs.{number}", "")
        # A transposed convolution names its inputs first; its kernel is its stride.
        transposed.convolution(
            "", network.features[below], outputs, network.strides[below], bias=False
        )
        if network.bias:
            transposed.add("bias", (outputs,))
        upsampling += transposed.found
        head = _Block(Role.HEAD, scale, f"decoder.seg_layers.{number}", "")
        head.convolution("", network.outputs, outputs, ones, bias=True)
        heads += head.found
    return [*convolutions, *upsampling, *heads]
