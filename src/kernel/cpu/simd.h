// The one place that picks Highway's targets: plain scalar code, AVX2 and AVX-512. Few targets keep builds
// short; SSE machines take the scalar form, and the variants of AVX3 would repeat it for instructions that no
// kernel uses. Named are the targets wanted, since each release of Highway brings others. Pointwise
// functions, fused groups, sums.h, row_softmax.h and random numbers give the same bits on all of them: they
// write products and sums as mul then add, never MulAdd, which is fused on some targets and not on others,
// and add in an order that does not know the vectors' width. Matrix products, attention, softmax (with exp-
// inl.h) and norms use MulAdd or sum by lanes, for speed: their bits are the target's, though never the
// threads' or those of how many rows there are (docs/numerics.md).
//
// A kernel file is compiled once a target:
//   #undef HWY_TARGET_INCLUDE
//   #define HWY_TARGET_INCLUDE "ops/NAME/NAME_cpu.cc"
//   #include "kernel/cpu/simd.h"
//   HWY_BEFORE_NAMESPACE(); namespace floe { namespace HWY_NAMESPACE { ... } } HWY_AFTER_NAMESPACE();
//   #if HWY_ONCE ... HWY_EXPORT(f); HWY_DYNAMIC_DISPATCH(f)(...) ... #endif
// No #pragma once: Highway's headers are included again for each target.
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (~(HWY_SCALAR | HWY_AVX2 | HWY_AVX3))
#endif
// The fallback is one value at a time with every compiler; where GCC is sound, Highway would emulate 128
// bits.
#define HWY_BROKEN_EMU128 1
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
