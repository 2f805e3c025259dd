"""A model zip that plain nnU-Net installs (`nnUNetv2_install_pretrained_model_from_zip`) and runs.

Layout as nnU-Net's own export has it, which demands a finished cross-validation and cannot be used
(nnunetv2 2.8.1, model_sharing/model_export.py):

    DatasetNNN_Name/nnUNetTrainer__<plans>__<configuration>/
        plans.json  dataset.json  dataset_fingerprint.json  README.txt  study_plan.json
        fold_<fold>/checkpoint_final.pth

A cascade has such a folder for each of its two passes.

The same weights and plan give the same bytes. The checkpoint holds tensors and plain types only, so
`torch.load(..., weights_only=True)` reads it.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from app.domain.errors import ErrorCode, PeerMistake
from app.domain.folds import CASCADE, COARSE
from app.domain.ids import Digest
from app.domain.rounds import BlobRef
from app.nnunet import environment
from app.nnunet.convert import Json, PlanDocument, fold_of, read_plan
from app.system.atomic import disk_errors, make_folder, move_durable

CHECKPOINT: Final = "checkpoint_final.pth"
_DATASET_NAME: Final = re.compile(r"Dataset[0-9]{3}_[A-Za-z0-9_]{1,60}")
_OTHER_CHARACTERS: Final = re.compile(r"[^A-Za-z0-9]+")
# nnU-Net numbers its users' datasets; exported models take numbers that are rarely in use.
_FIRST_NUMBER: Final = 500
_NUMBERS: Final = 500
# The earliest time that a zip can hold: an archive says nothing of when or where it was made.
_ZIP_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_FILE_MODE: Final = 0o644 << 16


def dataset_name(model_name: str, plan: Digest) -> str:
    """Return the nnU-Net dataset name of a model: `model_name` if it is one, else one made of it.

    The number comes from the plan's digest, so that models of different studies seldom meet.
    """
    if _DATASET_NAME.fullmatch(model_name):
        return model_name
    words = _OTHER_CHARACTERS.sub("_", model_name).strip("_")[:60] or "Model"
    return f"Dataset{_FIRST_NUMBER + int(plan, 16) % _NUMBERS:03d}_{words}"


def export_model(
    *,
    plan: Path,
    folds: Mapping[str, Path],
    configuration: str,
    model_name: str,
    output: Path,
    first_pass: Mapping[str, Path] | None = None,
) -> BlobRef:
    """Write the model zip to `output`, durably; return its digest and size.

    `folds` gives for each fold a safetensors file of the network's unique tensors; aliases are tied
    again. nnU-Net averages what the folds of one model predict. `first_pass` gives the same for the
    coarse network of a cascade, whose second pass needs what that one makes of an image.

    Raises:
        PeerMistake: the plan or the weights do not describe such a network.
        SetupProblem: a file is missing, the disk is full, or the place is forbidden.
    """
    environment.prepare()
    from app.nnunet.initial import build_network
    from app.nnunet.weights import TRAINER_NAME, read_into, slim_checkpoint, write_checkpoint

    document = read_plan(plan)
    passes = {configuration: folds} | ({COARSE: first_pass} if first_pass else {})
    built = {one: build_network(document, one) for one in passes}
    trained = [
        (one, fold, weights)
        for one, of_folds in passes.items()
        for fold, weights in of_folds.items()
    ]
    for one, _fold, weights in trained:
        read_into(built[one], weights)  # what does not fit is found before anything is written
    name = dataset_name(model_name, document.digest)
    plans = document.plans_for(name)
    identifier = plans.get("plans_name")
    if not isinstance(identifier, str):
        raise PeerMistake("the plans have no name", code=ErrorCode.PLANS_REFUSED)
    roots = {one: f"{name}/{TRAINER_NAME}__{identifier}__{one}" for one in passes}
    make_folder(output.parent)
    readme = _readme(name, identifier, configuration, passes, document).encode()
    common = {
        "README.txt": readme,
        "dataset.json": _pretty(document.dataset),
        "dataset_fingerprint.json": _pretty(document.fingerprint),
        "plans.json": _pretty(plans),
        "study_plan.json": _pretty({"sha256": document.digest, "versions": document.versions}),
    }
    texts = {f"{root}/{file}": text for root in roots.values() for file, text in common.items()}
    with (
        disk_errors(output),
        tempfile.TemporaryDirectory(dir=output.parent, prefix=".export-") as scratch,
    ):
        stored: dict[str, Path] = {}
        for one, fold, weights in trained:
            read_into(built[one], weights)
            checkpoint = slim_checkpoint(
                built[one],
                plans=plans,
                dataset=document.dataset,
                configuration=one,
                fold=fold_of(fold),
                mirroring_axes=mirroring_axes(plans, one),
            )
            entry = f"{roots[one]}/fold_{fold}/{CHECKPOINT}"
            stored[entry] = Path(scratch) / f"{one}-{fold}.pth"
            write_checkpoint(checkpoint, stored[entry])
        archive = Path(scratch) / output.name
        _write_zip(archive, texts, stored)
        with archive.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size = archive.stat().st_size
        move_durable(archive, output)
    return BlobRef(sha256=Digest(sha256), size=size)


def mirroring_axes(plans: Json, configuration: str) -> tuple[int, ...]:
    """Return the axes that the stock trainer mirrors, and so allows at prediction: all of them.

    Source: nnunetv2 2.8.1, nnUNetTrainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size.
    """
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    return tuple(range(len(PlansManager(plans).get_configuration(configuration).patch_size)))


def _write_zip(archive: Path, texts: dict[str, bytes], stored: dict[str, Path]) -> None:
    with zipfile.ZipFile(archive, "w") as target:
        for name in sorted((*texts, *stored)):
            info = zipfile.ZipInfo(name, _ZIP_EPOCH)
            info.external_attr = _FILE_MODE
            info.create_system = 3  # Unix, whatever wrote it
            if name in stored:
                # Weights hardly shrink; stored, they cost no time on either side.
                info.file_size = stored[name].stat().st_size
                with stored[name].open("rb") as source, target.open(info, "w") as entry:
                    while block := source.read(1 << 20):
                        entry.write(block)
            else:
                info.compress_type = zipfile.ZIP_DEFLATED
                target.writestr(info, texts[name])


def _pretty(content: Json) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _readme(
    name: str,
    identifier: str,
    configuration: str,
    passes: Mapping[str, Mapping[str, Path]],
    document: PlanDocument,
) -> str:

    def command(one: str, output: str) -> str:
        return (
            f"  nnUNetv2_predict -i IMAGES -o {output} -d {name} -p {identifier} -c {one} "
            f"-f {' '.join(passes[one])}"
        )

    predict = command(configuration, "RESULTS")
    if configuration == CASCADE and COARSE in passes:
        predict = f"{command(COARSE, 'COARSE')}\n{predict} -prev_stage_predictions COARSE"
    return f"""\
For research use only. Not a medical device.

A model trained by several sites together with nnU-Net; no image left a site.
Plan (SHA-256): {document.digest}
nnunetv2 {document.versions.get("nnunetv2", "?")}

Install and run it with plain nnU-Net:

  nnUNetv2_install_pretrained_model_from_zip model.zip
{predict}

Images are named CASE_0000{document.dataset.get("file_ending", "")}, one file per channel.
nnU-Net: Isensee et al., Nature Methods 18, 203-211 (2021).
"""
