/* dicore/pixel.h */
#ifndef DICORE_PIXEL_H
#define DICORE_PIXEL_H

#include "dicore/base.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifdef __cplusplus
}
#endif
#endif
