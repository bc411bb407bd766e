#include "kernel/cpu/tile_plan.h"

#include <algorithm>

#include "base/error.h"

namespace floe {
namespace {

constexpr size_t kOverrun = 256;  // uniform writes whole blocks of vectors past the tile's end

size_t width(TilePlan::Kind kind) { return kind == TilePlan::Kind::i64 ? 8 : 4; }
bool same_in_memory(DType type) { return type == DType::f32 || type == DType::i32 || type == DType::i64; }

class TilePlanner {
 public:
  TilePlanner(const Tape& tape, std::span<const View> inputs, std::span<const View> outputs)
      : tape_(tape), inputs_(inputs), outputs_(outputs), n_(static_cast<int32_t>(tape.code.size())) {}

  TilePlan run() {
    find_live();
    lay_out();
    for (int32_t r = 0; r < n_; ++r) {
      if (live_[index(r)]) add(r);
    }
    for (size_t k = 0; k < tape_.outputs.size(); ++k) {
      plan_.stores.push_back({tape_.outputs[k], static_cast<int>(k), outputs_[k].dtype, false});
    }
    find_last_uses();
    choose_direct_stores();
    assign_slots();
    return std::move(plan_);
  }

 private:
  using Kind = TilePlan::Kind;
  static size_t index(int32_t r) { return static_cast<size_t>(r); }
  const ScalarInstr& code(int32_t r) const { return tape_.code[index(r)]; }

  void find_live() {
    live_.assign(index(n_), false);
    ordinals_.assign(index(n_), false);
    for (const int32_t r : tape_.outputs) live_[index(r)] = true;
    for (int32_t r = n_ - 1; r >= 0; --r) {
      if (!live_[index(r)]) continue;
      const ScalarInstr& instr = code(r);
      for (const int32_t operand : {instr.a, instr.b, instr.c}) {
        if (operand >= 0) live_[index(operand)] = true;
      }
      if (instr.op == ScalarOp::uniform) {
        has_uniform_ = true;
        ordinals_[index(instr.b)] = true;
      }
    }
  }

  // Strides of input `i` over the outputs' dims, aligned from the right.
  TilePlan::Strides strides_of(const View& view) const {
    TilePlan::Strides strides{};
    const View& space = outputs_[0];
    const int extra = space.rank - view.rank;
    FLOE_CHECK(extra >= 0, "an input of rank {} in a group over rank {}", view.rank, space.rank);
    for (int k = 0; k < view.rank; ++k) {
      if (view.dims[k] == 1) continue;
      FLOE_CHECK(view.dims[k] == space.dims[k + extra], "input dims {} do not broadcast to {}",
                 text_of(view.shape()), text_of(space.shape()));
      strides[static_cast<size_t>(k + extra)] = view.strides[k];
    }
    return strides;
  }

  // Merges neighbouring dims that every input walks as one, unless uniform numbers need the coordinates.
  void lay_out() {
    const View& space = outputs_[0];
    for (int32_t r = 0; r < n_; ++r) {
      if (live_[index(r)] && code(r).op == ScalarOp::input && !ordinals_[index(r)]) {
        strides_.push_back(strides_of(inputs_[static_cast<size_t>(code(r).imm)]));
      }
    }
    std::vector<TilePlan::Strides> merged(strides_.size());
    int rank = 0;
    for (int k = 0; k < space.rank; ++k) {
      const auto at = static_cast<size_t>(k);
      if (!has_uniform_ && space.dims[at] == 1) continue;
      bool merge = rank > 0 && !has_uniform_;
      for (size_t i = 0; merge && i < strides_.size(); ++i) {
        merge = merged[i][static_cast<size_t>(rank - 1)] == strides_[i][at] * space.dims[at];
      }
      if (!merge) ++rank;
      const auto to = static_cast<size_t>(rank - 1);
      plan_.dims[to] = merge ? plan_.dims[to] * space.dims[at] : space.dims[at];
      for (size_t i = 0; i < strides_.size(); ++i) merged[i][to] = strides_[i][at];
    }
    if (rank == 0) plan_.dims[static_cast<size_t>(rank++)] = 1;
    strides_ = std::move(merged);
    plan_.rank = rank;
    plan_.inner = plan_.dims[static_cast<size_t>(rank - 1)];
    for (int k = 0; k + 1 < rank; ++k) plan_.rows *= plan_.dims[static_cast<size_t>(k)];
    if (plan_.inner == 0 || plan_.rows == 0) return;  // tiles stays 0
    if (plan_.inner * 2 > TilePlan::kTile) {
      plan_.tiles_per_row = (plan_.inner + TilePlan::kTile - 1) / TilePlan::kTile;
      plan_.tiles = plan_.rows * plan_.tiles_per_row;
    } else {
      plan_.rows_per_tile = TilePlan::kTile / plan_.inner;
      plan_.tiles = (plan_.rows + plan_.rows_per_tile - 1) / plan_.rows_per_tile;
    }
  }

