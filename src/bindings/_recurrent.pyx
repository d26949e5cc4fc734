"""Recurrent layers over packed sequences: states, gradients and samples."""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cython cimport floating
from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t, uint8_t

from conditionals cimport draw_of, draw_spec, walked_rows
from inputs cimport input_spec, spec_of

import numpy as np

from fastar._kernels._cpu import aligned_empty, isa, no_memory

cdef extern from "recurrent.h" nogil:
    enum:
        FASTAR_NOTHING
        FASTAR_CONSTANT
        FASTAR_GAP
    ctypedef struct recurrent_layer:
        int64_t H
        int cell
        input_spec inputs
        const void* x
        const void* packed
        const void* c
        int64_t c_row
        const void* d
    ctypedef struct recurrent_steps:
        int64_t T
        const int64_t* first
        void* s
        void* m
        void* slots
    ctypedef struct recurrent_walk:
        int64_t L, T, F, P
        const recurrent_layer* layers
        const int32_t* source
        int64_t own_features
        const int64_t* outputs
        const void* V
        const void* b
        const void* own
    ctypedef struct recurrent_table:
        int64_t panel, block
        void (*pack)(int64_t, int64_t, int64_t, const void*, void*) noexcept nogil
        void (*forward)(int64_t, int64_t, recurrent_layer, recurrent_steps, const void*, const void*,
                        void*) noexcept nogil
        void (*backward)(int64_t, int64_t, recurrent_layer, recurrent_steps, int64_t, void*,
                         void*) noexcept nogil
        void (*sample)(int64_t, recurrent_walk, draw_spec, walked_rows, void**,
                       void*) noexcept nogil
        void (*outer)(int64_t, int64_t, int64_t, int64_t, const void*, const void*, int64_t, void*,
                      int64_t, void*) noexcept nogil
        void (*scatter)(int64_t, int64_t, int64_t, int64_t, int64_t, input_spec, const void*, const void*,
                        void*, void*) noexcept nogil
    const recurrent_table* recurrent_for(int isa, bint is_double)

CELLS = ("tanh", "gru", "lstm")  # in the order of the C enumeration
N_GATES = (1, 3, 4)
N_SLOTS = (1, 4, 4)  # numbers a unit that backward wants
NOTHING, CONSTANT = FASTAR_NOTHING, FASTAR_CONSTANT  # of what enters in a walk

