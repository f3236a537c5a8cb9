"""MNIST and Fashion-MNIST."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from flowloom.data.files import fetch, find, folders
from flowloom.errors import DataError
from flowloom_images.data.idx import read_idx
from flowloom_images.data.images import PixelDataset, Pixels
from flowloom_images.data.splits import stratified


class MNIST(PixelDataset):
    """70,000 handwritten digits of 28 x 28 pixels (LeCun, Cortes and Burges, 1998).

    Files in idx format, gzipped or not, are looked for in ``mnist/``, ``MNIST/raw/`` and ``MNIST/`` under
    ``$FLOWLOOM_DATA``, and there itself; what is missing is downloaded and checked.

    Args:
        root: folder to search instead of ``$FLOWLOOM_DATA``.
        files: ``all``, or ``test`` to use the 10,000 images of the test files only, of which ``test`` are
            then held out by class and ``seed``.
        test: share held out where ``files`` is ``test``.
        download: whether missing files may be downloaded.
        val: share of the training part carved off as split ``val``.
        seed: of the splits.
    """

    shape = (1, 28, 28)
    names = tuple("0123456789")
    places: ClassVar[tuple[str, ...]] = ("mnist", "MNIST/raw", "MNIST", "mnist/raw", "")
    mirrors: ClassVar[tuple[str, ...]] = (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    )
    checksums: ClassVar[dict[str, str]] = {
        "train-images-idx3-ubyte": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    }

    def __init__(
        self,
        root: Path | None = None,
        files: Literal["all", "test"] = "all",
        test: float = 0.2,
        download: bool = True,
        val: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(val, seed)
        if files not in ("all", "test"):
            raise DataError(f"files is 'all' or 'test', got {files!r}")
        self.root, self.files, self.test, self.download = root, files, test, download

    def read(self, part: str) -> Pixels:
        """The images of part ``train`` or ``test``.

        Raises:
            DataError: a file is missing and cannot be downloaded, or is damaged.
        """
        if self.files == "all":
            return self._read_files("t10k" if part == "test" else "train")
        whole = self._read_files("t10k")
        kept, held = stratified(whole.labels, self.test, self.seed)
        return whole.rows(held if part == "test" else kept)

    def _read_files(self, prefix: str) -> Pixels:
        image_file = self._file(f"{prefix}-images-idx3-ubyte")
        label_file = self._file(f"{prefix}-labels-idx1-ubyte")
        images, labels = read_idx(image_file), read_idx(label_file)
        if images.ndim != 3 or tuple(images.shape[1:]) != self.shape[1:]:
            raise DataError(f"{image_file} holds shape {tuple(images.shape)}; expected (n, 28, 28)")
        if labels.ndim != 1 or len(labels) != len(images) or len(labels) == 0:
            raise DataError(f"{label_file} holds shape {tuple(labels.shape)} beside {len(images)} images")
        if int(labels.max()) >= len(self.names):
            raise DataError(
                f"{label_file} holds label {int(labels.max())}; expected 0 to {len(self.names) - 1}"
            )
        return Pixels(images[:, None], labels.long())

    def _file(self, stem: str) -> Path:
        places = folders(self.root, self.places)
        dotted = stem.replace("-idx", ".idx")
        found = find(places, (stem, f"{stem}.gz", dotted, f"{dotted}.gz"))
        if found is not None:
            return found
        try:
            if not self.download:
                raise DataError("downloading is off (download: false)")
            urls = [f"{mirror}{stem}.gz" for mirror in self.mirrors]
            return fetch(urls, self.checksums[stem], places[0] / f"{stem}.gz")
        except DataError as error:
            hint = ""
            if stem.startswith("train") and find(places, [f"t10k{stem[5:]}", f"t10k{stem[5:]}.gz"]):
                hint = "; the test files are there: 'files: test' trains on a split of them"
            searched = ", ".join(str(place) for place in places)
            raise DataError(
                f"{type(self).__name__} lacks {stem} (or {stem}.gz), looked for in {searched}; {error}{hint}"
            ) from error


class FashionMNIST(MNIST):
    """70,000 pictures of clothing of 28 x 28 pixels (Xiao et al. 1708.07747), in the format of MNIST.

    Looked for in ``fashion-mnist/``, ``fashion_mnist/``, ``FashionMNIST/raw/`` and ``FashionMNIST/`` under
    ``$FLOWLOOM_DATA``, but never there itself, where the files of MNIST have the same names.

    Args:
        root: folder to search instead of ``$FLOWLOOM_DATA``.
        files: ``all``, or ``test`` to use the images of the test files only; see `MNIST`.
        test: share held out where ``files`` is ``test``.
        download: whether missing files may be downloaded.
        val: share of the training part carved off as split ``val``.
        seed: of the splits.
    """

    names = (
        "T-shirt/top",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    )
    places = ("fashion-mnist", "fashion_mnist", "FashionMNIST/raw", "FashionMNIST")
    mirrors = (
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    )
    checksums: ClassVar[dict[str, str]] = {
        "train-images-idx3-ubyte": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    }
