"""Segmenting cases with a model zip by nnU-Net's own predictor, in this process, without pools.

Each step is one of `nnUNetv2_predict` (nnunetv2 2.8.1, inference/predict_from_raw_data.py and
data_iterators.py) in the same order on the same types, so the voxels are the same;
`tests/nnunet/test_segmentation.py` compares them.

A model zip comes from outside. It is never unpacked to its own names; its plans pass the same
allow-list as a study's; its checkpoint is read with weights_only, which makes tensors and plain
types and runs nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import tempfile
import zipfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import torch

from app.domain.errors import DataProblem, ErrorCode, FednnunetError, JobFailed, PeerMistake
from app.domain.folds import CASCADE, COARSE
from app.domain.ids import Digest
from app.domain.segmentation import SegmentationResult
from app.domain.study import StudyTerms
from app.federation.plan_rules import check_plan, pack
from app.jobs.workspace import DATASET
from app.nnunet import devices, environment
from app.nnunet.convert import Json, PlanDocument
from app.nnunet.export import CHECKPOINT
from app.nnunet.weights import read_checkpoint
from app.system.atomic import disk_errors, make_folder, move_durable, write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    from app.domain.dataset import Case

RECORD: Final = "segmentations.json"
"""File in the output folder that says which model and options made each segmentation."""

_LARGEST_TEXT: Final = 32 << 20
_LARGEST_CHECKPOINT: Final = 8 << 30
_MOST_ENTRIES: Final = 100_000
_LARGEST_SHRINK: Final = 20
_MOST_FOLDS: Final = 10
_MOST_PASSES: Final = 2
_FOLD: Final = re.compile(r"fold_(all|[0-9]{1,2})")
_WHAT: Final = "segmenting cases"
_SLOW_DEVICE: Final = "the graphics card has too little memory for this case: computed on the CPU"


class ModelRefused(DataProblem):
    """A model zip that is damaged, unsafe, or not what nnU-Net's stock trainer and planner write."""

    code = ErrorCode.MODEL_FILE

    def __init__(self, reason: str) -> None:
        super().__init__(f"the model file {reason}")
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedModel:
    """A checked model: the zip's digest, its plan, and the weights of each of its folds.

    `first_pass` is the coarse model of a cascade, whose result the network sees beside the image.
    """

    digest: Digest
    plan: PlanDocument
    configuration: str
    weights: tuple[dict[str, torch.Tensor], ...]
    mirroring_axes: tuple[int, ...] | None
    trainer: str
    first_pass: OpenedModel | None = None

    @property
    def channels(self) -> int:
        """How many channels a case must have."""
        return len(self.plan.dataset["channel_names"])

    @property
    def channel_names(self) -> tuple[str, ...]:
        """What each channel must be, by its number."""
        names = self.plan.dataset["channel_names"]
        return tuple(str(names[str(number)]) for number in range(len(names)))

    @property
    def labels(self) -> dict[str, int | tuple[int, ...]]:
        """What the values of its segmentations mean, as in dataset.json."""
        found: dict[str, int | tuple[int, ...]] = msgspec.convert(
            self.plan.dataset["labels"], dict[str, int | tuple[int, ...]]
        )
        return found

    @property
    def file_ending(self) -> str:
        """Ending of the segmentations, as in the dataset that the model was trained on."""
        return str(self.plan.dataset["file_ending"])


