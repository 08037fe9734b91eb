/* dicore/store.h */
#ifndef DICORE_STORE_H
#define DICORE_STORE_H

#include "dicore/base.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifdef __cplusplus
}
#endif
#endif
