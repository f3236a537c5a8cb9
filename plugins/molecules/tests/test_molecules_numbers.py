"""Numbers that cannot be are told where a part is made, not as NaN or an error of a library later."""

import math

import pytest
import torch

from flowloom.data import Tensors
from flowloom.errors import DataError, IncompatibleError
from flowloom.spec import Condition, Spec
from flowloom_molecules.crystals.annealing import AntiAnnealing
from flowloom_molecules.crystals.match import StructureMatch
from flowloom_molecules.molecules.edm import EDMNetwork
from flowloom_molecules.molecules.egnn import EGNN
from flowloom_molecules.molecules.quality import MoleculeQuality
from flowloom_molecules.molecules.rotamers import ForceField, Rotamers
from flowloom_molecules.molecules.strain import ConformerEnergy
from flowloom_molecules.peptides.chart import PeptideChart
from flowloom_molecules.peptides.generated import GeneratedPeptides
from flowloom_molecules.peptides.quality import PeptideQuality
from flowloom_molecules.peptides.sampler import PeptideEuler
from flowloom_molecules.sources import LogNormal

_BAD = (math.nan, math.inf, -1.0, 0.0)
_REAL = Condition(shape=(5,), role="real", of="pos, types")
_ATOMS = Spec(
    parts={"pos": Spec((5, 3)), "types": Spec((5,), vocab=2, tokens=("H", "C"))}, conditions={"atoms": _REAL}
)
_PEPTIDES = GeneratedPeptides(4).spec


@pytest.mark.parametrize("value", _BAD)
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda v: StructureMatch(length_tolerance=v), "length_tolerance"),
        (lambda v: StructureMatch(site_tolerance=v), "site_tolerance"),
        (lambda v: StructureMatch(angle_tolerance=v), "angle_tolerance"),
        (lambda v: PeptideQuality(_PEPTIDES, tolerance=v), "tolerance"),
        (lambda v: ConformerEnergy(_ATOMS, near=v), "near"),
        (lambda v: LogNormal(scale=v), "scale"),
        (lambda v: LogNormal(least=v), "least"),
        (lambda v: PeptideChart(_PEPTIDES, scale=v), "scale"),
        (lambda v: PeptideEuler(rate=v), "rate"),
        (lambda v: ForceField(temperature=v), "temperature"),
        (lambda v: ForceField(cap=v), "cap"),
        (lambda v: Rotamers(std=v), "std"),
        (lambda v: EDMNetwork(_ATOMS, width=4, depth=1, share=v), "share"),
        (lambda v: EDMNetwork(_ATOMS, width=4, depth=1, span=v), "span"),
    ],
)
def test_what_is_above_0_and_finite_is_asked_for(make, name, value):
    with pytest.raises((ValueError, DataError, IncompatibleError), match=rf"{name}.*got.*{value}"):
        make(value)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: StructureMatch(seed=-1), "seed must be at least 0, got -1"),
        (lambda: MoleculeQuality(_ATOMS, rare=0), "rare must be at least 1, got 0"),
        (lambda: LogNormal(location=math.nan), "location must be finite, got nan"),
        (lambda: LogNormal(size=0), "size must be at least 1, got 0"),
        (lambda: AntiAnnealing({"frac": math.inf}), "slopes must be finite and greater than -1.*inf"),
        (lambda: EGNN(_ATOMS, width=4, depth=1, span=-1.0), "span is finite and not negative.*got -1"),
        (lambda: EGNN(_ATOMS, width=4, depth=1, span=math.nan), "span is finite and not negative.*got nan"),
    ],
)
def test_other_numbers_that_cannot_be(make, line):
    with pytest.raises(ValueError, match=line):
        make()


@pytest.mark.parametrize("size", [None, 3])
def test_padding_has_no_part_in_a_log_normal(size, draws):
    x, real = (
        1 + torch.rand(200, 4, 3, generator=draws),
        torch.arange(4) < torch.tensor([[2], [4]]).repeat(100, 1),
    )
    x[~real] = torch.tensor([1e4, 0.0, -1.0])
    source = LogNormal(size)
    source.fit(Tensors(x, {"real": real}, roles={"real": "real"}))
    logs = x[real].log()
    mean, std = (logs.mean(), logs.std()) if size is None else (logs.mean(0), logs.std(0))
    torch.testing.assert_close(source.location, mean)
    torch.testing.assert_close(source.scale, std)
