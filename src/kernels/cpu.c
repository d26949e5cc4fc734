#include "cpu.h"
#include "fastar.h"
#include <stdlib.h>
#if defined(__linux__)
#include <stdint.h>
#include <sys/mman.h>
#elif defined(_WIN32)
#include <malloc.h>
#endif

#if defined(__x86_64__) || defined(_M_X64)
#include <cpuid.h>

/* The states of registers that the system saves: of XCR0, which cpuid says can be asked for. */
static unsigned saved_states(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
        return 0;
    __asm__("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return a;
}

/* By cpuid, for __builtin_cpu_supports needs a library that clang-cl does not link. */
static int best_isa(void) {
    const unsigned avx = 0x6, avx512 = 0xe6, states = saved_states();
    const unsigned wanted = bit_AVX512F | bit_AVX512DQ | bit_AVX512VL | bit_AVX512BW;
    unsigned a, b, c, d, b7, c7;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !__get_cpuid_count(7, 0, &a, &b7, &c7, &d))
        return FASTAR_BASELINE;
    if ((states & avx) != avx || !(c & bit_FMA) || !(b7 & bit_AVX2))
        return FASTAR_BASELINE;
    return (states & avx512) == avx512 && (b7 & wanted) == wanted ? FASTAR_AVX512 : FASTAR_AVX2;
}

int fastar_runs(int isa) { return isa <= best_isa(); }
#elif defined(__aarch64__) || defined(_M_ARM64)
int fastar_runs(int isa) { return isa == FASTAR_BASELINE || isa == FASTAR_NEON; }
#else
int fastar_runs(int isa) { return isa == FASTAR_BASELINE; }
#endif

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
