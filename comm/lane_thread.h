// A thread that runs operations one after another: a lane of collectives beside the compute lane.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace trine {

class LaneThread {
 public:
  using Operation = std::function<void()>;
  using Ticket = int64_t;  // operations count from 1; 0 is always done

  explicit LaneThread(const std::string& name);  // the thread's name, for debuggers: at most 15 characters are kept
  // Drops what has not begun and waits for what has (which its own timeout ends).
  // An error nobody waited for is lost.
  ~LaneThread();
  LaneThread(const LaneThread&) = delete;
  LaneThread& operator=(const LaneThread&) = delete;

  Ticket enqueue(Operation operation);
  // Blocks until the operation and all before it are done. Throws what it threw; after an operation that threw, the
  // later ones do not run, and waiting for them throws the same.
  void wait(Ticket ticket);
  // True if wait() would return or throw at once.
  bool done(Ticket ticket);

 private:
  void run();
  bool settled(Ticket ticket) const { return ticket <= num_done_ || error_ != nullptr; }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Operation> queue_;
  Ticket num_enqueued_ = 0, num_done_ = 0;
  std::exception_ptr error_;
  bool stop_ = false;
  std::thread thread_;  // last: it uses all the others
};

}  // namespace trine
