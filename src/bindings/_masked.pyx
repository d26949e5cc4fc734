"""Masked networks: products with staircase weights, and sampling unit by unit."""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cython cimport floating
from cython.parallel cimport prange, threadid
from libc.math cimport ceil, sqrt
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t

from conditionals cimport draw_of, draw_spec, walked_rows
from inputs cimport input_spec, spec_of

import numpy as np

from fastar._kernels._cpu import Block, aligned_empty, isa, no_memory

cdef extern from "masked.h" nogil:
    ctypedef struct masked_blocks:
        int listed
        int64_t group
        const int64_t* start
        const int64_t* first
        const int64_t* count
        const int64_t* offset
        const int64_t* block
        const int64_t* panel_first
        const int64_t* panel_stride
        const int64_t* panel_column
        const int64_t* panel_offset
    ctypedef struct staircase:
        int64_t rows, columns
        const int64_t* row_begin
        const int64_t* row_end
        const int64_t* column_begin
        const int64_t* column_end
        const void* W
    ctypedef struct listed_inputs:
        int64_t n, capacity
        const int32_t* row
        const void* value
        const int32_t* edges
    ctypedef struct sampled_weights:
        staircase stairs
        masked_blocks blocks
        const void* packed
    ctypedef struct masked_walk:
        int64_t D, n_layers
        const int64_t* outputs
        const int64_t* begin
        int64_t block, block_outputs, feature_outputs
        int activation
        input_spec inputs
        const int64_t** final
        const sampled_weights* layers
        const sampled_weights* direct
        const void** bias
        int own_bias
        const int32_t* feature
    ctypedef struct masked_table:
        int64_t depth, width, sample_rows, group, stride
        void (*forward)(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, staircase, const void*,
                        const void*, int, int, void*, void*) noexcept nogil
        void (*backward)(int64_t, int64_t, int64_t, int64_t, staircase, const void*, int, const void*,
                         void*, void*) noexcept nogil
        void (*copy_columns)(int64_t, int64_t, const void*, int64_t, void*, int64_t) noexcept nogil
        void (*outer)(int64_t, int64_t, int64_t, int64_t, int64_t, staircase, const void*, int64_t,
                      const void*, void*) noexcept nogil
        int64_t slab, reach
        void (*edges)(int64_t, int64_t, int32_t, listed_inputs, int32_t*) noexcept nogil
        void (*gather)(int64_t, int64_t, int64_t, int64_t, staircase, listed_inputs, const void*, int, int,
                       void*, void*) noexcept nogil
        void (*scatter)(int64_t, staircase, listed_inputs, const void*, void*, int32_t*,
                        void*) noexcept nogil
        void (*activate)(int64_t, int64_t, int, void*, int64_t) noexcept nogil
        void (*drop)(int64_t, const uint16_t*, int32_t, double, const void*, void*) noexcept nogil
        void (*column_sums)(int64_t, int64_t, const void*, int64_t, void*) noexcept nogil
        void (*pack)(int64_t, int64_t, int64_t, int64_t, int64_t, staircase, void*) noexcept nogil
        int64_t (*sample_scratch)(masked_walk) noexcept nogil
        void (*sample)(int64_t, masked_walk, draw_spec, walked_rows, void*, int32_t*, int32_t*,
                       void*) noexcept nogil
    const masked_table* masked_for(int isa, bint is_double)

ACTIVATIONS = ("sigmoid", "tanh", "relu")  # in the order of the C enumeration

cdef const masked_table* f32 = masked_for(isa, False)
cdef const masked_table* f64 = masked_for(isa, True)

cdef int64_t OUTER_ROWS = 48  # rows of W that a task of `outer` takes: whole tiles of any instruction set


def sample_blocks(dtype, const int64_t[::1] outputs):
    """Return the first feature of each block of `sample`, and D: int64 (blocks + 1,).

    What is done within a block, column by column, grows with it; what is done once a block, for all columns to
    come, grows with the number of blocks. A feature begins a block, so that all earlier ones give to it by
    products, if it has most of the outputs that a block has on average. outputs (D + 1,): offsets.
    """
    cdef const masked_table* kernels = f32 if dtype == np.float32 else f64
    cdef int64_t group = kernels.group, D = outputs.shape[0] - 1, d, start = 0
    cdef int64_t block = <int64_t>ceil(sqrt(0.75 * D) / group) * group
    cdef int64_t outputs_of_block = min(block, D) * outputs[D] // D
    begin = [0]
    for d in range(1, D + 1):
        if d == D or d - start == block or 2 * (outputs[d + 1] - outputs[d]) > outputs_of_block:
            start = d
            begin.append(d)
    return np.array(begin, np.int64)


