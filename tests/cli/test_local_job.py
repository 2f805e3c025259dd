import pytest

from app.cli.local_job import run_here
from app.domain.errors import JobFailed
from app.jobs.events import Checked
from app.jobs.spec import CheckJob, FingerprintJob


def test_a_job_gives_its_result(tmp_path):
    (tmp_path / "data").mkdir()
    result = run_here(CheckJob(folder=str(tmp_path / "data")), tmp_path / "jobs")
    assert isinstance(result, Checked)
    assert result.report.blocks


def test_a_job_that_fails_says_why(tmp_path):
    job = FingerprintJob(
        folder=str(tmp_path / "nowhere"), content_digest="0" * 64, output=str(tmp_path / "f")
    )
    with pytest.raises(JobFailed, match="nowhere"):
        run_here(job, tmp_path / "jobs")
