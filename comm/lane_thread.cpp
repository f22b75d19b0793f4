#include "comm/lane_thread.h"

#include <pthread.h>

#include "base/error.h"

namespace trine {

LaneThread::LaneThread(const std::string& name) : thread_([this] { run(); }) {
  pthread_setname_np(thread_.native_handle(), name.substr(0, 15).c_str());
}

LaneThread::~LaneThread() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

LaneThread::Ticket LaneThread::enqueue(Operation operation) {
  const std::lock_guard lock(mutex_);
  queue_.push_back(std::move(operation));
  changed_.notify_all();
  return ++num_enqueued_;
}

void LaneThread::wait(Ticket ticket) {
  std::unique_lock lock(mutex_);
  TRINE_CHECK(ticket <= num_enqueued_, "ticket {} of {}", ticket, num_enqueued_);
  changed_.wait(lock, [&] { return settled(ticket); });
  if (ticket > num_done_) std::rethrow_exception(error_);
}

bool LaneThread::done(Ticket ticket) {
  const std::lock_guard lock(mutex_);
  return settled(ticket);
}

void LaneThread::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return stop_ || !queue_.empty(); });
    if (stop_) return;
    Operation operation = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    std::exception_ptr error;
    try {
      operation();
    } catch (...) {
      error = std::current_exception();
    }
    operation = nullptr;  // what it captured goes before anybody is told that it is done
    lock.lock();
    if (error != nullptr) {
      error_ = error;
      stop_ = true;
    } else {
      ++num_done_;
    }
    changed_.notify_all();
  }
}

}  // namespace trine
