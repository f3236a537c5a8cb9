"""Transformer blocks that look back only: whole, in pieces, and with a block that leaks."""

import pytest
import torch

from flowloom.models.attention import attend, rotary
from flowloom.models.encoder import EncoderBlock, Past


class Leaky(EncoderBlock):
    """Told to be causal, and is not."""

    def __init__(self, width, heads, causal=True):
        super().__init__(width, heads, causal=False)


def later_tokens_matter(block):
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    other = x.clone()
    other[:, 3:] = torch.randn(2, 2, 8, dtype=torch.float64)
    return not torch.allclose(block(x)[:, :3], block(other)[:, :3], atol=1e-12)


def read_in_pieces(block, angles=None):
    torch.manual_seed(0)
    x, past, found = torch.randn(2, 5, 8, dtype=torch.float64), Past(), []
    for piece in torch.arange(5).split([1, 3, 1]):
        turned = None if angles is None else tuple(a[piece] for a in angles)
        found.append(block(x[:, piece], turned, past))
    assert past.read == 5
    return float((torch.cat(found, 1) - block(x, angles)).detach().abs().max())


@pytest.mark.parametrize("turned", [False, True])
def test_what_was_read_in_pieces_is_what_was_read_at_once(turned):
    block = EncoderBlock(8, 2, causal=True).double()
    assert (
        read_in_pieces(block, rotary(5, 4, torch.zeros((), dtype=torch.float64)) if turned else None) < 1e-12
    )
    assert read_in_pieces(Leaky(8, 2).double()) > 1e-3


def test_no_token_sees_a_later_one():
    assert not later_tokens_matter(EncoderBlock(8, 2, causal=True).double())
    assert later_tokens_matter(Leaky(8, 2).double())
    assert later_tokens_matter(EncoderBlock(8, 2).double())


def test_the_written_out_form_looks_back_as_the_fused_one_does():
    q, k, v = torch.randn(3, 2, 4, 6, dtype=torch.float64)
    for rows in (4, 2, 1):
        last = q[:, -rows:]
        fused = attend(last, k, v, causal=True)
        written, _ = torch.func.jvp(lambda a: attend(a, k, v, causal=True), (last,), (torch.ones_like(last),))
        torch.testing.assert_close(written, fused)
        torch.testing.assert_close(fused, attend(q, k, v, causal=True)[:, -rows:])
    some = torch.tensor([True, False, True, True])
    both = attend(q, k, v, some, causal=True)
    torch.testing.assert_close(both, attend(q, k, v, torch.ones(4, 4, dtype=torch.bool).tril() & some))


def test_tokens_that_are_not_seen_change_nothing():
    block = EncoderBlock(8, 2, hidden=12).double()
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    seen = torch.tensor([[True, True, True, False, False]])
    torch.testing.assert_close(block(x, seen=seen)[:, :3], block(x[:, :3]))
    assert not torch.allclose(block(x)[:, :3], block(x[:, :3]))
