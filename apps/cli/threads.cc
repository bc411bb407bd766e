#include "threads.h"

#include <fmt/core.h>
#include <sched.h>

#include <algorithm>
#include <thread>

#include "base/error.h"
#include "command.h"

namespace floe {
namespace {

constexpr int kMaxThreads = 1024;

}  // namespace

int thread_count(int asked) {
  if (asked < 0 || asked > kMaxThreads)
    throw UsageError(fmt::format("--threads is {}; it must lie between 1 and {}", asked, kMaxThreads));
  if (asked > 0) return asked;
  cpu_set_t allowed;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) == 0) return CPU_COUNT(&allowed);
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

std::unique_ptr<Device> device_of(const std::string& name, int threads) {
  DeviceKind kind = DeviceKind::cpu;
  try {
    parse(name, &kind);
  } catch (const Error& error) {
    throw UsageError(fmt::format("--device: {}", error.what()));
  }
  return open_device(kind, thread_count(threads));
}

}  // namespace floe
