// INT8 products by AMX: whole tiles of 16 rows by 64 of k, on CPUs that have it and where the system lets a
// process use it. Signed codes of a times unsigned w + 128, exact int32 sums, as int8_tile.h's; what is left
// over of rows and of k is VNNI's, so the bits are the same.
#pragma once
#include <cstdint>

namespace floe {

constexpr int64_t kAmxRows = 16;
constexpr int64_t kAmxDepth = 64;

// Asks the system once; false where there is none.
bool amx_available();

// One or two tiles of rows by kInt8Columns.
struct AmxRows {
  const int8_t* a = nullptr;   // row-major, where it lies
  int64_t a_row = 0;           // bytes between rows
  const uint8_t* b = nullptr;  // a strip of int8_tile.h
  int64_t blocks = 0;          // of kAmxDepth
  bool two = false;
  int32_t* sums = nullptr;  // [16 or 32, kInt8Columns]
  bool add = false;         // to what `sums` holds
};
// Between begin and end on the thread that calls it.
void amx_rows(const AmxRows& rows);

// The thread's tiles are set up, and given back.
class AmxTiles {
 public:
  AmxTiles();
  ~AmxTiles();
  AmxTiles(const AmxTiles&) = delete;
  AmxTiles& operator=(const AmxTiles&) = delete;
};

}  // namespace floe