cdef const recurrent_table* f32 = recurrent_for(isa, False)
cdef const recurrent_table* f64 = recurrent_for(isa, True)

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
    count = n_threads * ((n - 1) // (n_threads * SHARE) + 1)
    inner = np.searchsorted(steps, np.arange(1, count) * total / count) + 1
    return np.unique(np.concatenate(([0], np.minimum((inner + 3) // 4 * 4, n), [n]))).astype(np.int64)


def pack(const floating[:, ::1] W, int64_t parts):
    """Return W (K, parts H) as products read it, the panels of the parts taking turns."""
    cdef const recurrent_table* kernels = f32 if floating is float else f64
    cdef int64_t K = W.shape[0], H = W.shape[1] // parts
    cdef int64_t panel = kernels.panel
    check(H * parts == W.shape[1])
    dtype = np.float32 if floating is float else np.float64
    cdef floating[::1] out = aligned_empty(((H + panel - 1) // panel * panel * parts * K,), dtype)
    if K and H:
        kernels.pack(K, parts, H, &W[0, 0], &out[0])
    return out.base


cdef class Weights:
    """The arrays of one layer that kernels read.

    x: of the first layer W_xh (sum Q G H,), of the others W_xh by `pack`; None where what enters is given.
    packed: W_hh by `pack` with G parts. c (1, G H) or of each sequence (n, G H), d (H,) of the GRU.
    """

    cdef readonly object x, packed, c, d
    cdef readonly int cell
    cdef readonly int64_t H

    def __init__(self, int cell, int64_t H, x, packed, c, d):
        self.cell, self.H, self.x, self.packed, self.c, self.d = cell, H, x, packed, c, d
        check(c.ndim == 2 and c.shape[1] == N_GATES[cell] * H and len(c)
              and len(packed) >= H * N_GATES[cell] * H
              and (CELLS[cell] != "gru" or d.shape == (H,)))


cdef recurrent_layer struct_of(Weights w, input_spec inputs, const floating* number):
    """Return the layer as kernels see it; `number` says of which float type."""
    cdef const floating[::1] x = w.x, packed = w.packed, d = w.d
    cdef const floating[:, ::1] c = w.c
    cdef int64_t c_row = c.shape[1] if c.shape[0] > 1 else 0
    cdef const floating* entering = NULL
    cdef const floating* own = NULL
    if w.x is not None:
        entering = &x[0]
    if w.d is not None:
        own = &d[0]
    return recurrent_layer(w.H, w.cell, inputs, entering, &packed[0], &c[0, 0], c_row, own)


def forward(Weights weights, const int64_t[::1] first, entering, const uint8_t[::1] input_flags,
            const int64_t[::1] input_offsets, given, floating[:, ::1] s, m, slots, int n_threads):
    """Fill s (N, H), and the LSTM's m, but for their first n rows; and slots (N - n, S H) if they are not None.

    entering (N - n, E) are codes that enter the first layer, code e by the rows from input_offsets[e] on; given
    (N - n, G H) takes the place of what they add in the others.
    """
    cdef const recurrent_table* kernels = f32 if floating is float else f64
    cdef int64_t T = first.shape[0] - 1, N = first[T], n = first[1] if T else 0, H = weights.H, i
    cdef int64_t S = N_SLOTS[weights.cell], G = N_GATES[weights.cell]
    cdef input_spec inputs = spec_of(input_flags, input_offsets)
    dtype = np.float32 if floating is float else np.float64
    check(s.shape[0] == N and s.shape[1] == H and (slots is None or slots.shape == (N - n, S * H))
          and (CELLS[weights.cell] != "lstm" or m.shape == (N, H)))
    check(given.shape == (N - n, G * H) if given is not None
          else entering.shape == (N - n, input_flags.shape[0])
          and len(weights.x) == input_offsets[input_flags.shape[0]] * G * H and len(weights.c) in (1, n))
    if N == n:
        return
    cdef const int64_t[::1] share = shares(np.asarray(first), n, n_threads)
    cdef floating[:, ::1] scratch = aligned_empty((n, S * H + FASTAR_GAP), dtype)
    cdef const floating[:, ::1] given_ = given, entering_ = entering
    cdef floating[:, ::1] m_ = m, slots_ = slots
    cdef const floating* g = &given_[0, 0] if given is not None else NULL
    cdef const floating* x = &entering_[0, 0] if given is None else NULL
    cdef floating* memory = &m_[0, 0] if m is not None else NULL
    cdef floating* kept = &slots_[0, 0] if slots is not None else NULL
    cdef recurrent_layer layer = struct_of(weights, inputs, <const floating*>NULL)
    for i in prange(share.shape[0] - 1, nogil=True, num_threads=n_threads, schedule="dynamic", chunksize=1):
        kernels.forward(share[i], share[i + 1], layer,
                        recurrent_steps(T, &first[0], &s[0, 0], memory, kept), x, g,
                        &scratch[share[i], 0])


def backward(int cell, const floating[::1] packed, const int64_t[::1] first, floating[:, ::1] s, m,
             floating[:, ::1] slots, floating[:, ::1] gs, int64_t cut, int n_threads):
    """Turn slots (N - n, S H) into gradients, and add to gs (N, H) what flows back.

    packed: W_hh^T (G H, H) by `pack`. Nothing flows to steps whose number is a multiple of `cut`, if that is
    not 0.
    """
    cdef const recurrent_table* kernels = f32 if floating is float else f64
    cdef int64_t T = first.shape[0] - 1, N = first[T], n = first[1] if T else 0, H = s.shape[1], i
    dtype = np.float32 if floating is float else np.float64
    check(s.shape[0] == N and slots.shape[0] == N - n and slots.shape[1] == N_SLOTS[cell] * H
          and gs.shape[0] == N and gs.shape[1] == H and packed.shape[0] >= N_GATES[cell] * H * H
          and (CELLS[cell] != "lstm" or m.shape == (N, H)))
    if N == n:
        return
    cdef input_spec inputs = input_spec(0, NULL, 0, NULL)
    cdef const int64_t[::1] share = shares(np.asarray(first), n, n_threads)
    cdef floating[:, ::1] scratch = aligned_empty((n, (N_SLOTS[cell] + 1) * H + FASTAR_GAP), dtype), m_ = m
    cdef floating* memory = &m_[0, 0] if m is not None else NULL
    for i in prange(share.shape[0] - 1, nogil=True, num_threads=n_threads, schedule="dynamic", chunksize=1):
        kernels.backward(share[i], share[i + 1],
                         recurrent_layer(H, cell, inputs, NULL, &packed[0], NULL, 0, NULL),
                         recurrent_steps(T, &first[0], &s[0, 0], memory, &slots[0, 0]), cut, &gs[0, 0],
                         &scratch[share[i], 0])


def sample(draw, const floating[:, :, ::1] noise, held, floating[:, ::1] codes, weight, layers,
           const uint8_t[::1] input_flags, const int64_t[::1] input_offsets, const int32_t[:, ::1] source,
           const floating[::1] V, const floating[::1] b, own, const int64_t[::1] output_offsets, int64_t F,
           states, int n_threads):
    """Fill codes (n, T F) step by step, but for those with held (n, T F) not SAMPLED.

    layers: `Weights` of each. source (T, E): the places among a row's codes of what enters after a step,
    NOTHING, or CONSTANT - v for the code v. output_offsets (F + 1,), or (T F + 1,) where each step has
    features of its own: where the outputs of each feature begin in b (sum P,). V (H, P) by `pack`, own (n, P)
    or None: of the step with the most outputs; one with fewer uses the first. states: (h, m) of each layer
    before, and then after.
    """
    cdef const recurrent_table* kernels = f32 if floating is float else f64
    cdef int64_t n = codes.shape[0], D = codes.shape[1], L = len(layers), T = source.shape[0]
    cdef int64_t n_features = output_offsets.shape[0] - 1, E = input_flags.shape[0]
    cdef bint own_features = n_features != F
    cdef int64_t i, k, r, most = max(each.H for each in layers), cell = layers[0].cell, S = N_SLOTS[cell]
    dtype = np.float32 if floating is float else np.float64
    cdef draw_spec how = draw_of(draw, floating is double)
    cdef const uint8_t[:, ::1] is_held = held
    cdef double[::1] log_weight = np.zeros(n) if weight is None else weight
    check(F > 0 and T * F == D and source.shape[1] == E and n_features in (F, D)
          and b.shape[0] == output_offsets[n_features])
    cdef int64_t P = np.diff(output_offsets[::F]).max(initial=0)
    check((own is None or own.shape == (n, P))
          and all(len(each.c) in (1, n) for each in layers)
          and (D == 0 or E == 0 or np.asarray(source).max() < D)
          and noise.shape[0] == n and noise.shape[1] == D and noise.shape[2] == how.n_noise
          and (held is None or (is_held.shape[0] == n and is_held.shape[1] == D))
          and log_weight.shape[0] == n and V.shape[0] >= layers[L - 1].H * P and len(states) == L
          and all(each.shape == (n, layer.H) for layer, pair in zip(layers, states) for each in pair))
    if n == 0 or D == 0:
        return
    cdef input_spec inputs = spec_of(input_flags, input_offsets)
    cdef int64_t rows = min(SHARE, ((n + n_threads - 1) // n_threads + 3) // 4 * 4)
    cdef int64_t n_shares = (n + rows - 1) // rows
    cdef int64_t numbers = rows * ((S + 1) * most + FASTAR_GAP + P + 1 + E)
    cdef floating[:, ::1] scratch = aligned_empty((n_shares, numbers), dtype)
    cdef floating[:, ::1] h, m
    cdef recurrent_layer* structs = <recurrent_layer*>PyMem_Malloc(L * sizeof(recurrent_layer))
    cdef void** at = <void**>PyMem_Malloc(n_shares * 2 * L * sizeof(void*))
    cdef const floating[:, ::1] own_ = own
    cdef const floating* own_row = NULL
    cdef bint any_held = held is not None, any_own = own is not None, remembers = CELLS[cell] == "lstm"
    cdef const uint8_t* held_row = NULL
    try:
        if structs == NULL or at == NULL:
            raise no_memory(L * sizeof(recurrent_layer) + n_shares * 2 * L * sizeof(void*))
        for k in range(L):
            h, m = states[k]
            structs[k] = struct_of(<Weights?>layers[k], inputs, <const floating*>NULL)
            for i in range(n_shares):
                at[(i * L + k) * 2] = &h[i * rows, 0]
                at[(i * L + k) * 2 + 1] = &m[i * rows, 0] if remembers else NULL
        for i in prange(n_shares, nogil=True, num_threads=n_threads, schedule="dynamic", chunksize=1):
            r = i * rows
            held_row = NULL
            if any_held:
                held_row = &is_held[r, 0]
            own_row = NULL
            if any_own:
                own_row = &own_[r, 0]
            kernels.sample(min(rows, n - r),
                           recurrent_walk(L, T, F, P, structs, &source[0, 0], own_features,
                                          &output_offsets[0], &V[0], &b[0], own_row), how,
                           walked_rows(r, &noise[r, 0, 0], held_row, &codes[r, 0], &log_weight[r]),
                           at + i * 2 * L, &scratch[i, 0])
    finally:
        PyMem_Free(structs)
        PyMem_Free(at)


cdef int64_t columns_each(int64_t columns, int64_t panel, int n_threads):
    """Return how many columns, in whole panels, a thread has."""
    cdef int64_t panels = (columns + panel - 1) // panel
    return (panels + n_threads - 1) // n_threads * panel


def outer(const floating[:, ::1] A, const floating[:, :] G, floating[:, :] gW, int n_threads):
    """Write gW (K, columns) = A^T G over very many rows, A (N, K) and G (N, columns).

    G and gW may be columns of wider arrays.
    """
    cdef const recurrent_table* kernels = f32 if floating is float else f64
    cdef int64_t N = A.shape[0], K = A.shape[1], columns = G.shape[1], i, panel, block, share
    panel, block = kernels.panel, kernels.block
    check(G.shape[0] == N and gW.shape[0] == K and gW.shape[1] == columns)
    if N == 0 or K == 0 or columns == 0:
        gW[:] = 0
        return
    cdef int64_t size = sizeof(floating), g_row = G.strides[0] // size, w_row = gW.strides[0] // size
    check(G.strides[1] == size and gW.strides[1] == size and g_row * size == G.strides[0]
          and w_row * size == gW.strides[0])
    dtype = np.float32 if floating is float else np.float64
    share = columns_each(columns, panel, n_threads)
    cdef floating[:, ::1] scratch = aligned_empty((n_threads, (K + panel) * block), dtype)
    for i in prange((columns + share - 1) // share, nogil=True, num_threads=n_threads, schedule="static",
                    chunksize=1):
        kernels.outer(N, K, i * share, min(columns, (i + 1) * share), &A[0, 0], &G[0, 0], g_row, &gW[0, 0],
                      w_row, &scratch[i, 0])


def scatter(const floating[:, ::1] entering, const uint8_t[::1] input_flags, const int64_t[::1] input_offsets,
            const floating[:, ::1] slots, floating[:, ::1] gW, int n_threads):
    """Return the sums (S H,) over all slots (M, S H); write those by the weights of the codes.

    entering (M, E) are codes. gW (sum Q, width) has the gradients of the first columns.
    """
    cdef const recurrent_table* kernels = f32 if floating is float else f64
    cdef int64_t M = slots.shape[0], row = slots.shape[1], width = gW.shape[1], i, share
    cdef input_spec inputs = spec_of(input_flags, input_offsets)
    check(entering.shape[0] == M and entering.shape[1] == input_flags.shape[0] and width <= row
          and gW.shape[0] == input_offsets[input_flags.shape[0]])
    cdef floating[::1] total = np.zeros(row, np.float32 if floating is float else np.float64)
    if M == 0 or row == 0:
        gW[:] = 0
        return total.base
    share = columns_each(row, kernels.panel, n_threads)
    for i in prange((row + share - 1) // share, nogil=True, num_threads=n_threads, schedule="static",
                    chunksize=1):
        kernels.scatter(M, width, row, i * share, min(row, (i + 1) * share), inputs, &entering[0, 0],
                        &slots[0, 0], &gW[0, 0], &total[0])
    return total.base
