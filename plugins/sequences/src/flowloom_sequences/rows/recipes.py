"""Recipes of sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar

_DFM = "2407.15595"
_DIRICHLET = "2402.05841"
_CATFLOW = "2406.04843"
_RECIPES = {
    "text-characters": ("readable Shakespeare, character by character, in 10 minutes", _DFM),
    "markov": ("an order-2 language whose likelihood is exact; --with another flow", _DFM),
    "dyck": ("balanced brackets from masks", _DFM),
    "dirichlet-toy": ("the Dirichlet paper's toy; its baseline --with linear-flow", _DIRICHLET),
    "dirichlet-one-step": ("the same toy in one evaluation, distilled from sixty", _DIRICHLET),
    "dna-guided": ("DNA with the motif of a class, guided on the simplex", _DIRICHLET),
    "dna-toy": ("two classes of short DNA, guided, in a minute", _DIRICHLET),
    "catflow-graphs": ("small graphs by CatFlow, half a minute", _CATFLOW),
    "text-paper": ("the 150M transformer of masked and discrete flows, at paper scale", _DFM),
    "dna-paper": ("the paper's 20-layer network for promoters and enhancers", _DIRICHLET),
    "discrete-flow": ("part, to lay over token data: discrete flow matching from masks", _DFM),
    "discrete-flow-uniform": ("part: the same from uniform tokens, with a corrector", _DFM),
    "dirichlet-flow": ("part: Dirichlet flow matching", _DIRICHLET),
    "linear-flow": ("part: linear simplex flow matching", _DIRICHLET),
    "one-step": ("part: a one-step student of a run on the simplex; set data.folder", _DIRICHLET),
    "catflow": ("part: variational flow matching from Gaussian noise", _CATFLOW),
}


def register(reg: Registrar) -> None:
    """Add them."""
    for name, (summary, paper) in _RECIPES.items():
        reg.recipe(name, f"flowloom_sequences:recipes/{name}.yaml", summary=summary, paper=paper)
