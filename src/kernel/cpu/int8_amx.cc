#include "kernel/cpu/int8_amx.h"

#include "base/error.h"
#include "kernel/cpu/int8_tile.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <hwy/base.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace floe {
namespace {

constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM of asm/prctl.h
constexpr int kTileData = 18;               // XFEATURE_XTILEDATA
constexpr int kTileLeafBit = 24, kInt8LeafBit = 25;

bool ask() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  if ((d >> kTileLeafBit & 1) == 0 || (d >> kInt8LeafBit & 1) == 0) return false;
  return ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

// As ldtilecfg reads it.
struct alignas(64) Configuration {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};
static_assert(sizeof(Configuration) == 64, "ldtilecfg reads 64 bytes");

constexpr int64_t kSumRow = kInt8Columns * static_cast<int64_t>(sizeof(int32_t));
constexpr int64_t kGroupBytes = kInt8Columns * kInt8Group;

HWY_PUSH_ATTRIBUTES("amx-tile,amx-int8")
// GCC 12 thinks that ldtilecfg reads eight bytes only, and leaves out the stores of the others.
void configure(const Configuration& configuration) {
  asm volatile("" ::"r"(&configuration) : "memory");
  _tile_loadconfig(&configuration);
}
void release() { _tile_release(); }

// Sums in tiles 0, 1 (and 2, 3), a in 4 (and 5), halves of the strip in 6, 7.
void one(const AmxRows& r) {
  asm volatile("" ::: "memory");
  if (r.add) {
    _tile_loadd(0, r.sums, kSumRow);
    _tile_loadd(1, r.sums + 16, kSumRow);
  } else {
    _tile_zero(0);
    _tile_zero(1);
  }
  for (int64_t k = 0; k < r.blocks; ++k) {
    const uint8_t* b = r.b + k * (kAmxDepth / kInt8Group) * kGroupBytes;
    _tile_loadd(4, r.a + k * kAmxDepth, r.a_row);
    _tile_loadd(6, b, kGroupBytes);
    _tile_loadd(7, b + 64, kGroupBytes);
    _tile_dpbsud(0, 4, 6);
    _tile_dpbsud(1, 4, 7);
  }
  _tile_stored(0, r.sums, kSumRow);
  _tile_stored(1, r.sums + 16, kSumRow);
}

void two(const AmxRows& r) {
  asm volatile("" ::: "memory");
  int32_t* const below = r.sums + kAmxRows * kInt8Columns;
  if (r.add) {
    _tile_loadd(0, r.sums, kSumRow);
    _tile_loadd(1, r.sums + 16, kSumRow);
    _tile_loadd(2, below, kSumRow);
    _tile_loadd(3, below + 16, kSumRow);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t k = 0; k < r.blocks; ++k) {
    const uint8_t* b = r.b + k * (kAmxDepth / kInt8Group) * kGroupBytes;
    const int8_t* a = r.a + k * kAmxDepth;
    _tile_loadd(4, a, r.a_row);
    _tile_loadd(6, b, kGroupBytes);
    _tile_dpbsud(0, 4, 6);
    _tile_loadd(7, b + 64, kGroupBytes);
    _tile_dpbsud(1, 4, 7);
    _tile_loadd(5, a + kAmxRows * r.a_row, r.a_row);
    _tile_dpbsud(2, 5, 6);
    _tile_dpbsud(3, 5, 7);
  }
  _tile_stored(0, r.sums, kSumRow);
  _tile_stored(1, r.sums + 16, kSumRow);
  _tile_stored(2, below, kSumRow);
  _tile_stored(3, below + 16, kSumRow);
}
HWY_POP_ATTRIBUTES

}  // namespace

bool amx_available() {
  static const bool available = ask();
  return available;
}

AmxTiles::AmxTiles() {
  Configuration configuration;
  for (int tile = 0; tile < 8; ++tile) {
    configuration.row_bytes[tile] = kAmxDepth;
    configuration.rows[tile] = kAmxRows;
  }
  configure(configuration);
}
AmxTiles::~AmxTiles() { release(); }

void amx_rows(const AmxRows& rows) { rows.two ? two(rows) : one(rows); }

}  // namespace floe

#else

namespace floe {

bool amx_available() { return false; }
AmxTiles::AmxTiles() { FLOE_CHECK(false, "AMX is not available"); }
AmxTiles::~AmxTiles() = default;
void amx_rows(const AmxRows&) { FLOE_CHECK(false, "AMX is not available"); }

}  // namespace floe
#endif
