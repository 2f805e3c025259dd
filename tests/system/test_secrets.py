from __future__ import annotations

import itertools
import json
import sys

import pytest
from keyring.backend import KeyringBackend
from keyring.backends import chainer, fail, null
from keyring.errors import KeyringLocked, PasswordDeleteError

from app.domain.errors import ErrorCode, SetupProblem
from app.system import secrets
from app.system.secrets import FileStore, KeyringStore, open_store


class MemoryBackend(KeyringBackend):
    """A key store as the operating systems have them, in memory."""

    priority = 5

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service, username):
        return self.kept.get((service, username))

    def set_password(self, service, username, password):
        self.kept[service, username] = password

    def delete_password(self, service, username):
        if (service, username) not in self.kept:
            raise PasswordDeleteError
        del self.kept[service, username]


def named(module: str, kind: type = MemoryBackend, name: str = "Keyring") -> KeyringBackend:
    """A backend that is called like one of keyring's own."""
    return type(name, (kind,), {"__module__": module, "__qualname__": name})()


SECRET_SERVICE = "keyring.backends.SecretService"


@pytest.fixture(autouse=True)
def no_passphrase(monkeypatch):
    monkeypatch.delenv(secrets.PASSPHRASE_VARIABLE, raising=False)


@pytest.fixture(params=["key store", "file with passphrase", "file"])
def store(request, tmp_path):
    match request.param:
        case "key store":
            return KeyringStore(named(SECRET_SERVICE), tmp_path)
        case "file":
            return FileStore(tmp_path / "secrets.json")
        case _:
            return FileStore(tmp_path / "secrets.json", passphrase="three small words")


# --- the contract of every store -----------------------------------------------------------------


def test_what_is_set_is_got_and_what_is_deleted_is_gone(store):
    assert store.get("site-key") is None
    store.delete("site-key")
    store.set("site-key", bytes(range(32)))
    store.set("other", b"x")
    assert (store.get("site-key"), store.get("other")) == (bytes(range(32)), b"x")
    store.set("site-key", b"new")
    store.delete("other")
    assert (store.get("site-key"), store.get("other")) == (b"new", None)
    assert store.description


def test_only_small_secrets_are_taken(store):
    store.set("s", bytes(1024))
    for secret in (b"", bytes(1025)):
        with pytest.raises(SetupProblem, match="is not between 1 and 1024"):
            store.set("s", secret)
    assert store.get("s") == bytes(1024)


# --- the key store -------------------------------------------------------------------------------


def test_two_homes_do_not_share_a_key(tmp_path):
    backend = named(SECRET_SERVICE)
    one, other = KeyringStore(backend, tmp_path / "1"), KeyringStore(backend, tmp_path / "2")
    one.set("site-key", b"one")
    assert other.get("site-key") is None
    assert len(backend.kept) == 1, "the probe left nothing"


@pytest.mark.parametrize(
    "backend",
    [
        fail.Keyring(),
        null.Keyring(),
        named("keyrings.alt.file", name="PlaintextKeyring"),
        named("keyrings.alt.file", name="EncryptedKeyring"),
        named("somewhere.else"),
    ],
    ids=lambda backend: type(backend).__module__ + type(backend).__qualname__,
)
def test_a_key_store_that_is_not_on_the_list_is_refused(backend, tmp_path):
    with pytest.raises(SetupProblem, match="does not protect what it keeps") as caught:
        KeyringStore(backend, tmp_path)
    assert caught.value.code is ErrorCode.SECRET_STORE
    assert isinstance(open_store(tmp_path, backend=backend), FileStore)


def test_a_chain_is_as_good_as_its_worst_link(tmp_path):
    good, plain = named(SECRET_SERVICE), named("keyrings.alt.file", name="PlaintextKeyring")

    class Chain(MemoryBackend):
        backends: tuple = ()

    for links, trusted in (((good,), True), ((good, plain), False), ((), False)):
        chain = named(chainer.ChainerBackend.__module__, Chain, "ChainerBackend")
        chain.backends = links
        assert (
            isinstance(open_store(tmp_path / str(len(links)), backend=chain), KeyringStore)
            is trusted
        )


