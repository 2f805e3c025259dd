"""Derive the sample study's three sites from the Medical Segmentation Decathlon's hippocampus task.

The sample study needs hospitals that differ as hospitals do: in the number of their cases, in voxel
spacing, in the scale of their intensities. The Decathlon's task 04 comes from one centre, so three
acquisitions are simulated on top of its real images. Nothing is drawn at run time: cases are picked
by the SHA-256 of their name and noise is seeded by the same digest, so that the script gives the
shipped files again, voxel for voxel.

    python resources/samples/derive.py DECATHLON_FOLDER OUTPUT_FOLDER

DECATHLON_FOLDER holds ``images/`` and ``labels/`` (or ``imagesTr/`` and ``labelsTr/``, as in the
Decathlon's own archive). OUTPUT_FOLDER receives one raw nnU-Net dataset per site. What is shipped
was made by the versions of numpy and SimpleITK in ``installer/locks``.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import SimpleITK

HELD_OUT_PER_SITE: Final = 5
LABELS: Final = {"background": 0, "anterior": 1, "posterior": 2}
# Any name that nnU-Net does not know (it knows CT, noNorm, zscore, rescale_to_0_1, rgb_to_0_1)
# selects z-score normalisation, which is what MR without a unit needs.
CHANNEL_NAMES: Final = {"0": "MRI"}
FILE_ENDING: Final = ".nii.gz"
LICENCE: Final = "CC-BY-SA 4.0"
REFERENCE: Final = (
    "Antonelli et al. 2022, The Medical Segmentation Decathlon, Nat Commun 13:4128; "
    "task 04, data by Vanderbilt University Medical Center"
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Acquisition:
    """How a site's simulated scanner turns the tissue of one case into numbers.

    ``spacing_mm`` is in the axis order of SimpleITK (x, y, z). ``intensity_at_white`` is the stored
    value of the case's 99.5th percentile; its 0.5th percentile becomes ``intensity_at_black``.
    ``bias_amplitude`` and ``noise_sigma`` are fractions of that range.
    """

    spacing_mm: tuple[float, float, float]
    intensity_at_black: float
    intensity_at_white: float
    gamma: float = 1.0
    bias_amplitude: float = 0.0
    noise_sigma: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SampleSite:
    """One invented hospital: how many cases it trains on, and how it measures them."""

    name: str
    title: str
    training_cases: int
    acquisition: Acquisition


SITES: Final = (
    SampleSite(
        name="north",
        title="North Hospital",
        training_cases=24,
        acquisition=Acquisition(
            spacing_mm=(1.0, 1.0, 1.0), intensity_at_black=0.0, intensity_at_white=1000.0
        ),
    ),
    SampleSite(
        name="harbour",
        title="Harbour Clinic",
        training_cases=16,
        acquisition=Acquisition(
            spacing_mm=(1.0, 1.0, 1.5),
            intensity_at_black=20.0,
            intensity_at_white=400.0,
            gamma=0.8,
        ),
    ),
    SampleSite(
        name="valley",
        title="Valley Medical Centre",
        training_cases=10,
        acquisition=Acquisition(
            spacing_mm=(1.2, 1.2, 1.2),
            intensity_at_black=100.0,
            intensity_at_white=3100.0,
            bias_amplitude=0.12,
            noise_sigma=0.015,
        ),
    ),
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SiteCases:
    """The names of the cases of one site. No case is in two tuples of the sample study."""

    training: tuple[str, ...]
    held_out: tuple[str, ...]


def name_digest(case_name: str) -> bytes:
    """Return the SHA-256 by which a case is picked and its noise seeded."""
    return hashlib.sha256(case_name.encode("ascii")).digest()


def pick_cases(case_names: Sequence[str]) -> Mapping[str, SiteCases]:
    """Hand out cases to the sites in the order of their name's digest.

    Raises:
        ValueError: there are fewer cases than the sites take.
    """
    needed = sum(site.training_cases + HELD_OUT_PER_SITE for site in SITES)
    in_order = sorted(set(case_names), key=name_digest)
    if len(in_order) < needed:
        raise ValueError(f"the sample study takes {needed} cases, the folder has {len(in_order)}")
    picked: dict[str, SiteCases] = {}
    taken = 0
    for site in SITES:
        training = in_order[taken : taken + site.training_cases]
        taken += site.training_cases
        held_out = in_order[taken : taken + HELD_OUT_PER_SITE]
        taken += HELD_OUT_PER_SITE
        picked[site.name] = SiteCases(
            training=tuple(sorted(training)), held_out=tuple(sorted(held_out))
        )
    return picked


def resampling_grid(
    image: SimpleITK.Image, spacing_mm: Sequence[float]
) -> tuple[list[int], tuple[float, ...]]:
    """Return the size and origin of the grid with ``spacing_mm`` over the field of view of ``image``.

    The outer edge of the first voxel stays where it is; the far edge moves by less than half a
    voxel.
    """
    old_spacing = np.asarray(image.GetSpacing())
    new_spacing = np.asarray(spacing_mm)
    size = [
        max(1, round(extent)) for extent in np.asarray(image.GetSize()) * old_spacing / new_spacing
    ]
    direction = np.asarray(image.GetDirection()).reshape(3, 3)
    origin = np.asarray(image.GetOrigin()) + direction @ ((new_spacing - old_spacing) / 2)
    return size, tuple(float(value) for value in origin)


def resample_image(image: SimpleITK.Image, spacing_mm: Sequence[float]) -> SimpleITK.Image:
    """Resample intensities linearly, after a Gaussian that stands for the thicker slice."""
    import SimpleITK

    image = SimpleITK.Cast(image, SimpleITK.sitkFloat64)
    if tuple(image.GetSpacing()) == tuple(spacing_mm):
        return image
    # A coarser voxel averages over its volume; half the added width is the usual stand-in for that
    # averaging and keeps the linear interpolation from aliasing.
    sigmas = [
        max(new - old, 0.0) / 2 for new, old in zip(spacing_mm, image.GetSpacing(), strict=True)
    ]
    for axis, sigma in enumerate(sigmas):
        if sigma > 0:
            image = SimpleITK.RecursiveGaussian(image, sigma=sigma, direction=axis)
    size, origin = resampling_grid(image, spacing_mm)
    return SimpleITK.Resample(
        image,
        size,
        SimpleITK.Transform(),
        SimpleITK.sitkLinear,
        origin,
        list(spacing_mm),
        image.GetDirection(),
        0.0,
        SimpleITK.sitkFloat64,
        True,  # beyond the last voxel centre the nearest voxel is taken, not the default value
    )


def resample_labels(labels: SimpleITK.Image, spacing_mm: Sequence[float]) -> SimpleITK.Image:
    """Resample every label linearly on its own and give each voxel the strongest one.

    Nearest-neighbour resampling would leave stairs; interpolating the numbers would invent
    'anterior' between background and 'posterior'.
    """
    import SimpleITK

    labels = SimpleITK.Cast(labels, SimpleITK.sitkUInt8)
    if tuple(labels.GetSpacing()) == tuple(spacing_mm):
        return labels
    size, origin = resampling_grid(labels, spacing_mm)
    shares = []
    share = labels
    for value in LABELS.values():
        share = SimpleITK.Resample(
            SimpleITK.Cast(labels == value, SimpleITK.sitkFloat64),
            size,
            SimpleITK.Transform(),
            SimpleITK.sitkLinear,
            origin,
            list(spacing_mm),
            labels.GetDirection(),
            0.0,
            SimpleITK.sitkFloat64,
            True,
        )
        shares.append(SimpleITK.GetArrayFromImage(share))
    strongest = np.argmax(np.stack(shares), axis=0).astype(np.uint8)
    result = SimpleITK.GetImageFromArray(strongest)
    result.CopyInformation(share)
    return result


def bias_field(
    shape: Sequence[int], amplitude: float, rng: np.random.Generator
) -> np.ndarray[Any, Any]:
    """Return a smooth multiplicative field of mean about one, as a surface coil leaves it.

    A first-order polynomial with random direction plus a weaker second-order bowl; values lie
    within 1 +- ``amplitude``.
    """
    axes = [np.linspace(-1.0, 1.0, length) for length in shape]
    grid = np.meshgrid(*axes, indexing="ij")
    direction = rng.normal(size=len(grid))
    direction /= np.abs(direction).sum()
    slope = sum(weight * axis for weight, axis in zip(direction, grid, strict=True))
    bowl = sum(axis**2 for axis in grid) / len(grid)
    field = 0.75 * slope + 0.25 * (1.0 - 2.0 * bowl)
    return 1.0 + amplitude * np.asarray(field)


def measure(image: SimpleITK.Image, acquisition: Acquisition, *, seed: int) -> SimpleITK.Image:
    """Return ``image`` as the site's simulated scanner would store it, as signed 16-bit integers."""
    import SimpleITK

    resampled = resample_image(image, acquisition.spacing_mm)
    values = SimpleITK.GetArrayFromImage(resampled)
    # The source's scale runs from 0-112 to 0-1,700,000 from case to case, as scanners leave it.
    # The robust range of the case becomes 0 to 1; the few brighter vessels stay above 1.
    black, white = np.percentile(values, [0.5, 99.5])
    values = np.clip((values - black) / (white - black), 0.0, None)
    values = values**acquisition.gamma
    rng = np.random.default_rng(seed)
    if acquisition.bias_amplitude:
        values = values * bias_field(values.shape, acquisition.bias_amplitude, rng)
    if acquisition.noise_sigma:
        # The magnitude of a signal with noise in both channels is Rician, and never negative.
        real, imaginary = rng.normal(scale=acquisition.noise_sigma, size=(2, *values.shape))
        values = np.hypot(values + real, imaginary)
    span = acquisition.intensity_at_white - acquisition.intensity_at_black
    stored = np.rint(acquisition.intensity_at_black + span * values)
    limits = np.iinfo(np.int16)
    result = SimpleITK.GetImageFromArray(np.clip(stored, limits.min, limits.max).astype(np.int16))
    result.CopyInformation(resampled)
    return result


