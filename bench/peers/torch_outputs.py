"""Conditionals with several raw outputs a feature in PyTorch: mixtures of Gaussians, and levels."""

import math

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["draw_levels", "draw_mixture", "level_log_prob", "mixture_log_density"]

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def mixture_log_density(
    logits: Tensor, mean: Tensor, s: Tensor, values: Tensor, floor: float, dim: int
) -> Tensor:
    """Return log-densities of mixtures whose components lie along `dim`, where values have 1."""
    variance = s.exp() + floor
    parts = logits - 0.5 * (variance.log() + (values - mean).square() / variance)
    return parts.logsumexp(dim) - logits.logsumexp(dim) - HALF_LOG_2PI


def level_log_prob(raw: Tensor, codes: Tensor) -> Tensor:
    """Return the log-probabilities of codes (..) for raw outputs (.., Q)."""
    found = functional.cross_entropy(raw.flatten(0, -2), codes.flatten(), reduction="none")
    return -found.view(codes.shape)


def draw_levels(logits: Tensor, uniforms: Tensor) -> Tensor:
    """Return numbers (n, 1) of levels or components for logits (n, Q) and uniforms (n, 1)."""
    steps = logits.softmax(1).cumsum_(1)
    return torch.searchsorted(steps, uniforms).clamp_max_(logits.shape[1] - 1)


def draw_mixture(raw: Tensor, noise: Tensor, floor: float) -> Tensor:
    """Return values (n,) for raw outputs (n, 3 K) and uniforms and normals (n, 2)."""
    logits, mean, s = raw.chunk(3, 1)
    component = draw_levels(logits, noise[:, :1].contiguous())
    deviation = s.gather(1, component)[:, 0].exp_().add_(floor).sqrt_()
    return torch.addcmul(mean.gather(1, component)[:, 0], deviation, noise[:, 1])