class _DatasetFile(msgspec.Struct, frozen=True, kw_only=True):
    """What prediction reads of a dataset.json; other entries are not looked at."""

    channel_names: dict[str, str]
    labels: dict[str, int | tuple[int, ...]]
    file_ending: str
    numTraining: int  # noqa: N815 - nnU-Net's name
    regions_class_order: tuple[int, ...] = ()
    overwrite_image_reader_writer: str | None = None


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One finished segmentation: what it was made of and with, and the digest of its file."""

    inputs: tuple[tuple[str, int, int], ...]
    made_by: str
    sha256: str
    warnings: tuple[str, ...] = ()


# --- opening a model ---------------------------------------------------------------------------


def open_model(path: Path) -> OpenedModel:
    """Open a model zip of this program or of `nnUNetv2_export_model_to_zip` and check all of it.

    Raises:
        ModelRefused: naming what is wrong with the file.
    """
    try:
        with path.open("rb") as file:
            digest = Digest(hashlib.file_digest(file, "sha256").hexdigest())
            with zipfile.ZipFile(file) as archive:
                found = [
                    _read_model(archive, root, folds, digest) for root, folds in _layout(archive)
                ]
    except OSError as exc:
        raise ModelRefused(f"cannot be read: {exc.strerror}") from exc
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as exc:
        raise ModelRefused("is damaged or no zip file") from exc
    if len(found) == 1:
        if found[0].configuration == CASCADE:
            raise ModelRefused(f"holds the second pass of a cascade without the first, {COARSE}")
        return found[0]
    passes = {one.configuration: one for one in found}
    if set(passes) != {COARSE, CASCADE}:
        raise ModelRefused(f"holds {len(found)} models instead of one")
    first, second = passes[COARSE], passes[CASCADE]
    if first.plan.digest != second.plan.digest:
        raise ModelRefused("holds two passes of a cascade that were planned differently")
    return replace(second, first_pass=first)


def _read_model(
    archive: zipfile.ZipFile, root: str, folds: Sequence[str], digest: Digest
) -> OpenedModel:
    plans = _read_json(archive, f"{root}/plans.json")
    dataset = _dataset_of(_read_json(archive, f"{root}/dataset.json"))
    checkpoints = [_read_fold(archive, f"{root}/{fold}/{CHECKPOINT}") for fold in folds]
    configuration = _configuration_of(checkpoints)
    # A dataset's name decides folders and nothing else; a hospital's own stays out of the plans.
    plans["dataset_name"] = DATASET
    plan = _checked_plan(plans, dataset, configuration)
    first = checkpoints[0]
    return OpenedModel(
        digest=digest,
        plan=plan,
        configuration=configuration,
        weights=tuple(_weights_of(checkpoint) for checkpoint in checkpoints),
        mirroring_axes=_mirroring_of(first, plan, configuration),
        trainer=str(first.get("trainer_name")),
    )


def _layout(archive: zipfile.ZipFile) -> list[tuple[str, list[str]]]:
    """Return the folders of the model in the zip, each with the names of its fold folders.

    There is one, or two of a cascade.
    """
    entries = archive.infolist()
    if len(entries) > _MOST_ENTRIES:
        raise ModelRefused(f"holds {len(entries)} files, more than {_MOST_ENTRIES}")
    for entry in entries:
        _check_name(entry)
    unpacked, packed = (sum(sizes) for sizes in _sizes(entries))
    if unpacked > _LARGEST_SHRINK * packed + _LARGEST_TEXT:
        # Weights hardly shrink: this is made to fill disks.
        raise ModelRefused(f"would grow from {packed} to {unpacked} bytes")
    names = {entry.filename for entry in entries}
    roots = sorted(
        name.removesuffix("/plans.json") for name in names if name.endswith("/plans.json")
    )
    if not 0 < len(roots) <= _MOST_PASSES:
        raise ModelRefused(f"holds {len(roots)} models instead of one")
    return [(root, _folds_in(root, names)) for root in roots]


def _folds_in(root: str, names: Collection[str]) -> list[str]:
    found = {
        name.removeprefix(f"{root}/").split("/")[0]
        for name in names
        if name.startswith(f"{root}/fold_") and name.endswith(f"/{CHECKPOINT}")
    }
    folds = sorted(fold for fold in found if _FOLD.fullmatch(fold))
    # nnU-Net's own choice: numbered folds together; fold_all only where there is no other.
    numbered = [fold for fold in folds if fold != "fold_all"]
    chosen = numbered or folds
    if not 0 < len(chosen) <= _MOST_FOLDS:
        raise ModelRefused(f"holds {len(chosen)} trained folds; 1 to {_MOST_FOLDS} are expected")
    return chosen


def _sizes(entries: Sequence[zipfile.ZipInfo]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the sizes after and before unpacking; zipfile reads no more than is declared."""
    return (
        tuple(entry.file_size for entry in entries),
        tuple(entry.compress_size for entry in entries),
    )


