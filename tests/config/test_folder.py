import pytest

from ssl_swin.__main__ import run
from ssl_swin.config.folder import instead_of_folder


@pytest.fixture
def sets(tmp_path):
    """What `shards create --split` writes, as far as names go."""
    for name in ("train", "val"):
        (tmp_path / "mine" / name).mkdir(parents=True)
        (tmp_path / "mine" / name / "train-000000.tar").touch()
    return tmp_path / "mine"


def test_pretraining_a_folder_of_images_says_what_to_type(tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    assert run(["pretrain", str(tmp_path / "photos")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    create = f"ssl-swin shards create {tmp_path}/photos shards/photos --split val=0.1"
    assert line.endswith(
        f"type: {create}, then: ssl-swin recipe shards/photos -o photos.yaml, "
        "then: ssl-swin pretrain photos.yaml"
    )


def test_folders_that_are_sets_are_packed_as_sets(tmp_path):
    for name in ("train", "Val"):
        (tmp_path / "photos" / name).mkdir(parents=True)
    assert "shards/photos --split folders, then" in instead_of_folder(
        "pretrain", tmp_path / "photos"
    )


def test_pretraining_a_folder_of_shards_needs_only_the_recipe(sets):
    recipe = f"type: ssl-swin recipe {sets} -o mine.yaml, then: ssl-swin pretrain mine.yaml"
    assert instead_of_folder("pretrain", sets).endswith(recipe)
    assert "-o mine.yaml" in instead_of_folder("pretrain", sets / "train")


def test_fine_tuning_a_folder_says_with_which_encoder_and_sets(sets, tmp_path):
    told = instead_of_folder("finetune", sets)
    assert f"--data.shards {sets}/train --data.val-shards {sets}/val" in told
    assert "--encoder runs/mine/pretrain" in told
    assert f"--data.shards {sets}/val --run-dir" in instead_of_folder("finetune", sets / "val")
    assert "shards create" in instead_of_folder("finetune", tmp_path)


def test_the_folder_of_a_run_goes_on_by_its_config(tmp_path):
    (tmp_path / "config.yaml").touch()
    assert f"type: ssl-swin pretrain {tmp_path}/config.yaml" in instead_of_folder(
        "pretrain", tmp_path
    )
