from ssl_swin.data.shards.left_out import DUPLICATE
from ssl_swin.shard_tools.duplicates import without_duplicates
from ssl_swin.shard_tools.source import ImageFile, Source


def kept(folder, contents, **facts):
    files = []
    for name, data in sorted(contents.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        about = {key: value[name] for key, value in facts.items()}
        files.append(ImageFile(name, len(data), **{"label": None} | about))
    found = Source(files, [], {}, [])
    return [file.name for file in without_duplicates(folder, found)], found


def test_the_first_by_name_of_the_same_bytes_stays(tmp_path):
    contents = {"b.png": b"one", "a.png": b"one", "c.png": b"two", "d.png": b"one", "e.png": b"xx"}
    names, found = kept(tmp_path, contents)
    assert names == ["a.png", "c.png", "e.png"]
    assert found.left_out == {DUPLICATE: (2, "b.png")}
    assert found.told == []


def test_of_sets_the_held_out_one_keeps_its_image(tmp_path):
    sets = {"a.png": "train", "b.png": "val", "c.png": "test", "d.png": "train"}
    contents = dict.fromkeys(("a.png", "b.png", "c.png"), b"same") | {"d.png": b"else"}
    names, found = kept(tmp_path, contents, split=sets)
    assert names == ["c.png", "d.png"]
    assert (
        "2 images are there again in another set, of which one is kept: 'c.png' as"
        in (found.told[0])
    )


def test_duplicates_of_two_classes_are_named(tmp_path):
    contents = {f"{kind}/{n}.png": b"%d" % n for kind in ("ant", "bee") for n in range(5)}
    labels = {name: int(name.startswith("bee")) for name in contents}
    names, found = kept(tmp_path, contents, label=labels)
    assert names == [f"ant/{n}.png" for n in range(5)]
    assert found.told == [
        "warning: 5 images are there again in another class, of which one is kept: 'ant/0.png' as "
        "'bee/0.png', 'ant/1.png' as 'bee/1.png', 'ant/2.png' as 'bee/2.png', ..."
    ]
