"""The shared-hidden-layer network: outputs, gradients and samples of blocks of rows."""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cython cimport floating
from cython.parallel cimport prange, threadid
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memcpy

from conditionals cimport draw_of, draw_spec, walked_rows
from inputs cimport changes_by_feature, changes_by_row, input_spec, spec_of

import numpy as np

from fastar._kernels._cpu import aligned_empty, isa, no_memory
from fastar._kernels._inputs import by_feature

cdef extern from "nade.h" nogil:
    enum:
        FASTAR_SIGMOID, FASTAR_SIGMOID_UNIT, FASTAR_SAMPLE_ROWS, FASTAR_BACKWARD_ROWS, FASTAR_MANY
        FASTAR_PLANNED_ROWS, FASTAR_WALK_OUTPUTS
    ctypedef struct nade_sizes:
        int64_t D, H
        const int64_t* outputs
        int many
        int64_t widest, stride
        int activation
    ctypedef struct nade_group:
        pass
    ctypedef struct nade_row:
        pass
    ctypedef struct nade_step:
        pass
    ctypedef struct nade_plan:
        nade_group* groups
        uint8_t* order
        nade_row* rows
        uint8_t* seen
        nade_step* steps
    ctypedef struct nade_params:
        const void* W
        const void* V
        const void* b
        const void* rho
        const void* factors
    ctypedef struct nade_units:
        void* initial
        void* state
        void* h
        uint8_t* saturated
    ctypedef struct walk_stages:
        int64_t n_particles, n
        const int64_t* ends
        double least
        const double* noise
        int64_t noise_stride
    ctypedef struct nade_table:
        int64_t slab, pace
        void (*factors)(int64_t, int64_t, int64_t, int, const void*, void*) noexcept nogil
        void (*forward)(int64_t, nade_sizes, nade_params, changes_by_row, nade_units, void*,
                        int64_t*) noexcept nogil
        void (*plan)(int64_t, int64_t, nade_sizes, changes_by_row, int64_t, const uint8_t*, int64_t,
                     int64_t, nade_plan) noexcept nogil
        void (*backward)(int64_t, nade_sizes, nade_params, changes_by_row, const changes_by_feature*,
                         const nade_plan*, int64_t, int64_t, int64_t, nade_units, const void*, void*,
                         void*, void*, void*, void*) noexcept nogil
        int64_t (*backward_scratch)(int64_t, nade_sizes, int64_t, int) noexcept nogil
        void (*sample)(int64_t, nade_sizes, nade_params, input_spec, changes_by_row, draw_spec, walked_rows,
                       walk_stages, const void*, int64_t, const void*, nade_units, void*, int64_t, void*,
                       uint8_t*) noexcept nogil
        void (*branches)(int64_t, nade_sizes, nade_params, input_spec, draw_spec, const void*, int64_t, int64_t,
                         const void*, const void*, int64_t, const void*, void*, double*) noexcept nogil
        int64_t (*branches_scratch)(nade_sizes, int64_t) noexcept nogil
        int64_t lanes
    const nade_table* nade_for(int isa, bint is_double)

MANY = FASTAR_MANY  # outputs a feature, on average
MOST_PARTICLES = FASTAR_SAMPLE_ROWS  # that walk in stages
ACTIVATIONS = ("sigmoid", "tanh", "relu")  # in the order of the C enumeration

cdef const nade_table* f32 = nade_for(isa, False)
cdef const nade_table* f64 = nade_for(isa, True)

cdef int64_t ROWS_PER_CALL = 64  # so that a block's hidden layers stay in L2


