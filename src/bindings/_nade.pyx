"""The shared-hidden-layer network: outputs, gradients and samples of blocks of rows."""

from cpython.pycapsule cimport PyCapsule_GetPointer
from cython cimport floating
from cython.parallel cimport prange, threadid
from libc.stdint cimport int32_t, int64_t, uint8_t

import numpy as np

from fastar._kernels._cpu import aligned_empty, isa

cdef extern from "inputs.h" nogil:
    ctypedef struct input_spec:
        int64_t D, Q, markov_order
        const uint8_t* one_hot
    ctypedef struct changes_f32:
        int64_t capacity
        const int32_t* count
        const int32_t* at
        const int32_t* row
        const float* value
    ctypedef struct changes_f64:
        int64_t capacity
        const int32_t* count
        const int32_t* at
        const int32_t* row
        const double* value

cdef extern from "conditionals.h" nogil:
    ctypedef struct draw_f32:
        int64_t n_noise
    ctypedef struct draw_f64:
        int64_t n_noise

cdef extern from "nade.h" nogil:
    enum:
        FASTAR_SAMPLE_ROWS
    ctypedef struct nade_sizes:
        int64_t D, P, H, stride
        int activation
    ctypedef struct nade_params_f32:
        const float* W
        const float* V
        const float* b
    ctypedef struct nade_params_f64:
        const double* W
        const double* V
        const double* b
    ctypedef struct nade_f32:
        int64_t lanes, slab
        void (*forward)(int64_t, nade_sizes, nade_params_f32, changes_f32, float*, float*, float*,
                        int64_t*) noexcept nogil
        void (*backward)(int64_t, nade_sizes, nade_params_f32, changes_f32, int64_t, int64_t, int64_t,
                         float*, const float*, float*, float*, float*, int64_t*) noexcept nogil
        int64_t (*backward_scratch)(int64_t, nade_sizes) noexcept nogil
        void (*sample)(int64_t, nade_sizes, nade_params_f32, input_spec, draw_f32, const float*,
                       const uint8_t*, float*, float*, float*, float*, float*) noexcept nogil
    ctypedef struct nade_f64:
        int64_t lanes, slab
        void (*forward)(int64_t, nade_sizes, nade_params_f64, changes_f64, double*, double*, double*,
                        int64_t*) noexcept nogil
        void (*backward)(int64_t, nade_sizes, nade_params_f64, changes_f64, int64_t, int64_t, int64_t,
                         double*, const double*, double*, double*, double*, int64_t*) noexcept nogil
        int64_t (*backward_scratch)(int64_t, nade_sizes) noexcept nogil
        void (*sample)(int64_t, nade_sizes, nade_params_f64, input_spec, draw_f64, const double*,
                       const uint8_t*, double*, double*, double*, double*, double*) noexcept nogil
    const nade_f32* nade_f32_for(int isa)
    const nade_f64* nade_f64_for(int isa)

ACTIVATIONS = ("sigmoid", "tanh", "relu")  # in the order of the C enumeration

cdef const nade_f32* f32 = nade_f32_for(isa)
cdef const nade_f64* f64 = nade_f64_for(isa)

cdef int64_t ROWS_PER_CALL = 64  # so that a block's hidden layers stay in L2


