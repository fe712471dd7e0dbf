import json
from types import SimpleNamespace

import pytest

from ssl_swin.errors import UserError
from ssl_swin.features.results import Evaluation
from ssl_swin.features.written import check_folder, check_question


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


def test_test_images_that_only_their_content_tells_apart_are_others(tmp_path):
    train, test = SimpleNamespace(content="a"), SimpleNamespace(content="b")
    found = Evaluation(train, test, ("x", "y"), "last", 0, measures=["knn"])
    earlier = {"train": {"content": "a"}, "test": {"content": "b"}}
    earlier |= {"subjects": [{"name": "mine", "fingerprint": "f"}], "measures": ["knn"]}
    (tmp_path / "summary.json").write_text(json.dumps(earlier))
    check_question(tmp_path, found, {"f", "w"})
    went_on = earlier | {"subjects": [{"name": "mine", "what": "w", "fingerprint": "before"}]}
    (tmp_path / "summary.json").write_text(json.dumps(went_on))
    check_question(tmp_path, found, {"f", "w"})
    test.content = "c"
    with pytest.raises(UserError, match="holds an evaluation with other test images"):
        check_question(tmp_path, found, {"f", "w"})