def _check_name(entry: zipfile.ZipInfo) -> None:
    """Refuse a zip that plain nnU-Net, which unpacks everything, would write outside its folder."""
    path = PurePosixPath(entry.filename)
    outside = path.is_absolute() or ".." in path.parts or "\\" in entry.filename
    if outside or ":" in entry.filename or stat.S_ISLNK(entry.external_attr >> 16):
        raise ModelRefused("holds a file that would be unpacked outside its folder")


def _read_json(archive: zipfile.ZipFile, name: str) -> Json:
    try:
        with archive.open(name) as entry:
            text = entry.read(_LARGEST_TEXT + 1)
    except KeyError as exc:
        raise ModelRefused(f"lacks {PurePosixPath(name).name}") from exc
    except (RuntimeError, zipfile.BadZipFile) as exc:
        raise ModelRefused(f"has an unreadable {PurePosixPath(name).name}") from exc
    if len(text) > _LARGEST_TEXT:
        raise ModelRefused(f"has a {PurePosixPath(name).name} of more than {_LARGEST_TEXT} bytes")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise ModelRefused(f"has a {PurePosixPath(name).name} that is not JSON") from exc
    if not isinstance(content, dict):
        raise ModelRefused(f"has a {PurePosixPath(name).name} that is no table")
    return content


def _read_fold(archive: zipfile.ZipFile, name: str) -> Json:
    """Read one checkpoint through a temporary file of a name of ours."""
    with tempfile.TemporaryDirectory(prefix="fednnunet-model-") as folder:
        stored = Path(folder) / CHECKPOINT
        copied = 0
        with archive.open(name) as source, stored.open("wb") as target:
            while block := source.read(1 << 20):
                copied += len(block)
                if copied > _LARGEST_CHECKPOINT:
                    raise ModelRefused(f"has a checkpoint of more than {_LARGEST_CHECKPOINT} bytes")
                target.write(block)
        try:
            # Stock checkpoints keep their curves as numpy numbers.
            with torch.serialization.safe_globals(_numpy_numbers()):
                return read_checkpoint(stored)
        except FednnunetError as exc:
            raise ModelRefused("has a checkpoint that is damaged or holds a program") from exc


def _numpy_numbers() -> list[Any]:
    """Types that make up a numpy number in a checkpoint; building them runs nothing else."""
    kinds = (np.float16, np.float32, np.float64, np.int32, np.int64, np.bool_)
    scalar: Any = np.float32(0).__reduce__()[0]
    return [
        scalar,
        # Before numpy 2 the same function had another address.
        (scalar, "numpy.core.multiarray.scalar"),
        np.dtype,
        *(type(np.dtype(kind)) for kind in kinds),
    ]


def _dataset_of(content: Json) -> Json:
    try:
        read = msgspec.convert(content, _DatasetFile)
    except msgspec.ValidationError as exc:
        raise ModelRefused(f"has a dataset.json that nnU-Net 2 does not write: {exc}") from exc
    known: Json = {
        name: content[name]
        for name in _DatasetFile.__struct_fields__
        if content.get(name) is not None
    }
    if known.get("regions_class_order") in ([], ()):
        del known["regions_class_order"]
    if sorted(read.channel_names) != sorted(map(str, range(len(read.channel_names)))):
        raise ModelRefused("has a dataset.json whose channels are not numbered from 0")
    return known


def _checked_plan(plans: Json, dataset: Json, configuration: str) -> PlanDocument:
    """Check the plans of the zip by the rules for plans of a study, with the zip's own terms."""
    read = msgspec.convert(dataset, _DatasetFile)
    intensities = plans.get("foreground_intensity_properties_per_channel", {})
    fingerprint = {
        "foreground_intensity_properties_per_channel": intensities,
        "median_relative_size_after_cropping": 1.0,
        "shapes_after_crop": [[1, 1, 1]],
        "spacings": [[1.0, 1.0, 1.0]],
    }
    terms = StudyTerms(
        name="model",
        purpose="",
        contact="",
        channel_names=tuple(
            read.channel_names[str(number)] for number in range(len(read.channel_names))
        ),
        labels=read.labels,
        regions_class_order=read.regions_class_order,
        configuration=configuration,
        planner=str(plans.get("experiment_planner_used")),
    )
    try:
        package = pack(plans, dataset, fingerprint, {})
        check_plan(package.document, terms)
    except PeerMistake as exc:
        raise ModelRefused(f"cannot be used: {exc}") from exc
    except (TypeError, ValueError, RecursionError) as exc:
        raise ModelRefused("has plans that nnU-Net does not write") from exc
    return PlanDocument(
        plans=plans,
        dataset=dataset,
        fingerprint=fingerprint,
        versions={},
        digest=package.digest,
    )


