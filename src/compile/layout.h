// Where the elements of a value lie inside its root: strides and offset, in elements, as size expressions.
#pragma once
#include <optional>

#include "tensor/dim.h"

namespace floe {

struct Layout {
  Dims dims;
  Dims strides;
  Dim offset;
};

Layout row_major(const Dims& dims);
bool is_row_major(const Layout& layout);  // provably; the offset may be anything
// The layout of a reshape without moving an element, if there is one by form.
std::optional<Layout> reshaped(const Layout& layout, const Dims& dims);
Layout sliced(const Layout& layout, int axis, const Dim& begin, const Dim& length);

}  // namespace floe
