/* What this processor may run. Compiled without any instruction-set flag. */
#ifndef FASTAR_CPU_H
#define FASTAR_CPU_H

/* The best of FASTAR_BASELINE, FASTAR_AVX2, FASTAR_AVX512 that processor and operating system support. */
int fastar_best_isa(void);

#endif
