// A process that answers one question after another, so that what it needs (a device, a library) is opened
// once and two of them can take turns.
#pragma once
#include <sys/types.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace floe {

// It reads questions from its standard input, a JSON object a line, and prints an object a line for each;
// other lines that it prints are passed over. Its standard error is ours.
class Talk {
 public:
  // Throws Error{io} when no process can be made.
  explicit Talk(const std::vector<std::string>& command);
  ~Talk();  // ends its input and waits for it
  Talk(const Talk&) = delete;
  Talk& operator=(const Talk&) = delete;

  // Throws Error{io} naming the command when it does not start or ends instead of answering.
  nlohmann::ordered_json ask(const nlohmann::ordered_json& question);

 private:
  [[noreturn]] void fail();
  int wait();  // its status

  std::string shown_;
  pid_t child_ = -1;
  int socket_ = -1;
  std::string unread_;
};

}  // namespace floe