  bool dense(const TilePlan::Strides& strides) const {
    int64_t want = 1;
    for (int k = plan_.rank - 1; k >= 0; --k) {
      const auto at = static_cast<size_t>(k);
      if (plan_.dims[at] != 1 && strides[at] != want) return false;
      want *= plan_.dims[at];
    }
    return true;
  }

  void add(int32_t r) {
    const ScalarInstr& instr = code(r);
    const auto input = static_cast<int>(instr.imm);
    if (instr.op == ScalarOp::input && ordinals_[index(r)]) {
      plan_.randoms.push_back({r, input, inputs_[static_cast<size_t>(input)].strides[0]});
    } else if (instr.op == ScalarOp::input) {
      TilePlan::Load load{r, input, instr.type, strides_[plan_.loads.size()], false, false};
      load.scalar = std::all_of(load.strides.begin(), load.strides.end(), [](int64_t s) { return s == 0; });
      load.dense = !load.scalar && dense(load.strides);
      plan_.loads.push_back(load);
    } else if (instr.op == ScalarOp::constant) {
      plan_.constants.push_back({r, instr.type, instr.imm});
    } else {
      const DType operand = instr.op == ScalarOp::select ? instr.type : code(instr.a).type;
      plan_.steps.push_back(
          {instr.op, instr.type, TilePlan::kind_of(operand), r, instr.a, instr.b, instr.c, instr.imm});
    }
  }

  // By register: the last step that reads it; steps.size() where a store does.
  void find_last_uses() {
    last_use_.assign(index(n_), -1);
    for (size_t s = 0; s < plan_.steps.size(); ++s) {
      const TilePlan::Step& step = plan_.steps[s];
      for (const int32_t operand : {step.a, step.b, step.c}) {
        if (operand >= 0) last_use_[index(operand)] = static_cast<int>(s);
      }
    }
    for (const TilePlan::Store& store : plan_.stores) {
      last_use_[index(store.reg)] = static_cast<int>(plan_.steps.size());
    }
  }

  // An output may share its memory with a dense input, so its register is that memory only if no dense input
  // is read by a later step.
  void choose_direct_stores() {
    int last_read = -1;
    for (const TilePlan::Load& load : plan_.loads) {
      if (load.dense && same_in_memory(load.type))
        last_read = std::max(last_read, last_use_[index(load.reg)]);
    }
    std::vector<bool> taken(index(n_), false);
    for (TilePlan::Store& store : plan_.stores) {
      const int step = step_of(store.reg);
      const bool computed = step >= 0 && plan_.steps[static_cast<size_t>(step)].op != ScalarOp::uniform;
      store.direct = computed && step >= last_read && same_in_memory(store.type) && !taken[index(store.reg)];
      taken[index(store.reg)] = true;
    }
  }
  int step_of(int32_t reg) const {
    for (size_t s = 0; s < plan_.steps.size(); ++s) {
      if (plan_.steps[s].dst == reg) return static_cast<int>(s);
    }
    return -1;
  }

