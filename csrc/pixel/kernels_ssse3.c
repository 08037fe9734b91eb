/* 16-byte vectors and a byte shuffle. Compiled with -mssse3. */
#include "pixel/kernels.h"

#if defined(DICORE_KERNELS_X86)
#define LANES 1
#include "pixel/kernels_vector.h"

const dicore_kernels dicore_kernels_ssse3 = {
    .name = "ssse3", VECTOR_MOVES, PLAIN_SIMPLE, PLAIN_REST};
#endif
