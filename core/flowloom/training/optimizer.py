"""Optimisers and learning-rate laws."""

from __future__ import annotations

import math

import torch
from torch import nn

from flowloom.training.config import TrainConfig


def build_optimizer(module: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser a configuration names, over the parameters that want gradients; fused where it can be."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=config.lr, momentum=0.9, weight_decay=config.weight_decay)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)
    return kind(parameters, config.lr, config.betas, weight_decay=config.weight_decay, fused=fused)


def learning_rate(step: int, config: TrainConfig) -> float:
    """Learning rate of step ``step`` (counted from 0)."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    if config.decay == "cosine":
        return config.lr * 0.5 * (1 + math.cos(math.pi * done))
    if config.decay == "linear":
        return config.lr * (1 - done)
    return config.lr
