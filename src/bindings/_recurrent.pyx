"""Recurrent cells: one step of many sequences."""

from cython cimport floating
from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t

from fastar._kernels._cpu import isa

cdef extern from "recurrent.h" nogil:
    enum:
        FASTAR_CELL_TANH, FASTAR_CELL_GRU, FASTAR_CELL_LSTM
    ctypedef struct recurrent_params_f32:
        int64_t H
        const float* W
        const float* c
        const float* d
    ctypedef struct recurrent_step_f32:
        const float* xpart
        const float* hpart
        const float* h
        const float* s
        float* h_next
        float* s_next
        float* gates
    ctypedef struct recurrent_f32:
        void (*forward)(int, recurrent_params_f32, int64_t, const int32_t*, const float*,
                        recurrent_step_f32) noexcept nogil
        void (*backward)(int, int64_t, recurrent_step_f32, const float*, float*, float*, float*,
                         float*) noexcept nogil
    const recurrent_f32* recurrent_f32_for(int isa)
    ctypedef struct recurrent_params_f64:
        int64_t H
        const double* W
        const double* c
        const double* d
    ctypedef struct recurrent_step_f64:
        const double* xpart
        const double* hpart
        const double* h
        const double* s
        double* h_next
        double* s_next
        double* gates
    ctypedef struct recurrent_f64:
        void (*forward)(int, recurrent_params_f64, int64_t, const int32_t*, const double*,
                        recurrent_step_f64) noexcept nogil
        void (*backward)(int, int64_t, recurrent_step_f64, const double*, double*, double*, double*,
                         double*) noexcept nogil
    const recurrent_f64* recurrent_f64_for(int isa)

CELLS = ("tanh", "gru", "lstm")  # in the order of the C enumeration
N_GATES = (1, 3, 4)
N_KEPT = (1, 4, 4)  # numbers a unit that backward wants

cdef const recurrent_f32* f32 = recurrent_f32_for(isa)
cdef const recurrent_f64* f64 = recurrent_f64_for(isa)


cdef check(bint right):
    if not right:
        raise ValueError("the shapes of a recurrent step do not fit together")


def forward(int cell, changes, const floating[:, ::1] W, const floating[::1] c, d, xpart,
            const floating[:, ::1] hpart, const floating[:, ::1] h, const floating[:, ::1] s,
            floating[:, ::1] h_next, floating[:, ::1] s_next, gates, int n_threads):
    """Write h_next (n, H), and of the LSTM s_next, from what h W_hh gave, hpart (n, G H).

    changes: (count (n,), row, value) of inputs that are rows of W (.., G H), or None; xpart (n, G H): inputs
    of another kind, or None. d (H,): of the GRU, else None. gates (n, kept H): what `backward` wants, or None.
    s and s_next are not looked at but by the LSTM.
    """
    cdef int64_t n = h_next.shape[0], H = h_next.shape[1], G = N_GATES[cell], r
    cdef const int32_t[::1] count
    cdef const int32_t[:, ::1] row
    cdef const floating[:, ::1] value, x
    cdef floating[:, ::1] kept
    cdef const floating[::1] own
    cdef const floating* own_ = NULL
    cdef const floating* W_ = NULL
    cdef const floating* x_ = NULL
    cdef const floating* value_ = NULL
    cdef const int32_t* row_ = NULL
    cdef floating* kept_ = NULL
    cdef int64_t capacity = 0, x_stride = 0, kept_stride = 0, GH = G * H
    cdef bint listed = changes is not None
    check(h.shape[0] == n and h.shape[1] == H and s.shape[0] == n and s.shape[1] == H and s_next.shape[0] == n
          and s_next.shape[1] == H and hpart.shape[0] == n and hpart.shape[1] == GH and c.shape[0] == GH)
    if n == 0:
        return
    if listed:
        count, row, value = changes
        check(count.shape[0] == n and row.shape[0] == n and value.shape[0] == n and W.shape[1] == GH)
        capacity, W_ = row.shape[1], &W[0, 0]
        if capacity:
            row_, value_ = &row[0, 0], &value[0, 0]
    if xpart is not None:
        x = xpart
        check(x.shape[0] == n and x.shape[1] == GH)
        x_stride, x_ = GH, &x[0, 0]
    if gates is not None:
        kept = gates
        check(kept.shape[0] == n and kept.shape[1] == N_KEPT[cell] * H)
        kept_stride, kept_ = kept.shape[1], &kept[0, 0]
    if d is not None:
        own = d
        check(own.shape[0] == H)
        own_ = &own[0]
    for r in prange(n, nogil=True, num_threads=n_threads, schedule="static"):
        if floating is float:
            f32.forward(
                cell, recurrent_params_f32(H, W_, &c[0], own_), count[r] if listed else 0,
                row_ + r * capacity, value_ + r * capacity,
                recurrent_step_f32(x_ + r * x_stride, &hpart[r, 0], &h[r, 0], &s[r, 0], &h_next[r, 0],
                                   &s_next[r, 0], kept_ + r * kept_stride))
        else:
            f64.forward(
                cell, recurrent_params_f64(H, W_, &c[0], own_), count[r] if listed else 0,
                row_ + r * capacity, value_ + r * capacity,
                recurrent_step_f64(x_ + r * x_stride, &hpart[r, 0], &h[r, 0], &s[r, 0], &h_next[r, 0],
                                   &s_next[r, 0], kept_ + r * kept_stride))


def backward(int cell, floating[:, ::1] h, floating[:, ::1] s, floating[:, ::1] h_next,
             floating[:, ::1] s_next, floating[:, ::1] gates, const floating[:, ::1] gh,
             floating[:, ::1] gs, floating[:, ::1] gx, floating[:, ::1] gu,
             floating[:, ::1] gh_before, int n_threads):
    """Write gx and gu (n, G H), the gradients by x and by the product; add to gh_before (n, H).

    gs (n, H): the gradient by s_next, which becomes that by s. gu is gx but for the GRU.
    """
    cdef int64_t n = h.shape[0], H = h.shape[1], G = N_GATES[cell], r
    check(gates.shape[0] == n and gates.shape[1] == N_KEPT[cell] * H and gh.shape[0] == n
          and gh.shape[1] == H and gs.shape[0] == n and gs.shape[1] == H and gx.shape[0] == n
          and gx.shape[1] == G * H and gu.shape[0] == n and gu.shape[1] == G * H and gh_before.shape[0] == n
          and gh_before.shape[1] == H and h_next.shape[0] == n and h_next.shape[1] == H
          and s.shape[0] == n and s.shape[1] == H and s_next.shape[0] == n and s_next.shape[1] == H)
    if n == 0:
        return
    for r in prange(n, nogil=True, num_threads=n_threads, schedule="static"):
        if floating is float:
            f32.backward(cell, H,
                         recurrent_step_f32(NULL, NULL, &h[r, 0], &s[r, 0], &h_next[r, 0], &s_next[r, 0],
                                            &gates[r, 0]),
                         &gh[r, 0], &gs[r, 0], &gx[r, 0], &gu[r, 0], &gh_before[r, 0])
        else:
            f64.backward(cell, H,
                         recurrent_step_f64(NULL, NULL, &h[r, 0], &s[r, 0], &h_next[r, 0], &s_next[r, 0],
                                            &gates[r, 0]),
                         &gh[r, 0], &gs[r, 0], &gx[r, 0], &gu[r, 0], &gh_before[r, 0])
