// One NCCL communicator.
#pragma once

#include <atomic>
#include <chrono>
#include <string>

#include "comm/device_group.h"
#include "comm/nccl/nccl_library.h"

namespace trine {

class NcclGroup final : public DeviceGroup {
 public:
  // Collective over the `size` ranks that have the same `id`; the calling thread's device takes part. `name`: for
  // messages. HangError if the others do not come within `timeout` (0: wait for ever).
  NcclGroup(const NcclLibrary& nccl, std::string name, const ncclUniqueId& id, int rank, int size,
            std::chrono::milliseconds timeout);
  ~NcclGroup() override;
  NcclGroup(const NcclGroup&) = delete;
  NcclGroup& operator=(const NcclGroup&) = delete;

  void all_reduce(void* data, int64_t count, DType dtype, ReduceOp op, void* queue) override;
  void reduce_scatter(const void* input, void* shard, int64_t count, DType dtype, int64_t unit,
                      void* queue) override;
  void all_gather(const void* shard, void* output, int64_t count, DType dtype, int64_t unit, void* queue) override;
  void send(const void* data, int64_t count, DType dtype, int peer, void* queue) override;
  void receive(void* data, int64_t count, DType dtype, int peer, void* queue) override;

  const std::string& name() const { return name_; }
  void check();                               // DeviceWorld::check() of this group
  void abort(const std::exception_ptr& why);  // likewise; once

 private:
  // The communicator, unless it was aborted.
  ncclComm_t comm() const;
  // Until a call that returned `result` has been enqueued: a communicator that does not block may take a while.
  void settle(ncclResult_t result, const char* call);

  const NcclLibrary& nccl_;
  const std::string name_;
  const int rank_, size_;
  const std::chrono::milliseconds timeout_;
  ncclComm_t comm_ = nullptr;
  std::exception_ptr why_;  // read once aborted_ is true
  std::atomic<bool> aborted_ = false;
};

}  // namespace trine
