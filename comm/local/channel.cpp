#include "comm/local/channel.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace trine {

void Channel::wake() {
  const std::lock_guard lock(mutex_);
  changed_.notify_all();
}

LocalMessage::LocalMessage(Channel& channel, Kind kind, void* data, size_t bytes, const RankFate& peer)
    : channel_(channel), kind_(kind), data_(data), bytes_(bytes), peer_(peer) {
  const std::lock_guard lock(channel_.mutex_);
  std::deque<LocalMessage*>& queue = channel_.unmatched_;
  if (queue.empty() || queue.front()->kind_ == kind_) {
    queue.push_back(this);
    return;
  }
  partner_ = queue.front();
  TRINE_CHECK(partner_->bytes_ == bytes_, "a message of {} bytes meets one of {}", bytes_, partner_->bytes_);
  queue.pop_front();
  partner_->partner_ = this;
  state_ = partner_->state_ = State::kMatched;
  channel_.changed_.notify_all();
}

LocalMessage::~LocalMessage() {
  std::unique_lock lock(channel_.mutex_);
  if (state_ == State::kUnmatched) std::erase(channel_.unmatched_, this);
  if (state_ == State::kMatched) copy(lock);  // the partner counts on it
  while (state_ == State::kCopying) channel_.changed_.wait(lock);
}

// Outside the lock, so that both threads of an exchange copy at once: each what it waits for.
void LocalMessage::copy(std::unique_lock<std::mutex>& lock) {
  state_ = partner_->state_ = State::kCopying;
  lock.unlock();
  const LocalMessage& source = kind_ == kSend ? *this : *partner_;
  const LocalMessage& dest = kind_ == kSend ? *partner_ : *this;
  if (bytes_ > 0) std::memcpy(dest.data_, source.data_, bytes_);
  lock.lock();
  state_ = partner_->state_ = State::kDone;
  channel_.changed_.notify_all();
}

void LocalMessage::throw_if_lost() const {
  if (peer_.ended()) throw PeerLostError(peer_.reason());
}

bool LocalMessage::test() {
  std::unique_lock lock(channel_.mutex_);
  if (state_ == State::kUnmatched) throw_if_lost();
  if (state_ == State::kMatched) copy(lock);
  return state_ == State::kDone;
}

bool LocalMessage::wait(Deadline deadline) {
  std::unique_lock lock(channel_.mutex_);
  while (true) {
    if (state_ == State::kMatched) copy(lock);
    if (state_ == State::kDone) return true;
    if (state_ == State::kUnmatched) throw_if_lost();
    if (!deadline || state_ == State::kCopying) {
      channel_.changed_.wait(lock);
    } else if (channel_.changed_.wait_until(lock, *deadline) == std::cv_status::timeout) {
      if (state_ == State::kUnmatched) return false;
    }
  }
}

}  // namespace trine
