// Highway with the targets that matter here: AVX-512, AVX2 and the compiler's baseline. A kernel file defines
// HWY_TARGET_INCLUDE as itself and then includes this; it is compiled once for each target.
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#endif
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
