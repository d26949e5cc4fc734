/* Names and choice of instruction set, shared by every kernel family.
 *
 * A family is one C file, compiled once for each float type and instruction set (src/CMakeLists.txt),
 * that exports one table of functions: <family>_<type>_<isa>. FASTAR_FAMILY(family), used in the
 * family's header, declares those tables and <family>_for(isa, is_double), which picks one. */
#ifndef FASTAR_H
#define FASTAR_H

#include <stddef.h>
#include <stdint.h>

/* Kernels are compiled with their float type; to what calls them through a table, `real` is void, and both of a
 * family's tables are of one type. The two views agree on every platform that this is built for: they differ only in
 * what pointers point to, pointers to objects share one representation and one way to be passed, and no linker sees
 * through a table. A `real` therefore crosses a table by address alone. */
#if !defined(FASTAR_TYPE)
typedef void real;
#elif FASTAR_DOUBLE
typedef double real;
#else
typedef float real;
#endif

/* From worse to better on each processor, which runs some of them. */
enum { FASTAR_BASELINE, FASTAR_AVX2, FASTAR_AVX512, FASTAR_NEON };

#if defined(__x86_64__) || defined(_M_X64)
#define FASTAR_FAMILY(family)                                                                                         \
    extern const family##_table family##_f32_baseline, family##_f32_avx2, family##_f32_avx512, family##_f64_baseline, \
        family##_f64_avx2, family##_f64_avx512;                                                                       \
    static inline const family##_table *family##_for(int isa, int is_double) {                                        \
        return isa == FASTAR_AVX512 ? is_double ? &family##_f64_avx512 : &family##_f32_avx512                         \
             : isa == FASTAR_AVX2   ? is_double ? &family##_f64_avx2 : &family##_f32_avx2                             \
             : is_double            ? &family##_f64_baseline                                                          \
                                    : &family##_f32_baseline;                                                         \
    }
#elif defined(__aarch64__) || defined(_M_ARM64)
#define FASTAR_FAMILY(family)                                                                                       \
    extern const family##_table family##_f32_baseline, family##_f32_neon, family##_f64_baseline, family##_f64_neon; \
    static inline const family##_table *family##_for(int isa, int is_double) {                                      \
        return isa == FASTAR_NEON ? is_double ? &family##_f64_neon : &family##_f32_neon                             \
             : is_double          ? &family##_f64_baseline                                                          \
                                  : &family##_f32_baseline;                                                         \
    }
#else
#define FASTAR_FAMILY(family)                                                  \
    extern const family##_table family##_f32_baseline, family##_f64_baseline;  \
    static inline const family##_table *family##_for(int isa, int is_double) { \
        (void)isa;                                                             \
        return is_double ? &family##_f64_baseline : &family##_f32_baseline;    \
    }
#endif

#define FASTAR_PASTE_(a, b, c) a##_##b##_##c
#define FASTAR_PASTE(a, b, c) FASTAR_PASTE_(a, b, c)
/* Inside a kernel file: the table that this object defines. */
#define FASTAR_TABLE(family) FASTAR_PASTE(family, FASTAR_TYPE, FASTAR_ISA)

#endif
