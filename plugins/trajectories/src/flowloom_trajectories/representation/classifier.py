"""A linear head on an encoder of windows."""

from __future__ import annotations

import copy
from dataclasses import replace

from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom.models.classes import told_apart
from flowloom.spec import Spec
from flowloom.state import State, Time
from flowloom.trained import Trained
from flowloom_trajectories.models.steps import Steps
from flowloom_trajectories.representation.encoders import WindowEncoder
from flowloom_trajectories.representation.network import Represented

__all__ = ["EncodedClassifier"]


class EncodedClassifier(nn.Module):
    """Logits of classes ``(batch, classes)`` from a window's representation: h behind a linear map.

    Args:
        spec: of the windows ``(steps, channels)``.
        label: the condition whose classes it tells apart.
        pretrained: a run of ``model: represented`` whose encoder is copied; a new encoder where None.
        frozen: whether the encoder stays as it is (a linear probe) or is trained as well (fine-tuning).
        dim: numbers of h, where the encoder is new.
        widths: of its convolutions, where it is new.

    Raises:
        IncompatibleError: the run is of another network or of other windows, or nothing would be learned by
            an encoder that is new and frozen.
    """

    conditional = True

    def __init__(
        self,
        spec: Spec,
        label: str = "activity",
        pretrained: Trained | None = None,
        frozen: bool = False,
        dim: int = 16,
        widths: tuple[int, ...] = (32, 64, 64),
    ) -> None:
        super().__init__()
        form = Steps(spec, "encoded-classifier")
        seen, self.classifies = told_apart(spec, label)
        self.spec, self.form = replace(spec, conditions=seen.conditions), form
        if pretrained is None:
            self.encoder: nn.Module = WindowEncoder(form.channels, dim, widths)
        else:
            model = pretrained.flow.model
            if not isinstance(model, Represented):
                raise IncompatibleError(
                    f"pretrained is a run of model: represented, and this one is of {type(model).__name__}"
                )
            if model.spec.shape[1:] != spec.shape[1:]:
                raise IncompatibleError(
                    f"pretrained knows windows of shape {model.spec.shape}, and these are {spec.shape}"
                )
            self.encoder, dim = copy.deepcopy(model.encoder), model.dim
        self.encoder.requires_grad_(not frozen)
        self.out = nn.Linear(dim, self.classifies)

    def features(self, x: State, t: Time, cond: object = None) -> Tensor:
        """h, ``(batch, dim)``."""
        assert isinstance(x, Tensor)
        found: Tensor = self.encoder(x)
        return found

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> Tensor:
        """Logits of windows, whatever the time."""
        return self.out(self.features(x, t))
