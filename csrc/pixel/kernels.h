/* The levels of dicore/kernels.h. A level is a source file of its own, compiled for its processor: never call into one
 * without having asked. */
#ifndef DICORE_PIXEL_KERNELS_H
#define DICORE_PIXEL_KERNELS_H

#include "dicore/kernels.h"

extern const dicore_kernels dicore_kernels_plain;
#if defined(__x86_64__) || defined(__i386__)
#define DICORE_KERNELS_X86
extern const dicore_kernels dicore_kernels_ssse3;
extern const dicore_kernels dicore_kernels_avx2;
extern const dicore_kernels dicore_kernels_avx512;
#endif

#endif
