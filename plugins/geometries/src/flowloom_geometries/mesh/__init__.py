"""Triangle meshes: reading, spectra, the surface as a geometry."""

from flowloom_geometries.mesh.reading import read_mesh
from flowloom_geometries.mesh.surface import MeshSurface

__all__ = ["MeshSurface", "read_mesh"]
