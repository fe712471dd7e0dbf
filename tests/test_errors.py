import pytest

from ssl_swin.errors import RemoteError, ShardError, UserError, exit_status


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UserError("a setting"), 2),
        (ShardError("a shard"), 2),
        (ValueError("a setting"), 2),
        (FileNotFoundError("a path"), 2),
        (PermissionError("a path"), 2),
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


def test_a_storage_error_is_caught_with_the_errors_of_shards():
    assert issubclass(RemoteError, ShardError)
    assert issubclass(ShardError, UserError)