def _configuration_of(checkpoints: Sequence[Json]) -> str:
    found = set()
    for checkpoint in checkpoints:
        arguments = checkpoint.get("init_args")
        found.add(arguments.get("configuration") if isinstance(arguments, dict) else None)
    if len(found) != 1 or not isinstance(configuration := found.pop(), str):
        raise ModelRefused("has folds that do not name the same configuration")
    return configuration


def _weights_of(checkpoint: Json) -> dict[str, torch.Tensor]:
    weights = checkpoint.get("network_weights")
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor)
        for name, tensor in weights.items()
    ):
        raise ModelRefused("has a checkpoint without weights")
    # Training with torch.compile or on several cards leaves prefixes; nnU-Net's trainer drops them.
    return {
        name.removeprefix("module.").removeprefix("_orig_mod."): t for name, t in weights.items()
    }


def _mirroring_of(
    checkpoint: Json, plan: PlanDocument, configuration: str
) -> tuple[int, ...] | None:
    axes = checkpoint.get("inference_allowed_mirroring_axes")
    if axes is None:
        return None
    dimensions = len(plan.configuration(configuration)["patch_size"])
    if (
        not isinstance(axes, (tuple, list))
        or not axes
        or not all(isinstance(axis, int) and 0 <= axis < dimensions for axis in axes)
    ):
        raise ModelRefused("has a checkpoint with impossible mirroring axes")
    return tuple(axes)


# --- segmenting --------------------------------------------------------------------------------


def segment(
    model: Path | OpenedModel,
    cases: Sequence[Case],
    output: Path,
    *,
    device: str = "auto",
    mirroring: bool = True,
    step_size: float = 0.5,
    threads: int = 1,
    progress: Callable[[int, int, str], None] = lambda _done, _total, _what: None,
    stopped: Callable[[], bool] = lambda: False,
    on_case: Callable[[SegmentationResult], None] = lambda _result: None,
) -> tuple[SegmentationResult, ...]:
    """Segment the cases into `output`/<case><file ending>; return one result per case, in order.

    With `mirroring` and the other defaults the voxels are those of `nnUNetv2_predict` without
    options; without, those of `--disable_tta`. A case that the same model made from the same files
    with the same options before is not computed again. `on_case` is told of every case as soon as
    its file is in place, skipped ones too. `stopped` is asked before every window of the network.

    Raises:
        ModelRefused: the model cannot be used.
        DataProblem: a case cannot be read or has another number of channels; earlier ones stay.
        JobFailed: with code JOB_STOPPED when `stopped` said so; finished cases stay.
    """
    environment.prepare()
    opened = open_model(model) if isinstance(model, Path) else model
    for case in cases:
        _check_case(case, opened)
    make_folder(output)
    record = _read_record(output)
    made_by = f"{opened.digest} mirroring={mirroring} step_size={step_size}"
    run: _Run | None = None
    results: list[SegmentationResult] = []
    progress(0, len(cases), _WHAT)
    for case in cases:
        if stopped():
            raise _stopped()
        target = output / f"{case.name}{opened.file_ending}"
        inputs = tuple(_state_of(case, path) for path in case.channels)
        entry = record.get(case.name)
        if entry is None or not _is_current(entry, inputs, made_by, target):
            run = run or _Run(
                opened, devices.choose(device), mirroring, step_size, threads, stopped
            )
            warnings = run.segment(case, target)
            entry = _Entry(
                inputs=inputs, made_by=made_by, sha256=_digest_of(target), warnings=warnings
            )
            record[case.name] = entry
            write_atomic(output / RECORD, msgspec.json.encode(record))
        result = SegmentationResult(
            case=case.name,
            channels=case.channels,
            prediction=str(target),
            reference=case.label,
            model_digest=opened.digest,
            warnings=entry.warnings,
            sha256=entry.sha256,
        )
        results.append(result)
        on_case(result)
        progress(len(results), len(cases), _WHAT)
    return tuple(results)