cdef int64_t rows_per_call(int64_t n, int n_threads, int64_t most) noexcept nogil:
    cdef int64_t fair = (n + n_threads - 1) // n_threads
    return max(1, min(most, (fair + 7) // 8 * 8))


def hidden_stride(int64_t H, dtype):
    """Return H rounded up to whole vectors of this instruction set."""
    cdef int64_t lanes = f32.lanes if dtype == np.float32 else f64.lanes
    return (H + lanes - 1) // lanes * lanes


cdef check_shapes(int64_t D, int64_t P, int64_t H, int64_t stride, int64_t V_rows, int64_t V_columns,
                  dtype):
    if V_rows != (D - 1) * P or V_columns != H or stride != hidden_stride(H, dtype):
        raise ValueError("the shapes of V, b and the hidden work space do not fit together")


def forward(changes, const floating[:, ::1] W, const floating[:, ::1] V, const floating[:, ::1] b,
            floating[:, ::1] a, floating[:, :, ::1] raw, int activation, int n_threads):
    """Write raw; a holds the initial pre-activations and ends as the final ones.

    W ((D - 1) Q, H), V ((D - 1) P, H), b (D, P), a (n, hidden_stride(H)), raw (n, D, P).
    """
    cdef int32_t[::1] count
    cdef int32_t[:, ::1] at, row
    cdef floating[:, ::1] value
    count, at, row, value = changes
    cdef int64_t n = raw.shape[0], D = raw.shape[1], P = raw.shape[2], H = W.shape[1], stride = a.shape[1]
    dtype = np.float32 if floating is float else np.float64
    check_shapes(D, P, H, stride, V.shape[0], V.shape[1], dtype)
    if count.shape[0] != n or a.shape[0] != n or b.shape[0] != D or b.shape[1] != P:
        raise ValueError("the shapes of the changes, a, b and raw do not fit together")
    cdef floating[:, ::1] h = aligned_empty((n, stride), dtype)
    cdef int64_t[::1] cursor = np.empty(n, np.int64)
    cdef nade_sizes sizes = nade_sizes(D, P, H, stride, activation)
    cdef int64_t rows = rows_per_call(n, n_threads, ROWS_PER_CALL), r, i
    if n == 0:
        return
    for i in prange((n + rows - 1) // rows, nogil=True, num_threads=n_threads, schedule="dynamic",
                    chunksize=1):
        r = i * rows
        if floating is float:
            f32.forward(
                min(rows, n - r), sizes, nade_params_f32(&W[0, 0], &V[0, 0], &b[0, 0]),
                changes_f32(value.shape[1], &count[r], &at[r, 0], &row[r, 0], &value[r, 0]),
                &a[r, 0], &raw[r, 0, 0], &h[r, 0], &cursor[r])
        else:
            f64.forward(
                min(rows, n - r), sizes, nade_params_f64(&W[0, 0], &V[0, 0], &b[0, 0]),
                changes_f64(value.shape[1], &count[r], &at[r, 0], &row[r, 0], &value[r, 0]),
                &a[r, 0], &raw[r, 0, 0], &h[r, 0], &cursor[r])


def backward(changes, const floating[:, ::1] W, const floating[:, ::1] V, floating[:, ::1] a,
             const floating[:, :, ::1] graw, floating[:, ::1] gW, floating[:, ::1] gV, int activation,
             int n_threads):
    """Overwrite gW and gV; a holds the final pre-activations and ends as the gradient by the initial ones.

    Each slab of hidden units has one thread, whatever their number: the bits stay the same.
    """
    cdef int32_t[::1] count
    cdef int32_t[:, ::1] at, row
    cdef floating[:, ::1] value
    count, at, row, value = changes
    cdef int64_t n = graw.shape[0], D = graw.shape[1], P = graw.shape[2], H = W.shape[1], stride = a.shape[1]
    dtype = np.float32 if floating is float else np.float64
    check_shapes(D, P, H, stride, V.shape[0], V.shape[1], dtype)
    if (count.shape[0] != n or a.shape[0] != n or gW.shape[0] != W.shape[0] or gW.shape[1] != H
            or gV.shape[0] != V.shape[0] or gV.shape[1] != H):
        raise ValueError("the shapes of the changes, a, graw and the gradients do not fit together")
    cdef nade_sizes sizes = nade_sizes(D, P, H, stride, activation)
    cdef int64_t slab, size
    if floating is float:
        slab, size = f32.slab, f32.backward_scratch(n, sizes)
    else:
        slab, size = f64.slab, f64.backward_scratch(n, sizes)
    cdef floating[:, ::1] scratch = aligned_empty((n_threads, (size + 15) // 16 * 16), dtype)
    cdef int64_t[:, ::1] cursor = np.empty((n_threads, max(n, 1)), np.int64)
    cdef int64_t i, k, t, n_W = W.shape[0]
    for i in prange((H + slab - 1) // slab, nogil=True, num_threads=n_threads, schedule="dynamic",
                    chunksize=1):
        k = i * slab
        t = threadid()
        if floating is float:
            f32.backward(
                n, sizes, nade_params_f32(&W[0, 0], &V[0, 0], NULL),
                changes_f32(value.shape[1], &count[0], &at[0, 0], &row[0, 0], &value[0, 0]),
                k, min(k + slab, H), n_W, &a[0, 0], &graw[0, 0, 0], &gW[0, 0], &gV[0, 0],
                &scratch[t, 0], &cursor[t, 0])
        else:
            f64.backward(
                n, sizes, nade_params_f64(&W[0, 0], &V[0, 0], NULL),
                changes_f64(value.shape[1], &count[0], &at[0, 0], &row[0, 0], &value[0, 0]),
                k, min(k + slab, H), n_W, &a[0, 0], &graw[0, 0, 0], &gW[0, 0], &gV[0, 0],
                &scratch[t, 0], &cursor[t, 0])


def sample(draw, const floating[:, :, ::1] noise, held, floating[:, ::1] codes, const uint8_t[::1] one_hot,
           int64_t n_inputs, int64_t markov_order, const floating[:, ::1] W, const floating[:, ::1] V,
           const floating[:, ::1] b, floating[:, ::1] a, int activation, int n_threads):
    """Fill codes (n, D) feature by feature, but for those with held (n, D) not zero.

    draw: the conditional's capsule. noise (n, D, m). a as in `forward`.
    """
    cdef int64_t n = codes.shape[0], D = codes.shape[1], P = b.shape[1], H = W.shape[1], stride = a.shape[1]
    dtype = np.float32 if floating is float else np.float64
    check_shapes(D, P, H, stride, V.shape[0], V.shape[1], dtype)
    cdef draw_f32 draw32
    cdef draw_f64 draw64
    cdef int64_t n_noise
    if floating is float:
        draw32 = (<draw_f32*>PyCapsule_GetPointer(draw, "fastar.draw_f32"))[0]
        n_noise = draw32.n_noise
    else:
        draw64 = (<draw_f64*>PyCapsule_GetPointer(draw, "fastar.draw_f64"))[0]
        n_noise = draw64.n_noise
    cdef const uint8_t[:, ::1] is_held = held
    if (a.shape[0] != n or noise.shape[0] != n or noise.shape[1] != D or noise.shape[2] != n_noise
            or (held is not None and (is_held.shape[0] != n or is_held.shape[1] != D))
            or one_hot.shape[0] != D):
        raise ValueError("the shapes of codes, noise, held and a do not fit together")
    cdef floating[:, ::1] h = aligned_empty((n, stride), dtype)
    cdef floating[:, ::1] scratch = np.empty((n, P + 1), dtype)
    cdef input_spec inputs = input_spec(D, n_inputs, markov_order, &one_hot[0])
    cdef nade_sizes sizes = nade_sizes(D, P, H, stride, activation)
    cdef int64_t rows = rows_per_call(n, n_threads, FASTAR_SAMPLE_ROWS), m, r, i
    cdef const uint8_t* held_row
    cdef bint any_held = held is not None
    for i in prange((n + rows - 1) // rows, nogil=True, num_threads=n_threads, schedule="dynamic",
                    chunksize=1):
        r = i * rows
        m = min(rows, n - r)
        held_row = NULL
        if any_held:
            held_row = &is_held[r, 0]
        if floating is float:
            f32.sample(m, sizes, nade_params_f32(&W[0, 0], &V[0, 0], &b[0, 0]), inputs, draw32,
                       &noise[r, 0, 0], held_row, &codes[r, 0], &a[r, 0], &h[r, 0], &scratch[r, 0],
                       &scratch[r, 0] + m * P)
        else:
            f64.sample(m, sizes, nade_params_f64(&W[0, 0], &V[0, 0], &b[0, 0]), inputs, draw64,
                       &noise[r, 0, 0], held_row, &codes[r, 0], &a[r, 0], &h[r, 0], &scratch[r, 0],
                       &scratch[r, 0] + m * P)
