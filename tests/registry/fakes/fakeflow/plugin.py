"""Rows of the fakes."""

from flowloom_registry import hookimpl

P = "fakeflow.parts:"


@hookimpl
def flowloom_register(reg):
    reg.add("dataset", "digits", P + "Digits", summary="digits", example={"size": 4})
    reg.add("codec", "halving", P + "Halving", summary="half the size", example={"given": {"shape": [4, 4]}})
    reg.add("geometry", "euclidean", P + "Euclidean", summary="flat")
    reg.add(
        "geometry",
        "sphere",
        P + "Sphere",
        summary="round",
        example={"dim": 3},
        paper="2302.03660",
        tags=["curved"],
    )
    reg.add(
        "geometry",
        "product",
        P + "Product",
        summary="parts",
        example={"parts": {"a": {"use": "sphere", "dim": 1}}},
    )
    reg.add("source", "gaussian", P + "Gaussian", summary="normal")
    reg.add("source", "mixed", P + "Mixed", summary="by part")
    reg.add("source", "sized", P + "Sized", summary="knows its states")
    reg.add("dataset", "parted", P + "Parted", summary="two parts")
    reg.add("path", "ways", P + "Ways", summary="by part")
    reg.add("model", "taught", P + "Taught", summary="may have a teacher")
    reg.add("schedule", "cosine", P + "Cosine", summary="cosine")
    reg.add("path", "affine", P + "Affine", summary="straight")
    reg.add("path", "geodesic", P + "Geodesic", summary="curved")
    reg.add("model", "net", P + "Net", summary="network", example={"width": 2})
    reg.add("model", "made", P + "make_net", summary="by a function")
    reg.add("model", "distilled", P + "Distilled", summary="from a teacher")
    reg.add("model", "not-a-model", P + "NotAModel", summary="cannot be called")
    reg.add("solver", "midpoint", P + "Midpoint", summary="two evaluations a step")
    reg.add("solver", "adaptive", P + "Adaptive", summary="adapts")
    reg.add("solver", "not-a-solver", P + "NotASolver", summary="wrong")
    reg.add("solver", "needy", "fakeflow.needy:S", summary="needs a library", requires=["nobody>=2"])
    reg.add("solver", "needy-plain", "fakeflow.needy:S", summary="needs a library")
    reg.add("solver", "unloadable", "fakeflow.unloadable:S", summary="its library does not load")
    reg.add("solver", "crashing", "fakeflow.crashing:S", summary="raises")
    reg.add("solver", "gone", "fakeflow.gone:S", summary="no such module")
    reg.add("solver", "attributeless", "fakeflow.parts:Nope", summary="no such class")
    reg.add("metric", "frechet", P + "Frechet", summary="distance")
    reg.recipe("digits-net", "fakeflow:recipes/digits-net.yaml", summary="a recipe")
    reg.section("teacher", "model", meaning="the network to learn from")
