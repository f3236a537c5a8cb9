"""Residual vector quantisation: several codebooks, each of what those before it left over."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowloom.draw import Draw
from flowloom.models.sizes import require_sizes

__all__ = ["ResidualQuantiser"]


class ResidualQuantiser(nn.Module):
    r"""A vector as the sum of one entry of every codebook, the coarsest first (SoundStream 2107.03312).

    Codebooks follow what they are asked by exponential averages and not by a gradient (van den Oord et al.
    1711.00937, appendix A.1): with :math:`n_i` vectors nearest to entry i in a batch, and s their sum,

    .. math:: N_i \leftarrow \gamma N_i + (1 - \gamma) n_i, \quad
        m_i \leftarrow \gamma m_i + (1 - \gamma) s_i, \quad e_i = m_i / N_i.

    An entry that is asked for less than ``least`` times a batch is replaced by a vector of the batch
    (2107.03312, section III-C; so all are at the first one).

    Args:
        size: of the vectors.
        books: number of codebooks.
        entries: of each.
        decay: :math:`\gamma`.
        least: see above.
    """

    book: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(
        self, size: int, books: int = 4, entries: int = 64, decay: float = 0.99, least: float = 0.5
    ) -> None:
        super().__init__()
        require_sizes(size=size, books=books, entries=entries)
        if not 0 < decay < 1 or least < 0:
            raise ValueError(f"decay lies in (0, 1) and least from 0, got {decay} and {least}")
        self.books, self.entries, self.decay, self.least = books, entries, decay, least
        self.register_buffer("book", torch.zeros(books, entries, size))
        self.register_buffer("counts", torch.zeros(books, entries))
        self.register_buffer("sums", torch.zeros(books, entries, size))

    def tokens(self, vectors: Tensor) -> Tensor:
        """The entries of vectors ``(..., size)``: int64 ``(..., books)``."""
        left, found = vectors, []
        for book in self.book:
            found.append(_nearest(left, book))
            left = left - book[found[-1]]
        return torch.stack(found, -1)

    def vectors(self, tokens: Tensor) -> Tensor:
        """Sums of entries: tokens ``(..., books)`` to vectors ``(..., size)``.

        Fewer books are allowed, and a token that is no entry (the mask of a flow) adds nothing.
        """
        known = tokens < self.entries
        chosen = [
            self.book[i][(tokens * known)[..., i]] * known[..., i, None] for i in range(tokens.shape[-1])
        ]
        return torch.stack(chosen).sum(0)

    def steps(self, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Entries ``(..., books)``; what is left before every book, and what the book says of it."""
        tokens = self.tokens(vectors)
        said = torch.stack([self.book[i][tokens[..., i]] for i in range(self.books)])
        left = vectors - torch.cat([torch.zeros_like(said[:1]), said.cumsum(0)[:-1]])
        return tokens, left, said

    @torch.no_grad()
    def follow(self, vectors: Tensor, generator: torch.Generator | None = None) -> None:
        """Move all codebooks towards vectors ``(n, size)``, each towards what those before it leave."""
        left, draw = vectors.detach(), Draw.like(vectors, generator)
        for i in range(self.books):
            asked = nn.functional.one_hot(_nearest(left, self.book[i]), self.entries).to(left.dtype)
            keep = 1 - self.decay
            counts = self.counts[i].lerp(asked.sum(0), keep)
            sums = self.sums[i].lerp(asked.T @ left, keep)
            # An entry lives on in its average, which forgets its first batch as slowly as any other.
            dead = counts < self.least
            fresh = left[draw.integers(len(left), (self.entries,)).to(left.device)]
            start = max(self.least, 1.0)
            self.counts[i] = torch.where(dead, torch.full_like(counts, start), counts)
            self.sums[i] = torch.where(dead[:, None], start * fresh, sums)
            self.book[i] = self.sums[i] / self.counts[i][:, None]
            left = left - self.book[i][_nearest(left, self.book[i])]


def _nearest(vectors: Tensor, book: Tensor) -> Tensor:
    """The entry nearest to every vector, ``(...)``."""
    distance = book.square().sum(-1) - 2 * vectors @ book.T
    return distance.argmin(-1)
