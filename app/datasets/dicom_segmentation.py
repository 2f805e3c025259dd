"""Writing a segmentation as a DICOM SEG object that belongs to the series it was made of.

The object carries of the patient what its source series carries, because a SEG without them
belongs to nobody in an archive; it stays at the site like the series itself. (DICOM PS3.3 A.51;
highdicom writes patient, study and frame of reference as the source has them.)
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

import app
from app.datasets.dicom_index import quietly
from app.domain.dataset import BACKGROUND, IGNORE
from app.domain.errors import DataProblem, ErrorCode
from app.system.atomic import disk_errors

if TYPE_CHECKING:
    from pydicom import Dataset

_MAKER: Final = "FednnU-Net Desktop"
_LONGEST_LABEL: Final = 64
"""Characters of a segment's label (VR LO)."""
# A series of ours must sort behind those of the scanner.
_SERIES_NUMBER: Final = 9000
# Must be there though they may say nothing (type 2); de-identified series often lack them.
_MAY_BE_EMPTY: Final = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PositionReferenceIndicator",
)
_COLOURS: Final = (
    (43, 118, 176),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (213, 94, 0),
    (240, 228, 66),
)


def write_segmentation(
    prediction: npt.NDArray[np.generic],
    slices: Sequence[Path],
    labels: Mapping[str, int | tuple[int, ...]],
    output: Path,
    *,
    model: str,
    model_digest: str,
) -> None:
    """Write `prediction` (z, y, x) with one segment for each label, regions included.

    `slices` are the files of the source series in the order of z. A label without a voxel has a
    segment all the same, without frames, where another one has voxels.

    Raises:
        DataProblem: the series cannot be read any more or does not fit the prediction.
        SetupProblem: the file cannot be written.
    """
    import pydicom
    from highdicom import UID, AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import (
        SegmentAlgorithmTypeValues,
        Segmentation,
        SegmentationTypeValues,
        SegmentDescription,
    )
    from pydicom.sr.codedict import codes

    if len(slices) != prediction.shape[0]:
        raise DataProblem(
            f"the DICOM series has {len(slices)} slices, the segmentation {prediction.shape[0]}",
            code=ErrorCode.GEOMETRY_DIFFERS,
        )
    foreground = {name: value for name, value in labels.items() if name not in (BACKGROUND, IGNORE)}
    pixels = _pixels(prediction, tuple(foreground.values()))
    with quietly():
        sources: list[Dataset] = []
        for path in slices:
            try:
                source = pydicom.dcmread(path, stop_before_pixels=True)
            except (OSError, ValueError, KeyError, EOFError) as exc:
                raise DataProblem(
                    f"{path.name} of the DICOM series cannot be read any more",
                    code=ErrorCode.CASE_UNREADABLE,
                ) from exc
            for keyword in _MAY_BE_EMPTY:
                if keyword not in source:
                    setattr(source, keyword, "")
            sources.append(source)
        algorithm = AlgorithmIdentificationSequence(
            name=model[:_LONGEST_LABEL],
            version=model_digest[:16],
            family=codes.DCM.ArtificialIntelligence,
        )
        descriptions = [
            SegmentDescription(
                segment_number=number,
                segment_label=name[:_LONGEST_LABEL],
                segmented_property_category=codes.SCT.AnatomicalStructure,
                segmented_property_type=codes.SCT.AnatomicalStructure,
                algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
                algorithm_identification=algorithm,
                display_color=CIELabColor.from_rgb(*_COLOURS[(number - 1) % len(_COLOURS)]),
            )
            for number, name in enumerate(foreground, start=1)
        ]
        try:
            made: Any = Segmentation(
                source_images=sources,
                pixel_array=pixels,
                segmentation_type=SegmentationTypeValues.BINARY,
                segment_descriptions=descriptions,
                series_instance_uid=UID(),
                series_number=_SERIES_NUMBER,
                sop_instance_uid=UID(),
                instance_number=1,
                manufacturer=_MAKER,
                manufacturer_model_name=_MAKER,
                software_versions=app.__version__,
                device_serial_number=model_digest[:16],
                series_description=f"Segmentation, research use only: {model}"[:_LONGEST_LABEL],
                content_label="SEGMENTATION",
                omit_empty_frames=True,
            )
        except (ValueError, TypeError, AttributeError, KeyError, IndexError) as exc:
            raise DataProblem(
                "the DICOM series lacks what a DICOM SEG must refer to",
                code=ErrorCode.CASE_UNREADABLE,
            ) from exc
        with (
            disk_errors(output),
            tempfile.TemporaryDirectory(dir=output.parent, prefix=".dicom-seg-") as scratch,
        ):
            written = Path(scratch) / output.name
            made.save_as(written)
            written.replace(output)


def _pixels(
    prediction: npt.NDArray[np.generic], values: Sequence[int | tuple[int, ...]]
) -> npt.NDArray[Any]:
    """Return segment numbers (z, y, x), or one mask for each segment where regions overlap."""
    if any(isinstance(value, tuple) for value in values):
        return np.stack([np.isin(prediction, value) for value in values], axis=-1)
    # A mask for each organ of a whole body would take gigabytes.
    numbers = np.zeros(prediction.shape, dtype=np.uint8 if len(values) < 256 else np.uint16)
    for number, value in enumerate(values, start=1):
        numbers[prediction == value] = number
    return numbers
