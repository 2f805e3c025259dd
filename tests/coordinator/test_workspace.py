import stat

import pytest

from app.coordinator.store import StudyStore
from app.coordinator.workspace import (
    CoordinatorHome,
    address_of,
    artefact_file,
    create_study,
    load_authority,
    load_certificate,
    study_terms,
    write_invitation,
)
from app.domain.errors import DataProblem, ErrorCode, SetupProblem
from app.federation.study_file import EXAMPLE, parse_study, terms_from_json
from app.system.clock import SystemClock
from app.wire.invitation import unseal

CLOCK = SystemClock()


@pytest.fixture
def home(tmp_path):
    study_file = tmp_path / "study.toml"
    study_file.write_text(EXAMPLE, encoding="utf-8")
    folder = tmp_path / "coordinator"
    create_study(study_file, folder, host="study.example.org", port=8443, clock=CLOCK)
    return CoordinatorHome(folder=folder)


def test_a_study_keeps_its_terms_and_address(home):
    assert study_terms(home.folder) == parse_study(EXAMPLE)
    store = StudyStore.open(home.database)
    assert store.address == ("study.example.org", 8443)
    store.close()


def test_the_keys_are_for_this_user_only(home):
    for path in home.tls.glob("*.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_authority(home).certificate_pem.startswith("-----BEGIN CERTIFICATE")
    assert len(load_certificate(home).leaf_sha256) == 32


def test_a_second_study_in_one_folder_is_refused_and_the_first_is_kept(home, tmp_path):
    before = home.database.read_bytes(), load_certificate(home).leaf_sha256
    with pytest.raises(SetupProblem, match="already holds a study"):
        create_study(tmp_path / "study.toml", home.folder, host="h", port=1, clock=CLOCK)
    assert before == (home.database.read_bytes(), load_certificate(home).leaf_sha256)


def test_a_wrong_study_file_leaves_no_study_behind(tmp_path):
    (tmp_path / "study.toml").write_text('name = "x"\nrounds = "many"\n')
    with pytest.raises(DataProblem) as caught:
        create_study(tmp_path / "study.toml", tmp_path / "home", host="h", port=1, clock=CLOCK)
    assert caught.value.code is ErrorCode.STUDY_FILE
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_an_unreadable_study_file_is_named(tmp_path, content):
    path = tmp_path / "study.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataProblem, match=r"study\.toml cannot be read"):
        create_study(path, tmp_path / "home", host="h", port=1, clock=CLOCK)


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("study office", 8443),
        ("", 8443),
        ("https://study.example.org", 8443),
        ("h", 0),
        ("h", 99999),
    ],
)
def test_an_address_that_no_site_could_dial_is_refused_before_anything_is_made(
    tmp_path, host, port
):
    (tmp_path / "study.toml").write_text(EXAMPLE, encoding="utf-8")
    with pytest.raises(DataProblem, match="cannot dial") as caught:
        create_study(tmp_path / "study.toml", tmp_path / "home", host=host, port=port, clock=CLOCK)
    assert caught.value.code is ErrorCode.ADDRESS
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("host", ["h", "10.0.0.7", "fd00::7", "study.example.org"])
def test_names_and_addresses_of_both_kinds_can_be_dialled(tmp_path, host):
    (tmp_path / "study.toml").write_text(EXAMPLE, encoding="utf-8")
    create_study(tmp_path / "study.toml", tmp_path / "home", host=host, port=65535, clock=CLOCK)
    out = tmp_path / "north.fedjoin"
    write_invitation(tmp_path / "home", site="north", out=out, days=7, clock=CLOCK)
    assert unseal(out.read_bytes()).urls == (address_of(host, 65535),)


def test_an_invitation_carries_address_authority_and_terms(home, tmp_path):
    out = tmp_path / "north.fedjoin"
    write_invitation(home.folder, site="north", out=out, days=7, clock=CLOCK)
    invitation = unseal(out.read_bytes())
    assert invitation.site == "north"
    assert invitation.urls == ("wss://study.example.org:8443",)
    assert invitation.authority_pem == load_authority(home).certificate_pem
    assert terms_from_json(invitation.terms) == study_terms(home.folder)


def test_the_ending_is_added_when_it_was_forgotten(home, tmp_path):
    write_invitation(home.folder, site="north", out=tmp_path / "north", days=1, clock=CLOCK)
    assert (tmp_path / "north.fedjoin").is_file()


@pytest.mark.parametrize(("site", "days"), [("North Site", 7), ("north", 0), ("north", 15)])
def test_wrong_invitations_are_refused(home, tmp_path, site, days):
    with pytest.raises(DataProblem):
        write_invitation(home.folder, site=site, out=tmp_path / "x.fedjoin", days=days, clock=CLOCK)
    assert not (tmp_path / "x.fedjoin").exists()


def test_what_is_not_made_yet_is_said_to_be_missing(home):
    with pytest.raises(DataProblem, match="no plan yet") as caught:
        artefact_file(home.folder, "plan")
    assert caught.value.code is ErrorCode.STUDY_STATE
