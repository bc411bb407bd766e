#include "ops/all.h"

namespace floe {

const OpTable& all_ops() {
  static const OpTable table = [] {
    OpTable ops;
    define_all_ops(ops);
    return ops;
  }();
  return table;
}

}  // namespace floe