class _Run:
    """A predictor that stands ready; made when the first case really has to be computed.

    Of a cascade it has another one for the first pass.
    """

    def __init__(
        self,
        model: OpenedModel,
        device: torch.device,
        mirroring: bool,
        step_size: float,
        threads: int,
        stopped: Callable[[], bool],
    ) -> None:
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        from app.nnunet.initial import build_network

        devices.settle(device, threads=threads)
        # A network that is compiled anew for every process costs minutes and saves seconds.
        os.environ["nnUNet_compile"] = "f"  # noqa: SIM112 - nnU-Net's name
        self._first = (
            None
            if model.first_pass is None
            else _Run(model.first_pass, device, mirroring, step_size, threads, stopped)
        )
        self._threads = threads
        self._stopped = stopped
        self._device = device
        network = build_network(model.plan, model.configuration, deep_supervision=False)
        try:
            for weights in model.weights:
                network.load_state_dict(weights)
        except RuntimeError as exc:
            raise ModelRefused("has weights that do not fit the network of its plans") from exc
        _let_go_when(stopped, network, _heads(model))
        self._plans: Any = PlansManager(model.plan.plans_for())
        self._configuration = self._plans.get_configuration(model.configuration)
        self._dataset = model.plan.dataset
        self._predictor: nnUNetPredictor = nnUNetPredictor(
            tile_step_size=step_size,
            use_gaussian=True,
            use_mirroring=mirroring,
            perform_everything_on_device=device.type == "cuda",
            device=device,
            allow_tqdm=False,
        )
        self._predictor.manual_initialization(
            network,
            self._plans,
            self._configuration,
            list(model.weights),
            self._dataset,
            model.trainer,
            model.mirroring_axes,
        )

    def segment(self, case: Case, target: Path) -> tuple[str, ...]:
        """Write the segmentation of one case to `target`; return warnings for a person."""
        from nnunetv2.inference.export_prediction import export_prediction_from_logits

        with (
            disk_errors(target),
            tempfile.TemporaryDirectory(dir=target.parent, prefix=".segmenting-") as scratch,
        ):
            coarse: Path | None = None
            earlier: tuple[str, ...] = ()
            if self._first is not None:
                coarse = Path(scratch) / f"first-pass{self._dataset['file_ending']}"
                earlier = self._first.segment(case, coarse)
            data, properties = self._preprocess(case, coarse)
            logits, warnings = self._predict(data)
            if self._stopped():
                raise _stopped()
            stem = Path(scratch) / "segmentation"
            try:
                export_prediction_from_logits(
                    logits,
                    properties,
                    self._configuration,
                    self._plans,
                    self._dataset,
                    str(stem),
                    num_threads_torch=self._threads,
                )
            except RuntimeError as exc:
                # SimpleITK hides the system's error number.
                raise JobFailed(f"the segmentation of case {case.name} cannot be written") from exc
            move_durable(stem.with_name(stem.name + self._dataset["file_ending"]), target)
        return tuple(dict.fromkeys((*earlier, *warnings)))

    def _preprocess(self, case: Case, coarse: Path | None) -> tuple[torch.Tensor, Json]:
        """Return the network's input: the case, and what the first pass made of it (`coarse`)."""
        preprocessor = self._configuration.preprocessor_class(verbose=False)
        first_pass = None if coarse is None else str(coarse)
        try:
            data, labels, properties = preprocessor.run_case(
                list(case.channels), first_pass, self._plans, self._configuration, self._dataset
            )
        except RuntimeError as exc:
            raise DataProblem(
                f"case {case.name} cannot be read, or its channels differ in shape or spacing",
                code=ErrorCode.CASE_UNREADABLE,
            ) from exc
        if coarse is not None:
            from app.nnunet.first_pass import with_first_pass

            data = with_first_pass(data, labels[0], self._plans.get_label_manager(self._dataset))
        # As nnunetv2/inference/data_iterators.py:44 does.
        return (
            torch.from_numpy(data).to(dtype=torch.float32, memory_format=torch.contiguous_format),
            properties,
        )

    def _predict(self, data: torch.Tensor) -> tuple[np.ndarray[Any, Any], tuple[str, ...]]:
        """Return the logits, computed on the CPU where the device has not enough memory."""
        try:
            return self._logits(data), ()
        except RuntimeError as exc:
            if not _is_memory(exc):
                raise
            if self._device.type == "cpu":
                raise JobFailed(
                    "this computer has too little memory for this case",
                    code=ErrorCode.MEMORY_FULL,
                ) from exc
        # Outside the except block, so that the failed attempt's tensors are free.
        predictor: Any = self._predictor
        before = predictor.device, predictor.perform_everything_on_device
        predictor.device, predictor.perform_everything_on_device = torch.device("cpu"), False
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        try:
            return self._logits(data), (_SLOW_DEVICE,)
        finally:
            predictor.device, predictor.perform_everything_on_device = before

    def _logits(self, data: torch.Tensor) -> np.ndarray[Any, Any]:
        logits: np.ndarray[Any, Any] = (
            self._predictor.predict_logits_from_preprocessed_data(data).cpu().detach().numpy()
        )
        return logits


