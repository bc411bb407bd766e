// Which operand of row_linear is which: x and w are 0 and 1, the others follow as the attributes say.
#pragma once
#include <string>

#include "tensor/attrs.h"

namespace floe {

struct RowLinearOperands {
  std::string norm;
  int gamma = -1, beta = -1, bias = -1, residual = -1;  // -1: not there
  int count = 2;

  explicit RowLinearOperands(const Attrs& attrs) : norm(attrs.text("norm", "")) {
    if (!norm.empty()) gamma = count++;
    if (norm == "layer_norm") beta = count++;
    if (attrs.flag("bias", false)) bias = count++;
    if (attrs.flag("residual", false)) residual = count++;
  }
};

}  // namespace floe