def test_a_locked_or_forgetful_key_store_is_noticed_at_once(tmp_path):
    class Locked(MemoryBackend):
        def set_password(self, service, username, password):
            raise KeyringLocked

    class Forgetful(MemoryBackend):
        def get_password(self, service, username):
            return None

    for kind in (Locked, Forgetful):
        with pytest.raises(SetupProblem) as caught:
            KeyringStore(named(SECRET_SERVICE, kind), tmp_path)
        assert caught.value.code is ErrorCode.SECRET_STORE


# --- the file ------------------------------------------------------------------------------------


@pytest.mark.parametrize("passphrase", [None, "three small words"])
def test_the_file_holds_nothing_readable_and_opens_again(tmp_path, passphrase):
    path = tmp_path / "secrets.json"
    FileStore(path, passphrase=passphrase).set("site-key", b"a readable secret")
    again = FileStore(path, passphrase=passphrase)
    assert again.get("site-key") == b"a readable secret"
    assert b"readable" not in path.read_bytes()
    if sys.platform != "win32":
        assert all(file.stat().st_mode & 0o077 == 0 for file in tmp_path.iterdir())
    assert (tmp_path / "secrets.key").exists() is (passphrase is None)
    assert ("passphrase" in again.description) is (passphrase is not None)


def test_a_wrong_or_missing_passphrase_is_refused(tmp_path):
    path = tmp_path / "secrets.json"
    FileStore(path, passphrase="right").set("site-key", b"secret")
    for wrong in ("wrong", None):
        with pytest.raises(SetupProblem) as caught:
            FileStore(path, passphrase=wrong)
        assert caught.value.code is ErrorCode.SECRET_STORE
    assert open_store(tmp_path, passphrase="right").get("site-key") == b"secret"


def test_the_environment_gives_the_passphrase(tmp_path, monkeypatch):
    monkeypatch.setenv(secrets.PASSPHRASE_VARIABLE, "from the environment")
    open_store(tmp_path, backend=named(SECRET_SERVICE)).set("site-key", b"secret")
    assert (
        FileStore(tmp_path / "secrets.json", passphrase="from the environment").get("site-key")
        == b"secret"
    )


def test_a_file_is_used_again_when_a_key_store_appears(tmp_path):
    open_store(tmp_path, backend=fail.Keyring()).set("site-key", b"secret")
    assert open_store(tmp_path, backend=named(SECRET_SERVICE)).get("site-key") == b"secret"


def test_a_secret_cannot_be_moved_to_another_name(tmp_path):
    path = tmp_path / "secrets.json"
    store = FileStore(path)
    store.set("one", b"1")
    store.set("two", b"2")
    document = json.loads(path.read_text())
    document["secrets"]["one"], document["secrets"]["two"] = (
        document["secrets"]["two"],
        document["secrets"]["one"],
    )
    path.write_text(json.dumps(document))
    with pytest.raises(SetupProblem, match="was changed"):
        FileStore(path).get("one")


def test_a_damaged_file_is_explained_never_overwritten(tmp_path):
    path = tmp_path / "secrets.json"
    FileStore(path).set("site-key", b"secret")
    sound = path.read_bytes()
    for cut in itertools.chain(range(0, len(sound), 17), [len(sound) - 1]):
        path.write_bytes(sound[:cut])
        with pytest.raises(SetupProblem):
            FileStore(path)
        assert path.read_bytes() == sound[:cut]
    path.write_bytes(sound)
    (tmp_path / "secrets.key").write_bytes(b"short")
    with pytest.raises(SetupProblem):
        FileStore(path)
    (tmp_path / "secrets.key").unlink()
    with pytest.raises(SetupProblem):
        FileStore(path)