def _let_go_when(stopped: Callable[[], bool], network: torch.nn.Module, heads: int) -> None:
    """Make the network answer zeros at once when the job is to stop.

    Raising from inside would leave the predictor's feeding thread blocked for ever
    (nnunetv2 2.8.1, predict_from_raw_data.py:634); so it runs to its end, but through nothing.
    """
    forward = network.forward

    def forward_or_zeros(windows: torch.Tensor) -> torch.Tensor:
        if stopped():
            return windows.new_zeros((windows.shape[0], heads, *windows.shape[2:]))
        answer: torch.Tensor = forward(windows)
        return answer

    network.forward = forward_or_zeros


def _heads(model: OpenedModel) -> int:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans: Any = PlansManager(model.plan.plans_for())
    return int(plans.get_label_manager(model.plan.dataset).num_segmentation_heads)


def _check_case(case: Case, model: OpenedModel) -> None:
    if len(case.channels) != model.channels:
        raise DataProblem(
            f"case {case.name} has {len(case.channels)} channels, the model needs {model.channels}"
        )
    if not case.name or Path(case.name).name != case.name or "\\" in case.name:
        raise DataProblem(f"{case.name!r} cannot be the name of a file")


def _state_of(case: Case, path: str) -> tuple[str, int, int]:
    """Return a file's path, size and time of change (nanoseconds): enough to see another file."""
    try:
        state = Path(path).stat()
    except OSError as exc:
        raise DataProblem(
            f"case {case.name}: {Path(path).name} cannot be read", code=ErrorCode.CASE_UNREADABLE
        ) from exc
    return (path, state.st_size, state.st_mtime_ns)


def _is_current(
    entry: _Entry, inputs: tuple[tuple[str, int, int], ...], made_by: str, target: Path
) -> bool:
    return (
        entry.inputs == inputs
        and entry.made_by == made_by
        and target.is_file()
        and _digest_of(target) == entry.sha256
    )


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_record(output: Path) -> dict[str, _Entry]:
    # A record that cannot be read only means that cases are computed again.
    with suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode((output / RECORD).read_bytes(), type=dict[str, _Entry])
    return {}


def _is_memory(error: RuntimeError) -> bool:
    """Tell by the words of CUDA, of MPS, and of the CPU's allocator."""
    words = str(error)
    return isinstance(error, torch.OutOfMemoryError) or any(
        said in words for said in ("out of memory", "not enough memory", "can't allocate memory")
    )


def _stopped() -> JobFailed:
    return JobFailed("the segmentation was stopped", code=ErrorCode.JOB_STOPPED)
