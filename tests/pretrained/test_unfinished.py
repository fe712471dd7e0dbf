import pytest
import torch

from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.open import find_weights, open_weights
from ssl_swin.pretrained.unfinished import read_unfinished
from ssl_swin.record.run_folder import RunFolder


def test_the_last_checkpoint_stands_in_for_an_encoder_that_is_not_there_yet(trained):
    folder = RunFolder(trained[1])
    assert read_unfinished(folder.root) is None  # it has ended
    ended = find_weights(folder.root)
    folder.encoder.unlink()
    found = read_unfinished(folder.root)
    assert found.state.keys() == ended.state.keys()
    assert all(torch.equal(found.state[name], ended.state[name]) for name in ended.state)
    assert (found.architecture, found.mean, found.std) == (
        ended.architecture,
        ended.mean,
        ended.std,
    )
    assert open_weights(found).report.missing == ()
    assert "after step 2" in found.told


def test_its_config_is_that_in_the_checkpoint(trained):
    folder = RunFolder(trained[1])
    ended = find_weights(folder.root)
    folder.encoder.unlink()
    folder.config.write_text("a: [")
    assert read_unfinished(folder.root).architecture == ended.architecture
    folder.config.unlink()
    assert read_unfinished(folder.root).mean == ended.mean


def test_a_damaged_checkpoint_is_one_line_and_an_empty_folder_is_none(trained, tmp_path):
    folder = RunFolder(trained[1])
    folder.encoder.unlink()
    folder.last.write_bytes(folder.last.read_bytes()[:2000])
    with pytest.raises(PretrainedMismatch, match=r"last.ckpt is damaged: there is none before it"):
        read_unfinished(folder.root)
    folder.previous.touch()
    with pytest.raises(PretrainedMismatch, match=r"last.ckpt is damaged: give its command again"):
        read_unfinished(folder.root)
    assert read_unfinished(tmp_path / "nothing") is None
