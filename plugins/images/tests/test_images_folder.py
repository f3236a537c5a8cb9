"""A folder of image files."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from flowloom.errors import DataError
from flowloom_images.data import ImageFolder


def paint(path, colour, size=(20, 20), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, **options)


@pytest.fixture
def classes(tmp_path):
    for i in range(10):
        paint(tmp_path / "cats" / f"{i}.png", (255, 10 * i, 0))
        paint(tmp_path / "dogs" / "deep" / f"{i}.JPG", (0, 10 * i, 255))
    (tmp_path / "cats" / "notes.txt").write_text("no image")
    return tmp_path


def test_subfolders_are_classes(classes):
    data = ImageFolder(str(classes), size=8, test=0.2)
    assert data.spec.conditions["label"].names == ("cats", "dogs")
    assert data.spec.shape == (3, 8, 8)
    assert (len(data), len(data.split("test"))) == (16, 4)
    examples = data.all()
    red = examples.x[:, 0].mean((1, 2)) > 0
    assert torch.equal(red, examples.cond["label"] == 0)
    assert torch.equal(ImageFolder(str(classes), size=8, test=0.2).all().x, examples.x)
    both = torch.cat([examples.x, data.split("test").all().x]).flatten(1)
    assert len({tuple(row) for row in both.tolist()}) == 20


def test_files_side_by_side_have_no_class(tmp_path):
    for i in range(10):
        paint(tmp_path / f"{i}.webp", (100, 100, 100), lossless=True)
    data = ImageFolder(str(tmp_path), size=4, channels=1)
    assert data.spec.conditions == {}
    assert data.all().cond == {}
    assert data.take(torch.tensor([0, 1])).x.shape == (2, 1, 4, 4)
    torch.testing.assert_close(data.all().x, torch.full((9, 1, 4, 4), 100 / 127.5 - 1))


def test_resize_then_centre_crop(tmp_path):
    # Three bands, 10 wide each: the crop of a 30 x 10 image keeps the middle one.
    wide = Image.new("RGB", (30, 10))
    for i, colour in enumerate(((255, 0, 0), (0, 255, 0), (0, 0, 255))):
        wide.paste(colour, (10 * i, 0, 10 * i + 10, 10))
    for name in ("a.png", "b.png"):
        wide.save(tmp_path / name)
    x = ImageFolder(str(tmp_path), size=10, test=0.5).all().x[0]
    assert x[1].min() == 1
    assert x[0].max() == -1


def test_photographs_are_turned_upright(tmp_path):
    image = Image.new("L", (8, 8))
    image.paste(255, (0, 0, 8, 4))  # bright above
    exif = Image.Exif()
    exif[0x0112] = 3  # taken upside down
    for name in ("a.png", "b.png"):
        image.save(tmp_path / name, exif=exif)
    x = ImageFolder(str(tmp_path), size=8, channels=1, test=0.5).all().x[0, 0]
    assert x[:4].max() == -1
    assert x[4:].min() == 1


def test_a_split_folder_is_taken_as_it_is(tmp_path):
    for part, count in (("train", 3), ("val", 2)):
        for i in range(count):
            for name in ("a", "b"):
                paint(tmp_path / part / name / f"{i}.png", (i, 0, 0))
    data = ImageFolder(str(tmp_path), size=4)
    assert (len(data), len(data.split("test"))) == (6, 4)
    paint(tmp_path / "val" / "stranger" / "0.png", (0, 0, 0))
    with pytest.raises(DataError, match="stranger"):
        len(ImageFolder(str(tmp_path), size=4).split("test"))


def test_unreadable_files_are_named(tmp_path):
    for i in range(4):
        paint(tmp_path / f"{i}.png", (i, 0, 0))
    whole = (tmp_path / "0.png").read_bytes()
    for raw in (b"no image", b"", whole[:-30]):
        for i in range(4):
            (tmp_path / f"{i}.png").write_bytes(raw)
        with pytest.raises(DataError, match=r"\.png cannot be read as an image"):
            ImageFolder(str(tmp_path), size=4).take(torch.tensor([0]))


def test_missing_and_empty_folders_are_named(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        len(ImageFolder(str(tmp_path / "nowhere")))
    with pytest.raises(DataError, match="holds no image files"):
        len(ImageFolder(str(tmp_path)))


def test_cache_and_val(classes):
    data = ImageFolder(str(classes), size=8, cache=5, val=0.25)
    first = data.take(torch.arange(8)).x
    for file in classes.rglob("*.png"):
        file.unlink()
    # What was decoded first is still there though the files are gone.
    torch.testing.assert_close(data.take(torch.arange(5)).x, first[:5])
    assert len(data) == 18 - len(data.split("val"))
