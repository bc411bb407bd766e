// How the CPU runs a tape over a shape: the plan of the tile interpreter, made once for each set of shapes.
//
// The iteration space is cut into tiles of at most kTile elements; a tile runs the whole tape, one
// instruction at a time over all its elements, so that every register stays in the first-level cache and
// memory is read and written once. Registers hold f32 (also for bf16 and f16, rounded by casts and where they
// are stored), i32 (also for i8 and u8), i64 or masks (i32, 0 or -1). A register is the input's own memory
// where that is contiguous over the tile, the output's own memory where nothing later in the tape could read
// an input that shares it, else a slot of the worker's scratch space. Elements never meet, so results depend
// neither on the tiles nor on the threads.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "tensor/scalar.h"
#include "tensor/tensor.h"

namespace floe {

struct TilePlan {
  static constexpr int64_t kTile = 512;  // 2 KiB a register: some 16 of them in 32 KiB
  static constexpr int64_t kTilesPerTask = 64;

  enum class Kind : uint8_t { f32, i32, i64, mask };
  static Kind kind_of(DType type);  // throws bug for a type without a register
  static bool supports(DType type);

  using Strides = std::array<int64_t, kMaxRank>;
  struct Load {
    int32_t reg;
    int input;
    DType type;
    Strides strides;  // over `dims`
    bool scalar;      // no stride at all: filled once a task
    bool dense;       // row-major over the whole space: its memory is the register, unless the type needs
                      // converting
  };
  struct Constant {
    int32_t reg;
    DType type;
    double value;
  };
  struct Step {
    ScalarOp op;
    DType type;    // of the result
    Kind operand;  // of operand a (compare, cast) or of the result
    int32_t dst, a, b, c;
    double imm;
  };
  struct Store {
    int32_t reg;
    int output;
    DType type;
    bool direct;  // the register is the output's memory
  };
  struct Random {  // ordinals of a uniform instruction
    int32_t reg;
    int input;
    int64_t stride;
  };

  int rank = 0;  // after neighbouring dims were merged; dims[rank - 1] is `inner`
  std::array<int64_t, kMaxRank> dims{};
  int64_t inner = 1;
  int64_t rows = 1;
  int64_t tiles_per_row = 1;  // 1 where a tile holds whole rows
  int64_t rows_per_tile = 1;
  int64_t tiles = 0;

  std::vector<Load> loads;
  std::vector<Constant> constants;
  std::vector<Step> steps;
  std::vector<Store> stores;
  std::vector<Random> randoms;
  std::vector<int32_t>
      slot;  // by register: of the scratch space, -1 where it is an input's or output's memory
  size_t slot_bytes = 0;
  size_t pointers_bytes = 0;
  size_t scratch_bytes = 0;  // one worker's
};

TilePlan plan_tiles(const Tape& tape, std::span<const View> inputs, std::span<const View> outputs);

}  // namespace floe
