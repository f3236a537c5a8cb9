"""Torsions of one molecule: what a force field knows of neighbours, and the data that do not."""

import copy
import math

import pytest
import torch

from flowloom.errors import DataError
from flowloom_molecules.molecules.rotamers import ForceField, Rotamers

TRANS, PLUS, MINUS = math.pi, math.pi / 3, 5 * math.pi / 3


@pytest.mark.parametrize("kind", ["mmff", "uff"])
def test_a_force_field_knows_what_clashes(kind):
    energy = ForceField("CCCCCC", kind)
    told = [[TRANS] * 3, [PLUS, TRANS, TRANS], [PLUS, PLUS, TRANS], [PLUS, MINUS, TRANS]]
    found = energy(torch.tensor(told, dtype=torch.float64), {})
    assert float(found[0]) == pytest.approx(0, abs=0.2)  # the relaxed conformer
    assert float(found[1]) > 0.5
    assert float(found[3]) > float(found[2]) - 1.0  # opposite senses side by side are no better
    # Mirror images, and the chain read from its other end, cost the same.
    mirrored = energy(2 * math.pi - torch.tensor(told, dtype=torch.float64), {})
    assert torch.allclose(found, mirrored, atol=0.1 + 0.05 * float(found.max()))


def test_a_cap_keeps_the_order_and_the_gradient():
    x = Rotamers(50).take(torch.arange(50)).x.double().requires_grad_()
    plain, capped = (ForceField(cap=cap)(x, {}) for cap in (None, 30.0))
    assert float(capped.detach().max()) <= 30
    assert torch.allclose(capped, 30 * (1 - (-plain / 30).exp()))
    (slope,) = torch.autograd.grad(capped.sum(), x)
    assert bool(slope.isfinite().all())


def test_copies_make_their_own_molecule():
    energy = ForceField()
    other = copy.deepcopy(energy)
    x = torch.full((2, 3), TRANS)
    assert torch.equal(energy(x, {}), other(x, {}))


def test_bonds_of_the_data_do_not_know_of_each_other():
    x = Rotamers(20_000, trans=0.5).take(torch.arange(20_000)).x
    state = (x / (2 * math.pi / 3)).floor().long()  # 0 and 2 gauche, 1 trans
    shares = torch.stack([(state == k).float().mean(0) for k in range(3)])
    assert torch.allclose(shares, torch.tensor([0.25, 0.5, 0.25])[:, None].expand(3, 3), atol=0.015)
    both = ((state[:, 0] == 0) & (state[:, 1] == 2)).float().mean()
    assert float(both) == pytest.approx(1 / 16, abs=0.01)


def test_what_cannot_be_is_told():
    with pytest.raises(DataError, match="cannot read 'C\\(C'"):
        ForceField("C(C")
    with pytest.raises(DataError, match="no rotatable bond"):
        ForceField("CC")
    with pytest.raises(DataError, match="positive"):
        ForceField(cap=0.0)
    with pytest.raises(DataError, match="bonds from 1"):
        Rotamers(bonds=0)
