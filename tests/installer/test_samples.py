"""The sample study's images: what is shipped is what the script makes, and fits nnU-Net."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import SimpleITK

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "resources" / "samples"
SITES = {"north": 24, "harbour": 16, "valley": 10}
SPACINGS_MM = {"north": (1.0, 1.0, 1.0), "harbour": (1.0, 1.0, 1.5), "valley": (1.2, 1.2, 1.2)}
HELD_OUT = 5
LARGEST_TOTAL_BYTES = 8_000_000
PARTS = (("imagesTr", "labelsTr"), ("imagesTs", "labelsTs"))


@pytest.fixture(scope="module")
def derive() -> ModuleType:
    """The deriving script as a module; it lies outside every package."""
    spec = importlib.util.spec_from_file_location("derive", SAMPLES / "derive.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["derive"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["derive"]


def folder_of(site: str) -> Path:
    return SAMPLES / "hippocampus" / site


def case_names(site: str, labels: str) -> list[str]:
    return sorted(
        path.name.removesuffix(".nii.gz") for path in (folder_of(site) / labels).iterdir()
    )


def test_each_site_has_its_number_of_cases_each_with_image_and_label():
    for site, training in SITES.items():
        for (images, labels), count in zip(PARTS, (training, HELD_OUT), strict=True):
            names = case_names(site, labels)
            assert len(names) == count
            found = sorted(path.name for path in (folder_of(site) / images).iterdir())
            assert found == [f"{name}_0000.nii.gz" for name in names]


def test_no_case_is_used_twice():
    names = [name for site in SITES for _, labels in PARTS for name in case_names(site, labels)]
    assert len(names) == len(set(names)) == sum(SITES.values()) + HELD_OUT * len(SITES)


def test_the_samples_stay_small():
    total = sum(path.stat().st_size for path in SAMPLES.rglob("*") if path.is_file())
    assert total <= LARGEST_TOTAL_BYTES


def test_attribution_and_licence_lie_beside_the_images():
    attribution = (SAMPLES / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for needed in ("CC-BY-SA 4.0", "Antonelli", "Medical Segmentation Decathlon", "Vanderbilt"):
        assert needed in attribution
    licence = (ROOT / "resources" / "LICENSES" / "CC-BY-SA-4.0.txt").read_text(encoding="utf-8")
    assert "Attribution-ShareAlike 4.0 International" in licence


@pytest.mark.parametrize("site", SITES)
def test_dataset_json_says_what_is_there(site: str):
    description = json.loads((folder_of(site) / "dataset.json").read_text(encoding="utf-8"))
    assert description["channel_names"] == {"0": "MRI"}
    assert description["labels"] == {"background": 0, "anterior": 1, "posterior": 2}
    assert description["numTraining"] == SITES[site]
    assert description["file_ending"] == ".nii.gz"


@pytest.mark.parametrize("site", SITES)
def test_every_case_has_both_labels_and_one_geometry(site: str):
    for images, labels in PARTS:
        for name in case_names(site, labels):
            image = SimpleITK.ReadImage(str(folder_of(site) / images / f"{name}_0000.nii.gz"))
            drawn = SimpleITK.ReadImage(str(folder_of(site) / labels / f"{name}.nii.gz"))
            assert image.GetSize() == drawn.GetSize()
            assert image.GetSpacing() == drawn.GetSpacing()
            assert image.GetOrigin() == drawn.GetOrigin()
            assert image.GetDirection() == drawn.GetDirection()
            np.testing.assert_allclose(image.GetSpacing(), SPACINGS_MM[site], atol=1e-6)
            assert image.GetPixelID() == SimpleITK.sitkInt16
            values, counts = np.unique(SimpleITK.GetArrayFromImage(drawn), return_counts=True)
            assert values.tolist() == [0, 1, 2]
            assert counts.min() >= 300


def test_the_sites_differ_in_their_intensity_scale():
    medians = {}
    for site in SITES:
        path = next((folder_of(site) / "imagesTr").iterdir())
        medians[site] = np.median(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))))
    assert medians["harbour"] * 1.5 < medians["north"]
    assert medians["north"] * 1.5 < medians["valley"]


def test_headers_hold_nothing_but_geometry():
    for path in SAMPLES.rglob("*.nii.gz"):
        image = SimpleITK.ReadImage(str(path))
        for key in ("descrip", "aux_file", "db_name", "intent_name", "ITK_FileNotes"):
            if image.HasMetaDataKey(key):
                assert image.GetMetaData(key).strip() in ("", "none")


@pytest.mark.parametrize("site", SITES)
def test_the_script_makes_the_shipped_files_again(
    site: str, derive: ModuleType, real_data: Path, tmp_path: Path
):
    source = real_data / "hippocampus"
    _, labels = derive.find_source(source)
    picked = derive.pick_cases([path.name.removesuffix(".nii.gz") for path in labels.iterdir()])
    assert list(picked[site].training) == case_names(site, "labelsTr")
    assert list(picked[site].held_out) == case_names(site, "labelsTs")
    acquisition = next(each.acquisition for each in derive.SITES if each.name == site)
    name = picked[site].training[0]
    for image, folder, ending in zip(
        derive.derive_case(name, source, acquisition),
        ("imagesTr", "labelsTr"),
        ("_0000.nii.gz", ".nii.gz"),
        strict=True,
    ):
        # Through a file, as single-precision headers round the geometry.
        derive.write_image(image, tmp_path / folder / "case.nii.gz")
        again = SimpleITK.ReadImage(str(tmp_path / folder / "case.nii.gz"))
        shipped = SimpleITK.ReadImage(str(folder_of(site) / folder / (name + ending)))
        assert again.GetOrigin() == shipped.GetOrigin()
        assert again.GetSpacing() == shipped.GetSpacing()
        np.testing.assert_array_equal(
            SimpleITK.GetArrayFromImage(again), SimpleITK.GetArrayFromImage(shipped)
        )


def test_too_few_cases_are_refused(derive: ModuleType):
    with pytest.raises(ValueError, match="takes 65 cases, the folder has 64"):
        derive.pick_cases([f"hippocampus_{number:03d}" for number in range(64)])


def test_labels_are_never_mixed_by_resampling(derive: ModuleType):
    """Between label 2 and background no voxel becomes label 1."""
    values = np.zeros((9, 9, 9), np.uint8)
    values[:, :, 4:] = 2
    resampled = derive.resample_labels(SimpleITK.GetImageFromArray(values), (1.2, 1.2, 1.5))
    assert np.unique(SimpleITK.GetArrayFromImage(resampled)).tolist() == [0, 2]


def test_resampling_keeps_the_first_edge_in_place(derive: ModuleType):
    image = SimpleITK.GetImageFromArray(np.zeros((12, 10, 10), np.float32))
    image.SetOrigin((5.0, -3.0, 2.0))
    image.SetDirection((-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0))
    resampled = derive.resample_image(image, (1.0, 1.0, 1.5))
    assert resampled.GetSize() == (10, 10, 8)

    def corner(of: SimpleITK.Image) -> tuple[float, ...]:
        return of.TransformContinuousIndexToPhysicalPoint((-0.5, -0.5, -0.5))

    np.testing.assert_allclose(corner(resampled), corner(image))
