from tests.cluster.test_submit import PRETRAIN, at_home, submit

__all__ = ["at_home"]  # a fixture


def test_lanes_are_those_for_the_most_processes_that_a_life_may_have(tmp_path, capsys):
    batch = ("--training.global-batch-size", "256", "--training.accelerator", "cpu")
    words = ("pretrain", PRETRAIN, "--run-dir", tmp_path / "run", *batch, "--dry-run")
    assert submit(*words, "--nodes", "8", "--tasks-per-node", "8") == 0
    assert "--data.num-lanes" not in capsys.readouterr().out
    assert submit(*words, "--nodes", "1-16", "--tasks-per-node", "8") == 0
    told = capsys.readouterr().out
    assert "8 to 128 processes, 256 lanes: with 128, 2 images each" in told
    assert told.count("--data.num-lanes 256") == 1
    assert submit(*words, "--nodes", "1-16", "--tasks-per-node", "8", "--array", "seed=0,1") == 0
    assert capsys.readouterr().out.count("--data.num-lanes 256") == 2
