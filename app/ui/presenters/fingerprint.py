"""Fingerprint: the local one, exactly what would leave, the permission, what came back."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from app.control.messages import FingerprintView, HistogramView, Snapshot
from app.domain.plans import PlanSummary
from app.ui import text
from app.ui.models.rows import Cell, Column, Row, Table, words
from app.ui.presenters.parts import Badge, Fact, Histogram, Progress, failure_of, progress_of
from app.ui.text import Tone, count, moment, sentence_case, size, triple

POLICY_SENTENCES: Final = {
    "minimal": "This study asks for counts and sums over all your cases; no list goes case by case.",
    "paper": "This study uses the published method: spacing and size of every single case are in it.",
    "network": "Your site plans for itself: only the form of its network is shared, nothing measured.",
}
_RISKS: Final = {
    "aggregate": ("All cases together", Tone.GOOD, 0.0),
    "count of one": ("Some values are of one case", Tone.WARNING, 0.5),
    "per case": ("One entry per case", Tone.WARNING, 1.0),
    "single voxel": ("Value of a single voxel", Tone.DANGER, 2.0),
}
CONFIGURATION_WORDS: Final = {
    "2d": "2D, slice by slice",
    "3d_fullres": "3D, full resolution",
    "3d_lowres": "3D, reduced resolution",
    "3d_cascade_fullres": "3D, full resolution after a coarse first pass",
}
NORMALISATION_WORDS: Final = {
    "ZScoreNormalization": "each image brought to mean 0 and deviation 1",
    "CTNormalization": "CT values scaled alike at all sites",
    "NoNormalization": "as they are",
    "RescaleTo01Normalization": "each image brought to 0 to 1",
    "RGBTo01Normalization": "colours brought to 0 to 1",
}
NETWORK_WORDS: Final = {
    "PlainConvUNet": "Plain U-Net",
    "ResidualEncoderUNet": "U-Net with residual encoder",
}
_AXIS_WORDS: Final = {"z": "slices", "y": "rows", "x": "columns"}
_FIELD_WORDS: Final = {
    "format": "Version of this form",
    "policy": "What the study asks for",
    "channel_names": "Kinds of images",
    "cases": "Number of cases",
    "spacing": "Voxel size",
    "spacings": "Voxel size of each case",
    "size": "Image size in voxels",
    "shapes": "Image size of each case",
    "extent": "Image size in mm",
    "share_kept": "Share kept without empty borders",
    "foreground_cases": "cases with a labelled structure",
    "sum_of_means": "sum of mean intensities",
    "sum_of_mean_squares": "sum of mean squared intensities",
    "histogram": "intensities, counted in fixed bins",
    "intensity": "intensities",
    "labels": "Names of structures",
    "configuration": "Kind of network",
    "architecture": "Family of network",
    "features": "Width of each stage",
    "kernels": "Filter size of each stage",
    "strides": "How each stage shrinks images",
    "encoder_depth": "Layers on the way down",
    "decoder_depth": "Layers on the way up",
    "affine": "Scaled normalisation",
    "bias": "Layers with an offset",
    "versions": "Versions of the software",
}
FIELD_COLUMNS: Final = (
    Column(title="What leaves"),
    Column(title="Value", stretches=True),
    Column(title="What it is for", stretches=True),
    Column(title="About whom"),
)
CASE_COLUMNS: Final = (
    Column(title="Include / case"),
    Column(title="Voxel size in mm", hint="Slice thickness first"),
    Column(title="Size in voxels", hint="After cutting away empty borders"),
    Column(title="Remark", stretches=True),
)


class FingerprintState(Struct, frozen=True, kw_only=True):
    """What the Fingerprint page draws."""

    attached: bool
    computed: bool
    progress: Progress | None
    failure: str
    badge: Badge | None
    headline: str
    policy_sentence: str
    policy_warns: bool
    fields: Table
    pictures: tuple[Histogram, ...]
    outgoing: str
    digest: str
    outgoing_size: str
    outliers: tuple[str, ...]
    blocked: str
    cases: Table
    left_out: tuple[str, ...]
    can_compute: bool
    can_allow: bool
    can_withdraw: bool
    can_export: bool
    receipt: tuple[Fact, ...]
    receipt_text: str
    returned_sentence: str
    returned_pictures: tuple[Histogram, ...]
    plan: tuple[Fact, ...]


def present_fingerprint(
    snapshot: Snapshot | None, *, left_out: frozenset[str] | None = None
) -> FingerprintState:
    """Return what the page draws; `left_out` is the choice not computed yet, None when none."""
    view = snapshot.fingerprint if snapshot is not None else FingerprintView()
    data_ready = (
        snapshot is not None
        and snapshot.data.report is not None
        and not snapshot.data.report.blocks
    )
    joined = snapshot is not None and snapshot.federation.study is not None
    progress = progress_of(view.job)
    computed = view.outgoing is not None
    chosen_out = (
        left_out
        if left_out is not None
        else frozenset(row.case for row in view.cases if row.left_out)
    )
    blocks = snapshot is not None and snapshot.data.report is not None and not data_ready
    headline, badge = _headline(view, data_ready=data_ready, blocks=blocks, joined=joined)
    return FingerprintState(
        attached=snapshot is not None,
        computed=computed,
        progress=progress,
        failure=failure_of(view.job),
        badge=badge if progress is None else None,
        headline=headline if progress is None else "",
        policy_sentence=POLICY_SENTENCES.get(view.policy, ""),
        policy_warns=view.policy == "paper",
        fields=_fields_table(view),
        pictures=tuple(map(histogram_of, view.pictures)),
        outgoing=view.outgoing or "",
        digest=view.outgoing_digest or "",
        outgoing_size=size(len(view.outgoing.encode())) if view.outgoing else "",
        outliers=tuple(map(sentence_case, view.outliers)),
        blocked=sentence_case(view.blocked),
        cases=_cases_table(view, chosen_out),
        left_out=tuple(sorted(chosen_out)),
        can_compute=data_ready and progress is None,
        can_allow=computed and not view.blocked and view.allowance is None and progress is None,
        can_withdraw=view.allowance is not None,
        # A receipt is of the bytes on screen, never of others.
        can_export=view.allowance is not None and view.allowance.digest == view.outgoing_digest,
        receipt=_receipt(view),
        receipt_text=view.allowance.receipt if view.allowance else "",
        returned_sentence=view.merged_sentence,
        returned_pictures=tuple(map(histogram_of, view.merged_pictures)),
        plan=plan_facts(
            snapshot.federation.plan if snapshot is not None else None,
            snapshot.federation.plan_digest if snapshot is not None else None,
        ),
    )


def _headline(
    view: FingerprintView, *, data_ready: bool, blocks: bool, joined: bool
) -> tuple[str, Badge | None]:
    if view.allowance is not None:
        what = "was shared" if view.allowance.sent else "will be shared when the study asks for it"
        return (
            f"{view.allowance.operator} allowed exactly these bytes; the fingerprint {what}.",
            Badge(text="Shared" if view.allowance.sent else "Allowed", tone=Tone.GOOD),
        )
    if view.blocked and not joined:
        return sentence_case(view.blocked), Badge(text="Not shared", tone=Tone.NEUTRAL)
    if view.blocked:
        return sentence_case(view.blocked), Badge(text="Cannot be shared", tone=Tone.DANGER)
    if view.outgoing is not None:
        return (
            "Look at what would leave, then allow it with your name.",
            Badge(text="Waits for you", tone=Tone.WARNING),
        )
    if blocks:
        return "First mend what blocks training: the Data page says what and how.", None
    if not data_ready:
        return "First choose a folder on the Data page and let it be checked.", None
    return "Your images are checked. Compute their fingerprint to see what would leave.", None


def histogram_of(view: HistogramView) -> Histogram:
    """Return a picture drawn from outgoing or returned bytes."""
    return Histogram(
        label=field_words(view.label), unit=view.unit, edges=view.edges, counts=view.counts
    )


def field_words(name: str) -> str:
    """Return a field's name in plain words: “spacing.z” is “Voxel size, slices”.

    Names of channels stay as the study has them; what is not known stays as it is.
    """
    head, separator, tail = name.rpartition("." if "." in name else " ")
    if not separator:
        return sentence_case(_FIELD_WORDS.get(name, name))
    if tail in _AXIS_WORDS and head.casefold() in _FIELD_WORDS:
        return f"{_FIELD_WORDS[head.casefold()]}, {_AXIS_WORDS[tail]}"
    if tail in _FIELD_WORDS and (separator == "." or tail == "intensity"):
        return f"{head}: {_FIELD_WORDS[tail]}"
    return sentence_case(name)


def _fields_table(view: FingerprintView) -> Table:
    rows = []
    for number, field in enumerate(view.fields):
        risk, tone, order = _RISKS.get(field.risk, (sentence_case(field.risk), Tone.WARNING, 1.0))
        rows.append(
            Row(
                key=str(number),
                group=field.risk,
                cells=(
                    words(field_words(field.field), hint=f"In the bytes: {field.field}"),
                    words(field.value, hint=field.value),
                    words(sentence_case(field.purpose), hint=sentence_case(field.purpose)),
                    Cell(text=risk, order=order, tone=tone),
                ),
            )
        )
    return Table(columns=FIELD_COLUMNS, rows=tuple(rows), empty=text.EMPTY_FINGERPRINT)


def _cases_table(view: FingerprintView, left_out: frozenset[str]) -> Table:
    rows = tuple(
        Row(
            key=row.case,
            checked=row.case not in left_out,
            cells=(
                words(row.case),
                Cell(text=triple(row.spacing_mm, 2), order=max(row.spacing_mm)),
                Cell(
                    text=triple(row.shape), order=float(row.shape[0] * row.shape[1] * row.shape[2])
                ),
                words(sentence_case(row.note), tone=Tone.WARNING if row.note else None),
            ),
        )
        for row in view.cases
    )
    return Table(
        columns=CASE_COLUMNS, rows=rows, empty="Your cases are listed here after the computation."
    )


def _receipt(view: FingerprintView) -> tuple[Fact, ...]:
    if view.allowance is None:
        return ()
    return (
        Fact(name="Allowed by", value=view.allowance.operator),
        Fact(name="When", value=moment(view.allowance.allowed_at)),
        Fact(name="SHA-256", value=view.allowance.digest),
        Fact(name="Receipt", value=view.allowance.receipt),
        Fact(name="State", value="Shared" if view.allowance.sent else "Not shared yet"),
    )


def plan_facts(plan: PlanSummary | None, digest: str | None) -> tuple[Fact, ...]:
    """Return the plan as a person reads it."""
    if plan is None:
        return ()
    kind = plan.network.rsplit(".", 1)[-1]
    network = f"{NETWORK_WORDS.get(kind, kind)}, {count(plan.stages, 'stage')}"
    if plan.parameters is not None:
        network += f", {plan.parameters / 1e6:.1f} million weights"
    return (
        Fact(
            name="Kind",
            value=CONFIGURATION_WORDS.get(plan.configuration, plan.configuration),
            hint=plan.configuration,
        ),
        Fact(name="Voxel size", value=f"{triple(plan.spacing_mm, 2)} mm"),
        Fact(name="Patch", value=f"{triple(plan.patch)} voxels, {plan.batch_size} at a time"),
        Fact(
            name="Intensities",
            value=sentence_case(
                "; ".join(NORMALISATION_WORDS.get(one, one) for one in plan.normalisation)
            ),
            hint=", ".join(plan.normalisation),
        ),
        Fact(name="Network", value=network, hint=plan.network),
        Fact(
            name="Plan’s SHA-256",
            value=f"{digest[:16]}…" if digest else text.NOTHING,
            hint=digest or "",
        ),
    )
