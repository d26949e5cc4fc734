/* Names and choice of instruction set, shared by every kernel family.
 *
 * A family is one C file, compiled once for each float type and instruction set (src/CMakeLists.txt),
 * that exports one table of functions: <family>_<type>_<isa>. FASTAR_FAMILY(family), used in the
 * family's header, declares those tables and <family>_<type>_for(isa), which picks one. */
#ifndef FASTAR_H
#define FASTAR_H

#include <stddef.h>
#include <stdint.h>

enum { FASTAR_BASELINE, FASTAR_AVX2, FASTAR_AVX512 };

#if defined(__x86_64__) || defined(_M_X64)
#define FASTAR_CHOOSE(family, type)                                                                \
    extern const family##_##type family##_##type##_baseline, family##_##type##_avx2,               \
        family##_##type##_avx512;                                                                  \
    static inline const family##_##type *family##_##type##_for(int isa) {                          \
        return isa == FASTAR_AVX512 ? &family##_##type##_avx512                                    \
               : isa == FASTAR_AVX2 ? &family##_##type##_avx2                                      \
                                    : &family##_##type##_baseline;                                 \
    }
#else
#define FASTAR_CHOOSE(family, type)                                                                \
    extern const family##_##type family##_##type##_baseline;                                       \
    static inline const family##_##type *family##_##type##_for(int isa) {                          \
        (void)isa;                                                                                 \
        return &family##_##type##_baseline;                                                        \
    }
#endif

#define FASTAR_FAMILY(family) FASTAR_CHOOSE(family, f32) FASTAR_CHOOSE(family, f64)

#define FASTAR_PASTE_(a, b, c) a##_##b##_##c
#define FASTAR_PASTE(a, b, c) FASTAR_PASTE_(a, b, c)
/* Inside a kernel file: the table that this object defines, and its type. */
#define FASTAR_TABLE(family) FASTAR_PASTE(family, FASTAR_TYPE, FASTAR_ISA)
#define FASTAR_TABLE_TYPE_(family, type) family##_##type
#define FASTAR_TABLE_TYPE__(family, type) FASTAR_TABLE_TYPE_(family, type)
#define FASTAR_TABLE_TYPE(family) FASTAR_TABLE_TYPE__(family, FASTAR_TYPE)

#endif
