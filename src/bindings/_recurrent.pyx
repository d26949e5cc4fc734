"""Recurrent layers over packed sequences: states, gradients and samples."""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.pycapsule cimport PyCapsule_GetPointer
from cython cimport floating
from cython.parallel cimport prange
from libc.stdint cimport int64_t, uint8_t

from conditionals cimport draw_f32, draw_f64, walked_f32, walked_f64
from inputs cimport input_spec

import numpy as np

from fastar._kernels._cpu import aligned_empty, isa

cdef extern from "recurrent.h" nogil:
    ctypedef struct recurrent_layer_f32:
        int64_t H
        int cell
        input_spec inputs
        const float* x
        const float* packed
        const float* bias
        int64_t bias_row
        const float* c_q
    ctypedef struct recurrent_steps_f32:
        int64_t T
        const int64_t* first
        float* s
        float* m
        float* slots
        float* end_s
        float* end_m
    ctypedef struct recurrent_walk_f32:
        int64_t L, T, P
        const recurrent_layer_f32* layers
        const float* V
        const float* b
        int64_t b_row
    ctypedef struct recurrent_f32:
        int64_t panel
        void (*pack)(int64_t, int64_t, int64_t, const float*, float*) noexcept nogil
        void (*forward)(int64_t, int64_t, recurrent_layer_f32, recurrent_steps_f32, const float*, const float*,
                        float*) noexcept nogil
        void (*backward)(int64_t, int64_t, recurrent_layer_f32, recurrent_steps_f32, int64_t, float*,
                         float*) noexcept nogil
        void (*sample)(int64_t, int64_t, recurrent_walk_f32, draw_f32, walked_f32, float**,
                       float*) noexcept nogil
    const recurrent_f32* recurrent_f32_for(int isa)
    ctypedef struct recurrent_layer_f64:
        int64_t H
        int cell
        input_spec inputs
        const double* x
        const double* packed
        const double* bias
        int64_t bias_row
        const double* c_q
    ctypedef struct recurrent_steps_f64:
        int64_t T
        const int64_t* first
        double* s
        double* m
        double* slots
        double* end_s
        double* end_m
    ctypedef struct recurrent_walk_f64:
        int64_t L, T, P
        const recurrent_layer_f64* layers
        const double* V
        const double* b
        int64_t b_row
    ctypedef struct recurrent_f64:
        int64_t panel
        void (*pack)(int64_t, int64_t, int64_t, const double*, double*) noexcept nogil
        void (*forward)(int64_t, int64_t, recurrent_layer_f64, recurrent_steps_f64, const double*,
                        const double*, double*) noexcept nogil
        void (*backward)(int64_t, int64_t, recurrent_layer_f64, recurrent_steps_f64, int64_t, double*,
                         double*) noexcept nogil
        void (*sample)(int64_t, int64_t, recurrent_walk_f64, draw_f64, walked_f64, double**,
                       double*) noexcept nogil
    const recurrent_f64* recurrent_f64_for(int isa)

CELLS = ("tanh", "gru", "lstm")  # in the order of the C enumeration
GATES = (1, 3, 4)
SLOTS = (1, 4, 4)

cdef const recurrent_f32* f32 = recurrent_f32_for(isa)
cdef const recurrent_f64* f64 = recurrent_f64_for(isa)

cdef int64_t SHARE = 96  # sequences whose states stay in L2 beside the weights


cdef check(bint fits):
    if not fits:
        raise ValueError("the shapes of the steps, the states and the weights do not fit together")


