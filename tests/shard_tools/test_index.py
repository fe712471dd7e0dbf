from ssl_swin.shard_tools.index import index
from tests.data.shards.tars import samples, write_tar


def test_what_was_left_out_is_said_with_its_reason(tmp_path, capsys):
    members = [("a.txt", b""), *samples(2), ("b.json", b"{}"), (".hidden.png", b"")]
    write_tar(tmp_path / "a.tar", members)
    index(str(tmp_path))
    assert capsys.readouterr().out == (
        f"2 samples in 1 shards\nleft out of {tmp_path}: 1 hidden, or in folders such as @eaDir "
        "and __MACOSX, as '.hidden.png'; 2 keys without an image, as 'a.txt'\n"
    )
