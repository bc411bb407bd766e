// The innermost block of an INT8 product, once for each kind of CPU: up to 12 rows of a by 32 columns of b.
//
// Weights are kept as unsigned bytes w + 128, since VNNI multiplies unsigned by signed bytes; what that adds,
// 128 times the sum of a's row, is taken off afterwards (gemm_int8.h). All sums are int32 and wrap, so every
// path, in whatever order it adds, gives the same bits, and the right ones whenever the product itself fits:
//   amx       int8_amx.h where there are 16 rows; vnni's for what is left
//   vnni      vpdpbusd: four products a lane, added to the sum without saturation
//   avx512bw, avx2   bytes widened to 16 bits, vpmaddwd; never vpmaddubsw, whose pairs saturate at 16 bits
//   scalar    a loop
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

namespace floe {

constexpr int64_t kInt8Columns = 32;  // of a strip of b
constexpr int64_t kInt8Group = 4;     // of k, side by side: what one lane of VNNI takes
constexpr int64_t kInt8MostRows = 12;

// `groups` is k in fours, rounded up; beyond k a holds 0.
struct Int8Tile {
  const int8_t* a = nullptr;   // [groups, rows, 4]
  const uint8_t* b = nullptr;  // [groups, kInt8Columns, 4], w + 128
  int64_t groups = 0;
  int rows = 0;             // 1..kInt8MostRows
  int32_t* sums = nullptr;  // [rows, kInt8Columns]; 64-byte aligned
  bool add = false;         // to what `sums` holds
};

// amx is vnni with int8_amx.h for whole tiles of 16 rows.
enum class Int8Target { scalar, avx2, avx512bw, vnni, amx };
std::string_view name_of(Int8Target target);

// What this CPU has, the best one last.
const std::vector<Int8Target>& int8_targets();
// The best, or what the environment variable FLOE_INT8 names when the first product is made: for tests and to
// find a fault. Throws Error{user} when it names none that this CPU has.
Int8Target int8_target();
// For tests: products take this one from now on.
void force_int8_target(Int8Target target);

void int8_tile(Int8Target target, const Int8Tile& tile);

}  // namespace floe
