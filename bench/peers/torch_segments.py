"""A binary NADE in PyTorch that computes only the hidden states that differ."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from .torch_loops import ACTIVATIONS, IN_PLACE, TorchLoop, backward_in_place, row_log_likelihood
from .torch_peer import Gradient

__all__ = ["TorchSegments"]


class TorchSegments(TorchLoop):
    """
    Compute only the hidden states that differ, one more than a row has ones.

    A zero leaves the pre-activation as it is. The states of all rows are kept in one matrix:
    first the initial state of every row, then the state after the first one of each row that
    has one, and so on, the rows with most ones first, so that each step of the recurrence is
    one addition of two contiguous blocks.
    """

    # Scores and gradients share a buffer.
    without_gradients = torch.no_grad
    _buffer: Tensor | None = None

    def _forward(self, rows: Tensor) -> dict[str, Any]:
        """Compute the logits (n, D) of the rows sorted by their number of ones."""
        weight, offset, output, bias = self._leaves()
        n_rows, n_features = rows.shape
        counts, order = rows[:, :-1].sum(1).sort(descending=True)
        rows = rows[order]
        ranks = rows[:, :-1].cumsum(1)
        block_sizes = counts.bincount().flip(0).cumsum(0).flip(0)
        block_starts = block_sizes.cumsum(0) - block_sizes
        n_states = int(block_starts[-1] + block_sizes[-1])
        sizes = block_sizes.tolist()
        # state_of[n, d] is the state that the logit of feature d + 1 of row n is read from.
        state_of = block_starts[ranks].add_(torch.arange(n_rows)[:, None])
        features, owners = rows[:, :-1].t().nonzero(as_tuple=True)
        new_states = state_of[owners, features]
        first_feature = new_states.new_zeros(n_states)
        first_feature[new_states] = features
        if self._buffer is None or len(self._buffer) < n_states:
            self._buffer = weight.new_empty(n_states + n_states // 8, len(offset))
        hidden = self._buffer[:n_states]
        hidden[:n_rows] = offset
        torch.index_select(weight, 0, first_feature[n_rows:], out=hidden[n_rows:])
        for previous, block in pairwise(hidden.split(sizes)):
            block += previous[: len(block)]
        IN_PLACE[self.activation](hidden)
        feature_of = torch.arange(n_features - 1).repeat(n_rows)
        flat_states = state_of.view(-1)
        logits = bias.repeat(n_rows, 1)
        # This is the product hidden @ output.T at the wanted places only.
        logits[:, 1:] += torch.ops.aten._embedding_bag_per_sample_weights_backward(
            hidden, output, feature_of, flat_states[:0], flat_states, 0, -1
        ).view(n_rows, -1)
        return {
            "rows": rows,
            "order": order,
            "logits": logits,
            "hidden": hidden,
            "sizes": sizes,
            "state_of": state_of,
            "feature_of": feature_of,
            "first_feature": first_feature,
            "features": features,
            "new_states": new_states,
        }

    def _log_likelihood(self, rows: Tensor) -> Tensor:
        forward = self._forward(rows)
        log_likelihood = row_log_likelihood(forward["logits"], forward["rows"])
        return torch.empty_like(log_likelihood).index_copy_(0, forward["order"], log_likelihood)

    @torch.no_grad()
    def _loss_and_gradient(self, rows: Tensor) -> tuple[Tensor, Gradient]:
        output = self._leaves()[2]
        n_rows, n_outputs = len(rows), len(output)
        forward = self._forward(rows)
        hidden, sizes, state_of = forward["hidden"], forward["sizes"], forward["state_of"]
        feature_of = forward["feature_of"]
        all_delta = (torch.sigmoid(forward["logits"]) - forward["rows"]).div_(n_rows)
        delta = all_delta[:, 1:]
        output_gradient = _weighted_sums(
            hidden,
            state_of.t().reshape(-1),
            torch.arange(0, n_outputs * n_rows, n_rows),
            delta.t().reshape(-1),
        )
        # Each state is read by consecutive features: bring those of a state together.
        flat_states = state_of.view(-1)
        lengths = flat_states.bincount(minlength=len(hidden))
        starts = lengths.cumsum(0) - lengths
        places = (starts - forward["first_feature"])[flat_states].add_(feature_of)
        indices = torch.empty_like(feature_of).index_copy_(0, places, feature_of)
        weights = delta.new_empty(len(places)).index_copy_(0, places, delta.reshape(-1))
        total = _weighted_sums(output, indices, starts, weights)
        backward_in_place(self.activation, total, hidden)
        blocks = total.split(sizes)
        for block, following in pairwise(blocks[::-1]):
            following[: len(block)] += block
        lengths = forward["features"].bincount(minlength=n_outputs)
        weight_gradient = _weighted_sums(
            total, forward["new_states"], lengths.cumsum(0) - lengths, None
        )
        loss = -row_log_likelihood(forward["logits"], forward["rows"]).mean()
        return loss, {
            "W": weight_gradient,
            "c": blocks[0].sum(0),
            "V": output_gradient[:, None],
            "b": all_delta.sum(0)[:, None],
        }

    def _sample(self, uniforms: Tensor) -> Tensor:
        weight, offset, output, bias = self._leaves()
        thresholds = torch.logit(uniforms.t().contiguous()).sub_(bias[:, None])
        samples = torch.empty_like(thresholds, dtype=torch.bool)
        states = offset.repeat(len(uniforms), 1)
        hidden = ACTIVATIONS[self.activation](states)
        columns = samples.unbind()
        logits = states.new_empty(len(uniforms))
        torch.lt(thresholds[0], 0, out=columns[0])
        for column, target, threshold, row, out in zip(
            columns[:-1],
            columns[1:],
            thresholds[1:].unbind(),
            weight.unbind(),
            output.unbind(),
            strict=True,
        ):
            changed = column.nonzero().view(-1)
            update = states.index_select(0, changed).add_(row)
            states.index_copy_(0, changed, update)
            hidden.index_copy_(0, changed, IN_PLACE[self.activation](update))
            torch.mv(hidden, out, out=logits)
            torch.lt(threshold, logits, out=target)
        return samples.t().to(torch.uint8)


def _weighted_sums(rows: Tensor, indices: Tensor, starts: Tensor, weights: Tensor | None) -> Tensor:
    """Sum rows[indices] (times weights) over the groups that begin at starts."""
    return torch.embedding_bag(rows, indices, starts, False, 0, False, weights)[0]
