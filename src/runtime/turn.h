// Threads may share a device, each with sessions of its own. A GPU has one queue, and while one thread
// records on it what others queue would become part of the recording: so whoever queues work or waits for all
// of it holds the device's turn meanwhile. Launching is short, since nothing waits inside. The CPU has no
// queue: nothing is held.
#pragma once
#include <mutex>

#include "device/device.h"

namespace floe {

class DeviceTurn {
 public:
  explicit DeviceTurn(Device& device);  // waits for the turn; a thread may take it again inside

 private:
  std::unique_lock<std::recursive_mutex> lock_;
};

}  // namespace floe
