#include "compile/layout.h"

namespace floe {
namespace {

bool one(const Dim& dim) { return dim.is_constant() && dim.constant() == 1; }

}  // namespace

Layout row_major(const Dims& dims) {
  Layout layout{dims, Dims(dims.size()), Dim(0)};
  Dim stride(1);
  for (size_t i = dims.size(); i-- > 0;) {
    layout.strides[i] = stride;
    stride = stride * dims[i];
  }
  return layout;
}

bool is_row_major(const Layout& layout) {
  Dim expected(1);
  for (size_t i = layout.dims.size(); i-- > 0;) {
    if (!one(layout.dims[i]) && layout.strides[i] != expected) return false;
    expected = expected * layout.dims[i];
  }
  return true;
}

// Walks both shapes from the right, matching groups of dims of equal product; inside a group the old dims
// must lie behind one another.
std::optional<Layout> reshaped(const Layout& layout, const Dims& dims) {
  if (is_row_major(layout)) {
    Layout result = row_major(dims);
    result.offset = layout.offset;
    return result;
  }
  Layout result{dims, Dims(dims.size()), layout.offset};
  size_t from = layout.dims.size();
  size_t to = dims.size();
  while (from > 0 || to > 0) {
    if (from > 0 && one(layout.dims[from - 1])) {
      --from;
      continue;
    }
    if (to > 0 && one(dims[to - 1])) {
      result.strides[--to] = Dim(1);
      continue;
    }
    if (from == 0 || to == 0) return std::nullopt;
    // One group: take dims on either side until the products agree.
    const size_t from_end = from;
    const size_t to_end = to;
    Dim from_size = layout.dims[--from];
    Dim to_size = dims[--to];
    while (from_size != to_size) {
      const bool to_divides = floor_div(from_size, to_size) * to_size == from_size;
      if (to_divides && to > 0) {
        to_size = dims[--to] * to_size;
      } else if (from > 0) {
        from_size = layout.dims[--from] * from_size;
      } else {
        return std::nullopt;
      }
    }
    for (size_t i = from; i + 1 < from_end; ++i) {
      if (layout.strides[i] != layout.strides[i + 1] * layout.dims[i + 1]) return std::nullopt;
    }
    Dim stride = layout.strides[from_end - 1];
    for (size_t i = to_end; i-- > to;) {
      result.strides[i] = stride;
      stride = stride * dims[i];
    }
  }
  return result;
}

Layout sliced(const Layout& layout, int axis, const Dim& begin, const Dim& length) {
  Layout result = layout;
  const auto at = static_cast<size_t>(axis);
  result.dims[at] = length;
  result.offset = layout.offset + begin * layout.strides[at];
  return result;
}

}  // namespace floe
