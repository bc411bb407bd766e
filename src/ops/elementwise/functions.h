// Scalar functions as rows: name, how many operands, value, and derivative by each operand. Everything that
// works element by element reads these rows: inference, the reference evaluator, gradients, fusion, printers.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "tensor/scalar.h"

namespace floe {

struct ScalarFunction {
  std::string name;
  int arity = 1;
  enum class Kind {
    arithmetic,  // operands and result of one type
    integer,     // the same, integers only
    floating,    // the same, floats only
    compare,     // result is bool
    logical,     // bool to bool
    select,      // (bool, T, T) -> T
    cast,        // any to attribute "dtype"
  } kind = Kind::arithmetic;
  Tape value;                    // over `arity` f32 inputs; primitives have one instruction after the inputs
  std::vector<Tape> derivative;  // by operand i, over (operands..., result); empty: none
};

const std::vector<ScalarFunction>& scalar_functions();
const ScalarFunction* find_scalar_function(std::string_view name);

}  // namespace floe
