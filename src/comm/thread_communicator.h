// Ranks as threads of one process: tensor parallelism without a launcher, for tests and for machines with
// many cores. Each collective waits for the others with a deadline, so a rank that died or took another way
// is an error that names it, never a hang.
#pragma once
#include <chrono>
#include <functional>
#include <memory>
#include <vector>

#include "comm/communicator.h"

namespace floe {

struct ThreadRanksOptions {
  int ranks = 2;
  std::chrono::milliseconds deadline{60000};  // for the slowest rank to come to a collective
};

// The ranks' communicators; each is used by one thread.
std::vector<std::unique_ptr<Communicator>> make_thread_communicators(const ThreadRanksOptions& options);

// Runs body(communicator) on one thread a rank and waits for all. When one throws, the others are woken; the
// first error is thrown again here.
void run_ranks(const ThreadRanksOptions& options, const std::function<void(Communicator&)>& body);

}  // namespace floe
