// The rendezvous of two threads: messages of one direction and tag between two local ranks.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>

#include "comm/transport.h"

namespace trine {

// Whether a rank still runs, and why not. Set at most once with effect; read by whoever waits for it.
class RankFate {
 public:
  void end(const std::string& reason) {  // REQUIRES: one caller at a time
    if (ended_) return;
    reason_ = reason;
    ended_ = true;
  }
  bool ended() const { return ended_; }
  const std::string& reason() const { return reason_; }  // REQUIRES: ended()

 private:
  std::string reason_;
  std::atomic<bool> ended_ = false;
};

class LocalMessage;

class Channel {
 public:
  // Lets every waiting thread look again at its peer's fate.
  void wake();

 private:
  friend class LocalMessage;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<LocalMessage*> unmatched_;  // all sends or all receives
};

class LocalMessage final : public Message {
 public:
  enum Kind { kSend, kReceive };
  // CheckError if the message that it meets has another size.
  LocalMessage(Channel& channel, Kind kind, void* data, size_t bytes, const RankFate& peer);
  ~LocalMessage() override;
  bool test() override;
  bool wait(Deadline deadline) override;

 private:
  enum class State { kUnmatched, kMatched, kCopying, kDone };
  void copy(std::unique_lock<std::mutex>& lock);
  void throw_if_lost() const;

  Channel& channel_;
  const Kind kind_;
  void* const data_;
  const size_t bytes_;
  const RankFate& peer_;
  LocalMessage* partner_ = nullptr;
  State state_ = State::kUnmatched;  // guarded by the channel's mutex, as partner_ is
};

}  // namespace trine
