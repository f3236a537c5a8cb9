"""What is measured of data is of all of them: rows that are sorted measure as they do shuffled."""

import math

import pytest
import torch

from flowloom.data import Dataset, Tensors
from flowloom_molecules.crystals.network import CSPNet
from flowloom_molecules.data.prototypes import Prototypes
from flowloom_molecules.peptides.generated import GeneratedPeptides
from flowloom_molecules.peptides.library import RotamerLibrary
from flowloom_molecules.peptides.quality import PeptideQuality
from flowloom_molecules.peptides.residues import LETTERS
from flowloom_molecules.sources import LogNormal


class Reordered(Dataset):
    """The rows of a data set in another order."""

    def __init__(self, of, order):
        self.of, self.order = of, order

    @property
    def spec(self):
        return self.of.spec

    def __len__(self):
        return len(self.order)

    def take(self, rows):
        return self.of.take(self.order[rows])


def test_the_log_normal_of_sorted_lengths_is_that_of_all(draws):
    """Half about 1, half about 100: logarithms of mean log(10), deviation log(10), whatever the order."""
    logs = 0.1 * torch.randn(20_000, 3, generator=draws)
    logs[10_000:] += math.log(100)
    for source in (LogNormal(), LogNormal(3)):
        source.fit(Tensors(logs.exp()))
        assert (source.location - math.log(10)).abs().max() < 0.01
        assert (source.scale - math.log(10)).abs().max() < 0.01


def test_cspnet_measures_sorted_cells_as_shuffled_ones():
    data = Prototypes(400)
    by_length = Reordered(data, data.all().x["lengths"][:, 0].argsort())
    length = data.all().x["lengths"]
    net = CSPNet(data.spec, width=8, depth=1, frequencies=1, rows=100)
    seen = []

    class Encodes:
        """A flow that looks at the rows, which is all that is asked here."""

        def encode(self, examples, generator=None):
            seen.append(examples.x["lengths"])
            raise InterruptedError

    with pytest.raises(InterruptedError):
        net.fit(by_length, Encodes(), torch.Generator())
    assert len(seen[0]) == 100
    assert (seen[0].mean(0) - length.mean(0)).abs().max() < 0.2 * length.std(0).max()


def test_peptides_sorted_by_length_are_all_looked_at():
    peptides = GeneratedPeptides(600)
    size = peptides.all().cond["residues"].sum(1)
    library = RotamerLibrary(most=100)
    library.fit(Reordered(peptides, size.argsort()))
    found = library._train.cond["residues"].sum(1)
    assert set(found.tolist()) == set(size.tolist())


def test_the_usual_chis_are_those_of_all_of_sorted_peptides():
    """Chis of 10,000 peptides at one angle, then of as many at another: both are usual."""
    x = GeneratedPeptides(8).all()
    spec = GeneratedPeptides(8).spec
    kind = LETTERS.index("S")  # one chi
    state = {name: value[:1].expand(20_000, *value.shape[1:]).clone() for name, value in x.x.items()}
    state["types"][:] = kind
    state["angles"][:10_000, :, 1], state["angles"][10_000:, :, 1] = 1.0, 4.0
    real = {name: value[:1].expand(20_000, *value.shape[1:]) for name, value in x.cond.items()}
    metric = PeptideQuality(spec)
    metric.fit(Tensors(state, real, spec=spec))
    usual = metric.usual[kind, 1]
    assert usual[int(1.0 / (2 * math.pi) * 36)]
    assert usual[int(4.0 / (2 * math.pi) * 36)]
    assert not usual[int(2.5 / (2 * math.pi) * 36)]
