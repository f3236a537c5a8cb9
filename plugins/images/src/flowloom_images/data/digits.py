"""The 1,797 handwritten digits that come with scikit-learn."""

from __future__ import annotations

from functools import cache

import torch

from flowloom_images.data.images import PixelDataset, Pixels
from flowloom_images.data.splits import stratified


class Digits(PixelDataset):
    """1,797 real handwritten digits of 8 x 8 pixels; nothing to download.

    The test half of the UCI "Optical Recognition of Handwritten Digits" set (Alpaydin and Kaynak, 1998)
    as scikit-learn ships it: 13 writers, counts of dark pixels 0..16 per 4 x 4 block.

    Args:
        test: share held out as split ``test``, by class and ``seed``.
        val: share of the rest carved off as split ``val``.
        seed: of the splits.

    >>> Digits().take(torch.arange(3)).x.shape
    torch.Size([3, 1, 8, 8])
    """

    shape = (1, 8, 8)
    names = tuple("0123456789")
    brightest = 16

    def __init__(self, test: float = 0.2, val: float = 0.0, seed: int = 0) -> None:
        super().__init__(val, seed)
        self.test = test

    def read(self, part: str) -> Pixels:
        """The digits of part ``train`` or ``test``."""
        whole = _whole()
        kept, held = stratified(whole.labels, self.test, self.seed)
        return whole.rows(held if part == "test" else kept)


@cache
def _whole() -> Pixels:
    """All of them: parsing scikit-learn's text takes longer than most uses of 115 kB."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(bunch.images).to(torch.uint8)[:, None]
    return Pixels(images, torch.from_numpy(bunch.target).long())