def shares(const int64_t[::1] first, int64_t n, int n_threads):
    """Return where shares of n sequences of about as many steps begin and end."""
    counts = np.diff(first)
    lengths = np.searchsorted(-counts, -np.arange(n), side="left")
    steps = np.cumsum(lengths)
    total = counts.sum()
    count = n_threads * -(-n // (n_threads * SHARE))
    inner = np.searchsorted(steps, np.arange(1, count) * total / count) + 1
    return np.unique(np.concatenate(([0], np.minimum((inner + 3) // 4 * 4, n), [n]))).astype(np.int64)


def pack(const floating[:, ::1] W, int64_t parts):
    """Return W (K, parts H) as products read it, the panels of the parts taking turns."""
    cdef int64_t K = W.shape[0], H = W.shape[1] // parts
    cdef int64_t panel = f32.panel if floating is float else f64.panel
    check(H * parts == W.shape[1])
    dtype = np.float32 if floating is float else np.float64
    cdef floating[::1] out = aligned_empty(((H + panel - 1) // panel * panel * parts * K,), dtype)
    if K and H:
        if floating is float:
            f32.pack(K, parts, H, &W[0, 0], &out[0])
        else:
            f64.pack(K, parts, H, &W[0, 0], &out[0])
    return out.base


cdef class Weights:
    """What the kernels read of one layer.

    x: of the first layer W_xh (F Q, G H), of the others its product form by `pack`. packed: W_hh (H, G H), by
    `pack` with G parts. bias (1, G H), or (n, G H) of the first layer. c_q (H,) of a GRU.
    """

    cdef readonly object x, packed, bias, c_q
    cdef readonly int cell
    cdef readonly int64_t H

    def __init__(self, int cell, int64_t H, x, packed, bias, c_q):
        self.cell, self.H, self.x, self.packed, self.bias, self.c_q = cell, H, x, packed, bias, c_q
        check(bias.ndim == 2 and bias.shape[1] == GATES[cell] * H and len(packed) >= H * GATES[cell] * H
              and (c_q is None or c_q.shape == (H,)) and (c_q is not None or CELLS[cell] != "gru"))


cdef recurrent_layer_f32 layer_f32(Weights w, input_spec inputs, bint first):
    cdef const float[:, ::1] rows
    cdef const float[::1] packed = w.packed, c_q = w.c_q, columns
    cdef const float[:, ::1] bias = w.bias
    cdef const float* x = NULL
    cdef const float* q = NULL
    if first:
        rows = w.x
        x = &rows[0, 0]
    elif w.x is not None:
        columns = w.x
        x = &columns[0]
    if w.c_q is not None:
        q = &c_q[0]
    return recurrent_layer_f32(w.H, w.cell, inputs, x, &packed[0], &bias[0, 0],
                               bias.shape[1] if bias.shape[0] > 1 else 0, q)


cdef recurrent_layer_f64 layer_f64(Weights w, input_spec inputs, bint first):
    cdef const double[:, ::1] rows
    cdef const double[::1] packed = w.packed, c_q = w.c_q, columns
    cdef const double[:, ::1] bias = w.bias
    cdef const double* x = NULL
    cdef const double* q = NULL
    if first:
        rows = w.x
        x = &rows[0, 0]
    elif w.x is not None:
        columns = w.x
        x = &columns[0]
    if w.c_q is not None:
        q = &c_q[0]
    return recurrent_layer_f64(w.H, w.cell, inputs, x, &packed[0], &bias[0, 0],
                               bias.shape[1] if bias.shape[0] > 1 else 0, q)


cdef input_spec spec_of(const uint8_t[::1] one_hot, int64_t n_inputs, Weights first):
    cdef int64_t F = one_hot.shape[0]
    check(first.x.shape[0] == F * n_inputs and first.x.shape[1] == first.bias.shape[1])
    return input_spec(F, n_inputs, F, &one_hot[0])


def forward(Weights weights, const int64_t[::1] first, codes, const uint8_t[::1] one_hot, int64_t n_inputs,
            given, floating[:, ::1] s, m, slots, end_s, end_m, int n_threads):
    """Fill s (N, H) from the second step on, and m, slots (N, S H) and the ends (n, H) where they are not None.

    codes (N, F) enter the first layer; given (N, G H) takes the place of what they add in the others.
    """
    cdef int64_t T = first.shape[0] - 1, N = first[T], n = first[1] if T else 0, H = weights.H, i
    cdef int64_t S = SLOTS[weights.cell]
    dtype = np.float32 if floating is float else np.float64
    check(s.shape[0] == N and s.shape[1] == H and (given is not None or codes.shape == (N, one_hot.shape[0]))
          and (given is None or given.shape == (N, GATES[weights.cell] * H))
          and (slots is None or slots.shape == (N, S * H)) and (end_s is None or end_s.shape == (n, H))
          and (weights.bias.shape[0] in (1, n))
          and (CELLS[weights.cell] != "lstm"
               or (m.shape == (N, H) and (end_s is None or end_m.shape == (n, H)))))
    if n == 0:
        return
    cdef input_spec inputs
    if given is None:
        inputs = spec_of(one_hot, n_inputs, weights)
    else:
        inputs = input_spec(one_hot.shape[0], n_inputs, one_hot.shape[0], &one_hot[0])
    cdef const int64_t[::1] share = shares(np.asarray(first), n, n_threads)
    cdef floating[:, ::1] scratch = aligned_empty((n if slots is None else 1, S * H), dtype)
    cdef int64_t scratch_row = S * H if slots is None else 0
    cdef const floating[:, ::1] given_ = given, codes_ = codes
    cdef floating[:, ::1] m_ = m, slots_ = slots, end_s_ = end_s, end_m_ = end_m
    cdef const floating* g = &given_[0, 0] if given is not None else NULL
    cdef const floating* x = &codes_[0, 0] if codes is not None else NULL
    cdef floating* cells = &m_[0, 0] if m is not None else NULL
    cdef floating* kept = &slots_[0, 0] if slots is not None else NULL
    cdef floating* last_s = &end_s_[0, 0] if end_s is not None else NULL
    cdef floating* last_m = &end_m_[0, 0] if end_m is not None else NULL
    cdef recurrent_layer_f32 layer32
    cdef recurrent_layer_f64 layer64
    if floating is float:
        layer32 = layer_f32(weights, inputs, given is None)
    else:
        layer64 = layer_f64(weights, inputs, given is None)
    for i in prange(share.shape[0] - 1, nogil=True, num_threads=n_threads, schedule="dynamic", chunksize=1):
        if floating is float:
            f32.forward(share[i], share[i + 1], layer32,
                        recurrent_steps_f32(T, &first[0], &s[0, 0], cells, kept, last_s, last_m), x, g,
                        &scratch[0, 0] + share[i] * scratch_row)
        else:
            f64.forward(share[i], share[i + 1], layer64,
                        recurrent_steps_f64(T, &first[0], &s[0, 0], cells, kept, last_s, last_m), x, g,
                        &scratch[0, 0] + share[i] * scratch_row)


def backward(int cell, const floating[::1] packed, const int64_t[::1] first, floating[:, ::1] s, m,
             floating[:, ::1] slots, floating[:, ::1] gs, int64_t cut, int n_threads):
    """Turn slots into gradients, and add to gs (N, H) what flows back. packed: W_hh^T (G H, H) by `pack`."""
    cdef int64_t T = first.shape[0] - 1, N = first[T], n = first[1] if T else 0, H = s.shape[1], i
    dtype = np.float32 if floating is float else np.float64
    check(s.shape[0] == N and slots.shape[0] == N and slots.shape[1] == SLOTS[cell] * H and gs.shape[0] == N
          and gs.shape[1] == H and packed.shape[0] >= GATES[cell] * H * H
          and (CELLS[cell] != "lstm" or m.shape == (N, H)))
    if n == 0:
        return
    cdef const uint8_t[::1] no_input = np.zeros(1, np.uint8)
    cdef input_spec inputs = input_spec(0, 0, 0, &no_input[0])
    cdef const int64_t[::1] share = shares(np.asarray(first), n, n_threads)
    cdef floating[:, ::1] gm = aligned_empty((n, H), dtype), m_ = m
    cdef floating* cells = &m_[0, 0] if m is not None else NULL
    for i in prange(share.shape[0] - 1, nogil=True, num_threads=n_threads, schedule="dynamic", chunksize=1):
        if floating is float:
            f32.backward(share[i], share[i + 1],
                         recurrent_layer_f32(H, cell, inputs, NULL, &packed[0], NULL, 0, NULL),
                         recurrent_steps_f32(T, &first[0], &s[0, 0], cells, &slots[0, 0], NULL, NULL), cut,
                         &gs[0, 0], &gm[share[i], 0])
        else:
            f64.backward(share[i], share[i + 1],
                         recurrent_layer_f64(H, cell, inputs, NULL, &packed[0], NULL, 0, NULL),
                         recurrent_steps_f64(T, &first[0], &s[0, 0], cells, &slots[0, 0], NULL, NULL), cut,
                         &gs[0, 0], &gm[share[i], 0])


def sample(draw, const floating[:, :, ::1] noise, held, floating[:, ::1] codes, weight, layers,
           const uint8_t[::1] one_hot, int64_t n_inputs, const floating[::1] V, const floating[:, ::1] b,
           int64_t n_outputs, floating[:, :, :, ::1] states, int n_threads):
    """Fill codes (n, T F) step by step, but for those with held (n, T F) not FREE.

    layers: `Weights` of each. V (H, F P) by `pack`, b (1 or n, F P), states (L, 2, n, H): h and m before, and
    then after.
    """
    cdef int64_t n = codes.shape[0], F = one_hot.shape[0], D = codes.shape[1], L = len(layers)
    cdef int64_t H = layers[0].H
    cdef int64_t i, k, r, rows, cell = layers[0].cell, S = SLOTS[cell], T = D // F, n_noise
    dtype = np.float32 if floating is float else np.float64
    cdef draw_f32 draw32
    cdef draw_f64 draw64
    if floating is float:
        draw32 = (<draw_f32*>PyCapsule_GetPointer(draw, "fastar.draw_f32"))[0]
        n_noise = draw32.n_noise
    else:
        draw64 = (<draw_f64*>PyCapsule_GetPointer(draw, "fastar.draw_f64"))[0]
        n_noise = draw64.n_noise
    cdef const uint8_t[:, ::1] is_held = held
    cdef double[::1] log_weight = np.zeros(n) if weight is None else weight
    check(T * F == D and noise.shape[0] == n and noise.shape[1] == D and noise.shape[2] == n_noise
          and (held is None or (is_held.shape[0] == n and is_held.shape[1] == D)) and log_weight.shape[0] == n
          and b.shape[1] == F * n_outputs and (b.shape[0] == 1 or b.shape[0] == n)
          and V.shape[0] >= H * F * n_outputs
          and states.shape[0] == L and states.shape[1] == 2 and states.shape[2] == n and states.shape[3] == H
          and layers[0].bias.shape[0] in (1, n))
    if n == 0 or D == 0:
        return
    cdef input_spec inputs = spec_of(one_hot, n_inputs, layers[0])
    cdef recurrent_layer_f32* layers32 = <recurrent_layer_f32*>PyMem_Malloc(L * sizeof(recurrent_layer_f32))
    cdef recurrent_layer_f64* layers64 = <recurrent_layer_f64*>PyMem_Malloc(L * sizeof(recurrent_layer_f64))
    rows = min(SHARE, ((n + n_threads - 1) // n_threads + 3) // 4 * 4)
    cdef int64_t n_shares = (n + rows - 1) // rows, b_row = b.shape[1] if b.shape[0] > 1 else 0
    cdef floating[:, ::1] scratch = aligned_empty((n_shares, rows * (S * H + H + F * n_outputs + 1)), dtype)
    cdef floating** at = <floating**>PyMem_Malloc(n_shares * 2 * L * sizeof(void*))
    cdef bint any_held = held is not None
    cdef const uint8_t* held_row = NULL
    try:
        if layers32 == NULL or layers64 == NULL or at == NULL:
            raise MemoryError()
        for k in range(L):
            if floating is float:
                layers32[k] = layer_f32(layers[k], inputs, k == 0)
            else:
                layers64[k] = layer_f64(layers[k], inputs, k == 0)
            for i in range(n_shares):
                at[(i * L + k) * 2] = &states[k, 0, i * rows, 0]
                at[(i * L + k) * 2 + 1] = &states[k, 1, i * rows, 0] if CELLS[cell] == "lstm" else NULL
        for i in prange(n_shares, nogil=True, num_threads=n_threads, schedule="dynamic", chunksize=1):
            r = i * rows
            held_row = NULL
            if any_held:
                held_row = &is_held[r, 0]
            if floating is float:
                f32.sample(min(rows, n - r), r,
                           recurrent_walk_f32(L, T, n_outputs, layers32, &V[0], &b[0, 0], b_row), draw32,
                           walked_f32(r, &noise[r, 0, 0], held_row, &codes[r, 0], &log_weight[r]),
                           at + i * 2 * L, &scratch[i, 0])
            else:
                f64.sample(min(rows, n - r), r,
                           recurrent_walk_f64(L, T, n_outputs, layers64, &V[0], &b[0, 0], b_row), draw64,
                           walked_f64(r, &noise[r, 0, 0], held_row, &codes[r, 0], &log_weight[r]),
                           at + i * 2 * L, &scratch[i, 0])
    finally:
        PyMem_Free(layers32)
        PyMem_Free(layers64)
        PyMem_Free(at)
