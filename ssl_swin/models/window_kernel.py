"""Stop "encode" on the route: attention within windows of up to 64 places, for GPUs, in Triton.

A program has one head, one window of the image and a share of the images, and the scores of a
window are one tile. What is added to them, bias and mask, is the same for all of these images: it
is read once and stays in registers, and so does the sum of the scores' gradients, the gradient of
the bias. Queries, keys and values are read where the linear layer has left them, gradients written
where it wants them, each once, and no scores.

`s` is `window_op.Sizes`. What a tile has beyond the places and channels of a window is read as 0
and not written. Weights are powers of 2, for which a GPU has an instruction: scores, and the sums
of weights that are kept for the backward, are in its logarithm.

Source:
    Weights computed anew from the logarithms of their sums: FlashAttention, algorithm 4
    (arXiv:2205.14135).
"""

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
QUERIES, KEYS, VALUES = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)  # thirds of `qkv`
IEEE = tl.constexpr("ieee")  # products of float32 are not rounded to TF32


@triton.jit
def forward(qkv, bias, visible, out, log_sums, num_images, s: tl.constexpr):
    """Write the means of the values, and the logarithms of the sums of each place's weights."""
    places, dims = tl.arange(0, s.block), tl.arange(0, s.block_dim)
    inside = of_window(places, dims, s)
    own = tl.program_id(1)
    added = added_to_scores(bias, visible, own, places[:, None], places[None, :], s)
    for image in range(tl.program_id(2), num_images, tl.num_programs(2)):
        window = image * s.num_windows + own
        q = tl.load(in_qkv(qkv, QUERIES, window, places, dims, s), mask=inside, other=0.0)
        k = tl.load(in_qkv(qkv, KEYS, window, places, dims, s), mask=inside, other=0.0)
        v = tl.load(in_qkv(qkv, VALUES, window, places, dims, s), mask=inside, other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision=IEEE) * (s.scale * LOG2_E) + added
        largest = tl.max(scores, 1)
        weights = tl.exp2(scores - largest[:, None])
        sums = tl.sum(weights, 1)
        means = tl.dot(weights.to(v.dtype), v, input_precision=IEEE) / sums[:, None]
        tl.store(in_out(out, window, places, dims, s), means.to(v.dtype), mask=inside)
        at = in_sums(log_sums, window, places, s)
        tl.store(at, largest + tl.log2(sums), mask=places < s.places)


@triton.jit
def backward(qkv, bias, visible, log_sums, grad, by_qkv, by_bias, num_images, s: tl.constexpr):
    """Write the gradients of queries, keys and values, and that of the bias by these images."""
    places, dims = tl.arange(0, s.block), tl.arange(0, s.block_dim)
    inside = of_window(places, dims, s)
    own = tl.program_id(1)
    added = added_to_scores(bias, visible, own, places[:, None], places[None, :], s)
    by_added = tl.zeros_like(added)
    for image in range(tl.program_id(2), num_images, tl.num_programs(2)):
        window = image * s.num_windows + own
        q = tl.load(in_qkv(qkv, QUERIES, window, places, dims, s), mask=inside, other=0.0)
        k = tl.load(in_qkv(qkv, KEYS, window, places, dims, s), mask=inside, other=0.0)
        v = tl.load(in_qkv(qkv, VALUES, window, places, dims, s), mask=inside, other=0.0)
        g = tl.load(in_out(grad, window, places, dims, s), mask=inside, other=0.0)
        at = in_sums(log_sums, window, places, s)
        sums = tl.load(at, mask=places < s.places, other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision=IEEE) * (s.scale * LOG2_E) + added
        weights = tl.exp2(scores - sums[:, None])
        by_v = tl.dot(tl.trans(weights.to(g.dtype)), g, input_precision=IEEE).to(g.dtype)
        tl.store(in_qkv(by_qkv, VALUES, window, places, dims, s), by_v, mask=inside)
        by_weights = tl.dot(g, tl.trans(v), input_precision=IEEE)
        by_scores = weights * (by_weights - tl.sum(weights * by_weights, 1)[:, None])
        by_added += by_scores
        by_scores = by_scores.to(g.dtype)
        by_q = (tl.dot(by_scores, k, input_precision=IEEE) * s.scale).to(g.dtype)
        tl.store(in_qkv(by_qkv, QUERIES, window, places, dims, s), by_q, mask=inside)
        by_k = (tl.dot(tl.trans(by_scores), q, input_precision=IEEE) * s.scale).to(g.dtype)
        tl.store(in_qkv(by_qkv, KEYS, window, places, dims, s), by_k, mask=inside)
    if by_bias is not None:
        store_by_bias(by_bias, by_added, own, places, places, s)


@triton.jit
def added_to_scores(bias, visible, own, queries, keys, s: tl.constexpr):
    """Return the bias of these pairs of places, and minus infinity for those that are hidden.

    Queries and keys lie along one axis of the tile each; `own` is the window's number in its image.
    """
    inside = (queries < s.places) & (keys < s.places)
    pairs = queries * s.places + keys
    added = tl.where((queries >= 0) & (keys < s.places), 0.0, float("-inf"))
    if bias is not None:
        of_head = bias + tl.program_id(0) * (s.places * s.places)
        added += tl.load(of_head + pairs, mask=inside, other=0.0).to(tl.float32) * LOG2_E
    if visible is not None:
        seen = tl.load(visible + own * (s.places * s.places) + pairs, mask=inside, other=1)
        added = tl.where(seen != 0, added, float("-inf"))
    return added


@triton.jit
def store_by_bias(by_bias, by_added, own, queries, keys, s: tl.constexpr):
    """Write the program's part of the bias' gradient: (shares, windows, heads, places, places)."""
    part = (tl.program_id(2) * s.num_windows + own) * s.num_heads + tl.program_id(0)
    inside = (queries < s.places)[:, None] & (keys < s.places)[None, :]
    pairs = queries[:, None] * s.places + keys[None, :]
    tl.store(by_bias + part.to(tl.int64) * (s.places * s.places) + pairs, by_added, mask=inside)


@triton.jit
def of_window(places, dims, s: tl.constexpr):
    """Return which parts of a tile are a window's."""
    return (places < s.places)[:, None] & (dims < s.head_dim)[None, :]


@triton.jit
def in_qkv(qkv, third: tl.constexpr, window, places, dims, s: tl.constexpr):
    """Return where a window's queries, keys or values lie, those of the program's head."""
    dim: tl.constexpr = s.num_heads * s.head_dim
    first = window.to(tl.int64) * (3 * s.places * dim) + third * dim + tl.program_id(0) * s.head_dim
    return qkv + first + (places[:, None] * (3 * dim) + dims[None, :])


@triton.jit
def in_out(out, window, places, dims, s: tl.constexpr):
    """Return where a window's means lie, those of the program's head."""
    dim: tl.constexpr = s.num_heads * s.head_dim
    first = window.to(tl.int64) * (s.places * dim) + tl.program_id(0) * s.head_dim
    return out + first + (places[:, None] * dim + dims[None, :])


@triton.jit
def in_sums(sums, window, places, s: tl.constexpr):
    """Return where a window's numbers lie, one for each of its places and the program's head."""
    return sums + (window * s.num_heads + tl.program_id(0)).to(tl.int64) * s.places + places
