from app.domain.findings import Finding, Severity, ValidationReport


def report(*severities):
    findings = tuple(
        Finding(check="c", severity=severity, sentence="s", remedy="r") for severity in severities
    )
    return ValidationReport(folder="/f", cases=1, content_digest="0" * 64, findings=findings)


def test_only_a_blocking_finding_blocks():
    assert not report().blocks
    assert not report(Severity.HARMLESS, Severity.MAY_HARM).blocks
    assert report(Severity.MAY_HARM, Severity.BLOCKS).blocks
