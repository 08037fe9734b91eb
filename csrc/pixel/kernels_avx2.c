/* 32-byte vectors. Compiled with -mavx2. */
#include "pixel/kernels.h"

#if defined(DICORE_KERNELS_X86)
#include "pixel/kernels_wide.h"

const dicore_kernels dicore_kernels_avx2 = {
    .name = "avx2", VECTOR_MOVES, .bit16 = v_bit16, .keep16 = v_keep16, .stray16 = v_stray16, WIDE_WINDOWS, PLAIN_REST};
#endif
