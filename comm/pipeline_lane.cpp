#include "comm/pipeline_lane.h"

#include <algorithm>
#include <chrono>
#include <pthread.h>

#include "base/clock.h"
#include "base/error.h"

namespace trine {
namespace {

// Between two looks at messages that do not move: a compromise of latency and of what polling costs
// 16 ranks on two cores.
constexpr std::chrono::microseconds kShortest{50}, kLongest{800};

}  // namespace

PipelineLane::PipelineLane(const std::string& name, Communicator& group)
    : group_(group), thread_([this] { poll(); }) {
  pthread_setname_np(thread_.native_handle(), name.substr(0, 15).c_str());
}

PipelineLane::~PipelineLane() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

PipelineLane::Ticket PipelineLane::send(const void* data, int64_t bytes, int peer, int tag) {
  const std::lock_guard lock(mutex_);
  return add(group_.isend(data, bytes, DType::kU8, peer, tag));
}

PipelineLane::Ticket PipelineLane::receive(void* data, int64_t bytes, int peer, int tag) {
  const std::lock_guard lock(mutex_);
  return add(group_.irecv(data, bytes, DType::kU8, peer, tag));
}

PipelineLane::Ticket PipelineLane::add(Request request) {
  outstanding_.push_back({++last_ticket_, std::move(request)});
  changed_.notify_all();
  return last_ticket_;
}

int64_t PipelineLane::wait(Ticket ticket) {
  std::unique_lock lock(mutex_);
  const auto done =
      std::find_if(completed_.begin(), completed_.end(), [&](const auto& c) { return c.first == ticket; });
  if (done != completed_.end()) {
    const int64_t when = done->second;
    completed_.erase(done);
    return when;
  }
  const auto found = std::find_if(outstanding_.begin(), outstanding_.end(),
                                  [&](const Outstanding& o) { return o.ticket == ticket; });
  if (found == outstanding_.end()) return 0;  // waited for before
  std::list<Outstanding> mine;
  mine.splice(mine.begin(), outstanding_, found);
  lock.unlock();
  mine.front().request.wait();
  return now_ns();
}

void PipelineLane::wait_all() {
  while (true) {
    Ticket next = 0;
    {
      const std::lock_guard lock(mutex_);
      completed_.clear();
      if (outstanding_.empty()) return;
      next = outstanding_.front().ticket;
    }
    wait(next);
  }
}

bool PipelineLane::test_all() {
  bool moved = false;
  for (auto it = outstanding_.begin(); it != outstanding_.end();) {
    if (!it->request.test()) {
      ++it;
      continue;
    }
    completed_.emplace_back(it->ticket, now_ns());
    it = outstanding_.erase(it);
    moved = true;
  }
  return moved;
}

void PipelineLane::poll() {
  std::chrono::microseconds pause = kShortest;
  std::unique_lock lock(mutex_);
  while (!stop_) {
    if (outstanding_.empty()) {
      changed_.wait(lock);
      pause = kShortest;
      continue;
    }
    try {
      pause = test_all() ? kShortest : std::min(2 * pause, kLongest);
    } catch (const std::exception&) {
      return;  // whoever waits for the message meets the same
    }
    changed_.wait_for(lock, pause);
  }
}

}  // namespace trine
