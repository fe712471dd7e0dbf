from ssl_swin.shard_tools.index import index
from tests.data.shards.tars import samples, write_tar


def test_keys_without_an_image_are_left_out_and_counted(tmp_path, capsys):
    members = [("a.txt", b""), *samples(2), ("b.json", b"{}"), (".hidden.png", b"")]
    write_tar(tmp_path / "a.tar", members)
    index(str(tmp_path))
    assert capsys.readouterr().out == (
        "2 samples in 1 shards; 2 keys without an image were left out; "
        "1 members that are in no sample were left out\n"
    )
