"""DICOM series, SEG and RTSTRUCT written for tests, with invented patients who must never show up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

PATIENT = "Quillfeather^Zephyrine"
PATIENT_ID = "MRN7704412"
SECRETS = (b"Quillfeather", b"Zephyrine", b"MRN7704412", b"19520229", b"Saint Elsewhere", b"Dr^Who")
RTSTRUCT_STORAGE = "1.2.840.10008.5.1.4.1.1.481.3"

Matrix = tuple[tuple[float, float, float], ...]


def dataset(kind: str, *, study: str, series: str, frame: str, modality: str) -> FileDataset:
    """An object with everything that a scanner says of a patient."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = kind
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    found.SOPClassUID, found.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
    found.PatientName, found.PatientID, found.PatientBirthDate = PATIENT, PATIENT_ID, "19520229"
    found.PatientSex, found.AccessionNumber, found.StudyID = "O", "", "1"
    found.InstitutionName, found.ReferringPhysicianName = "Saint Elsewhere", "Dr^Who"
    found.StudyDate, found.StudyTime, found.Manufacturer = "20200101", "120000", "x"
    found.StudyInstanceUID, found.SeriesInstanceUID = study, series
    found.FrameOfReferenceUID, found.Modality = frame, modality
    found.SeriesNumber, found.PositionReferenceIndicator = 1, ""
    return found


class DicomStudy:
    """One patient's study below `folder`; series share a frame of reference."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.study, self.frame = generate_uid(), generate_uid()

    def series(
        self,
        name: str,
        array: np.ndarray,
        *,
        spacing=(3.0, 0.8, 0.7),
        origin=(-40.0, 12.5, 100.0),
        rows=(1.0, 0.0, 0.0),
        columns=(0.0, 1.0, 0.0),
        modality="CT",
        description="",
        slope=1.0,
        intercept=0.0,
        leave_out=(),
        offsets=None,
        image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
    ) -> list[FileDataset]:
        """Write an array (z, y, x) of int16 as one file for each slice, in a scrambled order.

        `offsets` (n, 3) moves slices, in mm. Returns what was written, by slice.
        """
        place = self.folder / name
        place.mkdir(parents=True, exist_ok=True)
        uid = generate_uid()
        normal = np.cross(rows, columns)
        kind = CTImageStorage if modality == "CT" else MRImageStorage
        written = []
        for number, pixels in enumerate(array):
            one = dataset(kind, study=self.study, series=uid, frame=self.frame, modality=modality)
            position = np.asarray(origin) + number * spacing[0] * normal
            if offsets is not None:
                position = position + offsets[number]
            one.ImagePositionPatient = [f"{part:.6f}" for part in position]
            one.ImageOrientationPatient = [f"{part:.9f}" for part in (*rows, *columns)]
            one.PixelSpacing = [spacing[1], spacing[2]]
            one.SliceThickness = spacing[0]
            one.SeriesDescription, one.ImageType = description, list(image_type)
            one.InstanceNumber = len(array) - number
            one.Rows, one.Columns = pixels.shape
            one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
            one.BitsAllocated, one.BitsStored, one.HighBit = 16, 16, 15
            one.PixelRepresentation = 1
            one.RescaleSlope, one.RescaleIntercept = slope, intercept
            one.PixelData = np.ascontiguousarray(pixels, dtype="<i2").tobytes()
            if number not in leave_out:
                # Names that sort neither by position nor by instance, and have no ending.
                one.save_as(place / f"IM{(number * 7) % 101:03d}", enforce_file_format=True)
                written.append(one)
        return written

    def segmentation(
        self, path: str, images: list[FileDataset], masks: dict[str, np.ndarray]
    ) -> Path:
        """Write a SEG with highdicom, which leaves empty frames out."""
        from highdicom import AlgorithmIdentificationSequence
        from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentDescription
        from pydicom.sr.codedict import codes

        made = AlgorithmIdentificationSequence(
            name="test", version="1", family=codes.cid7162.ArtificialIntelligence
        )
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        Segmentation(
            source_images=images,
            pixel_array=np.stack(list(masks.values()), axis=-1).astype(np.uint8),
            segmentation_type="BINARY",
            segment_descriptions=[
                SegmentDescription(
                    segment_number=number,
                    segment_label=name,
                    segmented_property_category=codes.SCT.Organ,
                    segmented_property_type=codes.SCT.Liver,
                    algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
                    algorithm_identification=made,
                )
                for number, name in enumerate(masks, start=1)
            ],
            series_instance_uid=generate_uid(),
            series_number=2,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer="x",
            manufacturer_model_name="x",
            software_versions="1",
            device_serial_number="1",
            omit_empty_frames=True,
        ).save_as(target)
        return target

    def structure_set(
        self,
        path: str,
        images: list[FileDataset],
        regions: dict[str, list[np.ndarray]],
    ) -> Path:
        """Write an RTSTRUCT of closed contours, each (n, 3) in mm."""
        first = images[0]
        found = dataset(
            RTSTRUCT_STORAGE,
            study=self.study,
            series=generate_uid(),
            frame=self.frame,
            modality="RTSTRUCT",
        )
        del found.FrameOfReferenceUID
        found.StructureSetLabel = "x"
        series = pydicom.Dataset()
        series.SeriesInstanceUID = first.SeriesInstanceUID
        study = pydicom.Dataset()
        study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"
        study.ReferencedSOPInstanceUID = self.study
        study.RTReferencedSeriesSequence = Sequence([series])
        frame = pydicom.Dataset()
        frame.FrameOfReferenceUID = self.frame
        frame.RTReferencedStudySequence = Sequence([study])
        found.ReferencedFrameOfReferenceSequence = Sequence([frame])
        names, contours = [], []
        for number, (name, polygons) in enumerate(regions.items(), start=1):
            region = pydicom.Dataset()
            region.ROINumber, region.ROIName = number, name
            region.ReferencedFrameOfReferenceUID = self.frame
            region.ROIGenerationAlgorithm = "MANUAL"
            names.append(region)
            drawn = pydicom.Dataset()
            drawn.ReferencedROINumber = number
            parts = []
            for polygon in polygons:
                contour = pydicom.Dataset()
                contour.ContourGeometricType = "CLOSED_PLANAR"
                contour.NumberOfContourPoints = len(polygon)
                contour.ContourData = [f"{value:.6f}" for value in np.ravel(polygon)]
                parts.append(contour)
            drawn.ContourSequence = Sequence(parts)
            contours.append(drawn)
        found.StructureSetROISequence = Sequence(names)
        found.ROIContourSequence = Sequence(contours)
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        found.save_as(target, enforce_file_format=True)
        return target


def noise(shape=(8, 20, 24), seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1000, 1000, shape).astype(np.int16)


def box(shape, z, y, x) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[slice(*z), slice(*y), slice(*x)] = True
    return mask
