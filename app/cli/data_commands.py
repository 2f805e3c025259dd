"""Commands on folders: check, fingerprint, segment, score."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from app.cli import DONE, FAILED
from app.cli.progress import progress_bar
from app.domain.errors import DataProblem, ErrorCode, OurMistake

if TYPE_CHECKING:
    from app.domain.dataset import Case
    from app.domain.findings import ValidationReport


def check(parsed: argparse.Namespace) -> int:
    """Check a folder; 0 when nothing blocks, 1 when something does."""
    import msgspec

    from app.datasets.confirmed import check_folder

    with progress_bar() as advance:
        found = check_folder(
            parsed.folder.absolute(), processes=_cores(), progress=advance, stopped=lambda: False
        )
    report, dataset = found.report, found.dataset
    if parsed.json:
        _print_json(
            {
                "folder": report.folder,
                "cases": report.cases,
                "blocks": report.blocks,
                "content_digest": report.content_digest,
                "layout": None if dataset is None else dataset.layout,
                "proposal": msgspec.to_builtins(found.proposal),
                "findings": [
                    {**asdict(finding), "severity": finding.severity.value}
                    for finding in report.findings
                ],
            }
        )
    else:
        _print_report(report)
    return FAILED if report.blocks else DONE


def fingerprint(parsed: argparse.Namespace) -> int:
    """Print the exact bytes that would leave about a folder, and nothing else, on stdout."""
    from app.cli.local_job import run_here
    from app.datasets.checks import check as check_folder
    from app.datasets.fingerprint_file import read_fingerprint
    from app.domain.study import Policy
    from app.federation import shared_codec
    from app.jobs.events import Fingerprinted
    from app.jobs.spec import FingerprintJob
    from app.site.disclosure import share

    folder = parsed.folder.absolute()
    with progress_bar() as advance:
        report, _ = check_folder(
            folder, processes=_cores(), progress=advance, stopped=lambda: False
        )
    if report.blocks:
        _print_report(report, file=sys.stderr)
        return FAILED
    with tempfile.TemporaryDirectory(prefix="fednnunet-") as scratch:
        output = Path(scratch) / "fingerprint.json"
        result = run_here(
            FingerprintJob(
                folder=str(folder),
                content_digest=report.content_digest,
                output=str(output),
                processes=_cores(),
            ),
            Path(scratch) / "jobs",
        )
        if not isinstance(result, Fingerprinted):
            raise OurMistake(f"a fingerprint job gave {type(result).__name__}")
        shared = share(read_fingerprint(output), Policy(parsed.policy))
    sys.stdout.buffer.write(shared_codec.encode(shared))
    sys.stdout.buffer.flush()
    return DONE


def segment(parsed: argparse.Namespace) -> int:
    """Segment every image or DICOM series of a folder with a model zip."""
    from app.cli.local_job import run_here
    from app.jobs.events import Segmented
    from app.jobs.spec import SegmentJob

    folder, output = parsed.input.absolute(), parsed.output.absolute()
    try:
        cases, series = images_to_segment(folder), None
    except DataProblem as problem:
        if problem.code is not ErrorCode.NO_CASES or not any(folder.iterdir()):
            raise
        # DICOM series are looked for, and converted, by the worker.
        cases, series = (), str(folder)
    with tempfile.TemporaryDirectory(prefix="fednnunet-") as scratch:
        result = run_here(
            SegmentJob(
                model=str(parsed.model.absolute()),
                cases=cases,
                folder=series,
                workspace=None if series is None else str(output),
                output=str(output),
                device=parsed.device,
                mirroring=not parsed.no_mirroring,
                step_size=parsed.step_size,
                threads=parsed.threads or _cores(),
            ),
            Path(scratch) / "jobs",
        )
    if not isinstance(result, Segmented):
        raise OurMistake(f"a segmentation job gave {type(result).__name__}")
    if parsed.json:
        _print_json([asdict(one) for one in result.results])
    else:
        for one in result.results:
            _say(one.prediction)
            if one.dicom_seg is not None:
                _say(one.dicom_seg)
            for warning in one.warnings:
                print(f"  {warning}", file=sys.stderr)  # noqa: T201
    return DONE


def score(parsed: argparse.Namespace) -> int:
    """Score predictions against references of the same file name."""
    from app.datasets.description import read_description
    from app.datasets.images import read_volume
    from app.review.scores import mean_foreground_dice, score_pairs

    reference, prediction = parsed.reference.absolute(), parsed.prediction.absolute()
    description_file = parsed.labels or _beside(reference, prediction)
    description = read_description(description_file)
    pairs = matching_files(reference, prediction, description.file_ending)
    with progress_bar() as advance:
        scores = score_pairs(
            pairs,
            description.labels,
            read=read_volume,
            tolerance_mm=parsed.tolerance_mm,
            progress=advance,
            stopped=lambda: False,
        )
    mean = mean_foreground_dice(scores)
    if parsed.json:
        _print_json({"mean_foreground_dice": mean, "cases": [asdict(one) for one in scores]})
        return DONE
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "case", "label", "Dice", "HD95 mm", "surface Dice", "reference ml", "predicted ml"
    )
    for one in scores:
        for label in one.labels:
            table.add_row(
                one.case,
                label.label,
                _figure(label.dice, 3),
                _figure(label.hausdorff95_mm, 2),
                _figure(label.surface_dice, 3),
                f"{label.reference_ml:.2f}",
                f"{label.prediction_ml:.2f}",
            )
    Console().print(table)
    _say(f"mean foreground Dice {_figure(mean, 4)}")
    return DONE


def images_to_segment(folder: Path) -> tuple[Case, ...]:
    """Group a folder's images into cases by nnU-Net's naming (NAME_0000.ENDING, one per channel).

    Raises:
        DataProblem: the folder is missing, a file, or holds no image of that naming.
    """
    from app.datasets.scan import unlabelled_cases

    if not folder.exists():
        raise DataProblem(f"there is no folder {folder}", code=ErrorCode.FOLDER_MISSING)
    return unlabelled_cases(folder)


def matching_files(
    reference: Path, prediction: Path, ending: str
) -> tuple[tuple[str, str, str], ...]:
    """Pair files of equal name: (case, reference path, prediction path), sorted by case.

    Raises:
        DataProblem: a folder is missing or no file name stands in both.
    """
    for folder in (reference, prediction):
        if not folder.is_dir():
            raise DataProblem(f"there is no folder {folder}", code=ErrorCode.FOLDER_MISSING)
    pairs = tuple(
        (path.name.removesuffix(ending), str(path), str(prediction / path.name))
        for path in sorted(reference.glob(f"*{ending}"))
        if (prediction / path.name).is_file()
    )
    if not pairs:
        raise DataProblem(
            f"no {ending} file of {reference} has a namesake in {prediction}",
            code=ErrorCode.FOLDER_EMPTY,
        )
    return pairs


def _beside(*folders: Path) -> Path:
    """Find the dataset.json in, or one above, one of the folders."""
    for folder in folders:
        for place in (folder, folder.parent):
            if (place / "dataset.json").is_file():
                return place / "dataset.json"
    raise DataProblem(
        f"no dataset.json lies beside {folders[0]} or {folders[-1]}; name one with --labels",
        code=ErrorCode.DESCRIPTION_MISSING,
    )


def _cores() -> int:
    return os.cpu_count() or 1


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _print_report(report: ValidationReport, file: TextIO | None = None) -> None:
    """Print every finding as lines that can be searched and are never cut."""
    for finding in report.findings:
        place = f"{finding.case}: " if finding.case else ""
        print(f"{finding.severity.value}: {place}{finding.sentence}", file=file)
        print(f"  What you can do: {finding.remedy}", file=file)
    verdict = "cannot be used yet" if report.blocks else "can be used"
    cases = "1 case" if report.cases == 1 else f"{report.cases} cases"
    findings = "1 finding" if len(report.findings) == 1 else f"{len(report.findings)} findings"
    print(f"{cases}, {findings}: this folder {verdict}", file=file)


def _print_json(value: object) -> None:
    _say(json.dumps(value, indent=2, default=_plain))


def _plain(value: object) -> object:
    if isinstance(value, Iterable):
        return list(value)
    return str(value)


def _say(line: str) -> None:
    print(line)  # noqa: T201