def find_source(folder: Path) -> tuple[Path, Path]:
    """Return the folders of images and labels inside the Decathlon's folder.

    Raises:
        FileNotFoundError: neither of the two known layouts is there.
    """
    for images, labels in (("images", "labels"), ("imagesTr", "labelsTr")):
        if (folder / images).is_dir() and (folder / labels).is_dir():
            return folder / images, folder / labels
    raise FileNotFoundError(f"{folder} has neither images/ and labels/ nor imagesTr/ and labelsTr/")


def derive_case(
    case_name: str, source: Path, acquisition: Acquisition
) -> tuple[SimpleITK.Image, SimpleITK.Image]:
    """Return image and labels of one case, both on the site's grid."""
    import SimpleITK

    images, labels = find_source(source)
    image = SimpleITK.ReadImage(str(images / (case_name + FILE_ENDING)))
    label = SimpleITK.ReadImage(str(labels / (case_name + FILE_ENDING)))
    seed = int.from_bytes(name_digest(case_name)[:8], "big")
    measured = strip_header(measure(image, acquisition, seed=seed))
    drawn = strip_header(resample_labels(label, acquisition.spacing_mm))
    return measured, drawn


def strip_header(image: SimpleITK.Image) -> SimpleITK.Image:
    """Return ``image`` without any header field but its geometry: no description, no dates."""
    for key in image.GetMetaDataKeys():
        image.EraseMetaData(key)
    return image


