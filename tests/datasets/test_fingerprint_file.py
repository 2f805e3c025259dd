import pytest

from app.datasets.fingerprint_file import read_fingerprint, write_fingerprint
from app.domain.errors import SetupProblem
from app.domain.fingerprint import CaseFingerprint, ChannelStatistics, Fingerprint

FINGERPRINT = Fingerprint(
    content_digest="0" * 64,
    channel_names=("MRI",),
    cases=(
        CaseFingerprint(
            case="one",
            spacing_mm=(1.5, 0.1 + 0.2, 1.0),
            shape=(3, 4, 5),
            relative_size=0.9,
            channels=(
                ChannelStatistics(
                    voxels=3,
                    mean=1 / 3,
                    mean_square=2.0,
                    minimum=-1.0,
                    maximum=9.5,
                    histogram=((1, 2), (7, 1)),
                ),
            ),
        ),
    ),
)


def test_it_is_read_back_to_the_last_bit(tmp_path):
    write_fingerprint(FINGERPRINT, tmp_path / "fingerprint.json")
    assert read_fingerprint(tmp_path / "fingerprint.json") == FINGERPRINT


@pytest.mark.parametrize("data", [None, b"", b"{", b"[]", b'{"cases": 3}'])
def test_a_damaged_or_missing_file_says_what_to_do(tmp_path, data):
    path = tmp_path / "fingerprint.json"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(SetupProblem, match="compute it again"):
        read_fingerprint(path)
