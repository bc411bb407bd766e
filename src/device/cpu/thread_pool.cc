#include "device/cpu/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace floe {
namespace {

constexpr auto kSpin = std::chrono::microseconds(50);
thread_local bool inside_body = false;

void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

struct ThreadPool::Shared {
  // A job is one call of run(). `generation` announces it; `left` counts workers that have not finished with
  // it.
  std::mutex callers;  // one job at a time
  std::mutex mutex;
  std::condition_variable wake;
  std::atomic<uint64_t> generation{0};
  std::atomic<bool> stop{false};
  std::atomic<int> sleeping{0};

  const std::function<void(int64_t, int)>* body = nullptr;
  int64_t n = 0;
  std::atomic<int64_t> next{0};
  std::atomic<int> left{0};
  std::mutex error_mutex;
  std::exception_ptr error;
  std::vector<std::thread> workers;

  void work(int worker) {
    inside_body = true;
    for (;;) {
      const int64_t i = next.fetch_add(1, std::memory_order_relaxed);
      if (i >= n) break;
      try {
        (*body)(i, worker);
      } catch (...) {
        const std::lock_guard lock(error_mutex);
        if (error == nullptr) error = std::current_exception();
        next.store(n, std::memory_order_relaxed);
      }
    }
    inside_body = false;
  }

  void loop(int worker) {
    uint64_t seen = 0;
    for (;;) {
      const auto start = std::chrono::steady_clock::now();
      while (generation.load(std::memory_order_acquire) == seen && !stop.load(std::memory_order_acquire)) {
        for (int k = 0; k < 32; ++k) pause_cpu();
        if (std::chrono::steady_clock::now() - start < kSpin) continue;
        std::unique_lock lock(mutex);
        sleeping.fetch_add(1);
        wake.wait(lock, [&] { return generation.load() != seen || stop.load(); });
        sleeping.fetch_sub(1);
      }
      if (stop.load(std::memory_order_acquire)) return;
      seen = generation.load(std::memory_order_acquire);
      work(worker);
      left.fetch_sub(1, std::memory_order_release);
    }
  }
};

ThreadPool::ThreadPool(int threads) : threads_(std::max(1, threads)), shared_(std::make_unique<Shared>()) {
  for (int worker = 1; worker < threads_; ++worker) {
    shared_->workers.emplace_back([shared = shared_.get(), worker] { shared->loop(worker); });
  }
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->stop.store(true);
  }
  shared_->wake.notify_all();
  for (std::thread& worker : shared_->workers) worker.join();
}

void ThreadPool::run(int64_t n, const std::function<void(int64_t, int)>& body) {
  if (n <= 0) return;
  if (n == 1 || threads_ == 1 || inside_body) {
    // Worker 0's scratch space is free: either no other thread works, or this is a body whose caller knows.
    for (int64_t i = 0; i < n; ++i) body(i, 0);
    return;
  }
  const std::lock_guard turn(shared_->callers);
  shared_->body = &body;
  shared_->n = n;
  shared_->error = nullptr;
  shared_->next.store(0, std::memory_order_relaxed);
  shared_->left.store(threads_ - 1, std::memory_order_relaxed);
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->generation.fetch_add(1, std::memory_order_release);
  }
  if (shared_->sleeping.load() > 0) shared_->wake.notify_all();
  shared_->work(0);
  while (shared_->left.load(std::memory_order_acquire) > 0) pause_cpu();
  if (shared_->error != nullptr) std::rethrow_exception(shared_->error);
}

void ThreadPool::run_ranges(int64_t n, int64_t grain,
                            const std::function<void(int64_t, int64_t, int)>& body) {
  if (n <= 0) return;
  const int64_t step = std::max<int64_t>(1, grain);
  run((n + step - 1) / step,
      [&](int64_t i, int worker) { body(i * step, std::min(n, (i + 1) * step), worker); });
}

}  // namespace floe
