"""LSTM passes over the pixels of images: states, gradients and samples."""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.pycapsule cimport PyCapsule_GetPointer
from cython cimport floating
from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t, uint8_t

from conditionals cimport draw_f32, draw_f64, walked_f32, walked_f64
from inputs cimport input_spec

import numpy as np

from fastar._kernels._cpu import aligned_empty, isa

cdef extern from "grid.h" nogil:
    ctypedef struct grid_pass_f32:
        int64_t H, n_above, along
        int64_t above[3]
        const float* W_above
        const float* W_along
    ctypedef struct grid_walk_pass_f32:
        grid_pass_f32 grid
        int below
        int64_t K, taps
        const float* x
        const float* c
        int64_t c_row
        float* s
        float* m
    ctypedef struct grid_walk_f32:
        int64_t I, J, L, n_passes, P, H
        const grid_walk_pass_f32* passes
        input_spec inputs
        const int32_t* source
        float scale
        const float* V
        const float* b
        const float* own
        float* u
    ctypedef struct grid_f32:
        void (*gather)(int64_t, int64_t, input_spec, int64_t, const float*, const float*, int64_t,
                       const float*, float*) noexcept nogil
        void (*forward)(int64_t, int64_t, int64_t, grid_pass_f32, float*, float*, float*) noexcept nogil
        void (*backward)(int64_t, int64_t, int64_t, grid_pass_f32, const float*, float*, float*,
                         float*) noexcept nogil
        void (*sample)(int64_t, grid_walk_f32, draw_f32, walked_f32, float*) noexcept nogil
    const grid_f32* grid_f32_for(int isa)
    ctypedef struct grid_pass_f64:
        int64_t H, n_above, along
        int64_t above[3]
        const double* W_above
        const double* W_along
    ctypedef struct grid_walk_pass_f64:
        grid_pass_f64 grid
        int below
        int64_t K, taps
        const double* x
        const double* c
        int64_t c_row
        double* s
        double* m
    ctypedef struct grid_walk_f64:
        int64_t I, J, L, n_passes, P, H
        const grid_walk_pass_f64* passes
        input_spec inputs
        const int32_t* source
        double scale
        const double* V
        const double* b
        const double* own
        double* u
    ctypedef struct grid_f64:
        void (*gather)(int64_t, int64_t, input_spec, int64_t, const double*, const double*, int64_t,
                       const double*, double*) noexcept nogil
        void (*forward)(int64_t, int64_t, int64_t, grid_pass_f64, double*, double*, double*) noexcept nogil
        void (*backward)(int64_t, int64_t, int64_t, grid_pass_f64, const double*, double*, double*,
                         double*) noexcept nogil
        void (*sample)(int64_t, grid_walk_f64, draw_f64, walked_f64, double*) noexcept nogil
    const grid_f64* grid_f64_for(int isa)

cdef const grid_f32* f32 = grid_f32_for(isa)
cdef const grid_f64* f64 = grid_f64_for(isa)


cdef check(bint fits):
    if not fits:
        raise ValueError("the shapes of the images, the states and the weights do not fit together")