cdef class Staircase:
    """Which columns each row of a weight matrix reaches, and which rows reach each column.

    Row k reaches the columns row_begin[k] .. row_end[k] - 1; both rise with k.
    """

    cdef readonly int64_t rows, columns
    cdef const int64_t[::1] row_begin, row_end, column_begin, column_end

    def __init__(self, const int64_t[::1] row_begin, const int64_t[::1] row_end, int64_t columns):
        self.rows = row_begin.shape[0]
        self.columns = columns
        begin, end = np.asarray(row_begin), np.asarray(row_end)
        if (row_end.shape[0] != self.rows or (begin > end).any() or (np.diff(begin) < 0).any()
                or (np.diff(end) < 0).any() or (end > columns).any() or (begin < 0).any()):
            raise ValueError("the rows of a staircase must begin and end in rising columns")
        j = np.arange(columns)
        self.row_begin, self.row_end = row_begin, row_end
        self.column_begin = np.searchsorted(end, j, side="right")
        self.column_end = np.maximum(np.searchsorted(begin, j, side="right"), self.column_begin)

    def __eq__(self, other):
        return isinstance(other, Staircase) and self.columns == other.columns and all(
            np.array_equal(mine, theirs) for mine, theirs in zip(self.limits(), other.limits())
        )

    __hash__ = None

    def __reduce__(self):
        return Staircase, (np.asarray(self.row_begin), np.asarray(self.row_end), self.columns)

    def mask(self):
        """Return the Boolean matrix."""
        j = np.arange(self.columns)
        return (np.asarray(self.row_begin)[:, None] <= j) & (j < np.asarray(self.row_end)[:, None])

    def limits(self):
        """Return row_begin, row_end, column_begin and column_end."""
        return (np.asarray(self.row_begin), np.asarray(self.row_end), np.asarray(self.column_begin),
                np.asarray(self.column_end))


cdef staircase struct_of(Staircase s, const void* W) noexcept nogil:
    return staircase(s.rows, s.columns, &s.row_begin[0], &s.row_end[0], &s.column_begin[0], &s.column_end[0], W)


cdef check(bint fits):
    if not fits:
        raise ValueError("the shapes of the units, the weights and their staircase do not fit together")


def gather_masked(const floating[:, ::1] W, const int64_t[::1] rows, const int64_t[::1] columns,
                  Staircase stairs, int n_threads):
    """Return W[rows][:, columns] within the stairs, zero outside of them."""
    dtype = np.float32 if floating is float else np.float64
    cdef floating[:, ::1] out = aligned_empty((stairs.rows, stairs.columns), dtype)
    cdef int64_t i, j
    check(rows.shape[0] == stairs.rows and columns.shape[0] == stairs.columns)
    for i in prange(stairs.rows, nogil=True, num_threads=n_threads, schedule="static"):
        for j in range(stairs.columns):
            out[i, j] = W[rows[i], columns[j]] if stairs.row_begin[i] <= j < stairs.row_end[i] else 0
    return out.base


def scatter_masked(const floating[:, ::1] G, const int64_t[::1] rows, const int64_t[::1] columns,
                   Staircase stairs, floating[:, ::1] out, int n_threads):
    """Undo `gather_masked`: write out[rows][:, columns] = G within the stairs, and zero outside of them."""
    cdef int64_t i, j
    check(rows.shape[0] == stairs.rows and columns.shape[0] == stairs.columns and G.shape[0] == stairs.rows
          and G.shape[1] == stairs.columns and out.shape[0] == stairs.rows and out.shape[1] == stairs.columns)
    for i in prange(stairs.rows, nogil=True, num_threads=n_threads, schedule="static"):
        for j in range(stairs.columns):
            out[rows[i], columns[j]] = G[i, j] if stairs.row_begin[i] <= j < stairs.row_end[i] else 0


