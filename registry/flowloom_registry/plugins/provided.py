"""Names that known plugins provide, so that a recipe that needs one not installed can say which.

Only read when a name is unknown: an installed plugin always speaks for itself.
"""

from __future__ import annotations

PROVIDED: dict[str, tuple[str, ...]] = {
    "flowloom-images": (
        "dataset/digits",
        "dataset/mnist",
        "dataset/fashion-mnist",
        "dataset/cifar10",
        "dataset/image-folder",
        "model/unet",
        "model/dit",
        "metric/image-quality",
        "metric/classifier-frechet",
        "metric/precision-recall",
        "metric/class-accuracy",
        "geometry/unit-box",
        "renderer/image-grid",
        "recipe/digits",
        "recipe/digits-small",
        "recipe/mnist-unet",
        "recipe/cifar10-unet",
        "recipe/imagenet64-adm",
        "recipe/imagenet-sit-xl-2",
    ),
    "flowloom-geometries": (
        "geometry/so3",
        "geometry/se3",
        "geometry/poincare-ball",
        "geometry/lorentz",
        "geometry/simplex",
        "geometry/spd",
        "geometry/log-euclidean",
        "geometry/stiefel",
        "geometry/geoopt",
        "geometry/polytope",
        "geometry/mesh",
        "dataset/earth",
        "dataset/von-mises-fisher",
        "dataset/wrapped-normals",
        "dataset/mesh-function",
        "path/premetric",
        "source/wrapped-normal",
        "model/grid-mlp",
        "model/periodic-mlp",
        "renderer/world-map",
        "recipe/earth-volcano",
        "recipe/earth-earthquake",
        "recipe/earth-flood",
        "recipe/earth-fire",
        "recipe/sphere-clusters",
        "recipe/torus-seam",
        "recipe/mesh-eigenfunction",
    ),
    "flowloom-sequences": (
        "dataset/text",
        "dataset/sequence-file",
        "dataset/markov",
        "dataset/independent-tokens",
        "dataset/dyck",
        "dataset/motif-dna",
        "dataset/prompted",
        "dataset/distilled",
        "codec/one-hot",
        "geometry/flat-simplex",
        "source/dirichlet",
        "schedule/cubic",
        "times/exponential",
        "times/at-source",
        "path/noisy-mixture",
        "path/dirichlet",
        "model/sequence-transformer",
        "model/dilated-cnn",
        "model/hugging-face",
        "objective/posterior",
        "objective/generalized-kl",
        "guidance/simplex-classifier-free",
        "solver/simplex-euler",
        "solver/tau-leaping",
        "solver/ctmc-adaptive",
        "task/infill",
        "score/nll-bound",
        "metric/ngram-distance",
        "metric/judge-perplexity",
        "metric/language-gap",
        "metric/validity",
        "metric/motif-recovery",
        "metric/token-kl",
        "renderer/sequence-text",
        "recipe/text-characters",
        "recipe/markov",
        "recipe/dyck",
        "recipe/dirichlet-toy",
        "recipe/dna-guided",
        "recipe/text-paper",
        "recipe/dna-paper",
        "recipe/discrete-flow",
        "recipe/discrete-flow-uniform",
        "recipe/dirichlet-flow",
        "recipe/linear-flow",
        "recipe/one-step",
        "recipe/catflow",
    ),
}
"""Distribution -> ``kind/name`` of its rows (``recipe/name`` for recipes)."""


def provider(kind: str, name: str) -> str | None:
    """The distribution known to provide ``name``, or None."""
    label = f"{kind}/{name}"
    return next((dist for dist, labels in PROVIDED.items() if label in labels), None)


def distribution_of(plugin: str) -> str | None:
    """The distribution known to hold the plugin of that name, or None."""
    name = f"flowloom-{plugin}"
    return name if name in PROVIDED else None
