"""A folder of image files."""

from __future__ import annotations

import numpy as np
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


def test_three_parts_on_disk_are_three_splits(tmp_path):
    for part, count in (("train", 6), ("valid", 3), ("test", 2)):
        for i in range(count):
            for name in ("a", "b"):
                paint(tmp_path / part / name / f"{i}.png", (count, 0, 0))
    data = ImageFolder(tmp_path, size=4)
    assert [len(data.split(part)) for part in ("train", "val", "test")] == [12, 6, 4]
    shown = [data.split(part).all().x[0, 0, 0, 0] for part in ("train", "val", "test")]
    torch.testing.assert_close(torch.stack(shown), torch.tensor([6.0, 3.0, 2.0]) / 127.5 - 1)
    with pytest.raises(DataError, match="on disk already; leave val"):
        len(ImageFolder(tmp_path, size=4, val=0.1))


def test_a_folder_of_nothing_but_train_is_that_folder(tmp_path):
    for name in ("cat", "dog"):
        for i in range(4):
            paint(tmp_path / "train" / name / f"{i}.png", (i, 0, 0))
    data = ImageFolder(tmp_path, size=4, test=0.25)
    assert data.classes == ("cat", "dog")
    assert (len(data), len(data.split("test"))) == (6, 2)
    paint(tmp_path / "plane" / "0.png", (0, 0, 0))  # beside others, train is a class as well
    assert ImageFolder(tmp_path, size=4).classes == ("plane", "train")


@pytest.mark.parametrize("hidden", [".ipynb_checkpoints/0.png", "cats/._0.png", "__MACOSX/cats/0.png"])
def test_what_is_hidden_is_no_data(classes, hidden):
    (classes / hidden).parent.mkdir(parents=True, exist_ok=True)
    (classes / hidden).write_bytes(b"\x00\x05\x16\x07 no image")
    data = ImageFolder(classes, size=4)
    assert data.classes == ("cats", "dogs")
    assert len(data.all()) + len(data.split("test").all()) == 20


def test_folders_that_are_links_are_classes_too(classes, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    paint(elsewhere / "0.png", (1, 2, 3))
    (elsewhere / "back").symlink_to(elsewhere)
    (classes / "emus").symlink_to(elsewhere)
    (classes / "cats" / "again").symlink_to(classes / "dogs")  # which are there already
    data = ImageFolder(classes, size=4)
    assert data.classes == ("cats", "dogs", "emus")
    assert len(data.all()) + len(data.split("test").all()) == 21


def test_what_takes_the_classes_away_is_told(classes):
    (classes / "none").mkdir()
    with pytest.warns(UserWarning, match="folders without image files are no classes: none"):
        assert ImageFolder(classes, size=4).classes == ("cats", "dogs")
    paint(classes / "logo.png", (0, 0, 0))
    with pytest.warns(UserWarning, match=r"logo.png lies beside the folders cats, dogs, so there are no"):
        assert ImageFolder(classes, size=4).classes == ()


@pytest.mark.parametrize("names", [("Train", "Test"), ("training", "testing"), ("TRAIN", "Validation")])
def test_splits_go_by_other_names(tmp_path, names):
    for part, count in zip(names, (3, 2), strict=True):
        for i in range(count):
            for name in ("a", "b"):
                paint(tmp_path / part / name / f"{i}.png", (i, 0, 0))
    data = ImageFolder(tmp_path, size=4)
    assert data.classes == ("a", "b")
    assert (len(data), len(data.split("test"))) == (6, 4)


def test_splits_without_one_for_training_are_told(tmp_path):
    for part in ("val", "Test"):
        paint(tmp_path / part / "a" / "0.png", (0, 0, 0))
    with pytest.raises(DataError, match="holds Test and val and no folder train"):
        len(ImageFolder(tmp_path, size=4))


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_scaled_from_their_whole_range(tmp_path, ending, channels):
    ramp = np.tile(np.linspace(0, 65535, 16), (16, 1)).astype(np.uint16)
    for i in range(2):
        Image.fromarray(ramp).save(tmp_path / f"{i}.{ending}")
    x = ImageFolder(tmp_path, size=16, channels=channels, test=0.5).all().x[0]
    torch.testing.assert_close(x, torch.linspace(-1, 1, 16).expand_as(x), atol=0.005, rtol=0)


@pytest.mark.parametrize("values", [np.full((8, 8), 70_000, np.int32), np.full((8, 8), 0.5, np.float32)])
def test_values_without_a_known_range_are_refused(tmp_path, values):
    for i in range(2):
        Image.fromarray(values).save(tmp_path / f"{i}.tif")
    with pytest.raises(DataError, match=r"cannot be read as an image \(its values"):
        ImageFolder(tmp_path, size=8, channels=1, test=0.5).all()


def test_what_transparency_hides_is_not_shown(tmp_path):
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[:8] = [0, 255, 0, 0]  # invisible, and green underneath
    pixels[8:] = [255, 0, 0, 255]
    clear = Image.new("P", (16, 16), 0)  # a palette, one colour of which is clear
    clear.putpalette([0, 255, 0, 255, 0, 0])
    clear.paste(1, (0, 8, 16, 16))
    for name, image in (("a", Image.fromarray(pixels)), ("b", clear)):
        folder = tmp_path / name
        folder.mkdir()
        for i in range(2):
            image.save(folder / f"{i}.png", **({"transparency": 0} if name == "b" else {}))
        for grey in (255, 0):
            x = ImageFolder(folder, size=16, test=0.5, background=grey).all().x[0]
            assert x[:, 2, 2].tolist() == pytest.approx([grey / 127.5 - 1] * 3)
            assert x[:, 14, 14].tolist() == [1, -1, -1]


def test_whatever_a_decoder_raises_is_one_line(classes, monkeypatch):
    def broken(*_):
        raise NotImplementedError("fourcc 'zzzz'")

    monkeypatch.setattr(Image, "open", broken)
    with pytest.raises(DataError, match=r"cannot be read as an image \(fourcc"):
        ImageFolder(classes, size=4).all()
