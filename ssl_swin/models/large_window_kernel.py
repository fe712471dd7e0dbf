"""Stop "encode" on the route: attention within windows of more than 64 places, for GPUs, in Triton.

As in `window_kernel.py`, but a window is cut into strips of places, and scores into tiles of one
strip's queries and another's keys. What is added to a tile is read for each image; programs keep to
their part of it, so that it stays near. The backward is three kernels: of strips of queries, of
strips of keys, and of tiles for the bias, each with scores of its own, so that none adds to what
another writes.

Source:
    FlashAttention, algorithms 1 and 4 (arXiv:2205.14135).
"""

import triton
import triton.language as tl

from ssl_swin.models.window_kernel import (
    IEEE,
    KEYS,
    LOG2_E,
    QUERIES,
    VALUES,
    added_to_scores,
    in_out,
    in_qkv,
    in_sums,
    of_window,
    store_by_bias,
)

LOWEST = tl.constexpr(-1e30)  # below all scores; not infinite, so that differences are numbers


@triton.jit
def forward(qkv, bias, visible, out, log_sums, num_images, s: tl.constexpr):
    """Write the means of the values, and the logarithms of the sums of each place's weights."""
    own, queries, dims = own_strip(s)
    inside = of_window(queries, dims, s)
    for image in range(tl.program_id(2), num_images, tl.num_programs(2)):
        window = image * s.num_windows + own
        q = tl.load(in_qkv(qkv, QUERIES, window, queries, dims, s), mask=inside, other=0.0)
        largest = queries * 0.0 + LOWEST
        sums = queries * 0.0
        means = q.to(tl.float32) * 0.0
        for strip in range(s.num_strips):
            keys = strip * s.block + tl.arange(0, s.block)
            there = of_window(keys, dims, s)
            k = tl.load(in_qkv(qkv, KEYS, window, keys, dims, s), mask=there, other=0.0)
            v = tl.load(in_qkv(qkv, VALUES, window, keys, dims, s), mask=there, other=0.0)
            scores = tl.dot(q, tl.trans(k), input_precision=IEEE) * (s.scale * LOG2_E)
            scores += added_to_scores(bias, visible, own, queries[:, None], keys[None, :], s)
            before, largest = largest, tl.maximum(largest, tl.max(scores, 1))
            shrunk = tl.exp2(before - largest)
            weights = tl.exp2(scores - largest[:, None])
            sums = sums * shrunk + tl.sum(weights, 1)
            means *= shrunk[:, None]
            means += tl.dot(weights.to(v.dtype), v, input_precision=IEEE)
        means = (means / sums[:, None]).to(q.dtype)
        tl.store(in_out(out, window, queries, dims, s), means, mask=inside)
        at = in_sums(log_sums, window, queries, s)
        tl.store(at, largest + tl.log2(sums), mask=queries < s.places)


@triton.jit
def backward_of_queries(
    qkv, bias, visible, out, log_sums, grad, by_qkv, deltas, num_images, s: tl.constexpr
):
    """Write the gradients of queries, and the products of each mean with its gradient, deltas."""
    own, queries, dims = own_strip(s)
    inside = of_window(queries, dims, s)
    for image in range(tl.program_id(2), num_images, tl.num_programs(2)):
        window = image * s.num_windows + own
        q = tl.load(in_qkv(qkv, QUERIES, window, queries, dims, s), mask=inside, other=0.0)
        g = tl.load(in_out(grad, window, queries, dims, s), mask=inside, other=0.0)
        means = tl.load(in_out(out, window, queries, dims, s), mask=inside, other=0.0)
        delta = tl.sum(g.to(tl.float32) * means.to(tl.float32), 1)
        tl.store(in_sums(deltas, window, queries, s), delta, mask=queries < s.places)
        at = in_sums(log_sums, window, queries, s)
        sums = tl.load(at, mask=queries < s.places, other=0.0)
        by_q = q.to(tl.float32) * 0.0
        for strip in range(s.num_strips):
            keys = strip * s.block + tl.arange(0, s.block)
            there = of_window(keys, dims, s)
            k = tl.load(in_qkv(qkv, KEYS, window, keys, dims, s), mask=there, other=0.0)
            v = tl.load(in_qkv(qkv, VALUES, window, keys, dims, s), mask=there, other=0.0)
            scores = tl.dot(q, tl.trans(k), input_precision=IEEE) * (s.scale * LOG2_E)
            scores += added_to_scores(bias, visible, own, queries[:, None], keys[None, :], s)
            weights = tl.exp2(scores - sums[:, None])
            by_weights = tl.dot(g, tl.trans(v), input_precision=IEEE)
            by_scores = (weights * (by_weights - delta[:, None])).to(q.dtype)
            by_q += tl.dot(by_scores, k, input_precision=IEEE)
        at_q = in_qkv(by_qkv, QUERIES, window, queries, dims, s)
        tl.store(at_q, (by_q * s.scale).to(q.dtype), mask=inside)


