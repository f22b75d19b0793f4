// One NCCL communicator, and who may call NCCL when.
//
// NCCL forbids two threads to use one communicator, or two communicators of one device, at the same time (user
// guide, "Thread Safety"). Here two threads have business with it: the one that enqueues, and the device's watch,
// which asks for errors and ends what hangs. So every call is made in turn, under one lock for all groups of a
// rank. Only an abort goes ahead without it, when a second has not been enough to get it: then the other thread is
// stuck inside NCCL, and an abort from outside is what NCCL provides for that.
//
// Communicators block: without that NCCL starts a host thread for every call, and an abort may go on behind main().
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <span>
#include <string>

#include "comm/device_group.h"
#include "comm/nccl/nccl_library.h"

namespace trine {

// Of all groups of one device.
using NcclTurn = std::timed_mutex;

class NcclGroup final : public DeviceGroup {
 public:
  struct Options {
    std::string name;                       // for messages
    int max_ctas = 0;                       // at most so many multiprocessors at once (0: NCCL decides)
    std::chrono::milliseconds timeout{};    // for the others to come (0: wait for ever)
    std::function<void()> activate_device;  // makes the rank's device the calling thread's
  };
  // Collective over the `size` ranks that have the same `id`. HangError if they do not come in time: then a thread
  // is left behind that waits for them, and the process has to end. `nccl` and `turn` outlive the group.
  NcclGroup(const NcclLibrary& nccl, NcclTurn& turn, Options options, const ncclUniqueId& id, int rank, int size);
  ~NcclGroup() override;
  NcclGroup(const NcclGroup&) = delete;
  NcclGroup& operator=(const NcclGroup&) = delete;

  void all_reduce(void* data, int64_t count, DType dtype, ReduceOp op, void* queue) override;
  void reduce_scatter(const void* input, void* shard, int64_t count, DType dtype, int64_t unit,
                      void* queue) override;
  void all_gather(const void* shard, void* output, int64_t count, DType dtype, int64_t unit, void* queue) override;
  void send(const void* data, int64_t count, DType dtype, int peer, void* queue) override;
  void receive(void* data, int64_t count, DType dtype, int peer, void* queue) override;

  const std::string& name() const { return options_.name; }
  // DeviceWorld::check() of this group. While another thread has its turn, nothing is asked.
  void check();

 private:
  friend void abort_groups(const NcclLibrary&, NcclTurn&, std::span<NcclGroup* const>, const std::exception_ptr&);
  ncclComm_t connect(const ncclUniqueId& id) const;
  // Calls call(communicator) in turn.
  template <typename Call>
  void enqueue(const char* name, Call&& call);
  // Calls call(r) for each rank of the group, as one operation of NCCL.
  template <typename Call>
  ncclResult_t in_group(Call&& call) const;

  const NcclLibrary& nccl_;
  NcclTurn& turn_;
  const Options options_;
  const int rank_, size_;
  ncclComm_t comm_ = nullptr;
  std::exception_ptr why_;  // read once aborted_ is true
  std::atomic<bool> aborted_ = false;
};

// Ends what the groups do, all at once: one after another, each would wait for the kernels of the next. By any
// thread; later calls do nothing.
void abort_groups(const NcclLibrary& nccl, NcclTurn& turn, std::span<NcclGroup* const> groups,
                  const std::exception_ptr& why);

}  // namespace trine
