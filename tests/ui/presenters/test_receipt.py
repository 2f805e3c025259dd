from __future__ import annotations

import hashlib
import json

from helpers import snapshots
from msgspec.structs import replace

from app.ui.presenters.receipt import receipt_json, receipt_of, receipt_page


def test_json_says_what_the_allowance_says():
    snapshot = snapshots.training()
    view, allowance = snapshot.fingerprint, snapshot.fingerprint.allowance
    receipt = receipt_of(snapshot)
    said = json.loads(receipt_json(receipt))
    assert {key: said[key] for key in ("operator", "allowed_at", "digest", "receipt", "sent")} == {
        "operator": allowance.operator,
        "allowed_at": allowance.allowed_at,
        "digest": allowance.digest,
        "receipt": allowance.receipt,
        "sent": allowance.sent,
    }
    assert said["outgoing"] == view.outgoing
    assert hashlib.sha256(said["outgoing"].encode()).hexdigest() == said["digest"]
    assert said["bytes"] == len(view.outgoing.encode())
    assert [field["field"] for field in said["fields"]] == [field.field for field in view.fields]
    assert said["study"] == "Hippocampus sample study"
    assert said["policy"] == "minimal"
    assert said["time"] == "2026-11-23 12:50:00 UTC"
    assert said["version"] == snapshot.service.version
    assert said["use"] == "Research use only"


def test_no_receipt_without_permission_or_of_other_bytes():
    assert receipt_of(None) is None
    assert receipt_of(snapshots.to_allow()) is None
    allowed = snapshots.training()
    other = replace(allowed, fingerprint=replace(allowed.fingerprint, outgoing='{"cases":25}'))
    assert receipt_of(other) is None


def test_names_are_text_and_not_markup():
    snapshot = snapshots.training()
    allowance = replace(snapshot.fingerprint.allowance, operator="<img src=x> & sons")
    view = replace(snapshot.fingerprint, allowance=allowance)
    page = receipt_page(receipt_of(replace(snapshot, fingerprint=view)))
    assert "<img" not in page
    assert "&lt;img src=x&gt; &amp; sons" in page
