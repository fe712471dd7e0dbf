import json

import pytest

from ssl_swin.errors import UserError
from ssl_swin.features.written import check_folder


@pytest.mark.parametrize(
    "earlier",
    [{"kind": "frozen", "test": {"fingerprint": "other"}}, {"fingerprint": "mine"}, {"test": 3}],
)
def test_a_folder_of_something_else_is_not_written_over(tmp_path, earlier):
    (tmp_path / "summary.json").write_text(json.dumps(earlier))
    with pytest.raises(UserError, match="holds an evaluation of other images"):
        check_folder(tmp_path, "mine")


def test_a_folder_of_the_same_images_or_of_nothing_may_be_written(tmp_path):
    folder = tmp_path / "new" / "one"
    check_folder(folder, "mine")
    (folder / "summary.json").write_text(json.dumps({"test": {"fingerprint": "mine"}}))
    check_folder(folder, "mine")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=f"output={tmp_path / 'file'}"):
        check_folder(tmp_path / "file", "mine")
