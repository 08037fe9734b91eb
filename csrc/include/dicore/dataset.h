/* dicore/dataset.h */
#ifndef DICORE_DATASET_H
#define DICORE_DATASET_H

#include "dicore/base.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifdef __cplusplus
}
#endif
#endif
