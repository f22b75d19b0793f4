#include "comm/nccl/nccl_group.h"

#include <thread>

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

NcclGroup::NcclGroup(const NcclLibrary& nccl, std::string name, const ncclUniqueId& id, int rank, int size,
                     std::chrono::milliseconds timeout)
    : nccl_(nccl), name_(std::move(name)), rank_(rank), size_(size), timeout_(timeout) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;  // so that a wait for others can end
  settle(nccl_.CommInitRankConfig(&comm_, size, id, rank, &config), "ncclCommInitRankConfig");
}

// Ends without the others: at this point all work is done, or the group is broken.
NcclGroup::~NcclGroup() {
  if (comm_ != nullptr && !aborted_) nccl_.CommAbort(comm_);
}

ncclComm_t NcclGroup::comm() const {
  if (aborted_) std::rethrow_exception(why_);
  return comm_;
}

void NcclGroup::settle(ncclResult_t result, const char* call) {
  const auto start = std::chrono::steady_clock::now();
  while (true) {
    nccl_.check(result, call, comm_);
    if (result == ncclSuccess) return;
    const auto waited = std::chrono::steady_clock::now() - start;
    if (timeout_.count() > 0 && waited >= timeout_)
      throw HangError(fmt::format(
          "[comm] rank {} of group {} in {}: the other ranks did not come within {} s. Look at what they "
          "do, or raise --timeout if they are only slow.",
          rank_, name_, call, static_cast<double>(timeout_.count()) / 1e3));
    if (waited > std::chrono::milliseconds(1)) std::this_thread::sleep_for(std::chrono::microseconds(100));
    nccl_.check(nccl_.CommGetAsyncError(comm(), &result), "ncclCommGetAsyncError", comm_);
  }
}

void NcclGroup::all_reduce(void* data, int64_t count, DType dtype, ReduceOp op, void* queue) {
  settle(nccl_.AllReduce(data, data, static_cast<size_t>(count), type_of(dtype),
                         op == ReduceOp::kSum ? ncclSum : ncclMax, comm(), stream_of(queue)),
         "ncclAllReduce");
}

// NCCL's own takes shards of one size. Else each shard is a reduction of its own, all in one group.
void NcclGroup::reduce_scatter(const void* input, void* shard, int64_t count, DType dtype, int64_t unit,
                               void* queue) {
  if (count % size_ == 0)
    return settle(nccl_.ReduceScatter(input, shard, static_cast<size_t>(count / size_ * unit), type_of(dtype),
                                      ncclSum, comm(), stream_of(queue)),
                  "ncclReduceScatter");
  const auto element = static_cast<int64_t>(size_bytes(dtype)) * unit;
  nccl_.check(nccl_.GroupStart(), "ncclGroupStart");
  for (int r = 0; r < size_; ++r) {
    const auto size = static_cast<size_t>(split_size(count, size_, r) * unit);
    if (size == 0) continue;
    const void* from = static_cast<const std::byte*>(input) + split_begin(count, size_, r) * element;
    nccl_.check(nccl_.Reduce(from, shard, size, type_of(dtype), ncclSum, r, comm(), stream_of(queue)), "ncclReduce",
                comm_);
  }
  settle(nccl_.GroupEnd(), "ncclGroupEnd");
}

// Likewise: uneven shards are messages from everybody to everybody.
void NcclGroup::all_gather(const void* shard, void* output, int64_t count, DType dtype, int64_t unit, void* queue) {
  if (count % size_ == 0)
    return settle(nccl_.AllGather(shard, output, static_cast<size_t>(count / size_ * unit), type_of(dtype), comm(),
                                  stream_of(queue)),
                  "ncclAllGather");
  const auto element = static_cast<int64_t>(size_bytes(dtype)) * unit;
  const auto own = static_cast<size_t>(split_size(count, size_, rank_) * unit);
  nccl_.check(nccl_.GroupStart(), "ncclGroupStart");
  for (int r = 0; r < size_; ++r) {
    const auto size = static_cast<size_t>(split_size(count, size_, r) * unit);
    void* to = static_cast<std::byte*>(output) + split_begin(count, size_, r) * element;
    if (own > 0)
      nccl_.check(nccl_.Send(shard, own, type_of(dtype), r, comm(), stream_of(queue)), "ncclSend", comm_);
    if (size > 0) nccl_.check(nccl_.Recv(to, size, type_of(dtype), r, comm(), stream_of(queue)), "ncclRecv", comm_);
  }
  settle(nccl_.GroupEnd(), "ncclGroupEnd");
}

void NcclGroup::send(const void* data, int64_t count, DType dtype, int peer, void* queue) {
  settle(nccl_.Send(data, static_cast<size_t>(count), type_of(dtype), peer, comm(), stream_of(queue)), "ncclSend");
}

void NcclGroup::receive(void* data, int64_t count, DType dtype, int peer, void* queue) {
  settle(nccl_.Recv(data, static_cast<size_t>(count), type_of(dtype), peer, comm(), stream_of(queue)), "ncclRecv");
}

void NcclGroup::check() {
  if (aborted_) return;
  ncclResult_t state = ncclSuccess;
  nccl_.check(nccl_.CommGetAsyncError(comm_, &state), "ncclCommGetAsyncError", comm_);
  if (state != ncclSuccess && state != ncclInProgress)
    throw PeerLostError(fmt::format("[comm] rank {} of group {}: {}. {}", rank_, name_, nccl_.GetErrorString(state),
                                    nccl_.GetLastError(comm_)));
}

void NcclGroup::abort(const std::exception_ptr& why) {
  if (aborted_) return;
  why_ = why;
  aborted_ = true;
  nccl_.CommAbort(comm_);
}

}  // namespace trine
