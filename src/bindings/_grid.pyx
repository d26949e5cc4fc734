"""LSTM passes over the pixels of images: states, gradients and samples."""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cython cimport floating
from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t, uint8_t

from conditionals cimport draw_of, draw_spec, walked_rows
from inputs cimport input_spec, spec_of

import numpy as np

from fastar._kernels._cpu import aligned_empty, isa, no_memory

cdef extern from "grid.h" nogil:
    ctypedef struct grid_pass:
        int64_t H, n_above, along
        int64_t above[3]
        const void* W_above
        const void* W_along
    ctypedef struct grid_walk_pass:
        grid_pass grid
        int below
        int64_t K, taps
        const void* x
        const void* c
        int64_t c_row
        void* s
        void* m
    ctypedef struct grid_walk:
        int64_t I, J, L, n_passes, P, H
        const grid_walk_pass* passes
        input_spec inputs
        const int32_t* source
        double scale
        const int64_t* outputs
        const void* V
        const void* b
        const void* own
        void* u
    ctypedef struct grid_table:
        void (*gather)(int64_t, int64_t, input_spec, int64_t, const void*, const void*, int64_t,
                       const void*, void*) noexcept nogil
        void (*forward)(int64_t, int64_t, int64_t, grid_pass, void*, void*, void*) noexcept nogil
        void (*backward)(int64_t, int64_t, int64_t, grid_pass, const void*, void*, void*,
                         void*) noexcept nogil
        void (*sample)(int64_t, grid_walk, draw_spec, walked_rows, void*) noexcept nogil
    const grid_table* grid_for(int isa, bint is_double)

cdef const grid_table* f32 = grid_for(isa, False)
cdef const grid_table* f64 = grid_for(isa, True)


cdef check(bint fits):
    if not fits:
        raise ValueError("the shapes of the images, the states and the weights do not fit together")


cdef class Pass:
    """The arrays of a pass that kernels read.

    above: columns of the neighbours in the row above, relative; along: of the one in the row, -1 or 1, or 0 for
    none. W_above, W_along: their weights by `pack` of `_recurrent`, W_along None without one.
    """

    cdef readonly object W_above, W_along
    cdef readonly tuple above
    cdef readonly int64_t H, along

    def __init__(self, int64_t H, above, int64_t along, W_above, W_along):
        self.H, self.above, self.along = H, tuple(above), along
        self.W_above, self.W_along = W_above, W_along
        check(0 < len(self.above) <= 3 and all(-1 <= each <= 1 for each in self.above) and -1 <= along <= 1
              and len(W_above) >= len(self.above) * 4 * H * H and (along == 0 or len(W_along) >= 4 * H * H))


cdef grid_pass struct_of(Pass p, const floating* number):
    """Return the pass as kernels see it; `number` says of which float type."""
    cdef grid_pass out
    cdef const floating[::1] above = p.W_above, along = p.W_along
    out.H, out.n_above, out.along = p.H, len(p.above), p.along
    for k, column in enumerate(p.above):
        out.above[k] = column
    out.W_above, out.W_along = &above[0], NULL
    if p.along:
        out.W_along = &along[0]
    return out


def gather(const floating[:, :, ::1] codes, const uint8_t[::1] input_flags, const int64_t[::1] input_offsets,
           const floating[:, ::1] W, const floating[:, ::1] c, floating[:, :, ::1] slots, int n_threads):
    """Write slots (chunks, pixels n, 4 H) = c + what codes (chunks, pixels n, E) add.

    W (sum Q, 4 H), the rows of code e from input_offsets[e] on. c (1, 4 H), or (chunks n, 4 H) of each image.
    """
    cdef const grid_table* kernels = f32 if floating is float else f64
    cdef int64_t chunks = codes.shape[0], rows = codes.shape[1], E = input_flags.shape[0], width = W.shape[1], i
    cdef int64_t n = c.shape[0] // chunks if c.shape[0] > 1 else rows
    cdef int64_t c_row = width if c.shape[0] > 1 else 0
    cdef input_spec inputs = spec_of(input_flags, input_offsets)
    check(codes.shape[2] == E and W.shape[0] == input_offsets[E] and c.shape[1] == width and rows % n == 0
          and slots.shape[0] == chunks and slots.shape[1] == rows and slots.shape[2] == width
          and c.shape[0] in (1, chunks * n))
    for i in prange(chunks, nogil=True, num_threads=n_threads, schedule="dynamic", chunksize=1):
        kernels.gather(rows // n, n, inputs, width, &W[0, 0], &c[0, 0] + i * n * c_row, c_row,
                       &codes[i, 0, 0], &slots[i, 0, 0])


