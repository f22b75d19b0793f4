#include "comm/nccl/nccl_group.h"

#include <future>
#include <memory>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/shape.h"

namespace trine {
namespace {

ncclDataType_t type_of(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return ncclFloat32;
    case DType::kBF16:
      return ncclBfloat16;
    case DType::kF16:
      return ncclFloat16;
    case DType::kI32:
      return ncclInt32;
    case DType::kI64:
      return ncclInt64;
    case DType::kU8:
      return ncclUint8;
  }
  return ncclUint8;
}

cudaStream_t stream_of(void* queue) { return static_cast<cudaStream_t>(queue); }

}  // namespace

// NCCL's own call cannot be given up: it is made by a thread that can be left behind.
ncclComm_t NcclGroup::connect(const ncclUniqueId& id) const {
  struct Start {
    ncclComm_t comm = nullptr;
    std::promise<ncclResult_t> result;
  };
  const auto start = std::make_shared<Start>();
  std::future<ncclResult_t> result = start->result.get_future();
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 1;
  if (options_.max_ctas > 0) config.maxCTAs = options_.max_ctas;
  std::thread([start, id, config, rank = rank_, size = size_, init = nccl_.CommInitRankConfig,
               activate = options_.activate_device]() mutable {
    try {
      activate();
      start->result.set_value(init(&start->comm, size, id, rank, &config));
    } catch (...) {
      start->result.set_exception(std::current_exception());
    }
  }).detach();
  if (options_.timeout.count() > 0 && result.wait_for(options_.timeout) != std::future_status::ready)
    throw HangError(
        fmt::format("[comm] rank {} of group {} in ncclCommInitRankConfig: the other ranks did not come within {} "
                    "s. Look at what they do, or raise --timeout if they are only slow.",
                    rank_, name(), static_cast<double>(options_.timeout.count()) / 1e3));
  nccl_.check(result.get(), "ncclCommInitRankConfig");
  return start->comm;
}

NcclGroup::NcclGroup(const NcclLibrary& nccl, NcclTurn& turn, Options options, const ncclUniqueId& id, int rank,
                     int size)
    : nccl_(nccl), turn_(turn), options_(std::move(options)), rank_(rank), size_(size), comm_(connect(id)) {}

// Ends without the others: at this point all work is done, or the group is broken.
NcclGroup::~NcclGroup() {
  if (!aborted_) nccl_.CommAbort(comm_);
}

template <typename Call>
void NcclGroup::enqueue(const char* name, Call&& call) {
  const std::lock_guard lock(turn_);
  if (aborted_) std::rethrow_exception(why_);
  const ncclResult_t result = call(comm_);
  if (aborted_) std::rethrow_exception(why_);  // what the call says now is only a consequence
  nccl_.check(result, name, comm_);
}

template <typename Call>
ncclResult_t NcclGroup::in_group(Call&& call) const {
  ncclResult_t result = nccl_.GroupStart();
  for (int r = 0; r < size_ && result == ncclSuccess; ++r) result = call(r);
  const ncclResult_t end = nccl_.GroupEnd();  // also after a failure: the thread would stay in the group
  return result == ncclSuccess ? end : result;
}

void NcclGroup::all_reduce(void* data, int64_t count, DType dtype, ReduceOp op, void* queue) {
  enqueue("ncclAllReduce", [&](ncclComm_t comm) {
    return nccl_.AllReduce(data, data, static_cast<size_t>(count), type_of(dtype),
                           op == ReduceOp::kSum ? ncclSum : ncclMax, comm, stream_of(queue));
  });
}

// NCCL's own takes shards of one size. Else each shard is a reduction of its own, all in one group.
void NcclGroup::reduce_scatter(const void* input, void* shard, int64_t count, DType dtype, int64_t unit,
                               void* queue) {
  enqueue("ncclReduceScatter", [&](ncclComm_t comm) {
    if (count % size_ == 0)
      return nccl_.ReduceScatter(input, shard, static_cast<size_t>(count / size_ * unit), type_of(dtype), ncclSum,
                                 comm, stream_of(queue));
    const auto element = static_cast<int64_t>(size_bytes(dtype)) * unit;
    return in_group([&](int r) {
      const auto size = static_cast<size_t>(split_size(count, size_, r) * unit);
      const void* from = static_cast<const std::byte*>(input) + split_begin(count, size_, r) * element;
      return size == 0 ? ncclSuccess
                       : nccl_.Reduce(from, shard, size, type_of(dtype), ncclSum, r, comm, stream_of(queue));
    });
  });
}

// Likewise: uneven shards are messages from everybody to everybody.
void NcclGroup::all_gather(const void* shard, void* output, int64_t count, DType dtype, int64_t unit, void* queue) {
  enqueue("ncclAllGather", [&](ncclComm_t comm) {
    if (count % size_ == 0)
      return nccl_.AllGather(shard, output, static_cast<size_t>(count / size_ * unit), type_of(dtype), comm,
                             stream_of(queue));
    const auto element = static_cast<int64_t>(size_bytes(dtype)) * unit;
    const auto own = static_cast<size_t>(split_size(count, size_, rank_) * unit);
    return in_group([&](int r) {
      const auto size = static_cast<size_t>(split_size(count, size_, r) * unit);
      void* to = static_cast<std::byte*>(output) + split_begin(count, size_, r) * element;
      ncclResult_t result = ncclSuccess;
      if (own > 0) result = nccl_.Send(shard, own, type_of(dtype), r, comm, stream_of(queue));
      if (size > 0 && result == ncclSuccess)
        result = nccl_.Recv(to, size, type_of(dtype), r, comm, stream_of(queue));
      return result;
    });
  });
}

void NcclGroup::send(const void* data, int64_t count, DType dtype, int peer, void* queue) {
  enqueue("ncclSend", [&](ncclComm_t comm) {
    return nccl_.Send(data, static_cast<size_t>(count), type_of(dtype), peer, comm, stream_of(queue));
  });
}

void NcclGroup::receive(void* data, int64_t count, DType dtype, int peer, void* queue) {
  enqueue("ncclRecv", [&](ncclComm_t comm) {
    return nccl_.Recv(data, static_cast<size_t>(count), type_of(dtype), peer, comm, stream_of(queue));
  });
}

void NcclGroup::check() {
  const std::unique_lock lock(turn_, std::try_to_lock);
  if (!lock || aborted_) return;
  ncclResult_t state = ncclSuccess;
  nccl_.check(nccl_.CommGetAsyncError(comm_, &state), "ncclCommGetAsyncError", comm_);
  if (state != ncclSuccess && state != ncclInProgress)
    throw PeerLostError(fmt::format("[comm] rank {} of group {}: {}. {}", rank_, name(),
                                    nccl_.GetErrorString(state), nccl_.GetLastError(comm_)));
}

void abort_groups(const NcclLibrary& nccl, NcclTurn& turn, std::span<NcclGroup* const> groups,
                  const std::exception_ptr& why) {
  std::vector<NcclGroup*> ours;
  for (NcclGroup* group : groups) {
    group->why_ = why;
    if (!group->aborted_.exchange(true)) ours.push_back(group);
  }
  const std::unique_lock lock(turn, std::chrono::seconds(1));  // or without: the other thread is stuck
  nccl.GroupStart();
  for (NcclGroup* group : ours) nccl.CommAbort(group->comm_);
  nccl.GroupEnd();
}

}  // namespace trine
