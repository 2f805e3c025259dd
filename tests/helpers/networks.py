"""Networks as nnU-Net plans them, without a plan."""

from __future__ import annotations

from app.federation.network import Architecture, NetworkPlan


def unet(stages: int, *, inputs: int = 1, outputs: int = 3, width: int = 32) -> NetworkPlan:
    """A plain 3D U-Net as nnU-Net plans it, with so many stages."""
    return NetworkPlan(
        architecture=Architecture.PLAIN,
        features=tuple(min(10 * width, width * 2**stage) for stage in range(stages)),
        kernels=((3, 3, 3),) * stages,
        strides=((1, 1, 1), *(((2, 2, 2),) * (stages - 1))),
        encoder_depth=(2,) * stages,
        decoder_depth=(2,) * (stages - 1),
        bias=True,
        affine=True,
        inputs=inputs,
        outputs=outputs,
    )