def write_image(image: SimpleITK.Image, path: Path) -> None:
    import SimpleITK

    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image, str(path), useCompression=True, compressionLevel=9)


def write_site(site: SampleSite, cases: SiteCases, source: Path, output: Path) -> None:
    """Write one site's raw nnU-Net dataset, training and held-out cases, below ``output``."""
    for names, images, labels in (
        (cases.training, "imagesTr", "labelsTr"),
        (cases.held_out, "imagesTs", "labelsTs"),
    ):
        for name in names:
            image, drawn = derive_case(name, source, site.acquisition)
            write_image(image, output / images / f"{name}_0000{FILE_ENDING}")
            write_image(drawn, output / labels / f"{name}{FILE_ENDING}")
    description = {
        "name": f"Hippocampus, {site.title} (sample study)",
        "description": "Anterior and posterior hippocampus on T1-weighted MR; "
        "real images, simulated acquisition. Not for clinical use.",
        "reference": REFERENCE,
        "licence": LICENCE,
        "channel_names": CHANNEL_NAMES,
        "labels": LABELS,
        "numTraining": len(cases.training),
        "file_ending": FILE_ENDING,
    }
    (output / "dataset.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Derive the sample study's three sites.")
    parser.add_argument("decathlon", type=Path, help="folder of the Decathlon's hippocampus task")
    parser.add_argument("output", type=Path, help="folder that receives one dataset per site")
    options = parser.parse_args(arguments)
    _, labels = find_source(options.decathlon)
    names = [path.name.removesuffix(FILE_ENDING) for path in labels.glob(f"*{FILE_ENDING}")]
    picked = pick_cases(names)
    for site in SITES:
        cases = picked[site.name]
        write_site(site, cases, options.decathlon, options.output / site.name)
        print(f"{site.name}: {len(cases.training)} training, {len(cases.held_out)} held out")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
