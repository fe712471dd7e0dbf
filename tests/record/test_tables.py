import pytest

from ssl_swin.record.tables import as_markdown, table


def test_a_column_without_a_cell_is_left_out_and_what_is_missing_is_a_dash():
    found = table("", [{"name": "a", "loss": None}, {"name": "b", "loss": None, "life": "2"}])
    assert [str(column.header) for column in found.columns] == ["name", "life"]
    assert [str(cell) for cell in found.columns[1].cells] == ["-", "2"]


@pytest.mark.parametrize("name", ["[bold]x[/bold]", "a [red]b"])
def test_brackets_are_no_markup(name):
    assert f"| {name} | 1 |" in as_markdown([table("t", [{"name": name, "life": "1"}])])
