// What every benchmark is told.
#pragma once
#include <string>

namespace floe {

struct BenchFlags {
  std::string which = "all";
  std::string peer;               // a Python that has the peer installed; empty: Floe alone
  std::string scripts = "bench";  // where the peers' scripts lie
  std::string output;
  std::string command;  // as it was given, for the record
  int threads = 2;
  int rounds = 3;  // Floe and the peer take turns so often
  std::string device = "cpu", precision = "f32";
  bool quick = false;  // tiny models: shows that it works, not how fast
};

}  // namespace floe
