/* The instruction sets of this processor, and aligned memory. Compiled without any instruction-set flag. */
#ifndef FASTAR_CPU_H
#define FASTAR_CPU_H

#include <stddef.h>

/* Whether there are kernels of this instruction set, and processor and operating system support it. */
int fastar_runs(int isa);

/* size: a multiple of the alignment, a power of two. NULL where there is no memory left. */
void *fastar_aligned_alloc(size_t alignment, size_t size);
void fastar_aligned_free(void *data);

/* Ask for large pages where the system has them: new small ones take longer to come by than most kernels to fill. */
void fastar_prefer_large_pages(void *data, size_t size);

#endif
