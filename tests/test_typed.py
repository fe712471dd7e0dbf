import shlex

from ssl_swin.typed import WIDTH, quoted, typed, wrapped


def test_a_shell_reads_the_words_that_were_meant(tmp_path):
    words = ["shards", "create", tmp_path / "my photos", "$HOME", "--split", "val=0.1"]
    assert shlex.split(typed(*words)) == ["ssl-swin", *map(str, words)]
    assert quoted("my photos") == "'my photos'"


def test_a_long_command_is_broken_between_its_parts():
    parts = [f"--flag-{number} some-value" for number in range(9)]
    lines = list(wrapped("ssl-swin finetune", *parts))
    assert max(map(len, lines)) <= WIDTH
    assert all(line.endswith(" \\") for line in lines[:-1])
    whole = " ".join(["ssl-swin finetune", *parts])
    assert shlex.split("\n".join(lines).replace("\\\n", " ")) == shlex.split(whole)
    assert list(wrapped("ssl-swin report", "a")) == ["  ssl-swin report a"]
