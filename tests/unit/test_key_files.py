"""The folder of keys: made whole or not at all, never readable by others, and refused when it is."""

import importlib.util
import os
import stat
import threading

import pytest

from muniment.adapters import key_files
from muniment.adapters.key_files import (
    Recipient,
    add_recipient,
    create_keys,
    create_writer_keys,
    load_identities,
    load_recipients,
    load_signing_key,
    load_verify_key,
    new_identity,
    read_identities,
    remove_recipient,
    save_identities,
)
from muniment.adapters.private_files import create_file
from muniment.archive.keyring import open_keyring, seal
from muniment.archive.signing import SigningKey
from muniment.errors import (
    ConflictError,
    FormatError,
    KeyUnavailableError,
    NotFoundError,
    SignatureError,
    UsageError,
)

needs_bcrypt = pytest.mark.skipif(
    importlib.util.find_spec("bcrypt") is None, reason="passphrases need the package bcrypt"
)


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "keys"
    create_keys(folder, "Grupo de Memoria")
    return folder


def _modes(folder) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o277, 0o777])
def test_the_modes_are_right_under_every_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        create_keys(tmp_path / "keys", "Org")
        save_identities(tmp_path / "keys", load_identities(tmp_path / "keys"))
        add_recipient(tmp_path / "keys", new_identity().recipient, "partner")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert _modes(tmp_path / "keys") == {
        "signing": 0o600,
        "signing.pub": 0o644,
        "identity.txt": 0o600,
        "recipients.txt": 0o644,
    }


def test_a_secret_is_private_from_its_first_moment(tmp_path, monkeypatch):
    """Looked at in the only moment when it could be otherwise: after the file is made, before its mode is set."""
    seen = []
    fchmod = os.fchmod

    def look(descriptor, mode):
        seen.append((mode, stat.S_IMODE(os.fstat(descriptor).st_mode)))
        fchmod(descriptor, mode)

    monkeypatch.setattr(os, "fchmod", look)
    before = os.umask(0)
    try:
        create_keys(tmp_path / "keys", "Org")
    finally:
        os.umask(before)
    assert len(seen) == 4
    assert all(made & ~wanted == 0 for wanted, made in seen)
    assert [made for wanted, made in seen if wanted == 0o600] == [0o600, 0o600]


def test_new_keys_load_and_the_recovery_identity_is_nowhere_on_disk(tmp_path):
    folder = tmp_path / "keys"
    keys = create_keys(folder, "Grupo de Memoria")
    assert load_verify_key(folder) == keys.verify_key == load_signing_key(folder).verify_key
    assert [identity.recipient for identity in load_identities(folder)] == [keys.recipient]
    assert load_recipients(folder) == [
        Recipient(keys.recipient, "Grupo de Memoria"),
        Recipient(keys.recovery.recipient, "recovery"),
    ]
    stored = b"".join(path.read_bytes() for path in folder.iterdir())
    assert keys.recovery.reveal().encode() not in stored
    assert keys.recovery.secret not in stored
    assert keys.recovery.reveal() not in repr(keys)
    sealed = seal(b"payload", [recipient.key for recipient in load_recipients(folder)])
    assert (
        open_keyring(sealed, [keys.recovery])
        == open_keyring(sealed, load_identities(folder))
        == b"payload"
    )


def test_an_empty_folder_is_filled_and_any_other_left_alone(tmp_path):
    folder = tmp_path / "keys"
    folder.mkdir()
    create_keys(folder, "Org")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ConflictError, match="not an empty folder"):
        create_keys(folder, "Org")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(ConflictError):
        create_keys(file, "Org")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "keys"]


@pytest.mark.parametrize("organisation", ["", "  ", "a\nage1x", "x" * 201, "\x1b[31m"])
def test_a_name_that_could_not_be_read_back_is_refused_before_anything_is_made(
    tmp_path, organisation
):
    with pytest.raises(UsageError, match="name"):
        create_keys(tmp_path / "keys", organisation)
    assert list(tmp_path.iterdir()) == []


@needs_bcrypt
def test_a_passphrase_is_asked_for_only_where_there_is_one(tmp_path, home):
    asked = []

    def prompt(key_id):
        asked.append(key_id)
        return "correct horse"

    load_signing_key(home, prompt)
    assert asked == []
    locked = tmp_path / "locked"
    keys = create_keys(locked, "Org", passphrase="correct horse")
    assert load_signing_key(locked, prompt).verify_key == keys.verify_key
    assert asked == [keys.verify_key.key_id]
    with pytest.raises(KeyUnavailableError, match="wrong passphrase"):
        load_signing_key(locked, lambda key_id: "wrong")
    with pytest.raises(KeyUnavailableError, match="locked by a passphrase"):
        load_signing_key(locked)


