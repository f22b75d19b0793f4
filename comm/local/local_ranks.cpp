#include "comm/local/local_ranks.h"

#include <exception>
#include <fmt/core.h>
#include <map>
#include <mutex>
#include <thread>
#include <tuple>

#include "base/error.h"
#include "comm/local/channel.h"

namespace trine {
namespace {

// What the ranks of one job share.
class Hub {
 public:
  explicit Hub(int num_ranks) : num_ranks_(num_ranks), fates_(num_ranks) {}

  int num_ranks() const { return num_ranks_; }
  std::exception_ptr first_error() const { return error_; }
  RankFate& fate(int rank) { return fates_[rank]; }

  Channel& channel(int group, int source, int dest, int tag) {
    const std::lock_guard lock(mutex_);
    return channels_[{group, source, dest, tag}];
  }

  // Rank has returned or (error) thrown: nobody waits for it any more, nor after an error for any other.
  void end(int rank, std::exception_ptr error, const std::string& reason) {
    const std::lock_guard lock(mutex_);
    if (error != nullptr && error_ == nullptr) {
      error_ = error;
      for (RankFate& fate : fates_) fate.end(fmt::format("rank {} failed: {}", rank, reason));
    }
    fates_[rank].end(fmt::format("rank {} has ended.", rank));
    for (auto& [key, channel] : channels_) channel.wake();
  }

 private:
  const int num_ranks_;
  std::vector<RankFate> fates_;
  std::mutex mutex_;
  std::map<std::tuple<int, int, int, int>, Channel> channels_;
  std::exception_ptr error_;
};

class LocalTransport final : public Transport {
 public:
  LocalTransport(Hub& hub, int group, int rank, std::vector<int> ranks)
      : hub_(hub), group_(group), rank_(rank), ranks_(std::move(ranks)) {}

  std::unique_ptr<Message> send(const void* data, size_t bytes, int peer, int tag) override {
    Channel*& channel = sends_[{peer, tag}];
    if (channel == nullptr) channel = &hub_.channel(group_, rank_, ranks_[peer], tag);
    // A send only reads through this pointer.
    return std::make_unique<LocalMessage>(*channel, LocalMessage::kSend, const_cast<void*>(data), bytes,
                                          hub_.fate(ranks_[peer]));
  }
  std::unique_ptr<Message> receive(void* data, size_t bytes, int peer, int tag) override {
    Channel*& channel = receives_[{peer, tag}];
    if (channel == nullptr) channel = &hub_.channel(group_, ranks_[peer], rank_, tag);
    return std::make_unique<LocalMessage>(*channel, LocalMessage::kReceive, data, bytes, hub_.fate(ranks_[peer]));
  }

 private:
  Hub& hub_;
  const int group_, rank_;
  const std::vector<int> ranks_;
  std::map<std::pair<int, int>, Channel*> sends_, receives_;  // by peer and tag; spares the hub's lock
};

class LocalFabric final : public Fabric {
 public:
  LocalFabric(Hub& hub, int rank) : hub_(hub), rank_(rank) {}
  int rank() const override { return rank_; }
  int num_ranks() const override { return hub_.num_ranks(); }
  // The count of calls names the group: of all groups connected by the same call a rank is in one only.
  std::unique_ptr<Transport> connect(const std::vector<int>& ranks) override {
    return std::make_unique<LocalTransport>(hub_, num_groups_++, rank_, ranks);
  }
  void give_up(std::exception_ptr error) override {
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& known) {
      hub_.end(rank_, error, known.what());
    } catch (...) {
      hub_.end(rank_, error, "an unknown exception");
    }
  }

 private:
  Hub& hub_;
  const int rank_;
  int num_groups_ = 0;
};

void run_rank(Hub& hub, int rank, const std::function<void(Fabric&)>& program) {
  LocalFabric fabric(hub, rank);
  try {
    program(fabric);
    hub.end(rank, nullptr, "");
  } catch (...) {
    fabric.give_up(std::current_exception());
  }
}

}  // namespace

void run_local_ranks(int num_ranks, const std::function<void(Fabric&)>& program) {
  Hub hub(num_ranks);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < num_ranks; ++rank) {
    try {
      threads.emplace_back(run_rank, std::ref(hub), rank, std::cref(program));
    } catch (const std::system_error& error) {  // no more threads: those that run must not wait for this rank
      hub.end(rank, std::current_exception(), error.what());
      break;
    }
  }
  for (std::thread& thread : threads) thread.join();
  if (hub.first_error() != nullptr) std::rethrow_exception(hub.first_error());
}

}  // namespace trine
