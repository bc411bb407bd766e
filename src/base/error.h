// One way to fail. The kind says who is to blame and so which words help:
//   user    a wrong option, file or value: the message names it and what would be right
//   io      the outside world: a file that cannot be read, a disk that is full
//   device  a device or its driver
//   bug     a promise inside Floe was broken: the message names the place
#pragma once
#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace floe {

enum class ErrorKind { user, io, device, bug };

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& text) : std::runtime_error(text), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

// An Error{device}: memory that was asked for is not to be had. Nothing is broken: with less at once it may
// work.
class OutOfMemory : public Error {
 public:
  explicit OutOfMemory(const std::string& text) : Error(ErrorKind::device, text) {}
};

template <class... Args>
[[noreturn]] void fail_user(fmt::format_string<Args...> text, Args&&... args) {
  throw Error(ErrorKind::user, fmt::format(text, std::forward<Args>(args)...));
}

template <class... Args>
[[noreturn]] void fail_io(fmt::format_string<Args...> text, Args&&... args) {
  throw Error(ErrorKind::io, fmt::format(text, std::forward<Args>(args)...));
}

[[noreturn]] void fail_bug(const char* file, int line, const std::string& what);

}  // namespace floe

// A promise between parts of Floe; never a check of what a user gave.
#define FLOE_CHECK(condition, ...)                                                    \
  do {                                                                                \
    if (!(condition)) ::floe::fail_bug(__FILE__, __LINE__, fmt::format(__VA_ARGS__)); \
  } while (false)
