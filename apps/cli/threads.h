// How many threads a command uses.
#pragma once
#include <memory>
#include <string>

#include "device/device.h"

namespace floe {

// `asked`, or as many as this process may use when that is 0. Throws UsageError for a number that cannot be
// meant.
int thread_count(int asked);
// Of --device and --threads. Throws UsageError for no such device.
std::unique_ptr<Device> device_of(const std::string& name, int threads);

}  // namespace floe
