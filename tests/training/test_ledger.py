from ssl_swin.record.lines import read_lines
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.training.ledger import Ledger
from tests.training.tiny import batches, fit, learner


def test_each_step_has_a_line_with_its_images(tmp_path):
    folder, module = RunFolder(tmp_path), learner()
    module.step = 7
    fit(module, 3, Ledger(folder, life=2))
    assert read_lines(folder.ledger(0)) == [
        {"life": 2, "step": 7 + step, "rank": 0, "ids": batch["index"].tolist()}
        for step, batch in enumerate(batches(3))
    ]
