"""Rows of the fakes."""

from flowloom_registry import hookimpl

P = "fakeflow.parts:"


@hookimpl
def flowloom_register(reg):
    reg.dataset("digits", P + "Digits", summary="digits", example={"size": 4})
    reg.codec("halving", P + "Halving", summary="half the size", example={"given": {"shape": [4, 4]}})
    reg.geometry("euclidean", P + "Euclidean", summary="flat")
    reg.geometry(
        "sphere", P + "Sphere", summary="round", example={"dim": 3}, paper="2302.03660", tags=["curved"]
    )
    reg.geometry(
        "product", P + "Product", summary="parts", example={"parts": {"a": {"use": "sphere", "dim": 1}}}
    )
    reg.source("gaussian", P + "Gaussian", summary="normal")
    reg.source("mixed", P + "Mixed", summary="by part")
    reg.source("sized", P + "Sized", summary="knows its states")
    reg.dataset("parted", P + "Parted", summary="two parts")
    reg.path("ways", P + "Ways", summary="by part")
    reg.model("taught", P + "Taught", summary="may have a teacher")
    reg.schedule("cosine", P + "Cosine", summary="cosine")
    reg.path("affine", P + "Affine", summary="straight")
    reg.path("geodesic", P + "Geodesic", summary="curved")
    reg.model("net", P + "Net", summary="network", example={"width": 2})
    reg.model("made", P + "make_net", summary="by a function")
    reg.model("distilled", P + "Distilled", summary="from a teacher")
    reg.model("not-a-model", P + "NotAModel", summary="cannot be called")
    reg.solver("midpoint", P + "Midpoint", summary="two evaluations a step")
    reg.solver("adaptive", P + "Adaptive", summary="adapts")
    reg.solver("not-a-solver", P + "NotASolver", summary="wrong")
    reg.solver("needy", "fakeflow.needy:S", summary="needs a library", requires=["nobody>=2"])
    reg.solver("needy-plain", "fakeflow.needy:S", summary="needs a library")
    reg.solver("unloadable", "fakeflow.unloadable:S", summary="its library does not load")
    reg.solver("crashing", "fakeflow.crashing:S", summary="raises")
    reg.solver("gone", "fakeflow.gone:S", summary="no such module")
    reg.solver("attributeless", "fakeflow.parts:Nope", summary="no such class")
    reg.metric("frechet", P + "Frechet", summary="distance")
    reg.recipe("digits-net", "fakeflow:recipes/digits-net.yaml", summary="a recipe")
    reg.section("teacher", "model", meaning="the network to learn from")