cdef check_grid(Pass p, shape, m, slots):
    chunks, height, width, n, H = shape
    check(H == p.H and m == shape and slots == (chunks, height - 1, width - 2, n, 4 * H) and min(shape) > 0)


def forward(Pass p, floating[:, :, :, :, ::1] s, floating[:, :, :, :, ::1] m, floating[:, :, :, :, ::1] slots,
            int n_threads):
    """Fill units and memories (chunks, I + 1, J + 2, n, H) inside their border of zeros.

    slots (chunks, I, J, n, 4 H): IN what enters, OUT activations.
    """
    cdef const grid_table* kernels = f32 if floating is float else f64
    cdef int64_t chunks = slots.shape[0], n = slots.shape[3], i
    cdef int64_t height = slots.shape[1], width = slots.shape[2]
    check_grid(p, (<object>s).shape, (<object>m).shape, (<object>slots).shape)
    cdef grid_pass grid = struct_of(p, <const floating*>NULL)
    for i in prange(chunks, nogil=True, num_threads=n_threads, schedule="dynamic", chunksize=1):
        kernels.forward(height, width, n, grid, &s[i, 0, 0, 0, 0], &m[i, 0, 0, 0, 0], &slots[i, 0, 0, 0, 0])


def backward(Pass p, floating[:, :, :, :, ::1] m, floating[:, :, :, :, ::1] slots, floating[:, :, :, :, ::1] gs,
             int n_threads):
    """Turn slots into gradients by what enters; gs, by the units, as m, is used up.

    p: with transposed weights.
    """
    cdef const grid_table* kernels = f32 if floating is float else f64
    cdef int64_t chunks = slots.shape[0], n = slots.shape[3], i
    cdef int64_t height = slots.shape[1], width = slots.shape[2]
    check_grid(p, (<object>gs).shape, (<object>m).shape, (<object>slots).shape)
    dtype = np.float32 if floating is float else np.float64
    cdef floating[:, ::1] gm = aligned_empty((chunks, (width + 2) * n * p.H), dtype)
    cdef grid_pass grid = struct_of(p, <const floating*>NULL)
    for i in prange(chunks, nogil=True, num_threads=n_threads, schedule="dynamic", chunksize=1):
        kernels.backward(height, width, n, grid, &m[i, 0, 0, 0, 0], &slots[i, 0, 0, 0, 0], &gs[i, 0, 0, 0, 0],
                         &gm[i, 0])


cdef class Walked:
    """The further arrays of a pass that a walk reads.

    below: whether its units are seen by the row below alone. x: of the first layer W_xh (sum Q, 4 H), of others
    (taps, ..) each tap's by `pack`. c (1 or n, 4 H).
    """

    cdef readonly Pass grid_pass
    cdef readonly bint below
    cdef readonly int64_t taps
    cdef readonly object x, c

    def __init__(self, Pass grid_pass, bint below, int64_t taps, x, c):
        self.grid_pass, self.below, self.taps, self.x, self.c = grid_pass, below, taps, x, c


