"""Dirichlet flow matching (2402.05841) at laptop size: kinds of guidance of DNA.

What is claimed of recipes is in ``test_sequences_claims.py``; this is what no recipe says yet.

Thresholds are for means over the seeds 0, 1 and 2. Figures are printed; run with ``-s`` to see them.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import flowloom as fl
from flowloom.guidance import Guidance
from flowloom.objectives import PosteriorMatching
from flowloom.state import Cond
from flowloom_sequences.languages import MotifDNA
from flowloom_sequences.languages.motifs import PlantedMotifs
from flowloom_sequences.models import DilatedCNN
from flowloom_sequences.simplex import (
    DirichletPath,
    DirichletSource,
    ExponentialTimes,
    FlatSimplex,
    OneHot,
    SimplexClassifier,
    SimplexClassifierFree,
    SimplexEuler,
    train_classifier,
)

SEEDS = (0, 1, 2)


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


class Clamped(SimplexClassifierFree):
    """Probabilities mixed as they are: negative ones are set to 0 and the rest rescaled."""

    def steer(self, field, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        given = torch.softmax(field(x, t, cond), -1)
        null = torch.softmax(field(x, t, {"null": torch.ones(len(x), dtype=torch.bool)}), -1)
        p = torch.lerp(null, given, self.scale).clamp_min(0)
        return p / p.sum(-1, keepdim=True)


@pytest.mark.slow
def test_guidance_on_the_simplex_finds_the_class() -> None:
    """Two classes of DNA with planted motifs; class accuracy by the exact law."""
    rows: dict[str, list[tuple[float, float]]] = {}
    violation = 0.0
    for seed in SEEDS:
        data = MotifDNA(classes=2, motif=8, length=16, purity=0.9, seed=seed, language_seed=seed)
        law = data.language
        assert isinstance(law, PlantedMotifs)
        codec = OneHot(data.spec)
        path = DirichletPath()
        torch.manual_seed(seed)
        flow = fl.Flow(
            DilatedCNN(codec.spec, width=32, stacks=1),
            codec=codec,
            source=DirichletSource(),
            objective=PosteriorMatching(path, ExponentialTimes(), condition_dropout=0.2),
            solver=SimplexEuler(40),
        )
        flow.fit(data, steps=1000, batch=128, lr=3e-3, ema=0.99, seed=seed)
        label = torch.arange(1000) % 2

        def score(x: Tensor, law: PlantedMotifs = law, label: Tensor = label) -> tuple[float, float]:
            each = law.class_log_prob(x)
            nll = -each.gather(1, label[:, None]).mean() / law.length
            return float((each.argmax(1) == label).double().mean()), float(nll)

        real, truth = law.draw(20_000, torch.Generator().manual_seed(100 + seed))
        bayes = law.class_log_prob(real).argmax(1) == truth
        nll = -law.class_log_prob(real).gather(1, truth[:, None]).mean() / law.length
        rows.setdefault("real", []).append((float(bayes.double().mean()), float(nll)))
        classifier = train_classifier(data, path, seed=seed)
        guides: dict[str, Guidance] = {
            "w = 1": SimplexClassifierFree(1.0),
            "w = 2, score solve": SimplexClassifierFree(2.0),
            "w = 2, clamped mixture": Clamped(2.0),
            "w = 2, log mixture": SimplexClassifierFree(2.0, mix="log"),
            "classifier, w = 2": SimplexClassifier(classifier, 2.0),
        }

        def watch(x, t: float) -> None:
            nonlocal violation
            violation = max(violation, float(FlatSimplex().violation(x).max()))

        for name, guidance in guides.items():
            x = flow.solve(1000, guidance=guidance, seed=seed, cond={"label": label}, on_step=watch).x
            rows.setdefault(name, []).append(score(codec.decode_state(x)))
    for name, values in rows.items():
        seeds = ", ".join(f"{a:.3f}" for a, _ in values)
        print(
            f"dirichlet-fm: guidance: {name}: class accuracy {mean(a for a, _ in values):.3f} ({seeds}), "
            f"nats a token {mean(b for _, b in values):.3f}"
        )
    print(f"dirichlet-fm: guidance: worst violation of the simplex {violation:.1e}")
    accuracy = {name: mean(a for a, _ in values) for name, values in rows.items()}
    # Solving for scores is mixing probabilities linearly (see the module of guidance); the two differ in how
    # negative entries are mended only, so that their accuracies may differ by a few samples either way.
    assert accuracy["w = 2, score solve"] >= accuracy["w = 2, clamped mixture"] - 0.005
    assert accuracy["w = 2, score solve"] > accuracy["w = 1"]
    # The classifier steers a network that is not told the class: without it, accuracy is one half.
    assert accuracy["classifier, w = 2"] > 0.8
    assert violation <= 1e-6
