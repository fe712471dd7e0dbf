import pytest

from ssl_swin.config.flags import with_hyphens, with_underscores


@pytest.mark.parametrize(
    ("underscores", "hyphens"),
    [
        ("--run_dir", "--run-dir"),
        ("--data.val_shards=a_b-c", "--data.val-shards=a_b-c"),
        ("my_config.yaml", "my_config.yaml"),
        ("a-b", "a-b"),
        ("-h", "-h"),
        ("--", "--"),
    ],
)
def test_only_the_name_of_a_flag_is_spelled_otherwise(underscores, hyphens):
    assert with_hyphens(underscores) == with_hyphens(hyphens) == hyphens
    assert with_underscores(hyphens) == with_underscores(underscores) == underscores