def sample(draw, const floating[:, :, ::1] noise, held, floating[:, ::1] codes, weight, passes,
           int64_t n_passes, const uint8_t[::1] input_flags, const int64_t[::1] input_offsets,
           const int32_t[:, ::1] source, double scale, const floating[::1] V, const floating[::1] b, own,
           const int64_t[::1] output_offsets, shape, int64_t share, int n_threads):
    """Fill codes (n, I J) pixel by pixel, but for those with held (n, I J) not SAMPLED.

    passes: `Walked` of each layer in turn, n_passes of each. source (I J, E): what enters, see
    `_recurrent.sample`; numbers times scale. output_offsets (I J + 1,): where the outputs of each value begin
    in b (sum P,). V (H, P) by `pack`, own (n, P) or None: of the value with the most outputs; one with fewer
    uses the first. shape: I and J, share: images that walk together.
    """
    cdef const grid_table* kernels = f32 if floating is float else f64
    cdef int64_t n = codes.shape[0], D = codes.shape[1], height = shape[0], width = shape[1]
    cdef int64_t P = np.diff(output_offsets).max(initial=0)
    cdef int64_t i, k, r, E = input_flags.shape[0], L = len(passes) // n_passes, H = passes[0].grid_pass.H
    cdef int64_t count = len(passes), rows = min(share, n)
    dtype = np.float32 if floating is float else np.float64
    cdef draw_spec how = draw_of(draw, floating is double)
    cdef const uint8_t[:, ::1] is_held = held
    cdef input_spec inputs = spec_of(input_flags, input_offsets)
    cdef double[::1] log_weight = np.zeros(n) if weight is None else weight
    check(height * width == D and noise.shape[0] == n and noise.shape[1] == D and noise.shape[2] == how.n_noise
          and (held is None or held.shape == (n, D)) and log_weight.shape[0] == n and source.shape[0] == D
          and source.shape[1] == E and np.asarray(source).max() < D
          and output_offsets.shape[0] == D + 1 and b.shape[0] == output_offsets[D]
          and V.shape[0] >= H * P and (own is None or own.shape == (n, P))
          and all(each.grid_pass.H == H and len(each.c) in (1, n) and each.c.shape[1] == 4 * H
                  for each in passes))
    if n == 0:
        return
    cdef int64_t n_shares = (n + rows - 1) // rows, row = (width + 2) * rows * H
    cdef floating[:, ::1] states = np.zeros((n_shares, (4 * count + L) * row), dtype)
    cdef floating[:, ::1] scratch = aligned_empty((n_shares, rows * (4 * H + P + 1 + E)), dtype)
    cdef size_t total = n_shares * count
    cdef grid_walk_pass* structs = <grid_walk_pass*>PyMem_Malloc(total * sizeof(grid_walk_pass))
    cdef const floating[:, ::1] own_ = own, c
    cdef const floating[::1] x
    cdef const floating* own_row = NULL
    cdef const uint8_t* held_row = NULL
    cdef bint any_held = held is not None, any_own = own is not None
    try:
        if structs == NULL:
            raise no_memory(total * sizeof(grid_walk_pass))
        for i in range(n_shares):
            for k, each in enumerate(passes):
                x, c = each.x, each.c
                structs[i * count + k] = grid_walk_pass(
                    struct_of(<Pass?>each.grid_pass, <const floating*>NULL), each.below, H, each.taps, &x[0],
                    &c[0, 0],
                    4 * H if c.shape[0] > 1 else 0, &states[i, 4 * k * row], &states[i, (4 * k + 2) * row])
        for i in prange(n_shares, nogil=True, num_threads=n_threads, schedule="dynamic", chunksize=1):
            r = i * rows
            held_row = NULL
            if any_held:
                held_row = &is_held[r, 0]
            own_row = NULL
            if any_own:
                own_row = &own_[r, 0]
            kernels.sample(min(rows, n - r),
                           grid_walk(height, width, L, n_passes, P, H, structs + i * count, inputs,
                                     &source[0, 0], scale, &output_offsets[0], &V[0], &b[0], own_row,
                                     &states[i, 4 * count * row]), how,
                           walked_rows(r, &noise[r, 0, 0], held_row, &codes[r, 0], &log_weight[r]),
                           &scratch[i, 0])
    finally:
        PyMem_Free(structs)