@triton.jit
def backward_of_keys(
    qkv, bias, visible, log_sums, grad, by_qkv, deltas, num_images, s: tl.constexpr
):
    """Write the gradients of keys and values. Tiles are keys by queries."""
    own, keys, dims = own_strip(s)
    inside = of_window(keys, dims, s)
    for image in range(tl.program_id(2), num_images, tl.num_programs(2)):
        window = image * s.num_windows + own
        k = tl.load(in_qkv(qkv, KEYS, window, keys, dims, s), mask=inside, other=0.0)
        v = tl.load(in_qkv(qkv, VALUES, window, keys, dims, s), mask=inside, other=0.0)
        by_k = k.to(tl.float32) * 0.0
        by_v = v.to(tl.float32) * 0.0
        for strip in range(s.num_strips):
            queries = strip * s.block + tl.arange(0, s.block)
            there = of_window(queries, dims, s)
            q = tl.load(in_qkv(qkv, QUERIES, window, queries, dims, s), mask=there, other=0.0)
            g = tl.load(in_out(grad, window, queries, dims, s), mask=there, other=0.0)
            at = in_sums(log_sums, window, queries, s)
            sums = tl.load(at, mask=queries < s.places, other=0.0)
            at = in_sums(deltas, window, queries, s)
            delta = tl.load(at, mask=queries < s.places, other=0.0)
            scores = tl.dot(k, tl.trans(q), input_precision=IEEE) * (s.scale * LOG2_E)
            scores += added_to_scores(bias, visible, own, queries[None, :], keys[:, None], s)
            weights = tl.exp2(scores - sums[None, :])
            by_v += tl.dot(weights.to(g.dtype), g, input_precision=IEEE)
            by_weights = tl.dot(v, tl.trans(g), input_precision=IEEE)
            by_scores = (weights * (by_weights - delta[None, :])).to(q.dtype)
            by_k += tl.dot(by_scores, q, input_precision=IEEE)
        at_k = in_qkv(by_qkv, KEYS, window, keys, dims, s)
        tl.store(at_k, (by_k * s.scale).to(k.dtype), mask=inside)
        at_v = in_qkv(by_qkv, VALUES, window, keys, dims, s)
        tl.store(at_v, by_v.to(v.dtype), mask=inside)


@triton.jit
def backward_of_bias(
    qkv, bias, visible, log_sums, grad, by_bias, deltas, num_images, s: tl.constexpr
):
    """Write the gradient of one tile of the bias by the images of the program."""
    tile = tl.program_id(1) % (s.num_strips * s.num_strips)
    own = tl.program_id(1) // (s.num_strips * s.num_strips)
    queries = tile // s.num_strips * s.block + tl.arange(0, s.block)
    keys = tile % s.num_strips * s.block + tl.arange(0, s.block)
    dims = tl.arange(0, s.block_dim)
    inside, there = of_window(queries, dims, s), of_window(keys, dims, s)
    added = added_to_scores(bias, visible, own, queries[:, None], keys[None, :], s)
    by_added = tl.zeros_like(added)
    for image in range(tl.program_id(2), num_images, tl.num_programs(2)):
        window = image * s.num_windows + own
        q = tl.load(in_qkv(qkv, QUERIES, window, queries, dims, s), mask=inside, other=0.0)
        k = tl.load(in_qkv(qkv, KEYS, window, keys, dims, s), mask=there, other=0.0)
        v = tl.load(in_qkv(qkv, VALUES, window, keys, dims, s), mask=there, other=0.0)
        g = tl.load(in_out(grad, window, queries, dims, s), mask=inside, other=0.0)
        at = in_sums(log_sums, window, queries, s)
        sums = tl.load(at, mask=queries < s.places, other=0.0)
        at = in_sums(deltas, window, queries, s)
        delta = tl.load(at, mask=queries < s.places, other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision=IEEE) * (s.scale * LOG2_E) + added
        by_weights = tl.dot(g, tl.trans(v), input_precision=IEEE)
        by_added += tl.exp2(scores - sums[:, None]) * (by_weights - delta[:, None])
    store_by_bias(by_bias, by_added, own, queries, keys, s)


@triton.jit
def own_strip(s: tl.constexpr):
    """Return the program's window of the image, the places of its strip, and all channels."""
    own, strip = tl.program_id(1) // s.num_strips, tl.program_id(1) % s.num_strips
    return own, strip * s.block + tl.arange(0, s.block), tl.arange(0, s.block_dim)
