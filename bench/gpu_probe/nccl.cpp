// NCCL with one rank: whether it starts, moves the right data and can be aborted. Its links need a second GPU.
#include <optional>

#include "bench/gpu_probe/probe.h"
#include "comm/nccl/nccl_group.h"

namespace trine::probe {
namespace {

constexpr int64_t kElements = int64_t{16} << 20;

class OneRank {
 public:
  explicit OneRank(const cuda::ContextPtr& context) : context_(context), from_(random_bf16(2 * kElements)) {
    ncclUniqueId id;
    nccl_.check(nccl_.GetUniqueId(&id), "ncclGetUniqueId");
    group_.emplace(nccl_, turn_,
                   NcclGroup::Options{.name = "alone",
                                      .timeout = std::chrono::seconds(10),
                                      .activate_device = [context] { context->activate(); }},
                   id, 0, 1);
  }

  // Enqueues from one buffer to the other, where the same must come out.
  std::string move(const std::function<void(NcclGroup&, const std::byte* from, std::byte* to)>& enqueue) {
    TRINE_CUDA(cudaMemset(to_.data(), 0, static_cast<size_t>(to_.size())));
    const double seconds = seconds_of(stream(), [&] { enqueue(*group_, from_.data(), to_.data()); });
    group_->check();
    expect_equal();
    return fmt::format("right data, {:.3f} ms for {} MiB", seconds * 1e3, to_.size() >> 20);
  }

  // A device's library wants the two ends of a message together.
  std::string send_to_self() {
    return move([this](NcclGroup& group, const std::byte* from, std::byte* to) {
      nccl_.check(nccl_.GroupStart(), "ncclGroupStart");
      group.send(from, kElements, DType::kF32, 0, stream());
      group.receive(to, kElements, DType::kF32, 0, stream());
      nccl_.check(nccl_.GroupEnd(), "ncclGroupEnd");
    });
  }

  std::string abort() {
    NcclGroup* const groups[] = {&*group_};
    abort_groups(nccl_, turn_, groups, std::make_exception_ptr(HangError("as told")));
    try {
      group_->all_reduce(to_.data(), kElements, DType::kF32, ReduceOp::kSum, stream());
    } catch (const HangError&) {
      TRINE_CUDA(cudaDeviceSynchronize());
      return "ends the communicator, the device goes on";
    }
    throw ConfigError("an aborted communicator took another call");
  }

  cudaStream_t stream() const { return context_->compute(); }

 private:
  void expect_equal() const {
    std::vector<std::byte> sent(static_cast<size_t>(from_.size())), got(sent.size());
    TRINE_CUDA(cudaMemcpy(sent.data(), from_.data(), sent.size(), cudaMemcpyDeviceToHost));
    TRINE_CUDA(cudaMemcpy(got.data(), to_.data(), got.size(), cudaMemcpyDeviceToHost));
    if (sent != got) throw ConfigError("other data came out");
  }

  const cuda::ContextPtr context_;
  const cuda::DeviceBuffer from_, to_ = cuda::DeviceBuffer(4 * kElements);
  const NcclLibrary nccl_;
  NcclTurn turn_;
  std::optional<NcclGroup> group_;
};

}  // namespace

void probe_nccl(Report& report, const cuda::ContextPtr& context) {
  report.row("NCCL", [] { return place_of("libnccl.so.2") + ", " + nccl_version(); });
  if (!context) return;
  std::optional<OneRank> rank;
  report.row("NCCL: a communicator of one rank", [&] {
    rank.emplace(context);
    return "made";
  });
  if (!rank) return;
  const auto stream = rank->stream();
  report.row("NCCL: all-reduce", [&] {
    return rank->move([&](NcclGroup& group, const std::byte* from, std::byte* to) {
      TRINE_CUDA(cudaMemcpyAsync(to, from, static_cast<size_t>(4 * kElements), cudaMemcpyDeviceToDevice, stream));
      group.all_reduce(to, kElements, DType::kF32, ReduceOp::kSum, stream);
    });
  });
  report.row("NCCL: reduce-scatter", [&] {
    return rank->move([&](NcclGroup& group, const std::byte* from, std::byte* to) {
      group.reduce_scatter(from, to, kElements, DType::kF32, 1, stream);
    });
  });
  report.row("NCCL: all-gather", [&] {
    return rank->move([&](NcclGroup& group, const std::byte* from, std::byte* to) {
      group.all_gather(from, to, kElements, DType::kF32, 1, stream);
    });
  });
  report.row("NCCL: a message to itself, in a group", [&] { return rank->send_to_self(); });
  report.row("NCCL: abort", [&] { return rank->abort(); });
}

}  // namespace trine::probe
