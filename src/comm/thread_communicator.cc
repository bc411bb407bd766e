#include "comm/thread_communicator.h"

#include <condition_variable>
#include <cstring>
#include <exception>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "comm/combine.h"

namespace floe {
namespace {

// What the ranks share. A collective has two meetings: at the first every rank has posted its call and may
// then read the others' inputs; at the second every rank's share of the result is ready to be copied. A rank
// posts its next call while another still copies, but nobody writes a share before all have met again.
class Group {
 public:
  explicit Group(const ThreadRanksOptions& options)
      : deadline_(options.deadline), calls_(static_cast<size_t>(options.ranks)), shares_(calls_.size()) {}

  int ranks() const { return static_cast<int>(calls_.size()); }

  void post(int rank, const CollectiveCall& call) {
    meet(rank, [&] { calls_[static_cast<size_t>(rank)] = call; });
  }
  void ready(int rank) {
    meet(rank, [] {});
  }
  const CollectiveCall& call_of(int rank) const { return calls_[static_cast<size_t>(rank)]; }
  std::vector<char>& share_of(int rank) { return shares_[static_cast<size_t>(rank)]; }

  void fail(const std::string& what) {
    const std::lock_guard lock(mutex_);
    fail_locked(what);
  }

 private:
  template <class Before>
  void meet(int rank, const Before& before) {
    std::unique_lock lock(mutex_);
    throw_if_failed();
    before();
    const uint64_t meeting = meeting_;
    arrived_.push_back(rank);
    if (arrived_.size() == calls_.size()) {
      arrived_.clear();
      ++meeting_;
      if (meeting % 2 == 0) check_agreement(meeting / 2);
      changed_.notify_all();
    } else {
      const auto done = [&] { return meeting_ != meeting || !failure_.empty(); };
      if (!changed_.wait_for(lock, deadline_, done)) fail_locked(missing(meeting / 2));
    }
    throw_if_failed();
  }

  void check_agreement(uint64_t number) {
    for (int rank = 1; rank < ranks(); ++rank) {
      const std::string first = text_of(calls_[0]);
      const std::string other = text_of(calls_[static_cast<size_t>(rank)]);
      if (first == other) continue;
      fail_locked(
          fmt::format("collective {}: rank 0 comes with {}, rank {} with {}", number, first, rank, other));
    }
  }

  std::string missing(uint64_t number) const {
    std::string late;
    for (int rank = 0; rank < ranks(); ++rank) {
      bool came = false;
      for (const int each : arrived_) came = came || each == rank;
      if (!came) late += (late.empty() ? "" : ", ") + std::to_string(rank);
    }
    return fmt::format("collective {}, {}: rank {} has not come within {} ms", number,
                       text_of(calls_[static_cast<size_t>(arrived_[0])]), late, deadline_.count());
  }

  void fail_locked(const std::string& what) {
    if (failure_.empty()) failure_ = what;
    changed_.notify_all();
  }
  void throw_if_failed() const {
    if (!failure_.empty()) throw Error(ErrorKind::io, failure_);
  }

  const std::chrono::milliseconds deadline_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<CollectiveCall> calls_;
  std::vector<std::vector<char>> shares_;
  std::vector<int> arrived_;  // at the meeting that is under way
  uint64_t meeting_ = 0;
  std::string failure_;
};

int64_t product_from(const View& view, int first, int last) {
  int64_t n = 1;
  for (int i = first; i < last; ++i) n *= view.dims[static_cast<size_t>(i)];
  return n;
}

class ThreadCommunicator : public Communicator {
 public:
  ThreadCommunicator(std::shared_ptr<Group> group, int rank) : group_(std::move(group)), rank_(rank) {}

  int rank() const override { return rank_; }
  int size() const override { return group_->ranks(); }

  void run(const CollectiveCall& call) override {
    check_call(call, size());
    group_->post(rank_, call);
    if (call.op == CollectiveOp::barrier) {
      group_->ready(rank_);
    } else if (call.op == CollectiveOp::all_gather) {
      gather(call);
    } else {
      reduce(call);
    }
  }

