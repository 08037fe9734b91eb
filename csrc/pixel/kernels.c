/* The plain level, which is the definition of every kernel, and the choice of a level. */
#include "pixel/kernels.h"

#include <string.h>

#include "base/cpu.h"
#include "pixel/kernels_plain.h"

const dicore_kernels dicore_kernels_plain = {.name = "sse2", PLAIN_MOVES, PLAIN_SIMPLE, PLAIN_REST};

static const dicore_kernels *level(unsigned features, const char *name)
{
#if defined(DICORE_KERNELS_X86)
    if (features & DICORE_CPU_AVX512 && (!name || strcmp(name, "avx512") == 0))
        return &dicore_kernels_avx512;
    if (features & DICORE_CPU_AVX2 && (!name || strcmp(name, "avx2") == 0))
        return &dicore_kernels_avx2;
    if (features & DICORE_CPU_SSSE3 && (!name || strcmp(name, "ssse3") == 0))
        return &dicore_kernels_ssse3;
#else
    (void)features;
#endif
    return !name || strcmp(name, "sse2") == 0 ? &dicore_kernels_plain : NULL;
}

const dicore_kernels *dicore_kernels_best(void)
{
    return level(dicore_cpu_features(), NULL);
}

const dicore_kernels *dicore_kernels_named(const char *name)
{
    return name ? level(dicore_cpu_features(), name) : NULL;
}
