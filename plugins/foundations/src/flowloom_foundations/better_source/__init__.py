"""What a source should look like (2512.18184): as long as the data, and pruned where no data are."""

from flowloom_foundations.better_source.aligned import NormAligned
from flowloom_foundations.better_source.arcs import ChiArcs
from flowloom_foundations.better_source.chi_sphere import ChiSphere
from flowloom_foundations.better_source.nearest import NearestData
from flowloom_foundations.better_source.pruned import Pruned

__all__ = ["ChiArcs", "ChiSphere", "NearestData", "NormAligned", "Pruned"]
