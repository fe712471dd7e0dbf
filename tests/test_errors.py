import pytest

from ssl_swin.errors import (
    MachineError,
    RemoteError,
    ShardError,
    UserError,
    exit_status,
    naming,
    nearest,
    one_line,
    usable,
)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UserError("a setting"), 2),
        (ShardError("a shard"), 2),
        (ValueError("a library"), 1),
        (FileNotFoundError("a file that vanished"), 1),
        (PermissionError("a ticket that ran out"), 1),
        (MachineError("a node"), 1),
        (RemoteError("the network"), 1),
        (OSError(28, "No space left on device"), 1),
        (ConnectionResetError(), 1),
        (MemoryError(), 1),
        (RuntimeError("a bug"), 1),
        (KeyError("a bug"), 1),
        (SystemExit(75), 75),
    ],
    ids=repr,
)
def test_only_what_the_user_can_mend_is_not_tried_again(error, status):
    assert exit_status(error) == status


def test_a_storage_error_is_never_the_users():
    assert issubclass(RemoteError, OSError)
    assert not issubclass(RemoteError, UserError)
    assert not issubclass(MachineError, UserError)


@pytest.mark.parametrize("name", ["nowhere", "folder", "file/below"])
def test_a_path_that_was_given_and_cannot_be_used_is_one_line(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    refused = pytest.raises(ShardError, match=f"^shards=x: .*{name}")
    with refused as caught, usable("shards=x", ShardError):
        (tmp_path / name).read_text()
    assert "\n" not in str(caught.value)


def test_what_is_refused_says_the_setting_once_and_stays_what_it_was():
    with pytest.raises(ShardError, match=r"^init=x: no weights$"), naming("init=x"):
        raise ShardError("no weights")
    with pytest.raises(UserError, match=r"^init=x: is old$"), naming("init=x"), naming("init=x"):
        raise UserError("is old")
    with pytest.raises(UserError, match=r"^init=x: gone$"), naming("init=x"):
        raise FileNotFoundError("gone")
    with pytest.raises(MachineError, match=r"^no network$"), naming("init=x"):
        raise MachineError("no network")


def test_what_the_storage_does_is_not_turned_into_a_mistake():
    with pytest.raises(OSError, match="Stale"), usable("shards=x"):
        raise OSError(116, "Stale file handle")


def test_an_error_is_one_line_and_a_loader_workers_its_own_words():
    assert one_line(RuntimeError("first\nsecond\n")) == "first second"
    assert one_line(RuntimeError()) == ""
    wrapped = "Caught ShardError in DataLoader worker process 0.\nOriginal Traceback\nX: why: so"
    assert one_line(RuntimeError(wrapped)) == "why: so"


def test_the_nearest_name_is_told_by_its_end_too():
    assert nearest("epoch", ["optim.epochs", "seed"]) == "; did you mean optim.epochs?"
    assert nearest("xyz", ["seed"]) == ""
