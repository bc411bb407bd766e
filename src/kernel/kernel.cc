#include "kernel/kernel.h"

#include "base/error.h"

namespace floe {

void KernelTable::add(Kernel kernel) { kernels_.push_back(std::move(kernel)); }

const Kernel* KernelTable::find(DeviceKind device, const KernelSignature& signature) const {
  for (auto at = kernels_.rbegin(); at != kernels_.rend(); ++at) {
    if (at->device == device && at->op == signature.op && at->supports(signature)) return &*at;
  }
  return nullptr;
}

const Kernel& KernelTable::named(DeviceKind device, std::string_view name) const {
  for (const Kernel& kernel : kernels_) {
    if (kernel.device == device && kernel.name == name) return kernel;
  }
  fail_bug(__FILE__, __LINE__, fmt::format("no {} kernel named '{}'", name_of(device), name));
}

}  // namespace floe
