// One pool for all sessions of a process. Threads spin for at most 50 us, then sleep, so that a decoder's
// many short steps do not pay a wake-up each and an idle program uses no CPU. A job waits only for the
// threads that joined it: one that is asleep or not scheduled costs it nothing. How work is cut never depends
// on the number of threads where results could (docs/numerics.md): kernels choose their blocks, the pool only
// hands them out.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>

namespace floe {

class ThreadPool {
 public:
  // Counting the caller's; at least 1. Throws Error{device} when the system gives no more threads.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }

  // Calls body(i, worker) once for each i in 0..n-1, on any thread in any order; worker in 0..threads()-1
  // names scratch space that no other running body of this pool uses. The first exception is thrown again
  // here, once every body has returned; items not begun by then are left out. Calls from several threads take
  // turns. A call from inside a body runs on that thread alone, as that thread's worker.
  void run(int64_t n, const std::function<void(int64_t i, int worker)>& body);

  // Cuts 0..n-1 into ranges of `grain` (the last may be shorter): body(begin, end, worker).
  void run_ranges(int64_t n, int64_t grain,
                  const std::function<void(int64_t begin, int64_t end, int worker)>& body);

 private:
  struct Shared;
  int threads_;
  std::unique_ptr<Shared> shared_;
};

}  // namespace floe
