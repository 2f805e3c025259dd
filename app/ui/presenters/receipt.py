"""The receipt of a permission, for the hospital's data-protection officer: as JSON and as a page."""

from __future__ import annotations

import html
from datetime import UTC, datetime
from typing import Final

import msgspec

from app.control.messages import OutgoingField, Snapshot
from app.domain.ids import digest_of
from app.ui.presenters.fingerprint import POLICY_SENTENCES, field_words
from app.ui.text import NAME, RESEARCH_USE, sentence_case

_RISK_WORDS: Final = {
    "aggregate": "all cases together",
    "count of one": "some values are of one case",
    "per case": "one entry per case",
    "single voxel": "value of a single voxel",
}


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What was allowed, by whom, when, and everything that is in it.

    `allowed_at` is in seconds since the epoch (UTC), `time` the same for people. `digest` is the
    SHA-256 of `outgoing`, the exact bytes; `receipt` is the entry of the site's audit log.
    """

    program: str
    version: str
    use: str
    study: str
    site: str
    policy: str
    operator: str
    allowed_at: float
    time: str
    digest: str
    bytes: int
    receipt: str
    sent: bool
    fields: tuple[OutgoingField, ...]
    outgoing: str


def receipt_of(snapshot: Snapshot | None) -> Receipt | None:
    """Return the receipt of the permission in force.

    None without one, and when the bytes on screen are no longer those that were allowed.
    """
    if snapshot is None:
        return None
    view, study = snapshot.fingerprint, snapshot.federation.study
    allowance = view.allowance
    if allowance is None or view.outgoing is None:
        return None
    outgoing = view.outgoing.encode()
    if digest_of(outgoing) != allowance.digest:
        return None
    return Receipt(
        program=NAME,
        version=snapshot.service.version,
        use=RESEARCH_USE,
        study=study.name if study is not None else "",
        site=study.site if study is not None else "",
        policy=view.policy,
        operator=allowance.operator,
        allowed_at=allowance.allowed_at,
        time=f"{datetime.fromtimestamp(allowance.allowed_at, UTC):%Y-%m-%d %H:%M:%S} UTC",
        digest=allowance.digest,
        bytes=len(outgoing),
        receipt=allowance.receipt,
        sent=allowance.sent,
        fields=view.fields,
        outgoing=view.outgoing,
    )


def receipt_json(receipt: Receipt) -> bytes:
    """Return the receipt as JSON that a person can read too."""
    return msgspec.json.format(msgspec.json.encode(receipt), indent=2)


def receipt_page(receipt: Receipt) -> str:
    """Return the receipt as a page of the HTML that Qt's text documents know."""
    facts = (
        ("Study", receipt.study),
        ("Site", receipt.site),
        ("Allowed by", receipt.operator),
        ("Time", receipt.time),
        ("Policy", f"{receipt.policy}. {POLICY_SENTENCES.get(receipt.policy, '')}"),
        ("Bytes", f"{receipt.bytes}, {'shared' if receipt.sent else 'not shared yet'}"),
        ("SHA-256 of the bytes", receipt.digest),
        ("Receipt in the audit log", receipt.receipt),
        ("Program", f"{receipt.program} {receipt.version}"),
    )
    rows = "".join(
        f"<tr><td><b>{_plain(name)}</b>&nbsp;&nbsp;</td><td>{_plain(value)}</td></tr>"
        for name, value in facts
    )
    fields = "".join(
        "<tr>"
        + "".join(
            f"<td>{_plain(text)}</td>"
            for text in (
                field_words(field.field),
                field.value,
                sentence_case(field.purpose),
                sentence_case(_RISK_WORDS.get(field.risk, field.risk)),
            )
        )
        + "</tr>"
        for field in receipt.fields
    )
    heads = "".join(
        f'<th align="left">{head}</th>'
        for head in ("What leaves", "Value", "What it is for", "About whom")
    )
    return (
        "<h2>Permission to share a fingerprint</h2>"
        "<p>The person named below has seen the exact bytes and allowed sharing them with the "
        "study. Images and labels are not in them and do not leave the site.</p>"
        f"<table cellspacing='0' cellpadding='2'>{rows}</table>"
        "<h3>What the bytes say</h3>"
        "<table border='1' cellspacing='0' cellpadding='4' "
        f"style='border-collapse: collapse'><thead><tr>{heads}</tr></thead>{fields}</table>"
        f"<p><b>{_plain(receipt.use)}.</b> The exact bytes are in the JSON file of this "
        "receipt.</p>"
    )


def _plain(text: str) -> str:
    return html.escape(text)
