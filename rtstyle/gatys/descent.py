"""An optimizer at work on one picture."""

from __future__ import annotations

import torch

from rtstyle.gatys.objective import Losses, Objective
from rtstyle.gatys.settings import UNITS, Settings

KEPT_EVALUATIONS = 3  # of a line search, so that the chosen one need not be computed again
Evaluation = tuple[torch.Tensor, Losses, torch.Tensor]  # a picture, its losses and their gradient, each in its unit


class NotANumber(Exception):
    """The losses or the picture stopped being numbers."""


class Descent:
    """An optimizer at work on one picture. `picture` is where it stands, `good` the last one known to have losses that
    are numbers."""

    def __init__(self, objective: Objective, picture: torch.Tensor, settings: Settings, history: int):
        self.objective, self.settings = objective, settings
        second_order = settings.optimizer == "lbfgs"
        # L-BFGS' first step has length 1 in absolute values summed up: a mean of one grey level in this unit
        self.unit = float(picture.numel()) if second_order else UNITS[settings.unit]
        self.variable = (picture / self.unit).contiguous().requires_grad_()
        self.good = picture
        self._seen: list[Evaluation] = []
        # L-BFGS and SGD see losses divided by the mean magnitude of the first gradient: for SGD the learning rate is
        # then the mean change of the first step, and L-BFGS squares slopes, which float32 would not hold
        self._slope = None if settings.optimizer in ("lbfgs", "sgd") else 1.0
        self.optimizer = self._optimizer(history)

    def _optimizer(self, history: int) -> torch.optim.Optimizer:
        settings, rate, variables = self.settings, self.settings.rate, [self.variable]
        match settings.optimizer:
            case "lbfgs":
                return torch.optim.LBFGS(
                    variables,
                    lr=rate,
                    max_iter=1,
                    max_eval=25,
                    tolerance_grad=0,
                    tolerance_change=0,
                    history_size=history,
                    line_search_fn="strong_wolfe" if settings.line_search else None,
                )
            case "adam":
                return torch.optim.Adam(variables, lr=rate, betas=settings.betas, eps=settings.epsilon or 1e-8)
            case "rmsprop":
                return torch.optim.RMSprop(variables, lr=rate)
            case "adagrad":
                return torch.optim.Adagrad(variables, lr=rate)
            case _:
                return torch.optim.SGD(variables, lr=rate, momentum=0.9)

    @property
    def picture(self) -> torch.Tensor:
        return self.variable.detach() * self.unit

    def advance(self) -> Losses:
        """One iteration. Raises NotANumber; `picture` is then of no use, `good` is."""
        self.optimizer.step(self._evaluate)
        with torch.no_grad():
            if not torch.isfinite(self.variable).all():
                raise NotANumber
            if self.settings.clamp != "none":
                self.variable.clamp_(0, 255 / self.unit)
        now = self._known()
        if now is None:
            return self._seen[-1][1]
        self.good = self.picture
        return now[1]

    def _known(self) -> Evaluation | None:
        """The evaluation of the picture as it stands, if it was among the last."""
        point = self._point()
        return next((seen for seen in reversed(self._seen) if torch.equal(seen[0], point)), None)

    def _point(self) -> torch.Tensor:
        """Where losses and gradient are those of the picture: that cut to 0..255 has the same if losses are of it."""
        point = self.variable.detach().clone()
        return point.clamp_(0, 255 / self.unit) if self.settings.clamp == "inside" else point

    def _evaluate(self) -> float:
        """What torch calls a closure. torch.optim.LBFGS asks again where its line search has just been: that is
        answered from memory."""
        known = self._known()
        if known is None:
            losses, gradient = self.objective(self.picture)
            if gradient is None or not (losses.finite and torch.isfinite(gradient).all()):
                raise NotANumber
            gradient = gradient * self.unit
            self._slope = self._slope or max(float(gradient.abs().mean()), 1e-30)
            gradient = gradient / self._slope
            known = self._point(), losses, gradient
            self._seen = [*self._seen[-KEPT_EVALUATIONS + 1 :], known]
            if self.settings.optimizer != "lbfgs":
                self.good = self.picture
        self.variable.grad = known[2].clone()
        return known[1].total / (self._slope or 1.0)