def test_a_writer_needs_no_identity_and_opens_nothing(tmp_path):
    reader = new_identity()
    folder = tmp_path / "keys"
    verify_key = create_writer_keys(
        folder, "Field office", [Recipient(reader.recipient, "head office")]
    )
    assert sorted(_modes(folder)) == ["recipients.txt", "signing", "signing.pub"]
    verify_key.verify(b"x", load_signing_key(folder).sign(b"x"))
    add_recipient(folder, new_identity().recipient, "partner")
    assert (
        open_keyring(seal(b"x", [known.key for known in load_recipients(folder)]), [reader]) == b"x"
    )
    with pytest.raises(KeyUnavailableError, match="can archive, but not open"):
        load_identities(folder)
    with pytest.raises(UsageError, match="at least one recipient"):
        create_writer_keys(tmp_path / "other", "Field office", [])
    twice = [Recipient(reader.recipient, "head office"), Recipient(reader.recipient, "again")]
    with pytest.raises(UsageError, match="different recipients, got 2, 1 of them"):
        create_writer_keys(tmp_path / "other", "Field office", twice)
    assert not (tmp_path / "other").exists()


def test_recipients_come_and_go_but_the_last_one_stays(home):
    own, recovery = load_recipients(home)
    partner = new_identity().recipient
    add_recipient(home, partner, "Ñandú partner")
    assert load_recipients(home) == [own, recovery, Recipient(partner, "Ñandú partner")]
    with pytest.raises(ConflictError, match="there already"):
        add_recipient(home, partner, "again")
    remove_recipient(home, own.key)
    remove_recipient(home, recovery.key)
    with pytest.raises(NotFoundError):
        remove_recipient(home, own.key)
    with pytest.raises(UsageError, match="last recipient"):
        remove_recipient(home, partner)
    assert load_recipients(home) == [Recipient(partner, "Ñandú partner")]


# Points of low order (RFC 7748, section 6.1, and its references): anybody can open what is sealed to them.
LOW_ORDER = [
    "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq5cu47z",
    "age1qyqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqj7vrya",
    "age1ur4h5lpmgxu2u9jku0a0r87ydtdqnr0tnsetrlvxvgz3vh6fhqqqzyt4v9",
]


GARBAGE = ["", "age1", "x", "age1" + "q" * 58, "\n", "AGE-SECRET-KEY-1", *LOW_ORDER]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_is_no_recipient(home, garbage):
    before = (home / "recipients.txt").read_bytes()
    with pytest.raises(FormatError):
        add_recipient(home, garbage, "partner")
    with pytest.raises(UsageError, match="name"):
        add_recipient(home, new_identity().recipient, "a\nb")
    assert (home / "recipients.txt").read_bytes() == before


def test_changes_at_once_are_not_lost(home):
    keys = [new_identity().recipient for _ in range(8)]
    threads = [threading.Thread(target=add_recipient, args=(home, key, "partner")) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {known.key for known in load_recipients(home)} >= set(keys)


def test_identities_are_rotated_in_place(home):
    old = load_identities(home)
    fresh = new_identity()
    save_identities(home, [fresh, *old])
    assert load_identities(home) == [fresh, *old]
    with pytest.raises(UsageError):
        save_identities(home, [])


def test_keys_that_exist_are_taken_over(tmp_path):
    signing = SigningKey(bytes(range(32)))
    raw = bytes(range(200, 232))
    create_file(tmp_path / "org-signing", signing.to_openssh())
    create_file(tmp_path / "org-encryption.key", raw)
    folder = tmp_path / "keys"
    create_keys(
        folder,
        "Org",
        existing_signing=tmp_path / "org-signing",
        existing_identity=tmp_path / "org-encryption.key",
    )
    assert load_signing_key(folder).verify_key == signing.verify_key
    assert [identity.secret for identity in load_identities(folder)] == [raw]
    assert load_recipients(folder)[0].key == load_identities(folder)[0].recipient


PRIVATE_LOADERS = {"signing": load_signing_key, "identity.txt": load_identities}
PUBLIC_LOADERS = {"signing.pub": load_verify_key, "recipients.txt": load_recipients}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644, 0o666])
@pytest.mark.parametrize("name", PRIVATE_LOADERS)
def test_a_private_file_open_to_others_is_refused(home, name, mode):
    (home / name).chmod(mode)
    with pytest.raises(KeyUnavailableError, match=f"chmod 600 .*{name}"):
        PRIVATE_LOADERS[name](home)
    (home / name).chmod(0o400)
    PRIVATE_LOADERS[name](home)


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
@pytest.mark.parametrize("name", PUBLIC_LOADERS)
def test_a_public_file_that_others_can_change_is_refused(home, name, mode):
    (home / name).chmod(mode)
    with pytest.raises(KeyUnavailableError, match=f"chmod 644 .*{name}"):
        PUBLIC_LOADERS[name](home)
    (home / name).chmod(0o444)
    PUBLIC_LOADERS[name](home)


