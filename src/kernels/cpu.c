#include "cpu.h"
#include "fastar.h"
#if defined(__linux__)
#include <stdint.h>
#include <sys/mman.h>
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
