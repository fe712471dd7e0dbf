from ssl_swin.pretrained.report import Report, renamed


def test_a_report_says_each_thing_by_name_and_leaves_out_what_there_is_none_of():
    report = Report("timm's Swin", loaded=("a", "b"))
    assert not report.says_more
    assert report.lines("x.pth") == ["x.pth: timm's Swin: 2 tensors loaded"]
    assert report.told == "timm's Swin, 2 tensors taken, none left out"
    report = Report(
        "a Swin",
        "net.",
        loaded=("a", "b"),
        remapped=(("x", "a"),),
        resized=("b",),
        dropped=("head.weight", "head.bias"),
        missing=("mask_token",),
        remarks=("norm.weight is 1",),
    )
    assert report.says_more
    assert report.lines("x.pth") == [
        "x.pth: a Swin under 'net.': 2 tensors loaded",
        "  remapped 1: x -> a",
        "  resized 1: b",
        "  dropped 2: head.weight, head.bias",
        "  missing 1: mask_token, as it starts",
        "  norm.weight is 1",
    ]
    assert report.told == (
        "a Swin under 'net.', 2 tensors taken, 2 left out (head.weight, head.bias), "
        "1 resized (b), 1 missing (mask_token), norm.weight is 1"
    )


def test_few_names_are_listed_in_full_and_of_many_the_first():
    few, many = (Report("x", dropped=tuple(map(str, range(num)))) for num in (8, 9))
    assert few.lines("x.pth")[1] == "  dropped 8: 0, 1, 2, 3, 4, 5, 6, 7"
    assert many.lines("x.pth")[1] == "  dropped 9: 0, 1, 2, ..."


def test_another_prefix_is_no_other_name():
    pairs = [
        ("model.encoder.norm.weight", "backbone.norm.weight"),
        ("backbone.norm.bias", "backbone.norm.bias"),
        ("layernorm.bias", "backbone.norm.bias"),
        ("model.mask_token", "mask_token"),
    ]
    assert renamed(pairs) == (pairs[2],)
