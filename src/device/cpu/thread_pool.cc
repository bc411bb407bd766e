// A job is one word, the ticket: (generation, open, how many workers have joined). run() fills in the job,
// then stores a new generation with `open`; a worker joins by adding one while the job is open; run() closes
// it when no item is left and waits for the joined ones to leave. Nobody can join a closed job, so its fields
// may be rewritten.
#include "device/cpu/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"

namespace floe {
namespace {

constexpr auto kSpin = std::chrono::microseconds(50);
constexpr uint64_t kJoined = 0xffff;
constexpr uint64_t kOpen = 0x10000;
constexpr int kGenerationShift = 17;
constexpr int kMaxThreads = 1024;  // far below kJoined

// Which body of which pool this thread is in.
struct Inside {
  const void* pool = nullptr;
  int worker = 0;
};
thread_local Inside inside;

class Enter {
 public:
  Enter(const void* pool, int worker) : before_(inside) { inside = {pool, worker}; }
  ~Enter() { inside = before_; }
  Enter(const Enter&) = delete;
  Enter& operator=(const Enter&) = delete;

 private:
  Inside before_;
};

// Spins until ready() or kSpin has passed; whether it was ready.
template <class Ready>
bool spin(Ready ready) {
  const auto start = std::chrono::steady_clock::now();
  do {
    for (int k = 0; k < 32; ++k) {
      if (ready()) return true;
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
  } while (std::chrono::steady_clock::now() - start < kSpin);
  return false;
}

}  // namespace

struct ThreadPool::Shared {
  std::mutex callers;  // one job at a time
  std::mutex mutex;    // for the two conditions
  std::condition_variable wake;
  std::condition_variable left;
  std::atomic<uint64_t> ticket{0};
  std::atomic<bool> stop{false};

  // The job. Written by the caller while no worker has joined.
  const std::function<void(int64_t, int)>* body = nullptr;
  int64_t n = 0;
  std::atomic<int64_t> next{0};
  std::mutex error_mutex;
  std::exception_ptr error;

  std::vector<std::thread> workers;

  void work(int worker) {
    const Enter enter(this, worker);
    for (;;) {
      const int64_t i = next.fetch_add(1, std::memory_order_relaxed);
      if (i >= n) return;
      try {
        (*body)(i, worker);
      } catch (...) {
        const std::lock_guard lock(error_mutex);
        if (error == nullptr) error = std::current_exception();
        next.store(n, std::memory_order_relaxed);
      }
    }
  }

  void loop(int worker) {
    uint64_t seen = 0;
    const auto news = [&] {
      return ticket.load(std::memory_order_acquire) >> kGenerationShift != seen ||
             stop.load(std::memory_order_acquire);
    };
    for (;;) {
      if (!spin(news)) {
        std::unique_lock lock(mutex);
        wake.wait(lock, news);
      }
      if (stop.load(std::memory_order_acquire)) return;
      uint64_t now = ticket.load(std::memory_order_acquire);
      bool joined = false;
      while ((now & kOpen) != 0 && !joined) {
        joined =
            ticket.compare_exchange_weak(now, now + 1, std::memory_order_acq_rel, std::memory_order_acquire);
      }
      seen = now >> kGenerationShift;
      if (!joined) continue;
      work(worker);
      const uint64_t before = ticket.fetch_sub(1, std::memory_order_acq_rel);
      if ((before & kOpen) == 0 && (before & kJoined) == 1) {
        // Taking the lock orders this after a caller's look at the ticket and before its sleep.
        {
          const std::lock_guard lock(mutex);
        }
        left.notify_one();
      }
    }
  }

  void halt() {
    {
      const std::lock_guard lock(mutex);
      stop.store(true);
    }
    wake.notify_all();
    for (std::thread& worker : workers) worker.join();
  }
};

ThreadPool::ThreadPool(int threads)
    : threads_(std::clamp(threads, 1, kMaxThreads)), shared_(std::make_unique<Shared>()) {
  try {
    for (int worker = 1; worker < threads_; ++worker) {
      shared_->workers.emplace_back([shared = shared_.get(), worker] { shared->loop(worker); });
    }
  } catch (const std::system_error& error) {
    shared_->halt();
    throw Error(ErrorKind::device, fmt::format("cannot start {} threads: {}", threads_, error.what()));
  }
}

ThreadPool::~ThreadPool() { shared_->halt(); }

void ThreadPool::run(int64_t n, const std::function<void(int64_t, int)>& body) {
  if (n <= 0) return;
  Shared& shared = *shared_;
  if (inside.pool != nullptr) {
    // In another pool's body nobody waits for this pool, which could lock both up; worker 0 is then the
    // caller's care.
    const int worker = inside.pool == &shared ? inside.worker : 0;
    for (int64_t i = 0; i < n; ++i) body(i, worker);
    return;
  }
  const std::lock_guard turn(shared.callers);
  if (n == 1 || threads_ == 1) {
    const Enter enter(&shared, 0);
    for (int64_t i = 0; i < n; ++i) body(i, 0);
    return;
  }
  shared.body = &body;
  shared.n = n;
  shared.error = nullptr;
  shared.next.store(0, std::memory_order_relaxed);
  {
    const std::lock_guard lock(shared.mutex);
    const uint64_t generation = (shared.ticket.load(std::memory_order_relaxed) >> kGenerationShift) + 1;
    shared.ticket.store(generation << kGenerationShift | kOpen, std::memory_order_release);
  }
  shared.wake.notify_all();  // no system call when nobody sleeps
  shared.work(0);
  shared.ticket.fetch_and(~kOpen, std::memory_order_acq_rel);
  const auto all_left = [&] { return (shared.ticket.load(std::memory_order_acquire) & kJoined) == 0; };
  if (!spin(all_left)) {
    std::unique_lock lock(shared.mutex);
    shared.left.wait(lock, all_left);
  }
  if (shared.error != nullptr) std::rethrow_exception(std::exchange(shared.error, nullptr));
}

void ThreadPool::run_ranges(int64_t n, int64_t grain,
                            const std::function<void(int64_t, int64_t, int)>& body) {
  if (n <= 0) return;
  const int64_t step = std::max<int64_t>(1, grain);
  run(n / step + (n % step != 0 ? 1 : 0),
      [&](int64_t i, int worker) { body(i * step, std::min(n - i * step, step) + i * step, worker); });
}

}  // namespace floe