  void assign_slots() {
    plan_.slot.assign(index(n_), -1);
    std::vector<int32_t> free;
    int32_t slots = 0;
    const auto take = [&](int32_t r) {
      if (free.empty()) free.push_back(slots++);
      plan_.slot[index(r)] = free.back();
      free.pop_back();
    };
    std::vector<bool> permanent(index(n_), false), direct(index(n_), false);
    for (const TilePlan::Store& store : plan_.stores) {
      if (store.direct) direct[index(store.reg)] = true;
    }
    for (const TilePlan::Constant& constant : plan_.constants) {
      take(constant.reg);
      permanent[index(constant.reg)] = true;
    }
    for (const TilePlan::Load& load : plan_.loads) {
      take(load.reg);  // dense ones too: what is direct on this tile may not be on another
      permanent[index(load.reg)] = load.scalar;
    }
    for (size_t s = 0; s < plan_.steps.size(); ++s) {
      const TilePlan::Step& step = plan_.steps[s];
      const auto release = [&] {
        int32_t seen[3] = {-1, -1, -1};
        int count = 0;
        for (const int32_t operand : {step.a, step.b, step.c}) {
          if (operand < 0 || std::find(seen, seen + count, operand) != seen + count) continue;
          seen[count++] = operand;
          const bool last = last_use_[index(operand)] == static_cast<int>(s);
          if (last && !permanent[index(operand)] && plan_.slot[index(operand)] >= 0) {
            free.push_back(plan_.slot[index(operand)]);
          }
        }
      };
      // A result may take an operand's slot, element for element, unless elements differ in width.
      bool widths_differ = false;
      for (const int32_t operand : {step.a, step.b, step.c}) {
        widths_differ = widths_differ || (operand >= 0 && width(TilePlan::kind_of(code(operand).type)) !=
                                                              width(TilePlan::kind_of(step.type)));
      }
      if (!widths_differ) release();
      if (!direct[index(step.dst)]) take(step.dst);
      if (widths_differ) release();
    }
    bool wide = false;
    for (int32_t r = 0; r < n_; ++r) wide = wide || (live_[index(r)] && code(r).type == DType::i64);
    plan_.slot_bytes = static_cast<size_t>(TilePlan::kTile) * (wide ? 8 : 4) + kOverrun;
    plan_.pointers_bytes = (index(n_) * sizeof(void*) + 63) / 64 * 64;
    plan_.scratch_bytes = plan_.pointers_bytes + static_cast<size_t>(slots) * plan_.slot_bytes;
  }

  const Tape& tape_;
  std::span<const View> inputs_, outputs_;
  int32_t n_;
  TilePlan plan_;
  bool has_uniform_ = false;
  std::vector<bool> live_, ordinals_;       // by register
  std::vector<TilePlan::Strides> strides_;  // by load
  std::vector<int> last_use_;               // by register
};

}  // namespace

bool TilePlan::supports(DType type) {
  return type == DType::f32 || type == DType::bf16 || type == DType::f16 || type == DType::i8 ||
         type == DType::u8 || type == DType::i32 || type == DType::i64 || type == DType::boolean;
}

TilePlan::Kind TilePlan::kind_of(DType type) {
  switch (type) {
    case DType::f32:
    case DType::bf16:
    case DType::f16:
      return Kind::f32;
    case DType::i8:
    case DType::u8:
    case DType::i32:
      return Kind::i32;
    case DType::i64:
      return Kind::i64;
    case DType::boolean:
      return Kind::mask;
    default:
      break;
  }
  fail_bug(__FILE__, __LINE__, fmt::format("the tile interpreter has no registers of {}", name_of(type)));
}

TilePlan plan_tiles(const Tape& tape, std::span<const View> inputs, std::span<const View> outputs) {
  return TilePlanner(tape, inputs, outputs).run();
}

}  // namespace floe
