from __future__ import annotations

from helpers import snapshots

from app.ui.presenters.receipt import receipt_of, receipt_page
from app.ui.widgets.receipt_pages import receipt_document, receipt_pdf


def test_the_page_holds_everything_and_becomes_a_pdf(qapp):
    receipt = receipt_of(snapshots.training())
    document = receipt_document(receipt_page(receipt))
    text = document.toPlainText()
    for wanted in (
        receipt.digest,
        receipt.operator,
        receipt.receipt,
        receipt.study,
        receipt.time,
        "Research use only",
        f"FednnU-Net Desktop {receipt.version}",
        "Voxel size, slices",
        *(field.value for field in receipt.fields),
    ):
        assert wanted in text
    data = receipt_pdf(document, "Fingerprint receipt")
    assert data.startswith(b"%PDF")
    assert data.rstrip().endswith(b"%%EOF")
    assert len(data) > 10_000
