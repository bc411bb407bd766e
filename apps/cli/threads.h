// What a command runs on: how many threads, which device, how much of its memory.
#pragma once
#include <memory>
#include <string>

#include "device/device.h"

namespace CLI {
class App;
}

namespace floe {

// `asked`, or as many as this process may use when that is 0. Throws UsageError for a number that cannot be
// meant.
int thread_count(int asked);
struct DeviceFlags {
  std::string device = "cpu";
  int threads = 0;
  std::string memory_limit;  // empty: none

  // Adds --device, --threads and --memory-limit.
  void add_to(CLI::App& app);
  // Throws UsageError for no such device and for no amount of memory.
  std::unique_ptr<Device> open() const;
};

}  // namespace floe
