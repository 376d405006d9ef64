"""The picture of the grid takes ways with several seeds, one, none, and columns that lack a way."""

from PIL import Image

from transfer.report import plots


def test_every_way_has_a_line(tmp_path):
    columns = {
        "a": {"dense": [0.9], "px:batch:20": [0.5, 0.6], "snip+px": [], "own,power=2": [0.1]},
        "b": {"px:batch:20": [0.5]},
    }
    small, large = tmp_path / "small.png", tmp_path / "large.png"
    plots.ways(columns, ["dense", "px:batch:20"], small)
    plots.ways(columns, ["dense", "px:batch:20", "snip+px", "own,power=2"], large)
    with Image.open(small) as few, Image.open(large) as many:
        few.load()
        many.load()
        assert many.height > few.height
        assert many.width == few.width


def test_failed_ways_alone(tmp_path):
    plots.ways({"a": {"px": []}}, ["px"], tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as picture:
        picture.load()
