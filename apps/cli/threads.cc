#include "threads.h"

#include <fmt/core.h>
#include <sched.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <thread>

#include "base/bytes.h"
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

void DeviceFlags::add_to(CLI::App& app) {
  app.add_option("--device", device, "cpu (unless given) or cuda");
  app.add_option("--threads", threads, "processor threads; all of them unless given");
  app.add_option("--memory-limit", memory_limit, "of the device: bytes, or a number with KiB, MiB or GiB");
}

std::unique_ptr<Device> DeviceFlags::open() const {
  DeviceKind kind = DeviceKind::cpu;
  size_t limit = Device::kNoLimit;
  try {
    parse(device, &kind);
  } catch (const Error& error) {
    throw UsageError(fmt::format("--device: {}", error.what()));
  }
  try {
    if (!memory_limit.empty()) limit = parse_bytes(memory_limit);
  } catch (const Error& error) {
    throw UsageError(fmt::format("--memory-limit: {}", error.what()));
  }
  std::unique_ptr<Device> opened = open_device(kind, thread_count(threads));
  opened->set_memory_limit(limit);
  return opened;
}

}  // namespace floe
