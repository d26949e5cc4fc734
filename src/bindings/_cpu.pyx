"""Which instruction set the kernels of this process use, chosen once at import."""

import os

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo

import numpy as np

cdef extern from "cpu.h" nogil:
    bint fastar_runs(int isa)
    void* fastar_aligned_alloc(size_t alignment, size_t size)
    void fastar_aligned_free(void* data)
    void fastar_prefer_large_pages(void* data, size_t size)

cdef extern from *:
    """
    #ifdef _OPENMP
    enum { FASTAR_OPENMP = 1 };
    #else
    enum { FASTAR_OPENMP = 0 };
    #endif
    """
    enum:
        FASTAR_OPENMP

_NAMES = ("baseline", "avx2", "avx512", "neon")


def _choose():
    wanted = os.environ.get("FASTAR_ISA", "")
    best = max(isa for isa in range(len(_NAMES)) if fastar_runs(isa))
    if not wanted:
        return best
    if wanted not in _NAMES:
        raise ImportError(f"FASTAR_ISA must be one of {', '.join(_NAMES)}. Got {wanted!r} instead.")
    if not fastar_runs(_NAMES.index(wanted)):
        raise ImportError(f"FASTAR_ISA is {wanted!r}, but this processor runs {_NAMES[best]!r} at best.")
    return _NAMES.index(wanted)


isa = _choose()
isa_name = _NAMES[isa]
has_openmp = bool(FASTAR_OPENMP)


# ---- work space

# What a block of rows needs is some megabytes, asked for and dropped many times a second. Handed back to the
# system, each page of it would be cleared again at its next use, which takes longer than most kernels on it.

cdef enum:
    SLOTS = 32  # blocks kept at most
cdef size_t LEAST = 1 << 15, MOST = 1 << 27  # bytes of a block that is worth keeping
cdef size_t LARGE = 1 << 20  # bytes of a block that is worth large pages, of
cdef size_t LARGE_PAGE = 1 << 21

cdef struct kept_block:
    void* data
    size_t size
    size_t since

cdef kept_block kept[SLOTS]
cdef size_t kept_bytes = 0, times_kept = 0
cdef size_t may_keep = int(os.environ.get("FASTAR_KEEP_MB", "256")) << 20
cdef cython.pymutex lock


cdef void* take(size_t size, size_t* found) noexcept:
    """Return a kept block that fits, or NULL."""
    global kept_bytes
    cdef int i, best = -1
    cdef void* data = NULL
    with lock:
        for i in range(SLOTS):
            if kept[i].data != NULL and size <= kept[i].size <= 2 * size:
                if best < 0 or kept[i].size < kept[best].size:
                    best = i
        if best >= 0:
            data, found[0] = kept[best].data, kept[best].size
            kept[best].data = NULL
            kept_bytes -= found[0]
    return data


cdef kept_block drop_oldest() noexcept:
    """Return the block that has been kept longest, which is kept no more."""
    global kept_bytes
    cdef int i, oldest = -1
    for i in range(SLOTS):
        if kept[i].data != NULL and (oldest < 0 or kept[i].since < kept[oldest].since):
            oldest = i
    cdef kept_block block = kept[oldest]
    kept[oldest].data = NULL
    kept_bytes -= block.size
    return block


cdef void keep(void* data, size_t size) noexcept:
    """Keep a block for later, in the place of those that nobody has asked for; free what is not kept."""
    global kept_bytes, times_kept
    cdef int i, n_kept = 0
    if not LEAST <= size <= MOST or size > may_keep:
        fastar_aligned_free(data)
        return
    with lock:
        for i in range(SLOTS):
            n_kept += kept[i].data != NULL
        while n_kept == SLOTS or kept_bytes + size > may_keep:
            fastar_aligned_free(drop_oldest().data)
            n_kept -= 1
        for i in range(SLOTS):
            if kept[i].data == NULL:
                times_kept += 1
                kept[i] = kept_block(data, size, times_kept)
                kept_bytes += size
                return


def no_memory(size):
    """Return the error that so many bytes of work space are not to be had."""
    return MemoryError(
        f"Unable to allocate {size / 1e9:.3g} GB of work space. A smaller batch_size, fewer rows in a "
        "call and n_jobs=1 need less.")


cdef class Block:
    """Memory that begins on a cache line; it is kept for the next one when its last array is gone."""

    cdef void* data
    cdef size_t size
    cdef Py_ssize_t length

    def __cinit__(self, size_t size):
        self.length = size
        self.size = max(64, (size + 63) // 64 * 64)
        cdef size_t page = LARGE_PAGE if self.size >= LARGE else 64
        self.size = (self.size + page - 1) // page * page
        self.data = take(self.size, &self.size)
        if self.data == NULL:
            self.data = fastar_aligned_alloc(page, self.size)
            if self.data != NULL and self.size >= LARGE:
                fastar_prefer_large_pages(self.data, self.size)
        if self.data == NULL:
            raise no_memory(size)

    def __dealloc__(self):
        if self.data != NULL:
            keep(self.data, self.size)

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.data, self.length, False, flags)


cdef object as_dtype = np.dtype, ndarray = np.ndarray  # found at once, for a step asks many times


def aligned_empty(shape, dtype):
    """Return an uninitialised array that begins on a cache line (64 bytes)."""
    dtype = as_dtype(dtype)
    size = dtype.itemsize
    for side in shape:
        size *= side
    return ndarray(shape, dtype, Block(size))
