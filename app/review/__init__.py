"""Judging segmentations: scores, verdicts, worst-first order, report."""
