#include "runtime/turn.h"

#include <map>

namespace floe {
namespace {

// One for each device there has been: a device that comes to lie where another was takes its mutex over.
std::recursive_mutex& mutex_of(const Device& device) {
  static std::mutex guard;
  static std::map<const Device*, std::recursive_mutex> all;
  const std::lock_guard lock(guard);
  return all[&device];
}

}  // namespace

DeviceTurn::DeviceTurn(Device& device) {
  if (!device.on_host()) lock_ = std::unique_lock(mutex_of(device));
}

}  // namespace floe