  void abort(std::string_view reason) override {
    group_->fail(fmt::format("rank {} gave up: {}", rank_, reason));
  }

 private:
  // The ranks share the work: each reduces a part of the elements, then all read the parts they want.
  void reduce(const CollectiveCall& call) {
    const int64_t n = call.in.size();
    const size_t width = size_of(call.in.dtype);
    const auto begin_of = [&](int rank) { return n * rank / size(); };
    std::vector<const void*> ins;
    for (int r = 0; r < size(); ++r) ins.push_back(group_->call_of(r).in.data);
    std::vector<char>& share = group_->share_of(rank_);
    share.resize(static_cast<size_t>(begin_of(rank_ + 1) - begin_of(rank_)) * width);
    combine(call.op, call.in.dtype, ins, begin_of(rank_), begin_of(rank_ + 1), share.data());
    group_->ready(rank_);
    auto* out = static_cast<char*>(call.out.data);
    if (call.op == CollectiveOp::reduce_scatter) {
      const int64_t inner = product_from(call.out, call.axis, call.out.rank);
      const int64_t outer = product_from(call.out, 0, call.axis);
      for (int64_t row = 0; row < outer; ++row) {
        copy_result(begin_of, (row * size() + rank_) * inner, inner, width,
                    out + static_cast<size_t>(row * inner) * width);
      }
    } else {
      copy_result(begin_of, 0, n, width, out);
    }
  }

  // Elements begin..begin+count-1 of the reduced tensor, which lies in the ranks' shares.
  template <class BeginOf>
  void copy_result(const BeginOf& begin_of, int64_t begin, int64_t count, size_t width, char* out) const {
    for (int r = 0; r < size(); ++r) {
      const int64_t from = std::max(begin, begin_of(r));
      const int64_t to = std::min(begin + count, begin_of(r + 1));
      if (from >= to) continue;
      std::memcpy(out + static_cast<size_t>(from - begin) * width,
                  group_->share_of(r).data() + static_cast<size_t>(from - begin_of(r)) * width,
                  static_cast<size_t>(to - from) * width);
    }
  }

  void gather(const CollectiveCall& call) {
    const size_t chunk =
        static_cast<size_t>(product_from(call.in, call.axis, call.in.rank)) * size_of(call.in.dtype);
    const int64_t outer = product_from(call.in, 0, call.axis);
    auto* out = static_cast<char*>(call.out.data);
    for (int64_t row = 0; row < outer && chunk > 0; ++row) {
      for (int r = 0; r < size(); ++r) {
        const auto* in = static_cast<const char*>(group_->call_of(r).in.data);
        std::memcpy(out, in + static_cast<size_t>(row) * chunk, chunk);
        out += chunk;
      }
    }
    group_->ready(rank_);  // from here on the inputs may change
  }

  std::shared_ptr<Group> group_;
  int rank_;
};

}  // namespace

std::vector<std::unique_ptr<Communicator>> make_thread_communicators(const ThreadRanksOptions& options) {
  if (options.ranks < 1) fail_user("{} ranks: at least 1 is needed", options.ranks);
  auto group = std::make_shared<Group>(options);
  std::vector<std::unique_ptr<Communicator>> ranks;
  for (int r = 0; r < options.ranks; ++r) ranks.push_back(std::make_unique<ThreadCommunicator>(group, r));
  return ranks;
}

void run_ranks(const ThreadRanksOptions& options, const std::function<void(Communicator&)>& body) {
  const auto ranks = make_thread_communicators(options);
  std::mutex mutex;
  std::exception_ptr first;
  std::vector<std::thread> threads;
  for (const auto& rank : ranks) {
    threads.emplace_back([&, communicator = rank.get()] {
      const auto keep_first = [&] {
        const std::lock_guard lock(mutex);
        if (!first) first = std::current_exception();
      };
      try {
        body(*communicator);
      } catch (const std::exception& e) {
        keep_first();
        communicator->abort(e.what());
      } catch (...) {
        keep_first();
        communicator->abort("an unknown exception");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (first) std::rethrow_exception(first);
}

}  // namespace floe
