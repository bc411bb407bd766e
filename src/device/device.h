// Which kind of device a program runs on.
#pragma once
#include <string_view>

namespace floe {

enum class DeviceKind { cpu, cuda };

constexpr std::string_view name_of(DeviceKind kind) { return kind == DeviceKind::cpu ? "cpu" : "cuda"; }

}  // namespace floe
