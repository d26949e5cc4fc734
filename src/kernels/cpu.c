#include "cpu.h"
#include "fastar.h"
#include <stdlib.h>
#if defined(__linux__)
#include <stdint.h>
#include <sys/mman.h>
#elif defined(_WIN32)
#include <malloc.h>
#endif

int fastar_best_isa(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw"))
        return FASTAR_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return FASTAR_AVX2;
#endif
    return FASTAR_BASELINE;
}

/* The C library of Windows has no aligned_alloc, for its free could not take the memory back. */
#if defined(_WIN32)
void *fastar_aligned_alloc(size_t alignment, size_t size) { return _aligned_malloc(size, alignment); }
void fastar_aligned_free(void *data) { _aligned_free(data); }
#else
void *fastar_aligned_alloc(size_t alignment, size_t size) { return aligned_alloc(alignment, size); }
void fastar_aligned_free(void *data) { free(data); }
#endif

void fastar_prefer_large_pages(void *data, size_t size) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    const uintptr_t page = 4096, begin = ((uintptr_t)data + page - 1) / page * page;
    const uintptr_t end = ((uintptr_t)data + size) / page * page;
    if (begin < end)
        madvise((void *)begin, end - begin, MADV_HUGEPAGE); /* refused, it costs nothing but time */
#else
    (void)data;
    (void)size;
#endif
}