cdef int64_t rows_per_call(int64_t n, int n_threads, int64_t most, int64_t whole) noexcept nogil:
    """Return a fair share of rows, a multiple of `whole`: tiles of one row are slow."""
    cdef int64_t fair = (n + n_threads - 1) // n_threads
    return max(1, min(most, (fair + whole - 1) // whole * whole))


def hidden_stride(int64_t H, dtype):
    """Return H rounded up to whole slabs of this instruction set."""
    cdef const nade_table* kernels = f32 if dtype == np.float32 else f64
    cdef int64_t slab = kernels.slab
    return (H + slab - 1) // slab * slab


cdef int kernel_activation(int activation, bint unit_changes, bint rescaled) noexcept:
    if activation == FASTAR_SIGMOID and unit_changes and not rescaled:
        return FASTAR_SIGMOID_UNIT
    return activation


cdef nade_sizes sizes_of(const int64_t[::1] outputs, int64_t H, int64_t stride, V, int activation,
                         dtype) except *:
    """Return the sizes of a network in which feature d has the outputs outputs[d] .. outputs[d + 1] - 1."""
    cdef int64_t D = outputs.shape[0] - 1, widest = 0, d
    if D < 1 or outputs[0] != 0 or V.shape != (outputs[D] - outputs[1], H) or stride != hidden_stride(H, dtype):
        raise ValueError("the shapes of V, the offsets and the hidden work space do not fit together")
    for d in range(D):
        if outputs[d + 1] < outputs[d]:
            raise ValueError("the offsets of outputs must rise")
        widest = max(widest, outputs[min(d + 2, D)] - outputs[d])
    return nade_sizes(D, H, &outputs[0], outputs[D] >= FASTAR_MANY * D, widest, stride, activation)


def checked_rho(rho, int64_t D):
    """Return rho, or None; (D - 1,) is its shape."""
    if rho is not None and rho.shape != (D - 1,):
        raise ValueError("rho does not fit b")
    return rho


def factors(const floating[:, ::1] W, int sign, int n_threads, const uint8_t[::1] used=None):
    """Return exp(sign * W) with rows of hidden_stride(H) numbers, undefined where they are not used."""
    cdef const nade_table* kernels = f32 if floating is float else f64
    cdef int64_t n = W.shape[0], H = W.shape[1], r
    dtype = np.float32 if floating is float else np.float64
    cdef int64_t stride = hidden_stride(H, dtype)
    cdef floating[:, ::1] out = aligned_empty((n, stride), dtype)
    for r in prange(n, nogil=True, num_threads=n_threads):
        if used is None or used[r]:
            kernels.factors(1, H, stride, sign, &W[r, 0], &out[r, 0])
    return out.base


cdef uint8_t[::1] used_rows(const int32_t[::1] count, const int32_t[:, ::1] row, int64_t n_W):
    """Return which rows of W the changes use; None if no change shares its row with another."""
    cdef uint8_t[::1] used = np.zeros(n_W, np.uint8)
    cdef int64_t total = 0, n_used = 0, r, i
    for r in range(count.shape[0]):
        total += count[r]
        for i in range(count[r]):
            n_used += not used[row[r, i]]
            used[row[r, i]] = 1
    return used if total > n_used else None


def forward(changes, const floating[:, ::1] W, const floating[:, ::1] V, const floating[::1] b,
            const int64_t[::1] outputs, rho, floating[:, ::1] initial, floating[:, ::1] raw, int activation,
            bint unit_changes, int n_threads):
    """Write raw (n, outputs[D]); return the state of the hidden units that `backward` needs.

    outputs (D + 1,): where the outputs of each feature begin. W (.., H), V (outputs[D] - outputs[1], H),
    b (outputs[D],), rho (D - 1,) or None, initial (n, hidden_stride(H)):
    pre-activations before the first feature, zero beyond H. unit_changes: every change has value 1 or -1 or,
    where features have MANY outputs on average, some have.
    """
    cdef const nade_table* kernels = f32 if floating is float else f64
    cdef int32_t[::1] count
    cdef int32_t[:, ::1] at, row
    cdef floating[:, ::1] value
    count, at, row, value = changes
    cdef int64_t n = raw.shape[0], D = outputs.shape[0] - 1, H = W.shape[1], stride = initial.shape[1]
    dtype = np.float32 if floating is float else np.float64
    cdef nade_sizes sizes = sizes_of(outputs, H, stride, V,
                                     kernel_activation(activation, unit_changes, rho is not None), dtype)
    if count.shape[0] != n or initial.shape[0] != n or b.shape[0] != outputs[D] or raw.shape[1] != outputs[D]:
        raise ValueError("the shapes of the changes, initial, b and raw do not fit together")
    cdef floating[:, ::1] h = aligned_empty((n, stride), dtype), state = aligned_empty((n, stride), dtype)
    cdef uint8_t[::1] saturated = np.empty(n, np.uint8)
    cdef int64_t[::1] cursor = np.empty(n, np.int64)
    cdef const floating[::1] factor = checked_rho(rho, D)
    cdef const floating* rho_ = &factor[0] if rho is not None and D > 1 else NULL
    # The table pays where a row of W serves more than one change; the bits are the same without it.
    cdef floating[:, ::1] table
    cdef const floating* exp_minus_W = NULL
    cdef const uint8_t[::1] used
    if sizes.activation == FASTAR_SIGMOID_UNIT:
        used = used_rows(count, row, W.shape[0])
        if used is not None:
            table = factors(W, -1, n_threads, used)
            exp_minus_W = &table[0, 0]
    cdef int64_t rows = rows_per_call(n, n_threads, ROWS_PER_CALL, 2), r, i
    for i in prange((n + rows - 1) // rows, nogil=True, num_threads=n_threads, schedule="dynamic",
                    chunksize=1):
        r = i * rows
        kernels.forward(
            min(rows, n - r), sizes, nade_params(&W[0, 0], &V[0, 0], &b[0], rho_, exp_minus_W),
            changes_by_row(value.shape[1], &count[r], &at[r, 0], &row[r, 0], &value[r, 0]),
            nade_units(&initial[r, 0], &state[r, 0], &h[r, 0], &saturated[r]),
            &raw[r, 0], &cursor[r])
    return state.base, saturated.base


cdef class Blocks:
    """The plan or the lists of each block of rows, for `backward`."""

    cdef nade_plan* plans
    cdef changes_by_feature* lists
    cdef list arrays

    def __cinit__(self, int64_t n_blocks):
        self.arrays = []
        self.plans = <nade_plan*>PyMem_Malloc(n_blocks * sizeof(nade_plan))
        self.lists = <changes_by_feature*>PyMem_Malloc(n_blocks * sizeof(changes_by_feature))
        if self.plans == NULL or self.lists == NULL:
            raise no_memory(n_blocks * (sizeof(nade_plan) + sizeof(changes_by_feature)))

    def __dealloc__(self):
        PyMem_Free(self.plans)
        PyMem_Free(self.lists)

    cdef void* room(self, int64_t size):
        """Return memory that lives as long as this object."""
        cdef uint8_t[::1] array = aligned_empty((max(1, size),), np.uint8)
        self.arrays.append(array)
        return &array[0]


cdef Blocks listed(changes, int64_t n, int64_t D, int n_threads):
    cdef int64_t n_blocks = (n + FASTAR_BACKWARD_ROWS - 1) // FASTAR_BACKWARD_ROWS, i
    cdef Blocks found = Blocks(n_blocks)
    cdef int32_t[:, ::1] first
    cdef int32_t[:, :, ::1] entries
    first, entries = by_feature(changes, D, FASTAR_BACKWARD_ROWS, n_threads)
    found.arrays.append((first, entries))
    for i in range(n_blocks):
        found.lists[i] = changes_by_feature(&first[i, 0], &entries[i, 0, 0], &entries[i, 1, 0])
    return found


cdef Blocks planned(changes, const uint8_t[::1] saturated, nade_sizes sizes, int64_t n_W,
                    floating[:, ::1] value, int n_threads):
    cdef const nade_table* kernels = f32 if floating is float else f64
    cdef int32_t[::1] count
    cdef int32_t[:, ::1] at, row
    count, at, row, _ = changes
    cdef int64_t n = count.shape[0], capacity = value.shape[1]
    cdef int64_t n_blocks = (n + FASTAR_PLANNED_ROWS - 1) // FASTAR_PLANNED_ROWS, i, r, most = 0, own
    cdef int64_t pace = kernels.pace
    cdef int64_t n_groups = (sizes.outputs[sizes.D] - sizes.outputs[1] + pace - 1) // pace
    cdef Blocks found = Blocks(n_blocks)
    for i in range(n_blocks):
        own = 1
        for r in range(i * FASTAR_PLANNED_ROWS, min(n, (i + 1) * FASTAR_PLANNED_ROWS)):
            own += count[r]
        most = max(most, own)
    cdef int64_t parts = (n_threads + n_blocks - 1) // max(1, n_blocks), j, g0, g1
    cdef nade_group* groups = <nade_group*>found.room(n_blocks * n_groups * sizeof(nade_group))
    cdef uint8_t* order = <uint8_t*>found.room(n_blocks * n_groups * FASTAR_PLANNED_ROWS)
    cdef nade_row* rows = <nade_row*>found.room(n_blocks * most * sizeof(nade_row))
    cdef uint8_t* seen = <uint8_t*>found.room(n_blocks * parts * n_W)
    cdef nade_step* steps = <nade_step*>found.room(n_blocks * most * sizeof(nade_step))
    cdef nade_plan plan
    for i in range(n_blocks):
        found.plans[i] = nade_plan(groups + i * n_groups, order + i * n_groups * FASTAR_PLANNED_ROWS,
                                   rows + i * most, seen + i * parts * n_W, steps + i * most)
    for j in prange(n_blocks * parts, nogil=True, num_threads=n_threads):
        i = j // parts
        plan = found.plans[i]
        plan.seen = plan.seen + j % parts * n_W
        g0 = n_groups * (j % parts) // parts
        g1 = n_groups * (j % parts + 1) // parts
        r = i * FASTAR_PLANNED_ROWS
        kernels.plan(min(FASTAR_PLANNED_ROWS, n - r), r, sizes,
                     changes_by_row(capacity, &count[0], &at[0, 0], &row[0, 0], &value[0, 0]), n_W,
                     &saturated[0], g0, g1, plan)
    return found


def backward(changes, const floating[:, ::1] W, const floating[:, ::1] V, const int64_t[::1] outputs, rho,
             state, const floating[:, ::1] graw, floating[:, ::1] gW, floating[:, ::1] gV, int activation,
             bint unit_changes, int n_threads):
    """Overwrite gW and gV; return the gradients by initial (n, hidden_stride(H)) and by rho, if any.

    state: what `forward` returned. Each slab of hidden units has one thread, whatever their number: the
    bits stay the same.
    """
    cdef const nade_table* kernels = f32 if floating is float else f64
    cdef int32_t[::1] count
    cdef int32_t[:, ::1] at, row
    cdef floating[:, ::1] value, units
    cdef uint8_t[::1] saturated
    count, at, row, value = changes
    units, saturated = state
    cdef int64_t n = graw.shape[0], D = outputs.shape[0] - 1, H = W.shape[1]
    cdef int64_t stride = units.shape[1], capacity = value.shape[1]
    dtype = np.float32 if floating is float else np.float64
    cdef nade_sizes sizes = sizes_of(outputs, H, stride, V,
                                     kernel_activation(activation, unit_changes, rho is not None), dtype)
    if (graw.shape[1] != outputs[D] or count.shape[0] != n or units.shape[0] != n
            or gW.shape[0] != W.shape[0] or gW.shape[1] != H
            or gV.shape[0] != V.shape[0] or gV.shape[1] != H):
        raise ValueError("the shapes of the changes, the state, graw and the gradients do not fit together")
    cdef const floating[::1] factor = checked_rho(rho, D)
    cdef const floating* rho_ = &factor[0] if rho is not None and D > 1 else NULL
    cdef int64_t slab = kernels.slab
    cdef int64_t n_slabs = (H + slab - 1) // slab, n_shares = min(n_slabs, n_threads)
    cdef int64_t widest = (n_slabs + n_shares - 1) // n_shares * slab
    cdef int64_t size = kernels.backward_scratch(n, sizes, widest, rho_ != NULL)
    cdef floating[:, ::1] ga = aligned_empty((n, stride), dtype)
    # Each slab's share, added in their order.
    cdef floating[:, ::1] grho = np.zeros((n_slabs if rho is not None else 0, D - 1), dtype)
    cdef floating* grho_ = &grho[0, 0] if rho_ != NULL else NULL
    if n == 0:
        gW[:] = 0
        gV[:] = 0
    cdef floating[:, ::1] scratch = aligned_empty((n_shares, (size + 15) // 16 * 16), dtype)
    cdef floating[:, ::1] table
    cdef const floating* exp_W = NULL
    if sizes.activation == FASTAR_SIGMOID_UNIT and sizes.many and np.sum(count) > W.shape[0]:
        table = factors(W, 1, n_threads)
        exp_W = &table[0, 0]
    cdef Blocks blocks
    if not sizes.many and rho is None:
        blocks = planned(changes, saturated, sizes, W.shape[0], value, n_threads)
    else:
        blocks = listed(changes, n, D, n_threads)
    cdef int64_t i, k0, k1, n_W = W.shape[0]
    # Neighbouring slabs share cache lines of the gradients: a thread takes a range of them.
    for i in prange(n_shares, nogil=True, num_threads=n_threads, schedule="static", chunksize=1):
        k0 = n_slabs * i // n_shares * slab
        k1 = min(n_slabs * (i + 1) // n_shares * slab, H)
        kernels.backward(
            n, sizes, nade_params(&W[0, 0], &V[0, 0], NULL, rho_, exp_W),
            changes_by_row(capacity, &count[0], &at[0, 0], &row[0, 0], &value[0, 0]), blocks.lists,
            blocks.plans, k0, k1, n_W, nade_units(NULL, &units[0, 0], NULL, &saturated[0]),
            &graw[0, 0], &gW[0, 0], &gV[0, 0], grho_, &ga[0, 0], &scratch[i, 0])
    return ga.base, None if rho is None else np.sum(grho, axis=0)


def sample(draw, const floating[:, :, ::1] noise, held, floating[:, ::1] codes, weight,
           const uint8_t[::1] input_flags, const int64_t[::1] input_offsets, int64_t markov_order,
           const floating[:, ::1] W, const floating[:, ::1] V, const floating[::1] b,
           const int64_t[::1] outputs, rho, const floating[:, ::1] initial, shift, int activation,
           bint unit_changes, int n_threads, begun=None, const int64_t[::1] ends=None,
           const double[:, ::1] stage_noise=None, double least=0):
    """Fill codes (n, D) feature by feature, but for those with held (n, D) not SAMPLED.

    draw: the conditional's capsule. noise (n, D, m). weight (n,): log p of codes that are WEIGHTED is added.
    outputs, rho and initial as in `forward`, or one row of it for all. shift (n, outputs[D]): added to raw, or
    None. begun (n / N, D): what codes begin with, of N <= MOST_PARTICLES particles of each row of data; held is
    then (n / N, D) too. At the features ends (S,) particles are drawn anew by weight, by stage_noise
    (S, n / N), where the effective share of them is below `least`.
    """
    cdef const nade_table* kernels = f32 if floating is float else f64
    cdef int64_t n = codes.shape[0], D = codes.shape[1], H = W.shape[1], stride = initial.shape[1]
    dtype = np.float32 if floating is float else np.float64
    cdef nade_sizes sizes = sizes_of(outputs, H, stride, V,
                                     kernel_activation(activation, unit_changes, rho is not None), dtype)
    cdef draw_spec how = draw_of(draw, floating is double)
    cdef const floating[:, ::1] evidence = begun
    cdef int64_t n_data = n if begun is None else evidence.shape[0]
    cdef int64_t N = n // max(1, n_data)  # particles of a row of data
    cdef const uint8_t[:, ::1] is_held = held
    cdef double[::1] log_weight = np.zeros(n) if weight is None else weight
    cdef const floating[:, ::1] shifts = shift
    if (sizes.D != D or b.shape[0] != outputs[D] or initial.shape[0] not in (1, n)
            or noise.shape[0] != n or noise.shape[1] != D
            or noise.shape[2] != how.n_noise or input_flags.shape[0] != D or log_weight.shape[0] != n
            or (held is not None and (is_held.shape[0] != n_data or is_held.shape[1] != D))
            or (shift is not None and (shifts.shape[0] != n or shifts.shape[1] != outputs[D]))):
        raise ValueError("the shapes of codes, noise, held, weight, shift and initial do not fit together")
    if begun is not None and (held is None or evidence.shape[1] != D or N * n_data != n
                              or N > FASTAR_SAMPLE_ROWS):
        raise ValueError("the particles do not fit the rows of data")
    cdef int64_t capacity = 2 * D, whole = 4 if begun is None else N
    cdef int64_t most = FASTAR_SAMPLE_ROWS // max(1, N) * N
    cdef int64_t rows = rows_per_call(n, n_threads, most, whole), m, r, i, t, j
    cdef floating[:, :, ::1] units = aligned_empty((n_threads, 3 * rows, stride), dtype)
    cdef int64_t wide = max(sizes.widest, FASTAR_WALK_OUTPUTS)  # numbers of a row of raw
    cdef floating[:, ::1] scratch = aligned_empty((n_threads, rows * (2 * wide + 1 + capacity)), dtype)
    cdef int32_t[:, ::1] counts = aligned_empty((n_threads, rows * (1 + capacity)), np.int32)
    cdef uint8_t[:, ::1] bytes = aligned_empty((n_threads, rows + (1 + rows) * D), np.uint8)
    cdef input_spec inputs = spec_of(input_flags, input_offsets, markov_order)
    cdef const floating[::1] factor = checked_rho(rho, D)
    cdef const floating* rho_ = &factor[0] if rho is not None and D > 1 else NULL
    cdef floating[:, ::1] table
    cdef const floating* exp_minus_W = NULL
    if sizes.activation == FASTAR_SIGMOID_UNIT and n >= ROWS_PER_CALL:
        table = factors(W, -1, n_threads)
        exp_minus_W = &table[0, 0]
    cdef const uint8_t* held_row = NULL
    cdef double* weight_row = NULL
    cdef const floating* shift_row = NULL
    cdef bint any_held = held is not None, any_shift = shift is not None, begins = begun is not None
    cdef int64_t own = stride if initial.shape[0] == n else 0
    cdef walk_stages stages = walk_stages(N, 0, NULL, least, NULL, n_data), of_rows
    if begins and ends is not None and ends.shape[0]:
        if stage_noise.shape[0] != ends.shape[0] or stage_noise.shape[1] != n_data:
            raise ValueError("the shapes of the stages and their noise do not fit together")
        stages.n = ends.shape[0]
        stages.ends = &ends[0]
        stages.noise = &stage_noise[0, 0]
    for i in prange((n + rows - 1) // rows, nogil=True, num_threads=n_threads, schedule="dynamic",
                    chunksize=1):
        r = i * rows
        t = threadid()
        m = min(rows, n - r)
        held_row = NULL
        weight_row = NULL
        shift_row = NULL
        of_rows = stages
        if begins:
            of_rows.noise = stages.noise + r // N
            for j in range(m):
                memcpy(&codes[r + j, 0], &evidence[(r + j) // N, 0], D * sizeof(floating))
                memcpy(&bytes[t, rows + (1 + j) * D], &is_held[(r + j) // N, 0], D)
            held_row = &bytes[t, rows + D]
            weight_row = &log_weight[r]
        elif any_held:
            held_row = &is_held[r, 0]
            weight_row = &log_weight[r]
        if any_shift:
            shift_row = &shifts[r, 0]
        kernels.sample(
            m, sizes, nade_params(&W[0, 0], &V[0, 0], &b[0], rho_, exp_minus_W), inputs,
            changes_by_row(capacity, &counts[t, 0], NULL, &counts[t, rows],
                           &scratch[t, rows * (2 * wide + 1)]),
            how, walked_rows(r, &noise[r, 0, 0], held_row, &codes[r, 0], weight_row), of_rows,
            &initial[r if own else 0, 0], own, shift_row,
            nade_units(&units[t, 2 * rows, 0], &units[t, 0, 0], &units[t, rows, 0], &bytes[t, 0]),
            &scratch[t, 0], wide, &scratch[t, 2 * rows * wide], &bytes[t, rows])


def branches(draw, const floating[:, ::1] codes, int64_t feature, const floating[::1] levels,
             const uint8_t[::1] input_flags, const int64_t[::1] input_offsets, const floating[:, ::1] W,
             const floating[:, ::1] V, const floating[::1] b, const int64_t[::1] outputs, rho,
             const floating[:, ::1] initial, shift, int activation, int n_threads):
    """Return log p (n, B), in double precision, of rows of codes (n, D) with a feature at each of B levels.

    draw: the conditional's capsule. outputs, rho, initial and shift as in `sample`.
    """
    cdef const nade_table* kernels = f32 if floating is float else f64
    cdef int64_t n = codes.shape[0], D = codes.shape[1], H = W.shape[1], stride = initial.shape[1]
    cdef int64_t B = levels.shape[0], lanes = kernels.lanes, r, i, k, t, m
    dtype = np.float32 if floating is float else np.float64
    cdef nade_sizes sizes = sizes_of(outputs, H, stride, V, activation, dtype)
    cdef draw_spec how = draw_of(draw, floating is double)
    cdef const floating[:, ::1] shifts = shift
    if (sizes.D != D or b.shape[0] != outputs[D] or initial.shape[0] not in (1, n) or not 0 <= feature < D
            or input_flags.shape[0] != D or (shift is not None and (shifts.shape[0] != n
                                                                    or shifts.shape[1] != outputs[D]))):
        raise ValueError("the shapes of codes, levels, shift and initial do not fit together")
    cdef double[:, ::1] total = np.empty((n, B))
    if n == 0 or B == 0:
        return total.base
    cdef input_spec inputs = spec_of(input_flags, input_offsets)
    cdef const floating[::1] factor = checked_rho(rho, D)
    cdef const floating* rho_ = &factor[0] if rho is not None and D > 1 else NULL
    cdef int64_t size = (kernels.branches_scratch(sizes, B) + 15) // 16 * 16
    cdef floating[:, ::1] scratch = aligned_empty((n_threads, size), dtype)
    cdef double[:, :, ::1] found = aligned_empty((n_threads, B, lanes), np.float64)
    cdef int64_t own = stride if initial.shape[0] == n else 0
    cdef const floating* shift_row = NULL
    cdef bint any_shift = shift is not None
    for i in prange((n + lanes - 1) // lanes, nogil=True, num_threads=n_threads, schedule="dynamic",
                    chunksize=1):
        r = i * lanes
        t = threadid()
        m = min(lanes, n - r)
        shift_row = NULL
        if any_shift:
            shift_row = &shifts[r, 0]
        kernels.branches(
            m, sizes, nade_params(&W[0, 0], &V[0, 0], &b[0], rho_, NULL), inputs, how, &codes[r, 0], feature, B,
            &levels[0], &initial[r if own else 0, 0], own, shift_row, &scratch[t, 0], &found[t, 0, 0])
        for k in range(m * B):
            total[r + k // B, k % B] = found[t, k % B, k // B]
    return total.base
