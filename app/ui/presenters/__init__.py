"""Presenters: from snapshots to view states; they decide and know no widget."""