LOADERS = PRIVATE_LOADERS | PUBLIC_LOADERS


def _as_link(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _as_folder(path):
    path.unlink()
    path.mkdir(0o700)


def _as_pipe(path):
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_as_link, "symbolic link"),
        (_as_folder, "not a regular file"),
        (_as_pipe, "not a regular file"),
        (os.unlink, "no such file|does not exist"),
    ],
)
@pytest.mark.parametrize("name", LOADERS)
def test_what_is_no_regular_file_is_refused(home, name, make, says):
    make(home / name)
    with pytest.raises(KeyUnavailableError, match=says):
        LOADERS[name](home)


@pytest.mark.parametrize("content", [b"x", b"\xff\xfe", b"\0" * 100, b"A" * 300_000])
@pytest.mark.parametrize("name", LOADERS)
def test_a_file_of_something_else_is_told_by_its_name(home, name, content):
    (home / name).write_bytes(content)
    with pytest.raises(FormatError, match=name):
        LOADERS[name](home)


def test_a_signing_key_beside_another_ones_public_line_is_refused(home):
    other = SigningKey(bytes(32)).verify_key
    (home / "signing.pub").write_text(other.to_openssh() + "\n")
    with pytest.raises(SignatureError, match=r"expected key SHA256:.* of signing.pub"):
        load_signing_key(home)


def test_an_identity_file_is_read_line_by_line_and_never_quoted(tmp_path):
    one, two = new_identity(), new_identity()
    path = tmp_path / "identity.txt"
    create_file(path, f"# comment\r\n\r\n{one.reveal()}\r\n# other\n{two.reveal()}".encode())
    assert read_identities(path) == [one, two]
    for bad in (
        one.reveal()[:-1],
        one.reveal().lower(),
        " " + one.reveal(),
        one.reveal()[:-1] + "Q" * 2,
    ):
        path.write_text(f"{two.reveal()}\n{bad}\n")
        with pytest.raises(FormatError, match="line 2") as caught:
            read_identities(path)
        assert bad not in str(caught.value)


@pytest.mark.parametrize(
    "raw", [bytes(32), b"\xff" * 32, bytes(31), bytes(33), b"", b"# only a comment\n"]
)
def test_a_raw_file_that_is_no_secret_is_refused(tmp_path, raw):
    create_file(tmp_path / "raw", raw)
    with pytest.raises(FormatError):
        read_identities(tmp_path / "raw")


def test_a_comment_ends_where_age_ends_it(home):
    """Unicode knows more line ends than age does; a recipient behind one of them is a part of the comment."""
    hidden = new_identity().recipient
    for end in ("\u2028", "\x0b", "\x0c", "\x1c", "\x85", "\r"):
        (home / "recipients.txt").write_text(
            f"# name{end}{hidden}\n{new_identity().recipient}\n", newline="", encoding="utf-8"
        )
        assert hidden not in [known.key for known in load_recipients(home)]


def test_recipients_are_not_listed_twice_nor_none(home):
    key = load_recipients(home)[0].key
    (home / "recipients.txt").write_text(f"{key}\n{key}\n")
    with pytest.raises(FormatError, match=r"line 2: .* twice"):
        load_recipients(home)
    (home / "recipients.txt").write_text("# nobody\n")
    with pytest.raises(KeyUnavailableError, match="at least one recipient"):
        load_recipients(home)


def test_a_missing_folder_is_told(tmp_path):
    for load in LOADERS.values():
        with pytest.raises(KeyUnavailableError):
            load(tmp_path / "nothing")
    with pytest.raises(KeyUnavailableError):
        add_recipient(tmp_path / "nothing", new_identity().recipient, "partner")


def test_a_secret_file_never_replaces_another(tmp_path):
    create_file(tmp_path / "kit.txt", b"secret")
    assert stat.S_IMODE((tmp_path / "kit.txt").stat().st_mode) == 0o600
    with pytest.raises(ConflictError):
        create_file(tmp_path / "kit.txt", b"other")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(ConflictError):
        create_file(tmp_path / "link", b"other")
    assert not (tmp_path / "target").exists()
    assert key_files.PRIVATE_MODE == 0o600
