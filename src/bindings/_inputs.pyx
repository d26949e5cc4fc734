"""Turns blocks of codes into the changes that a network is fed."""

from cython cimport floating
from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t, uint8_t

import numpy as np

from fastar._kernels._cpu import aligned_empty, isa

from inputs cimport changes_by_feature, changes_by_row, input_spec, inputs_for, inputs_table, spec_of

cdef const inputs_table* f32 = inputs_for(isa, False)
cdef const inputs_table* f64 = inputs_for(isa, True)


def changes(const floating[:, ::1] codes, const uint8_t[::1] input_flags, const int64_t[::1] offsets,
            int64_t markov_order, int n_threads):
    """Return (count, at, row, value): the first count[r] entries of row r are its changes.

    codes (n, D), input_flags (D,), offsets (D + 1,); count (n,), at, row, value (n, capacity).
    """
    cdef const inputs_table* kernels = f32 if floating is float else f64
    cdef int64_t n = codes.shape[0], D = codes.shape[1], r
    if input_flags.shape[0] != D:
        raise ValueError("input_flags and codes differ in the number of features")
    cdef input_spec spec = spec_of(input_flags, offsets, markov_order)
    cdef int64_t capacity = max(1, D - 1 + max(0, D - 1 - markov_order))
    dtype = np.float32 if floating is float else np.float64
    cdef int32_t[::1] count = np.empty(n, np.int32)
    cdef int32_t[:, ::1] at = aligned_empty((n, capacity), np.int32)
    cdef int32_t[:, ::1] row = aligned_empty((n, capacity), np.int32)
    cdef floating[:, ::1] value = aligned_empty((n, capacity), dtype)
    for r in prange(n, nogil=True, num_threads=n_threads):
        count[r] = kernels.changes(spec, &codes[r, 0], &at[r, 0], &row[r, 0], &value[r, 0])
    return count.base, at.base, row.base, value.base


def by_feature(changes, int64_t D, int64_t block, int n_threads):
    """Return (first, entries): the changes of each `block` rows, feature by feature.

    changes: (count, at, row, value). first (blocks, D + 1); entries (blocks, 2, block * capacity), where
    entries[i, 0, j] is the row in block i and entries[i, 1, j] the change's number in its row, for the j in
    first[i, d] .. first[i, d + 1] - 1 that belong to feature d.
    """
    cdef int32_t[::1] count
    cdef int32_t[:, ::1] at, row
    count, at, row, _ = changes
    cdef int64_t n = at.shape[0], capacity = at.shape[1], blocks = (n + block - 1) // block, i
    cdef int32_t[:, ::1] first = aligned_empty((blocks, D + 1), np.int32)
    cdef int32_t[:, :, ::1] entries = aligned_empty((blocks, 2, block * capacity), np.int32)
    for i in prange(blocks, nogil=True, num_threads=n_threads):
        f32.by_feature(min(block, n - i * block), i * block, D,
                       changes_by_row(capacity, &count[0], &at[0, 0], &row[0, 0], NULL),
                       changes_by_feature(&first[i, 0], &entries[i, 0, 0], &entries[i, 1, 0]))
    return first.base, entries.base
