/* dicore/net.h */
#ifndef DICORE_NET_H
#define DICORE_NET_H

#include "dicore/base.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifdef __cplusplus
}
#endif
#endif
