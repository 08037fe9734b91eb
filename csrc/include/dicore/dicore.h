/* dicore/dicore.h: the whole public C API of libdicore, and its version. */
#ifndef DICORE_DICORE_H
#define DICORE_DICORE_H

#include "dicore/base.h"
#include "dicore/capture.h"
#include "dicore/dataset.h"
#include "dicore/deidentify.h"
#include "dicore/kernels.h"
#include "dicore/net.h"
#include "dicore/phases.h"
#include "dicore/pixel.h"
#include "dicore/scan.h"
#include "dicore/store.h"
#include "dicore/engine.h"
#include "dicore/retrieve.h"

#define DICORE_VERSION "0.1.0"

#ifdef __cplusplus
extern "C" {
#endif

/** The version of the library that is linked, as text: compare with DICORE_VERSION of the headers. */
DICORE_API const char *dicore_version(void);

#ifdef __cplusplus
}
#endif
#endif
