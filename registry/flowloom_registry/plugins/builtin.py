"""Core's own rows: they come in through the same door as everybody else's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowloom_registry.markers import hookimpl

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


@hookimpl
def flowloom_register(reg: Registrar) -> None:
    """Add the components of ``flowloom`` itself."""
    _data(reg)
    _views(reg)
    _spaces(reg)
    _transport(reg)
    _networks(reg)
    _inference(reg)
    _training(reg)
    reg.recipe(
        "eight-gaussians", "flowloom_registry:recipes/eight-gaussians.yaml", summary="an MLP in the plane"
    )
    home = "flowloom_registry:recipes"
    for share, summary in (
        ("", "a flow retrained for eight generations on real data and half as many samples of its own"),
        ("-real", "the same without samples: the control"),
        ("-alone", "the same on its own samples alone, which drifts"),
    ):
        reg.recipe(
            f"iterative-retraining{share}",
            f"{home}/iterative-retraining{share}.yaml",
            summary=summary,
            paper="2310.00429",
        )
    reg.recipe(
        "noisy-classifier",
        "flowloom_registry:recipes/noisy-classifier.yaml",
        summary="a classifier of points on the way to eight Gaussians",
        paper="2105.05233",
    )
    reg.recipe(
        "classifier-guidance",
        "flowloom_registry:recipes/classifier-guidance.yaml",
        summary="two stages: a noisy classifier, and the flow that it guides",
        paper="2105.05233",
    )
    reg.recipe(
        "toy-molecules",
        "flowloom_registry:recipes/toy-molecules.yaml",
        summary="positions and types side by side, a space for each",
    )
    reg.kind(
        "launcher",
        contract="flowloom_registry.studies.launchers:Launcher",
        meaning="where the cells of an experiment are carried out",
    )
    reg.add(
        "launcher",
        "processes",
        "flowloom_registry.studies.launchers:Processes",
        summary="processes of this machine, each with a cell",
        example={"jobs": 1},
    )
    reg.experiment(
        "methods-everywhere",
        "flowloom_registry:experiments/methods-everywhere.yaml",
        summary="flow matching, reflow, meanflow and discrete flow on images, the globe, a torus and tokens",
    )
    reg.experiment(
        "couplings-everywhere",
        "flowloom_registry:experiments/couplings-everywhere.yaml",
        summary="four couplings in the plane, on the globe, a torus, molecules and tokens",
    )


def _data(reg: Registrar) -> None:
    small = {"n": 256}
    reg.add(
        "dataset",
        "eight-gaussians",
        "flowloom.data:EightGaussians",
        summary="eight Gaussians on a circle",
        example=small,
    )
    reg.add("dataset", "moons", "flowloom.data:Moons", summary="two interleaved half circles", example=small)
    reg.add(
        "dataset",
        "checkerboard",
        "flowloom.data:Checkerboard",
        summary="eight squares of a board",
        example=small,
    )
    reg.add(
        "dataset",
        "toy-molecules",
        "flowloom.data:Molecules",
        summary="planar chains of atoms: positions and types, padded",
        example=small,
    )
    reg.add(
        "dataset",
        "tensors",
        "flowloom.data:TensorFile",
        summary="arrays of one's own, from npz, npy, safetensors or csv",
        example={"file": "examples.npz"},
        tags=("files",),
    )
    reg.add(
        "dataset",
        "samples",
        "flowloom.data:Samples",
        summary="what another run generates, as pairs for reflow if wanted",
        example={"n": 96, "batch": 40, "sampler": {"use": "euler", "steps": 2}},
        paper="2209.03003",
    )
    reg.add(
        "dataset",
        "mixed",
        "flowloom.data:Mixed",
        summary="several data sets as one: real rows and a model's own samples, say",
        example={"parts": [{"use": "eight-gaussians", "n": 60}, {"use": "eight-gaussians", "n": 40}]},
        paper="2310.00429",
    )
    reg.add("codec", "identity", "flowloom.codecs:Identity", summary="data are states already")
    reg.add("codec", "standardize", "flowloom.codecs:Standardize", summary="zero mean and unit variance")


def _spaces(reg: Registrar) -> None:
    reg.add("geometry", "euclidean", "flowloom.geometry:Euclidean", summary="flat space of any shape")
    reg.add(
        "geometry", "sphere", "flowloom.geometry:Sphere", summary="the unit sphere S^n", example={"dim": 2}
    )
    reg.add("geometry", "torus", "flowloom.geometry:FlatTorus", summary="coordinates with periods")
    reg.add(
        "geometry",
        "discrete",
        "flowloom.geometry:Discrete",
        summary="a finite set of tokens",
        example={"vocab": 5},
    )
    reg.add(
        "geometry",
        "box",
        "flowloom.geometry:Box",
        summary="an interval for every coordinate, [-1, 1] where none is given",
    )
    reg.add(
        "geometry",
        "product",
        "flowloom.geometry:Product",
        summary="named geometries side by side",
        example={"parts": {"where": "euclidean", "heading": {"use": "sphere", "dim": 2}}},
    )
    reg.add("source", "gaussian", "flowloom.sources:Gaussian", summary="independent normal entries")
    reg.add(
        "source",
        "uniform",
        "flowloom.sources:Uniform",
        summary="uniform on a compact geometry",
        example={"geometry": {"use": "sphere", "dim": 2}},
    )
    reg.add(
        "source",
        "mask",
        "flowloom.sources:Mask",
        summary="every token is the mask",
        example={"geometry": {"use": "discrete", "vocab": 5}},
    )
    reg.add(
        "source",
        "dataset",
        "flowloom.sources:FromDataset",
        summary="draws from another data set",
        example={"dataset": {"use": "moons", "n": 256}},
    )
    reg.add(
        "source", "paired", "flowloom.sources:Paired", summary="x0 comes with the example, as a condition"
    )
    reg.add(
        "source",
        "product",
        "flowloom.sources:Product",
        summary="an own source for every part",
        example={"parts": {"where": "gaussian"}},
    )


def _transport(reg: Registrar) -> None:
    reg.add("coupling", "independent", "flowloom.couplings:Independent", summary="rows as they come")
    reg.add(
        "coupling",
        "optimal-transport",
        "flowloom.couplings:OptimalTransport",
        summary="exact minibatch optimal transport",
        paper="2304.14772",
    )
    reg.add(
        "coupling",
        "sinkhorn",
        "flowloom.couplings:Sinkhorn",
        summary="entropic optimal transport",
        paper="2304.14772",
    )
    reg.add(
        "coupling",
        "stable",
        "flowloom.couplings:StableMatching",
        summary="stable matching by distance",
        paper="2304.14772",
    )
    reg.add(
        "schedule", "cond-ot", "flowloom.schedules:CondOT", summary="the straight path", paper="2210.02747"
    )
    reg.add("schedule", "polynomial", "flowloom.schedules:Polynomial", summary="alpha = t^n, sigma = 1 - t^n")
    reg.add("schedule", "cosine", "flowloom.schedules:Cosine", summary="alpha = sin, sigma = cos")
    reg.add(
        "schedule", "linear-vp", "flowloom.schedules:LinearVP", summary="alpha = t, sigma = sqrt(1 - t^2)"
    )
    reg.add(
        "schedule", "vp", "flowloom.schedules:VP", summary="variance-preserving diffusion", paper="2011.13456"
    )
    reg.add(
        "times",
        "uniform",
        "flowloom.times:Uniform",
        summary="every t alike; or spread over each batch",
        paper="2107.00630",
    )
    reg.add(
        "times",
        "logit-normal",
        "flowloom.times:LogitNormal",
        summary="most visits in the middle",
        paper="2403.03206",
    )
    reg.add("times", "beta", "flowloom.times:Beta", summary="a Beta law of t")
    reg.add(
        "energy",
        "gaussian-mixture",
        "flowloom.energies:GaussianMixture",
        summary="minus the log of a mixture of Gaussians",
    )
    reg.add("weight", "constant", "flowloom.weights:Constant", summary="every time counts alike")
    reg.add(
        "weight",
        "min-snr",
        "flowloom.weights:MinSNR",
        summary="capped signal-to-noise ratio",
        paper="2303.09556",
    )
    reg.add("weight", "inverse-sigma", "flowloom.weights:InverseSigma", summary="1 / sigma^p, capped")
    reg.add("path", "affine", "flowloom.paths:AffinePath", summary="alpha x1 + sigma x0", paper="2210.02747")
    reg.add(
        "path", "geodesic", "flowloom.paths:GeodesicPath", summary="the shortest geodesic", paper="2302.03660"
    )
    reg.add(
        "path",
        "mixture",
        "flowloom.paths:MixturePath",
        summary="tokens jump from x0 to x1",
        paper="2407.15595",
        example={"geometry": {"use": "discrete", "vocab": 5}},
    )
    reg.add(
        "path",
        "product",
        "flowloom.paths:ProductPath",
        summary="an own path for every part",
        example={"parts": {"where": "affine", "heading": {"use": "geodesic", "geometry": {"use": "sphere"}}}},
    )


def _networks(reg: Registrar) -> None:
    reg.add(
        "model",
        "mlp",
        "flowloom.models:MLP",
        summary="a perceptron on the flattened state",
        example={"width": 32},
    )
    reg.add(
        "model",
        "mlp-classifier",
        "flowloom.models:MLPClassifier",
        summary="a perceptron that answers with logits of classes",
        example={"width": 32},
    )
    reg.add(
        "critic",
        "mlp-critic",
        "flowloom.models:MLPCritic",
        summary="a multilayer perceptron on the flattened state",
        example={"width": 16},
    )
    reg.add(
        "objective",
        "classification",
        "flowloom.objectives:Classification",
        summary="tell classes apart, at every time of a path or of the data alone",
        paper="2105.05233",
        within="noisy-classifier",
    )
    reg.add(
        "objective",
        "flow-matching",
        "flowloom.objectives:FlowMatching",
        summary="regress the velocity",
        paper="2210.02747",
    )
    reg.add(
        "objective",
        "posterior",
        "flowloom.objectives:PosteriorMatching",
        summary="cross-entropy of p(x1 | x_t): discrete, Dirichlet and variational (CatFlow) flows alike",
        paper="2407.15595",
        example={"path": {"use": "mixture", "geometry": {"use": "discrete", "vocab": 5}}},
    )
    reg.add(
        "objective",
        "product",
        "flowloom.objectives:ProductObjective",
        summary="an own objective for every part",
        example={"parts": {"where": {"use": "flow-matching", "path": "affine"}}},
    )


def _inference(reg: Registrar) -> None:
    reg.add(
        "guidance",
        "classifier-free",
        "flowloom.guidance:ClassifierFree",
        summary="mix conditional and unconditional answers",
        paper="2207.12598",
    )
    reg.add(
        "guidance",
        "classifier",
        "flowloom.guidance:ClassifierGuidance",
        summary="steer by the gradient of a classifier of noisy states",
        paper="2105.05233",
        within="noisy-classifier",
        known_failures={
            law: "its classifier knows the states of its own data, and the law asks with others"
            for law in ("check_shape_is_kept", "check_evaluations_are_counted")
        },
    )
    reg.add("solver", "euler", "flowloom.solvers:Euler", summary="order 1, one evaluation a step")
    reg.add("solver", "midpoint", "flowloom.solvers:Midpoint", summary="order 2, two evaluations a step")
    reg.add("solver", "heun", "flowloom.solvers:Heun", summary="order 2, two evaluations a step")
    reg.add("solver", "rk4", "flowloom.solvers:RK4", summary="order 4, four evaluations a step")
    reg.add(
        "solver",
        "bogacki-shampine",
        "flowloom.solvers:BogackiShampine",
        summary="order 3, three evaluations a step",
    )
    reg.add(
        "solver",
        "dormand-prince",
        "flowloom.solvers:DormandPrince",
        summary="order 5, six evaluations a step",
    )
    reg.add(
        "solver",
        "adaptive",
        "flowloom.solvers:Adaptive",
        summary="any of these, with steps as long as a tolerance allows",
        example={"method": "rk4"},
    )
    reg.add("solver", "dopri5", "flowloom.solvers:Dopri5", summary="adaptive, order 5")
    reg.add(
        "solver",
        "euler-maruyama",
        "flowloom.solvers:EulerMaruyama",
        summary="an SDE with the flow's marginals",
    )
    reg.add(
        "solver",
        "ancestral",
        "flowloom.solvers:Ancestral",
        summary="as DDPM samples, or DDIM: predict the data, clip them if asked, step back to less noise",
        paper="2006.11239",
    )
    reg.add(
        "solver",
        "ctmc-euler",
        "flowloom.solvers:CTMCEuler",
        summary="jumps of discrete states",
        paper="2407.15595",
    )
    reg.add(
        "solver",
        "tau-leaping",
        "flowloom.solvers:TauLeaping",
        summary="jumps with the rate integrated exactly over each step; corrector",
        paper="2407.15595",
    )
    reg.add(
        "solver",
        "ctmc-adaptive",
        "flowloom.solvers:AdaptiveCTMC",
        summary="jumps with steps chosen by the expected share of changes",
        paper="2407.15595",
    )
    reg.add("solver", "flow-map", "flowloom.solvers:FlowMapSteps", summary="few jumps of a flow map")
    reg.add(
        "solver",
        "mixed",
        "flowloom.solvers:Mixed",
        summary="an own solver for every part",
        example={"parts": {"where": "euler", "kind": "ctmc-euler"}},
    )
    reg.add(
        "metric", "energy-distance", "flowloom.metrics:EnergyDistance", summary="energy distance to real data"
    )
    reg.add(
        "metric", "mse", "flowloom.metrics:MSE", summary="mean squared error of answers, and of their mean"
    )
    reg.add(
        "metric",
        "psnr",
        "flowloom.metrics:PSNR",
        summary="peak signal-to-noise ratio of answers in decibels, and of the best one",
        example={"data_range": 8.0},
    )
    reg.add(
        "metric", "best-of", "flowloom.metrics:BestOf", summary="distance of the nearest of several answers"
    )
    reg.add(
        "metric",
        "energy-score",
        "flowloom.metrics:EnergyScore",
        summary="proper score of the whole conditional law, on any kind of state",
    )
    reg.add(
        "metric", "crps", "flowloom.metrics:CRPS", summary="continuous ranked probability score, by entry"
    )
    reg.add(
        "metric",
        "calibration",
        "flowloom.metrics:Calibration",
        summary="coverage of intervals, error of ranks, interval score",
        paper="1807.00263",
    )
    reg.add(
        "metric",
        "accuracy",
        "flowloom.metrics:Accuracy",
        summary="share of tokens, or of classes, that are right",
        example={"condition": "label"},
    )
    reg.add(
        "metric",
        "by-class",
        "flowloom.metrics:ByClass",
        summary="another metric of the rows of each class by themselves",
        example={"metric": "energy-distance"},
    )
    reg.add(
        "metric",
        "beside-real",
        "flowloom.metrics:BesideReal",
        summary="another metric as a ratio to what it says of real rows",
        example={"metric": {"use": "accuracy", "condition": "label"}},
    )
    reg.add(
        "metric",
        "sliced-wasserstein",
        "flowloom.metrics:SlicedWasserstein",
        summary="sliced 2-Wasserstein distance",
    )
    reg.add(
        "score",
        "held-out-loss",
        "flowloom.scores:HeldOutLoss",
        summary="the objective's own loss of held-out examples, and accuracy or reconstruction",
    )
    reg.add(
        "score",
        "likelihood",
        "flowloom.scores:Likelihood",
        summary="negative log likelihood in nats, by the change of variables",
        paper="1806.07366",
    )
    reg.add(
        "task",
        "inpaint",
        "flowloom.tasks:Inpaint",
        summary="fill the holes of held-out rows, of any kind of state",
        paper="2011.13456",
    )
    reg.add(
        "task",
        "predict",
        "flowloom.tasks:Predict",
        summary="held-out rows from their conditions alone",
    )
    reg.add(
        "task",
        "mistold",
        "flowloom.tasks:Mistold",
        summary="held-out rows from their conditions, of which a class is told wrong",
    )
    reg.add("renderer", "scatter", "flowloom.renderers:Scatter", summary="point clouds in the plane")
    reg.add(
        "renderer",
        "atoms",
        "flowloom.renderers:Atoms",
        summary="points with types in the plane, near ones joined",
        within="toy-molecules",
    )
    reg.add("tracker", "csv", "flowloom.trackers:CSVTracker", summary="metrics.csv in the run folder")
    reg.add(
        "tracker",
        "tensorboard",
        "flowloom.trackers:TensorBoardTracker",
        summary="TensorBoard event files",
        requires=("tensorboard",),
    )


def _training(reg: Registrar) -> None:
    for name, target, summary in (
        ("adamw", "AdamW", "Adam with decoupled weight decay"),
        ("adam", "Adam", "adaptive moments"),
        ("sgd", "SGD", "gradient descent with momentum"),
        ("muon", "Muon", "orthogonalised momentum for matrices, AdamW for the rest"),
    ):
        reg.add("optimizer", name, f"flowloom.training.optimizers:{target}", summary=summary)
    for name, target, summary in (
        ("constant", "Constant", "the peak throughout"),
        ("cosine", "Cosine", "half a cosine down to a floor"),
        ("linear", "Linear", "a straight line down to a floor"),
    ):
        reg.add("decay", name, f"flowloom.training.decays:{target}", summary=summary)
    reg.add("combiner", "sum", "flowloom.training.combiners:Sum", summary="the weighted sum")
    reg.add(
        "combiner",
        "config",
        "flowloom.training.combiners:ConFIG",
        summary="conflict-free: equal cosine with every gradient",
        paper="2408.11104",
    )
    reg.add("feed", "rows", "flowloom.training.feeds:Rows", summary="rows of the data in shuffled epochs")
    reg.add(
        "feed",
        "prior-only",
        "flowloom.training.feeds:PriorOnly",
        summary="no data: draws of the source",
        example={"shape": [2]},
    )
    reg.add(
        "feed",
        "balanced",
        "flowloom.training.feeds:Balanced",
        summary="every class as often as any other",
    )
    reg.add(
        "feed",
        "bucketed",
        "flowloom.training.feeds:Bucketed",
        summary="ragged examples in batches of similar length, cut to the longest",
        example={"pool": 4},
        within="toy-molecules",
    )
    reg.add(
        "feed",
        "stream",
        "flowloom.training.feeds:Stream",
        summary="examples from a function, without a length: shards, logs, simulators",
        example={"read": "flowloom.data.toy:endless_gaussians", "shuffle": 16},
    )
    reg.add(
        "feed",
        "replay",
        "flowloom.training.feeds:Replay",
        summary="a buffer of the flow's own samples, beside rows of the data",
        example={"capacity": 24, "fresh": 16, "every": 3},
    )
    reg.add(
        "feed",
        "self-generated",
        "flowloom.training.feeds:SelfGenerated",
        summary="pairs from x0 to where the present flow takes it, made anew every so many steps (reflow)",
        example={"pairs": 32, "every": 3, "after": 3},
        paper="2209.03003",
    )


def _views(reg: Registrar) -> None:
    reg.add(
        "view",
        "mask",
        "flowloom.views:Mask",
        summary="a random share of the entries is given, the others are to be made up",
    )
    reg.add(
        "view",
        "context",
        "flowloom.views:Context",
        summary="the first entries as a condition, the rest as the state",
        example={"length": 1},
    )
    reg.add(
        "view",
        "window",
        "flowloom.views:Window",
        summary="a random stretch of every example",
        example={"length": 1},
    )
    reg.add(
        "view",
        "noisy",
        "flowloom.views:Noisy",
        summary="a noisy observation of the state as a condition",
    )
