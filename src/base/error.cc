#include "base/error.h"

namespace floe {

void fail_bug(const char* file, int line, const std::string& what) {
  throw Error(ErrorKind::bug, fmt::format("{}:{}: {}", file, line, what));
}

}  // namespace floe
