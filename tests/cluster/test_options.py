import pytest

from ssl_swin.cluster.options import Request, seconds


@pytest.fixture
def cluster(tmp_path):
    """Write a file of defaults and return its path."""

    def write(text):
        (tmp_path / "slurm.yaml").write_text(text)
        return str(tmp_path / "slurm.yaml")

    return write


def test_settings_of_the_run_are_kept_in_order_and_options_are_taken_out():
    words = "pretrain c.yaml --optim.epochs 3 --nodes 1-2 --data.mean [0.5] --dry-run --seed 1"
    request = Request.read(words.split())
    (stage,) = request.stages
    assert stage.kind == "pretrain"
    assert stage.arguments == (
        *("c.yaml", "--optim.epochs", "3", "--data.mean", "[0.5]", "--seed", "1"),
    )
    assert stage.options.nodes == "1-2"
    assert request.dry_run


def test_a_chain_starts_with_the_options_of_its_first_step():
    words = "pretrain a.yaml --nodes 4 --time 1:00:00 --then finetune b.yaml --nodes 1 --x 2"
    first, second = Request.read(words.split()).stages
    assert (first.options.nodes, second.options.nodes) == ("4", "1")
    assert second.options.time == "1:00:00"
    assert second.arguments == ("b.yaml", "--x", "2")


def test_an_evaluation_takes_no_more_of_the_cluster_than_it_asks_for():
    words = "pretrain a.yaml --nodes 4 --gpus-per-node 8 --time 1:00:00 --then evaluate --data d"
    words += " --gpus-per-node 2 --dry-run --then finetune b.yaml"
    request = Request.read(words.split())
    first, second, third = request.stages
    assert (second.options.nodes, second.options.gpus_per_node) == (None, 2)
    assert second.options.time == "1:00:00"
    assert second.arguments == ("--data", "d")
    assert third.options == first.options
    assert request.dry_run


def test_the_command_line_goes_before_the_clusters_file(cluster):
    path = cluster("partition: gpu\ntime: 12:00:00\ncpus-per-task: 6\nsbatch: [--mem=2G]\n")
    words = ["pretrain", "c.yaml", "--cluster", path, "--partition", "long", "--sbatch=--nice"]
    options = Request.read(words).stages[0].options
    assert (options.partition, options.time, options.cpus_per_task) == ("long", "12:00:00", 6)
    assert options.sbatch == ("--mem=2G", "--nice")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("partiton: x\n", "unknown key partiton; did you mean partition?"),
        ("array: seed=1\n", "unknown key array"),
        ("cpus_per_task: many\n", "cpus_per_task"),
        ("nodes: [2, 4]\n", "nodes is ['2', '4']; give one value"),
        ("partition: [a, b]\n", "partition is ['a', 'b']; give one value"),
        ("nodes: {min: 2}\n", "nodes is {'min': '2'}; give one value"),
        ("sbatch: {mem: 2G}\n", "give one value or a list of values"),
        ("gpus_per_node: -1\n", "--gpus-per-node -1: give a whole number, 0 or more"),
        ("- a\n", "must hold `key: value` lines, such as"),
        ("a: [\n", "is not YAML"),
    ],
)
def test_a_wrong_file_of_the_cluster_is_refused(cluster, text, said):
    with pytest.raises(ValueError, match="slurm") as info:
        Request.read(["pretrain", "c.yaml", "--cluster", cluster(text)])
    assert said in str(info.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "say what to submit"),
        ("report runs", "not report runs"),
        ("pretrain", "say what to submit"),
        ("pretrain --nodes 2", "say what to submit"),
        ("pretrain c.yaml --then", "say what to submit"),
        ("pretrain c.yaml --cpus-per-task x", "^cpus_per_task=x does not fit; give int or null$"),
        ("pretrain c.yaml --warning x", "^warning=x does not fit; give int$"),
        ("pretrain c.yaml --gpus-per-node -1", "--gpus-per-node -1: .*, 0 or more"),
        ("pretrain c.yaml --tasks-per-node 0", "--tasks-per-node 0: .*, 1 or more"),
        ("pretrain c.yaml --cpus-per-task -2", "--cpus-per-task -2: .*, 1 or more"),
        ("pretrain c.yaml --max-restarts -1", "--max-restarts -1: .*, 0 or more"),
        ("pretrain c.yaml --images-per-s 0", "--images-per-s 0.0: .* greater than 0"),
        ("pretrain c.yaml --mtbf-h 0", "--mtbf-h 0.0: give hours greater than 0"),
        ("pretrain c.yaml --save-s -1", "--save-s -1.0: give seconds greater than 0"),
        ("pretrain c.yaml --images-per-s nan", "images_per_s=nan"),
        ("pretrain c.yaml --array seed=0,1 --then finetune d.yaml", "cannot be combined"),
        ("pretrain c.yaml --then finetune d.yaml --array seed=0", "go before --then"),
        ("pretrain c.yaml --then evaluate", "not evaluate; see"),
        ("evaluate run --data d --array seed=0,1", "an evaluation has none"),
    ],
)
def test_an_incomplete_command_is_refused(words, said):
    with pytest.raises(ValueError, match=said):
        Request.read(words.split())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("30", 1800), ("30:15", 1815), ("2:00:00", 7200)),
        *(("1-0", 86400), ("1-2:30", 95400), ("2-00:00:10", 172810)),
    ],
)
def test_times_are_read_as_slurm_does(text, expected):
    assert seconds(text) == expected


def test_no_time_is_refused():
    with pytest.raises(ValueError, match="write it as SLURM does"):
        seconds("2 days")
