"""What is measured of data is of all of them: rows that are sorted measure as they do shuffled."""

import math

import pytest
import torch

from flowloom.data import Dataset, Tensors
from flowloom_molecules.crystals.network import CSPNet
from flowloom_molecules.data.molecules import Conformers
from flowloom_molecules.data.prototypes import Prototypes
from flowloom_molecules.molecules.strain import ConformerEnergy
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


def two_kinds(n):
    """So many serines a peptide whose chis stand at 1 radian, then as many whose chis stand at 4."""
    few = GeneratedPeptides(8).all()
    state = {name: value[:1].expand(2 * n, *value.shape[1:]).clone() for name, value in few.x.items()}
    state["types"][:] = LETTERS.index("S")
    state["angles"][:n, :, 1], state["angles"][n:, :, 1] = 1.0, 4.0
    real = {name: value[:1].expand(2 * n, *value.shape[1:]) for name, value in few.cond.items()}
    return Tensors(state, real, spec=GeneratedPeptides(8).spec)


def test_the_usual_chis_are_those_of_all_of_sorted_peptides():
    """Chis of 10,000 peptides at one angle, then of as many at another: both are usual."""
    data = two_kinds(10_000)
    metric = PeptideQuality(data.spec)
    metric.fit(data)
    usual = metric.usual[LETTERS.index("S"), 1]
    assert usual[int(1.0 / (2 * math.pi) * 36)]
    assert usual[int(4.0 / (2 * math.pi) * 36)]
    assert not usual[int(2.5 / (2 * math.pi) * 36)]


def test_chis_of_sorted_peptides_are_compared_as_those_of_shuffled_ones(draws):
    rows = two_kinds(100).all()
    mixed = rows.take(torch.randperm(200, generator=draws))
    metric = PeptideQuality(two_kinds(2).spec, most=100)
    assert metric(rows, mixed)["rotamers"] < 0.05
    assert metric(rows.take(torch.zeros(200, dtype=torch.long)), mixed)["rotamers"] > 0.5


def test_judges_of_some_molecules_read_those_of_all(monkeypatch, tmp_path, write_csv):
    file = write_csv(tmp_path / "m.csv", ("smiles",), [(s,) for s in ["C"] * 4 + ["CC"] * 4])
    data, seen = Conformers([str(file)], val=0, test=0, workers=1), []

    def read(rows):
        seen.append(rows.cond["atoms"].sum(1))
        raise InterruptedError

    rows = data.all()
    metric = ConformerEnergy(data.spec, rows=4)
    monkeypatch.setattr(metric, "read", read)
    with pytest.raises(InterruptedError):
        metric(rows.take(rows.cond["atoms"].sum(1).argsort(stable=True)), rows)
    assert seen[0].tolist() == [5, 5, 8, 8]
