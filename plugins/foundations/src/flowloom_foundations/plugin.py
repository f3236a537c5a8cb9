"""The rows of the foundations plugin: words only, nothing heavy is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowloom_registry import hookimpl

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


@hookimpl
def flowloom_register(reg: Registrar) -> None:
    """Add the methods, the data they are shown on, and their recipes."""
    _data(reg)
    _car(reg)
    _contrastive(reg)
    _sliced(reg)
    _equilibrium(reg)
    _poisson(reg)


def _data(reg: Registrar) -> None:
    home = "flowloom_foundations.data"
    reg.add(
        "dataset",
        "scattered-classes",
        f"{home}:ScatteredClasses",
        summary="ten diagonal Gaussians far apart in 16 dimensions, with their class",
        example={"n": 200},
    )
    reg.add(
        "dataset",
        "overlapping-classes",
        f"{home}:OverlappingClasses",
        summary="eight planar Gaussians over their neighbours, with their class",
        example={"n": 200},
    )
    reg.add(
        "metric",
        "class-sliced-wasserstein",
        "flowloom_foundations.metrics:WithinClasses",
        summary="sliced Wasserstein distance class by class",
        example={"projections": 16},
        data="scattered-classes",
    )
    reg.add(
        "metric",
        "bayes-accuracy",
        "flowloom_foundations.metrics:BayesAccuracy",
        summary="share of samples that the true law takes for the class asked for",
        example={"data": {"use": "overlapping-classes", "n": 200}},
        data="overlapping-classes",
    )
    reg.add(
        "metric",
        "novelty",
        "flowloom_foundations.metrics:Novelty",
        summary="how far samples are from training examples, as real data are",
        data="scattered-classes",
        known_failures={"check_real_beats_noise": "noise is new as well"},
    )


def _car(reg: Registrar) -> None:
    home, recipes = "flowloom_foundations.car", "flowloom_foundations:recipes"
    reg.add(
        "model",
        "condition-aware",
        f"{home}:ConditionAware",
        summary="any network of velocities, between ends that a learned shift moves by condition",
        example={"network": {"use": "mlp", "width": 16, "depth": 1}, "width": 8},
        paper="2509.19300",
        data="scattered-classes",
    )
    reg.add(
        "source",
        "shifted-gaussian",
        f"{home}:ShiftedGaussian",
        summary="a Gaussian whose mean follows the condition, learned with the flow",
        example={"width": 8},
        paper="2509.19300",
        data="scattered-classes",
    )
    reg.add(
        "score",
        "path-length",
        f"{home}:PathLength",
        summary="mean length of the paths between the ends that the network sees",
        paper="2509.19300",
        known_failures={"check_truth_is_better": "it measures paths, not how well they end"},
        data="scattered-classes",
    )
    reg.recipe(
        "car-flow",
        f"{recipes}/car-flow.yaml",
        summary="CAR-Flow on ten classes far apart, in seconds",
        paper="2509.19300",
    )
    reg.recipe(
        "car-flow-baseline",
        f"{recipes}/car-flow-baseline.yaml",
        summary="the same network without shifts",
    )
    reg.recipe(
        "car-flow-source",
        f"{recipes}/car-flow-source.yaml",
        summary="the source alone learned, as a source",
        paper="2509.19300",
    )
    reg.recipe(
        "car-flow-imagenet",
        f"{recipes}/car-flow-imagenet.yaml",
        summary="SiT-XL/2 with joint CAR-Flow at the paper's size",
        paper="2509.19300",
    )


def _contrastive(reg: Registrar) -> None:
    home, recipes = "flowloom_foundations.contrastive", "flowloom_foundations:recipes"
    reg.add(
        "objective",
        "contrastive",
        f"{home}:ContrastiveFlowMatching",
        summary="flow matching, pushed off the targets of other rows of the batch",
        paper="2506.05350",
        known_failures={"check_exact_answers_have_no_loss": "what stands off other rows is gained, not lost"},
    )
    reg.add(
        "guidance",
        "interference-removal",
        f"{home}:InterferenceRemoval",
        summary="classifier-free guidance of what a contrastive network would be without contrast",
        paper="2506.05350",
    )
    reg.recipe(
        "contrastive",
        f"{recipes}/contrastive.yaml",
        summary="contrastive flow matching on eight overlapping classes",
        paper="2506.05350",
    )
    reg.recipe(
        "contrastive-baseline",
        f"{recipes}/contrastive-baseline.yaml",
        summary="the same network under flow matching",
    )
    reg.recipe(
        "contrastive-digits",
        f"{recipes}/contrastive-digits.yaml",
        summary="contrastive flow matching on real digits (needs flowloom-images)",
        paper="2506.05350",
    )
    reg.recipe(
        "contrastive-imagenet",
        f"{recipes}/contrastive-imagenet.yaml",
        summary="SiT-XL/2 with contrastive flow matching at the paper's size",
        paper="2506.05350",
    )


def _sliced(reg: Registrar) -> None:
    home, recipes = "flowloom_foundations.sliced", "flowloom_foundations:recipes"
    reg.add(
        "model",
        "sliced-flow",
        f"{home}:SlicedFlow",
        summary="sliced-Wasserstein flow by sorting: fitted to the data, without gradients",
        example={"layers": 3, "slices": 24, "bins": 16, "particles": 100},
        paper="2305.02164",
        data="scattered-classes",
    )
    reg.add(
        "objective",
        "fitted",
        f"{home}:Fitted",
        summary="no loss, for networks that are fitted (train.steps: 0)",
        paper="2305.02164",
        known_failures={
            **dict.fromkeys(
                (
                    "check_loss_reaches_the_model",
                    "check_follows_its_generator",
                    "check_exact_answers_have_no_loss",
                    "check_state_round_trip",
                ),
                "there is no loss",
            ),
            "check_field_is_of_its_kind": "the field was made of no path",
        },
    )
    reg.recipe(
        "cswf-digits",
        f"{recipes}/cswf-digits.yaml",
        summary="conditional sliced-Wasserstein flow on real digits (needs flowloom-images)",
        paper="2305.02164",
    )
    reg.recipe(
        "cswf-mnist",
        f"{recipes}/cswf-mnist.yaml",
        summary="the same on MNIST with the paper's pyramid of directions",
        paper="2305.02164",
    )


def _equilibrium(reg: Registrar) -> None:
    home, recipes, paper = "flowloom_foundations.equilibrium", "flowloom_foundations:recipes", "2510.02300"
    reg.add(
        "dataset",
        "eight-modes",
        "flowloom_foundations.data:EightModes",
        summary="eight Gaussians in the plane, without labels",
        example={"n": 200},
    )
    reg.kind(
        "magnitude",
        contract=f"{home}:Magnitude",
        meaning="how steep a landscape is between noise and data, 0 at the data",
        laws=f"{home}.laws",
    )
    for name, summary in (
        ("linear", "falls linearly to 0 at the data"),
        ("truncated", "level, then linear down to 0 at the data"),
        ("piecewise", "linear to one value, then linear down to 0 at the data"),
    ):
        reg.add("magnitude", name, f"{home}:{name.capitalize()}", summary=summary, paper=paper)
    reg.add(
        "objective",
        "equilibrium",
        f"{home}:EquilibriumMatching",
        summary="one landscape for all noise levels, whose valleys are the data",
        paper=paper,
        known_failures={"check_times_follow_the_law": "its network is never told the time"},
    )
    reg.add(
        "solver",
        "gradient-descent",
        f"{home}:GradientDescent",
        summary="descends a landscape; every sample may stop by itself",
        example={"steps": 20, "rate": 0.05},
        paper=paper,
    )
    reg.add(
        "solver",
        "nesterov",
        f"{home}:Nesterov",
        summary="descends a landscape, looking ahead",
        example={"steps": 20, "rate": 0.05},
        paper=paper,
    )
    reg.add(
        "model",
        "time-blind",
        f"{home}:TimeBlind",
        summary="any network, never told the time",
        example={"network": {"use": "mlp", "width": 16, "depth": 1}},
        paper=paper,
        known_failures={"check_time_and_state_matter": "it is never told the time"},
    )
    reg.add(
        "score",
        "out-of-distribution",
        f"{home}:OutOfDistribution",
        summary="how well a landscape tells data from points of a box",
        paper=paper,
        within="equilibrium",
    )
    reg.add(
        "guidance",
        "composition",
        f"{home}:Composition",
        summary="adds the gradients of several classes",
        paper=paper,
        within="equilibrium-classes",
    )
    for name, summary in (
        ("equilibrium", "equilibrium matching on eight Gaussians, in seconds"),
        ("equilibrium-energy", "equilibrium matching with an explicit energy (EqM-E)"),
        ("equilibrium-classes", "equilibrium matching with classes and guidance"),
        ("equilibrium-digits", "equilibrium matching on real digits (needs flowloom-images)"),
        ("equilibrium-imagenet", "EqM-XL/2 at the paper's size"),
        ("equilibrium-imagenet-b", "EqM-B/2 at the paper's size"),
    ):
        reg.recipe(name, f"{recipes}/{name}.yaml", summary=summary, paper=paper)
    for name, summary in (
        ("equilibrium-baseline", "the same network under flow matching"),
        ("equilibrium-blind", "flow matching whose network is not told the time"),
    ):
        reg.recipe(name, f"{recipes}/{name}.yaml", summary=summary)


def _poisson(reg: Registrar) -> None:
    home, recipes, paper = "flowloom_foundations.poisson", "flowloom_foundations:recipes", "2302.04265"
    reg.add(
        "source",
        "poisson-kernel",
        f"{home}:PoissonKernel",
        summary="noise of heavy tails, from a charge in D extra dimensions; the Gaussian at D = inf",
        example={"extra_dims": 8, "sigma": 2},
        paper=paper,
    )
    reg.add(
        "path",
        "noise-levels",
        f"{home}:NoiseLevels",
        summary="data under fading noise, in the time of its level: from 80 down to 0.002",
        paper="2206.00364",
    )
    reg.add(
        "times",
        "log-normal-levels",
        f"{home}:LogNormalLevels",
        summary="noise levels whose logarithm is normal",
        example={"path": "noise-levels"},
        paper="2206.00364",
    )
    reg.add(
        "weight",
        "edm",
        f"{home}:EDMWeight",
        summary="evens out the loss of a preconditioned denoiser over noise levels",
        paper="2206.00364",
    )
    reg.add(
        "model",
        "preconditioned",
        f"{home}:Preconditioned",
        summary="a denoiser of noise levels around any network",
        example={"network": {"use": "mlp", "width": 16, "depth": 1}},
        paper="2206.00364",
    )
    reg.add(
        "solver",
        "edm-heun",
        f"{home}:EDMHeun",
        summary="Heun's method on noise levels that crowd at the data, denoising at the end",
        # Its laws walk from 0 to 1, where rho = 7 would take two steps over half of the way.
        example={"rho": 3},
        paper="2206.00364",
    )
    reg.recipe(
        "pfgmpp",
        f"{recipes}/pfgmpp.yaml",
        summary="PFGM++ on handwritten digits with a small network (needs flowloom-images)",
        paper=paper,
    )
    reg.recipe(
        "pfgmpp-cifar10",
        f"{recipes}/pfgmpp-cifar10.yaml",
        summary="PFGM++ on CIFAR-10 at the paper's size (needs flowloom-images)",
        paper=paper,
    )
    reg.recipe(
        "pfgmpp-ffhq64",
        f"{recipes}/pfgmpp-ffhq64.yaml",
        summary="PFGM++ on FFHQ-64 at the paper's size (needs flowloom-images)",
        paper=paper,
    )