cdef inline int64_t panel_of(int64_t turn, int64_t t, int64_t n_threads, int64_t panels) noexcept nogil:
    """Return the panel that thread t takes in its turn, negative after the last.

    Back and forth from the last ones, which have the most rows: threads end together.
    """
    return panels - 1 - turn * n_threads - (t if turn % 2 == 0 else n_threads - 1 - t)


def forward(const floating[:, ::1] A, Staircase stairs, const floating[:, ::1] W, bias,
            floating[:, ::1] out, int activation, int n_threads):
    """Write out (n, columns) = g(bias + A W); without a bias (None), add to what `out` holds.

    A (n, rows). activation: a number of ACTIVATIONS, or -1 for the identity.
    """
    cdef const masked_table* kernels = f32 if floating is float else f64
    cdef int64_t n = A.shape[0], N = W.shape[1], K = W.shape[0], i, j, k, t, turn, next
    cdef int64_t panel = kernels.width, depth = kernels.depth
    cdef int add = bias is None
    check(K == stairs.rows and N == stairs.columns and A.shape[1] == K and out.shape[0] == n
          and out.shape[1] == N)
    cdef const floating[::1] b = out[0] if add else bias
    check(b.shape[0] == N)
    cdef int64_t panels = (N + panel - 1) // panel
    cdef uint8_t[::1] space = Block(n_threads * depth * panel * sizeof(floating))
    cdef floating* packed = <floating*>&space[0]
    # `depth` columns of A stay in L2 while all panels pass.
    for t in prange(n_threads, nogil=True, num_threads=n_threads, schedule="static"):
        for k in range((K + depth - 1) // depth):
            for turn in range((panels + n_threads - 1) // n_threads):
                i = panel_of(turn, t, n_threads, panels)
                if i < 0:
                    break
                j = i * panel
                i = panel_of(turn + 1, t, n_threads, panels)
                next = N if i < 0 else i * panel
                kernels.forward(n, k * depth, min(K, (k + 1) * depth), j, min(N, j + panel), next,
                                struct_of(stairs, &W[0, 0]), &A[0, 0], &b[0], add, activation, &out[0, 0],
                                packed + t * depth * panel)


def backward(const floating[:, ::1] G, Staircase stairs, const floating[:, ::1] W,
             const floating[:, ::1] h, floating[:, ::1] gh, int activation, int n_threads):
    """Write gh (n, rows) = (G W^T) * g'(a), where h = g(a). G (n, columns)."""
    cdef const masked_table* kernels = f32 if floating is float else f64
    cdef int64_t n = G.shape[0], N = W.shape[1], K = W.shape[0], i, j, k
    cdef int64_t panel = kernels.width
    check(K == stairs.rows and N == stairs.columns and G.shape[1] == N and h.shape[0] == n
          and h.shape[1] == K and gh.shape[0] == n and gh.shape[1] == K)
    cdef int64_t panels = (K + panel - 1) // panel, longest = 1
    for k in range(0, K, panel):
        longest = max(longest, stairs.row_end[min(k + panel, K) - 1] - stairs.row_begin[k])
    cdef uint8_t[::1] space = Block(n_threads * longest * panel * sizeof(floating))
    cdef floating* packed = <floating*>&space[0]
    for i in prange(panels, nogil=True, num_threads=n_threads, schedule="dynamic", chunksize=1):
        k = i * panel
        j = min(K, k + n_threads * panel)
        kernels.backward(n, k, min(K, k + panel), j, struct_of(stairs, &W[0, 0]), &G[0, 0], activation,
                         &h[0, 0], &gh[0, 0], packed + threadid() * longest * panel)


def outer(const floating[:, ::1] A, const floating[:, ::1] G, Staircase stairs, floating[:, ::1] gW,
          int n_threads):
    """Write gW = A^T G within the stairs. A (n, rows), G (n, columns)."""
    cdef const masked_table* kernels = f32 if floating is float else f64
    cdef int64_t n = A.shape[0], N = gW.shape[1], K = gW.shape[0], i, j, k, p, rows
    cdef int64_t panel = kernels.width
    cdef int64_t panels = (N + panel - 1) // panel
    check(K == stairs.rows and N == stairs.columns and A.shape[1] == K and G.shape[0] == n
          and G.shape[1] == N)
    # Packed, the rows of data are neighbours in memory: read in place, each would need a page of its own.
    cdef int64_t size = n * panel, chunk_size = n * OUTER_ROWS
    cdef uint8_t[::1] space = Block((panels * size + n_threads * chunk_size) * sizeof(floating))
    cdef floating* columns = <floating*>&space[0]
    cdef floating* chunks = columns + panels * size
    for p in prange(panels, nogil=True, num_threads=n_threads, schedule="static"):
        kernels.copy_columns(n, min(panel, N - p * panel), &G[0, 0] + p * panel, N, columns + p * size, panel)
    for i in prange((K + OUTER_ROWS - 1) // OUTER_ROWS, nogil=True, num_threads=n_threads,
                    schedule="dynamic", chunksize=1):
        k = i * OUTER_ROWS
        rows = min(OUTER_ROWS, K - k)
        kernels.copy_columns(n, rows, &A[0, 0] + k, K, chunks + threadid() * chunk_size, OUTER_ROWS)
        for p in range(panels):
            j = p * panel
            kernels.outer(n, k, k + rows, j, min(N, j + panel), struct_of(stairs, NULL),
                          chunks + threadid() * chunk_size, OUTER_ROWS, columns + p * size, &gW[0, 0])


def activate(floating[:, ::1] h, int activation, int n_threads):
    """Write h = g(h)."""
    cdef const masked_table* kernels = f32 if floating is float else f64
    cdef int64_t n = h.shape[0], N = h.shape[1], r
    for r in prange(n, nogil=True, num_threads=n_threads, schedule="static"):
        kernels.activate(1, N, activation, &h[r, 0], N)


def drop(const floating[:, ::1] x, const uint16_t[:, ::1] chance, int32_t below, double scale,
         floating[:, ::1] out, int n_threads):
    """Write out = scale * x, but zero where the chance lies below a number; all (n, units)."""
    cdef const masked_table* kernels = f32 if floating is float else f64
    cdef int64_t n = x.shape[0], N = x.shape[1], r
    check(chance.shape[0] == n and chance.shape[1] == N and out.shape[0] == n and out.shape[1] == N)
    for r in prange(n, nogil=True, num_threads=n_threads, schedule="static"):
        kernels.drop(N, &chance[r, 0], below, scale, &x[r, 0], &out[r, 0])


def column_sums(const floating[:, ::1] G, floating[::1] sums, int n_threads):
    """Write the sums (columns,) of G (n, columns)."""
    cdef const masked_table* kernels = f32 if floating is float else f64
    cdef int64_t n = G.shape[0], N = G.shape[1], j
    cdef int64_t slab = kernels.slab
    check(sums.shape[0] == N)
    for j in prange(0, N, slab, nogil=True, num_threads=n_threads, schedule="static"):
        kernels.column_sums(n, min(slab, N - j), &G[0, 0] + j, N, &sums[j])


def listed(changes, int64_t rows, int n_threads):
    """Return what `gather` and `scatter` read of changes (count, at, row, value).

    These are row, value and where in each row's list the chunks of W begin, (chunks + 1, n).
    """
    cdef const int32_t[::1] count = changes[0]
    cdef const int32_t[:, ::1] row = changes[2]
    cdef int64_t n = count.shape[0], chunks = (rows + f32.reach - 1) // f32.reach, r
    cdef int32_t[:, ::1] edges = aligned_empty((chunks + 1, max(1, n)), np.int32)
    cdef listed_inputs x = listed_inputs(n, row.shape[1], &row[0, 0], NULL, NULL)
    for r in prange(n, nogil=True, num_threads=n_threads, schedule="static"):
        f32.edges(r, rows, count[r], x, &edges[0, r])
    return changes[2], changes[3], edges.base


def gather(inputs, Staircase stairs, const floating[:, ::1] W, bias, floating[:, ::1] out, int activation,
           int n_threads):
    """Do what `forward` does, for inputs that `listed` returned."""
    cdef const masked_table* kernels = f32 if floating is float else f64
    cdef const int32_t[:, ::1] row, edges
    cdef const floating[:, ::1] value
    row, value, edges = inputs
    cdef int64_t n = out.shape[0], N = W.shape[1], K = W.shape[0], i, r, j
    cdef int64_t slab = kernels.slab
    cdef int add = bias is None
    check(K == stairs.rows and N == stairs.columns and out.shape[1] == N and row.shape[0] == n
          and edges.shape[0] == (K + kernels.reach - 1) // kernels.reach + 1)
    cdef const floating[::1] b = out[0] if add else bias
    check(b.shape[0] == N)
    cdef int64_t slabs = (N + slab - 1) // slab
    cdef int64_t blocks = max(1, min(n // 16, 2 * n_threads // slabs)), rows = (n + blocks - 1) // blocks
    cdef int64_t size = kernels.reach * slab
    cdef uint8_t[::1] space = Block(n_threads * size * sizeof(floating))
    cdef floating* packed = <floating*>&space[0]
    # The last slabs have the most rows: first come those that take longest.
    for i in prange(slabs * blocks, nogil=True, num_threads=n_threads, schedule="dynamic", chunksize=1):
        j = (slabs - 1 - i // blocks) * slab
        r = i % blocks * rows
        kernels.gather(r, min(n, r + rows), j, min(N, j + slab), struct_of(stairs, &W[0, 0]),
                       listed_inputs(n, row.shape[1], &row[0, 0], &value[0, 0], &edges[0, 0]), &b[0], add,
                       activation, &out[0, 0], packed + threadid() * size)


def scatter(inputs, Staircase stairs, const floating[:, ::1] G, floating[:, ::1] gW, int n_threads):
    """Do what `outer` does, for listed inputs."""
    cdef const masked_table* kernels = f32 if floating is float else f64
    cdef const int32_t[:, ::1] row, edges
    cdef const floating[:, ::1] value
    row, value, edges = inputs
    cdef int64_t n = G.shape[0], K = gW.shape[0], N = gW.shape[1], i, j, p, r, size, most = 1
    cdef int64_t slab = kernels.slab
    check(K == stairs.rows and N == stairs.columns and G.shape[1] == N and n == value.shape[0]
          and edges.shape[0] == (K + kernels.reach - 1) // kernels.reach + 1)
    cdef int64_t slabs = (N + slab - 1) // slab
    for i in range(edges.shape[0] - 1):
        size = 0
        for r in range(n):
            size += edges[i + 1, r] - edges[i, r]
        most = max(most, size)
    size = n * slab
    cdef uint8_t[::1] space = Block((slabs * size + n_threads * most) * sizeof(floating)
                                    + n_threads * most * sizeof(int32_t))
    cdef floating* columns = <floating*>&space[0]
    cdef floating* factors = columns + slabs * size
    cdef int32_t* rows = <int32_t*>(factors + n_threads * most)
    for p in prange(slabs, nogil=True, num_threads=n_threads, schedule="static"):
        j = p * slab
        kernels.copy_columns(n, min(slab, N - j), &G[0, 0] + j, N, columns + p * size, slab)
    for i in prange(edges.shape[0] - 1, nogil=True, num_threads=n_threads, schedule="dynamic", chunksize=1):
        kernels.scatter(i, struct_of(stairs, NULL),
                        listed_inputs(n, row.shape[1], &row[0, 0], &value[0, 0], &edges[0, 0]), columns,
                        &gW[0, 0], rows + threadid() * most, factors + threadid() * most)


cdef class Blocks:
    """Where the weights of one matrix lie for sampling, a block of features after the other.

    Parameters
    ----------
    stairs : Staircase
    rows, columns : int64 arrays (blocks + 1,)
        How many rows are final, and columns begun, before each block and after the last.
    listed : bool
        Whether its rows are inputs that come by lists.
    dtype : float32 or float64
    """

    cdef readonly int64_t size
    cdef bint listed
    cdef int64_t group
    cdef int64_t[::1] start, first, count, offset, block, panel_first, panel_stride, panel_column
    cdef int64_t[::1] panel_offset, row, column

    def __init__(self, Staircase stairs, rows, columns, bint listed, dtype):
        cdef const masked_table* kernels = f32 if dtype == np.float32 else f64
        cdef int64_t lanes = kernels.width // 2
        cdef int64_t stride = kernels.stride
        self.listed = listed
        self.column = np.array(columns, np.int64)
        self.group = kernels.group
        row_begin, _, begin, end = stairs.limits()
        width = np.diff(columns)
        cdef int64_t n = len(width)
        n_groups = np.where(listed, 0, -(-width // self.group))
        block = np.concatenate([[0], np.cumsum(n_groups)])
        of = np.repeat(np.arange(n), n_groups)
        start = columns[of] + (np.arange(len(of)) - block[of]) * self.group
        last = np.minimum(start + self.group, columns[of + 1]) - 1
        count = np.maximum(0, np.minimum(end[last], rows[of]) - begin[start])
        # panels come first, so that each of their rows begins on a cache line
        panel = np.asarray(columns[:n])
        wide = -(-width // lanes) * lanes
        if listed:
            panel = np.append(row_begin, stairs.columns)[rows[:n]] // stride * stride
            wide = -(-(stairs.columns - panel) // stride) * stride
        sizes = np.concatenate([np.diff(rows) * wide, count * self.group])
        offset = np.concatenate([[0], np.cumsum(sizes)])
        self.size = offset[len(sizes)]
        self.block = block
        self.start = np.append(start, columns[n])
        self.first = np.append(begin[start], 0)
        self.count = np.append(count, 0)
        self.offset = offset[n:].copy()
        self.row = np.array(rows, np.int64)
        self.panel_first = np.array(rows[:n], np.int64)
        self.panel_stride = wide
        self.panel_column = np.array(panel, np.int64)
        self.panel_offset = offset[:n].copy()

    cdef masked_blocks struct(self) noexcept:
        return masked_blocks(self.listed, self.group, &self.start[0], &self.first[0], &self.count[0],
                             &self.offset[0], &self.block[0], &self.panel_first[0], &self.panel_stride[0],
                             &self.panel_column[0], &self.panel_offset[0])


cdef enum:
    PACKED_ROWS = 16  # which stay in cache while the groups of a block take from them in turn


cdef void pack_block(Staircase stairs, Blocks blocks, const floating* W, int64_t i,
                     floating* packed) noexcept nogil:
    cdef const masked_table* kernels = f32 if floating is float else f64
    cdef int64_t g0 = blocks.block[i], g1 = blocks.block[i + 1], first = blocks.row[i], g, k, low, high
    cdef int64_t count = blocks.row[i + 1] - first, stride = blocks.panel_stride[i]
    cdef int64_t end = stairs.columns if blocks.listed else blocks.column[i + 1]
    if stride > 0:
        kernels.pack(first, count, blocks.panel_column[i], end, stride, struct_of(stairs, W),
                     packed + blocks.panel_offset[i])
    if g0 == g1:
        return
    k = blocks.first[g0]
    while k < first:
        for g in range(g0, g1):
            low, high = max(k, blocks.first[g]), min(k + PACKED_ROWS, blocks.first[g] + blocks.count[g])
            if low < high:
                kernels.pack(low, high - low, blocks.start[g], blocks.start[g + 1], blocks.group,
                             struct_of(stairs, W),
                             packed + blocks.offset[g] + (low - blocks.first[g]) * blocks.group)
        k += PACKED_ROWS


def pack(Staircase stairs, Blocks blocks, const floating[:, ::1] W, int n_threads):
    """Return the weights as `sample` reads them."""
    dtype = np.float32 if floating is float else np.float64
    cdef floating[::1] packed = aligned_empty((max(1, blocks.size),), dtype)
    cdef int64_t i
    check(W.shape[0] == stairs.rows and W.shape[1] == stairs.columns)
    for i in prange(blocks.row.shape[0] - 1, nogil=True, num_threads=n_threads, schedule="dynamic",
                    chunksize=1):
        pack_block(stairs, blocks, &W[0, 0], i, &packed[0])
    return packed.base


cdef sampled_weights weights_of(edge, const floating* number):
    """Return what `pack` packed as `sample` sees it; `number` says of which float type."""
    cdef Staircase stairs = edge[0]
    cdef Blocks blocks = edge[1]
    cdef const floating[::1] packed = edge[2]
    return sampled_weights(struct_of(stairs, NULL), blocks.struct(), &packed[0])


def sample(draw, const floating[:, :, ::1] noise, held, floating[:, ::1] codes, weight,
           const int64_t[::1] begin, const uint8_t[::1] input_flags, const int64_t[::1] inputs, edges, biases,
           finals, const int32_t[::1] feature, const int64_t[::1] outputs, int activation, int n_threads):
    """Fill codes (n, D), but for those with held (n, D) not SAMPLED.

    weight (n,): log p of codes that are WEIGHTED is added. begin: what `sample_blocks` returned. inputs,
    outputs: offsets (D + 1,) of the k-th feature's rows of input weights, and of its outputs.

    edges: into each hidden layer, from the last of them into the outputs, and from the inputs to the outputs;
    each is (Staircase, Blocks of these blocks, what `pack` returned), or None. biases: of
    each layer and the outputs, each (columns,), or all (n, columns). finals: for each hidden layer (D + 1,) how
    many units are final after so many features. feature (D,): the conditional's number of the k-th feature.
    """
    cdef const masked_table* kernels = f32 if floating is float else f64
    cdef int64_t n = codes.shape[0], D = codes.shape[1], n_layers = len(finals), i, r, m, rows, size
    cdef int t
    dtype = np.float32 if floating is float else np.float64
    check(noise.shape[0] == n and noise.shape[1] == D and input_flags.shape[0] == D and feature.shape[0] == D
          and outputs.shape[0] == D + 1 and len(edges) == n_layers + 2 and len(biases) == n_layers + 1)
    cdef int64_t block = np.diff(begin).max()
    cdef const uint8_t[:, ::1] is_held = held
    cdef bint any_held = held is not None
    check(not any_held or (is_held.shape[0] == n and is_held.shape[1] == D))
    cdef double[::1] log_weight = np.zeros(n) if weight is None else weight
    check(not any_held or log_weight.shape[0] == n)
    cdef bint own_bias = biases[0].ndim == 2
    cdef const floating[:, ::1] bias
    cdef const int64_t[::1] final
    cdef draw_spec how = draw_of(draw, floating is double)
    check(noise.shape[2] == how.n_noise)
    cdef masked_walk walk
    cdef sampled_weights* layers = <sampled_weights*>PyMem_Malloc((n_layers + 2) * sizeof(sampled_weights))
    cdef const void** b = <const void**>PyMem_Malloc((n_layers + 1) * sizeof(void*))
    cdef const int64_t** f = <const int64_t**>PyMem_Malloc((n_layers + 1) * sizeof(void*))
    cdef floating[:, ::1] scratch, values
    cdef int32_t[:, ::1] counts, places
    cdef const uint8_t* held_row
    cdef double* weight_row
    try:
        if layers == NULL or b == NULL or f == NULL:
            raise no_memory((n_layers + 2) * sizeof(sampled_weights))
        for i in range(n_layers + 1):
            bias = biases[i] if own_bias else biases[i][None]
            check(bias.shape[0] == (n if own_bias else 1))
            b[i] = &bias[0, 0]
            if i < n_layers:
                final = finals[i]
                check(final.shape[0] == D + 1)
                f[i] = &final[0]
        for i, edge in enumerate(edges):
            layers[i].stairs.rows = 0
            layers[i].blocks.listed = 0
            if edge is not None:
                layers[i] = weights_of(edge, <const floating*>NULL)
        walk = masked_walk(
            D, n_layers, &outputs[0], &begin[0], block, np.diff(np.take(outputs, begin)).max(),
            np.diff(outputs).max(), activation, spec_of(input_flags, inputs), f, layers,
            layers + n_layers + 1, b, own_bias, &feature[0])
        rows, size = kernels.sample_rows, kernels.sample_scratch(walk)
        # a fair share of rows, for blocks of fewer rows take no less time
        scratch = aligned_empty((n_threads, size), dtype)
        values = aligned_empty((n_threads, rows * block), dtype)
        counts = aligned_empty((n_threads, rows), np.int32)
        places = aligned_empty((n_threads, rows * block), np.int32)
        for i in prange((n + rows - 1) // rows, nogil=True, num_threads=n_threads, schedule="dynamic",
                        chunksize=1):
            r = i * rows
            m = min(rows, n - r)
            t = threadid()
            held_row = NULL
            weight_row = NULL
            if any_held:
                held_row = &is_held[r, 0]
                weight_row = &log_weight[r]
            kernels.sample(m, walk, how,
                           walked_rows(r, &noise[r, 0, 0], held_row, &codes[r, 0], weight_row), &scratch[t, 0],
                           &counts[t, 0], &places[t, 0], &values[t, 0])
    finally:
        PyMem_Free(layers)
        PyMem_Free(b)
        PyMem_Free(f)
