#include "base/cpu.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define KNOWN (1u << 31)

static unsigned ask(void)
{
    unsigned features = KNOWN;
#if defined(__x86_64__) || defined(__i386__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("sse4.2"))
        features |= DICORE_CPU_SSE42;
    if (__builtin_cpu_supports("pclmul"))
        features |= DICORE_CPU_PCLMUL;
    if (__builtin_cpu_supports("ssse3"))
        features |= DICORE_CPU_SSSE3;
    if (__builtin_cpu_supports("avx2"))
        features |= DICORE_CPU_AVX2;
    if (__builtin_cpu_supports("bmi2"))
        features |= DICORE_CPU_BMI2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512vbmi"))
        features |= DICORE_CPU_AVX512;
    if (features & DICORE_CPU_AVX512 && __builtin_cpu_supports("vpclmulqdq"))
        features |= DICORE_CPU_VPCLMUL;
#endif
    const char *most = getenv("DICORE_CPU"); /* lowers what is used, for tests and for finding faults */
    if (most && strcmp(most, "avx2") == 0)
        features &= ~(unsigned)(DICORE_CPU_AVX512 | DICORE_CPU_VPCLMUL);
    else if (most && strcmp(most, "ssse3") == 0)
        features &= KNOWN | DICORE_CPU_SSSE3;
    else if (most && strcmp(most, "sse2") == 0)
        features &= KNOWN;
    return features;
}

unsigned dicore_cpu_features(void)
{
    static atomic_uint cached; /* two threads may both ask: they get the same answer */
    unsigned features = atomic_load_explicit(&cached, memory_order_relaxed);
    if (!features) {
        features = ask();
        atomic_store_explicit(&cached, features, memory_order_relaxed);
    }
    return features & ~KNOWN;
}