cdef class Pass:
    """What the kernels read of a pass.

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


cdef grid_pass_f32 pass_f32(Pass p):
    cdef grid_pass_f32 out
    cdef const float[::1] above = p.W_above, along = p.W_along
    out.H, out.n_above, out.along = p.H, len(p.above), p.along
    for k, column in enumerate(p.above):
        out.above[k] = column
    out.W_above, out.W_along = &above[0], NULL
    if p.along:
        out.W_along = &along[0]
    return out


cdef grid_pass_f64 pass_f64(Pass p):
    cdef grid_pass_f64 out
    cdef const double[::1] above = p.W_above, along = p.W_along
    out.H, out.n_above, out.along = p.H, len(p.above), p.along
    for k, column in enumerate(p.above):
        out.above[k] = column
    out.W_above, out.W_along = &above[0], NULL
    if p.along:
        out.W_along = &along[0]
    return out


cdef input_spec spec_of(const uint8_t[::1] one_hot, int64_t n_inputs):
    return input_spec(one_hot.shape[0], n_inputs, one_hot.shape[0], &one_hot[0])


def gather(const floating[:, :, ::1] codes, const uint8_t[::1] one_hot, int64_t n_inputs,
           const floating[:, ::1] W, const floating[:, ::1] c, floating[:, :, ::1] slots, int n_threads):
    """Write slots (chunks, pixels n, 4 H) = c + what codes (chunks, pixels n, E) add.

    W (E Q, 4 H). c (1, 4 H), or (chunks n, 4 H) of each image.
    """
    cdef int64_t chunks = codes.shape[0], rows = codes.shape[1], E = one_hot.shape[0], width = W.shape[1], i
    cdef int64_t n = c.shape[0] // chunks if c.shape[0] > 1 else rows
    cdef int64_t c_row = width if c.shape[0] > 1 else 0
    check(codes.shape[2] == E and W.shape[0] == E * n_inputs and c.shape[1] == width and rows % n == 0
          and slots.shape[0] == chunks and slots.shape[1] == rows and slots.shape[2] == width
          and c.shape[0] in (1, chunks * n))
    cdef input_spec inputs = spec_of(one_hot, n_inputs)
    for i in prange(chunks, nogil=True, num_threads=n_threads, schedule="dynamic", chunksize=1):
        if floating is float:
            f32.gather(rows // n, n, inputs, width, &W[0, 0], &c[0, 0] + i * n * c_row, c_row,
                       &codes[i, 0, 0], &slots[i, 0, 0])
        else:
            f64.gather(rows // n, n, inputs, width, &W[0, 0], &c[0, 0] + i * n * c_row, c_row,
                       &codes[i, 0, 0], &slots[i, 0, 0])


cdef check_grid(Pass p, shape, m, slots):
    chunks, height, width, n, H = shape
    check(H == p.H and m == shape and slots == (chunks, height - 1, width - 2, n, 4 * H) and min(shape) > 0)


def forward(Pass p, floating[:, :, :, :, ::1] s, floating[:, :, :, :, ::1] m, floating[:, :, :, :, ::1] slots,
            int n_threads):
    """Fill units and memories (chunks, I + 1, J + 2, n, H) inside their border of zeros.

    slots (chunks, I, J, n, 4 H): IN what enters, OUT activations.
    """
    cdef int64_t chunks = slots.shape[0], n = slots.shape[3], i
    cdef int64_t height = slots.shape[1], width = slots.shape[2]
    check_grid(p, (<object>s).shape, (<object>m).shape, (<object>slots).shape)
    cdef grid_pass_f32 p32
    cdef grid_pass_f64 p64
    if floating is float:
        p32 = pass_f32(p)
    else:
        p64 = pass_f64(p)
    for i in prange(chunks, nogil=True, num_threads=n_threads, schedule="dynamic", chunksize=1):
        if floating is float:
            f32.forward(height, width, n, p32, &s[i, 0, 0, 0, 0], &m[i, 0, 0, 0, 0], &slots[i, 0, 0, 0, 0])
        else:
            f64.forward(height, width, n, p64, &s[i, 0, 0, 0, 0], &m[i, 0, 0, 0, 0], &slots[i, 0, 0, 0, 0])


def backward(Pass p, floating[:, :, :, :, ::1] m, floating[:, :, :, :, ::1] slots, floating[:, :, :, :, ::1] gs,
             int n_threads):
    """Turn slots into gradients by what enters; gs, by the units, as m, is used up.

    p: with transposed weights.
    """
    cdef int64_t chunks = slots.shape[0], n = slots.shape[3], i
    cdef int64_t height = slots.shape[1], width = slots.shape[2]
    check_grid(p, (<object>gs).shape, (<object>m).shape, (<object>slots).shape)
    dtype = np.float32 if floating is float else np.float64
    cdef floating[:, ::1] gm = aligned_empty((chunks, (width + 2) * n * p.H), dtype)
    cdef grid_pass_f32 p32
    cdef grid_pass_f64 p64
    if floating is float:
        p32 = pass_f32(p)
    else:
        p64 = pass_f64(p)
    for i in prange(chunks, nogil=True, num_threads=n_threads, schedule="dynamic", chunksize=1):
        if floating is float:
            f32.backward(height, width, n, p32, &m[i, 0, 0, 0, 0], &slots[i, 0, 0, 0, 0], &gs[i, 0, 0, 0, 0],
                         &gm[i, 0])
        else:
            f64.backward(height, width, n, p64, &m[i, 0, 0, 0, 0], &slots[i, 0, 0, 0, 0], &gs[i, 0, 0, 0, 0],
                         &gm[i, 0])


cdef class Walked:
    """What a walk reads of a pass beside it.

    below: whether its units are seen by the row below alone. x: of the first layer W_xh (E Q, 4 H), of others
    (taps, ..) each tap's by `pack`. c (1 or n, 4 H).
    """

    cdef readonly Pass grid_pass
    cdef readonly bint below
    cdef readonly int64_t taps
    cdef readonly object x, c

    def __init__(self, Pass grid_pass, bint below, int64_t taps, x, c):
        self.grid_pass, self.below, self.taps, self.x, self.c = grid_pass, below, taps, x, c


def sample(draw, const floating[:, :, ::1] noise, held, floating[:, ::1] codes, weight, passes,
           int64_t n_passes, const uint8_t[::1] one_hot, int64_t n_inputs, const int32_t[:, ::1] source,
           double scale, const floating[::1] V, const floating[:, ::1] b, own, shape, int64_t share,
           int n_threads):
    """Fill codes (n, I J) pixel by pixel, but for those with held (n, I J) not FREE.

    passes: `Walked` of each layer in turn, n_passes of each. source (I J, E): what enters, see
    `_recurrent.sample`; numbers times scale. V (H, P) by `pack`, b (I J, P), own (n, P) or None, shape: I and
    J, share: images that walk together.
    """
    cdef int64_t n = codes.shape[0], D = codes.shape[1], height = shape[0], width = shape[1], P = b.shape[1]
    cdef int64_t i, k, r, E = one_hot.shape[0], L = len(passes) // n_passes, H = passes[0].grid_pass.H
    cdef int64_t count = len(passes), n_noise, rows = min(share, n)
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
    check(height * width == D and noise.shape[0] == n and noise.shape[1] == D and noise.shape[2] == n_noise
          and (held is None or held.shape == (n, D)) and log_weight.shape[0] == n and source.shape[0] == D
          and source.shape[1] == E and np.asarray(source).max() < D and b.shape[0] == D
          and V.shape[0] >= H * P and (own is None or own.shape == (n, P))
          and all(each.grid_pass.H == H and len(each.c) in (1, n) and each.c.shape[1] == 4 * H
                  for each in passes))
    if n == 0:
        return
    cdef int64_t n_shares = (n + rows - 1) // rows, row = (width + 2) * rows * H
    cdef floating[:, ::1] states = np.zeros((n_shares, (4 * count + L) * row), dtype)
    cdef floating[:, ::1] scratch = aligned_empty((n_shares, rows * (4 * H + P + 1 + E)), dtype)
    cdef size_t total = n_shares * count
    cdef grid_walk_pass_f32* passes32 = <grid_walk_pass_f32*>PyMem_Malloc(total * sizeof(grid_walk_pass_f32))
    cdef grid_walk_pass_f64* passes64 = <grid_walk_pass_f64*>PyMem_Malloc(total * sizeof(grid_walk_pass_f64))
    cdef const floating[:, ::1] own_ = own, c
    cdef const floating[::1] x
    cdef const floating* own_row = NULL
    cdef const uint8_t* held_row = NULL
    cdef bint any_held = held is not None, any_own = own is not None
    cdef input_spec inputs = spec_of(one_hot, n_inputs)
    try:
        if passes32 == NULL or passes64 == NULL:
            raise MemoryError()
        for i in range(n_shares):
            for k, each in enumerate(passes):
                x, c = each.x, each.c
                if floating is float:
                    passes32[i * count + k] = grid_walk_pass_f32(
                        pass_f32(each.grid_pass), each.below, H, each.taps, &x[0], &c[0, 0],
                        4 * H if c.shape[0] > 1 else 0, &states[i, 4 * k * row], &states[i, (4 * k + 2) * row])
                else:
                    passes64[i * count + k] = grid_walk_pass_f64(
                        pass_f64(each.grid_pass), each.below, H, each.taps, &x[0], &c[0, 0],
                        4 * H if c.shape[0] > 1 else 0, &states[i, 4 * k * row], &states[i, (4 * k + 2) * row])
        for i in prange(n_shares, nogil=True, num_threads=n_threads, schedule="dynamic", chunksize=1):
            r = i * rows
            held_row = NULL
            if any_held:
                held_row = &is_held[r, 0]
            own_row = NULL
            if any_own:
                own_row = &own_[r, 0]
            if floating is float:
                f32.sample(min(rows, n - r),
                           grid_walk_f32(height, width, L, n_passes, P, H, passes32 + i * count, inputs,
                                         &source[0, 0], scale, &V[0], &b[0, 0], own_row,
                                         &states[i, 4 * count * row]), draw32,
                           walked_f32(r, &noise[r, 0, 0], held_row, &codes[r, 0], &log_weight[r]),
                           &scratch[i, 0])
            else:
                f64.sample(min(rows, n - r),
                           grid_walk_f64(height, width, L, n_passes, P, H, passes64 + i * count, inputs,
                                         &source[0, 0], scale, &V[0], &b[0, 0], own_row,
                                         &states[i, 4 * count * row]), draw64,
                           walked_f64(r, &noise[r, 0, 0], held_row, &codes[r, 0], &log_weight[r]),
                           &scratch[i, 0])
    finally:
        PyMem_Free(passes32)
        PyMem_Free(passes64)
