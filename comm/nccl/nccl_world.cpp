#include <cuda_runtime_api.h>
#include <fmt/core.h>
#include <functional>
#include <future>
#include <map>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "comm/nccl/nccl_group.h"

namespace trine {
namespace {

void check(cudaError_t status, const char* call) {
  if (status != cudaSuccess)
    throw Error(ExitCode::kOther, fmt::format("[cuda] {} from {}", cudaGetErrorString(status), call));
}

int current_device() {
  int device = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  return device;
}

// A byte over an edge that is new. The first message connects its ends, and its host waits for the other's
// meanwhile: here all ranks go through the edges in one order, but a schedule's first messages
// would wait in a circle.
class FirstMessage {
 public:
  FirstMessage() {
    check(cudaMalloc(&byte_, 1), "cudaMalloc");
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  }
  ~FirstMessage() {
    cudaStreamDestroy(stream_);
    cudaFree(byte_);
  }
  FirstMessage(const FirstMessage&) = delete;
  FirstMessage& operator=(const FirstMessage&) = delete;

  // The message is enqueued by a thread: NCCL blocks in the call until the other end has come,
  // and only an abort ends that.
  void pass(NcclGroup& edge, bool sends, const NcclGroup::Options& options,
            const std::function<void(std::exception_ptr)>& abort) {
    auto enqueued = std::async(std::launch::async, [&] {
      options.activate_device();
      sends ? edge.send(byte_, 1, DType::kU8, 1, stream_) : edge.receive(byte_, 1, DType::kU8, 0, stream_);
    });
    const int64_t begin_ns = now_ns();
    const auto arrived = [&] {
      if (enqueued.wait_for(std::chrono::milliseconds(1)) != std::future_status::ready) return false;
      const cudaError_t status = cudaStreamQuery(stream_);
      if (status != cudaErrorNotReady) check(status, "cudaStreamQuery");
      return status == cudaSuccess;
    };
    while (!arrived()) {
      edge.check();
      if (options.timeout.count() == 0 || std::chrono::nanoseconds(now_ns() - begin_ns) < options.timeout) continue;
      const auto hang = std::make_exception_ptr(
          HangError(fmt::format("[comm] the first message of {} did not arrive within {} s.", edge.name(),
                                static_cast<double>(options.timeout.count()) / 1e3)));
      abort(hang);
      std::rethrow_exception(hang);
    }
    enqueued.get();
  }

 private:
  void* byte_ = nullptr;
  cudaStream_t stream_ = nullptr;
};

class NcclWorld final : public DeviceWorld {
 public:
  NcclWorld(CommWorld& world, bool ring, std::chrono::milliseconds timeout) : timeout_(timeout) {
    for (const auto& [axis, group] :
         {std::pair{Axis::kTp, Group::kTp}, {Axis::kDp, Group::kDp}, {Axis::kPp, Group::kPp}})
      if (world.mesh()[axis] > 1) connect(axis, world[group]);
    if (world.mesh().pp > 1) connect_edges(world[Group::kPp], ring);
  }

  DeviceGroup& operator[](Axis axis) override {
    TRINE_CHECK(groups_[static_cast<size_t>(axis)] != nullptr, "no other rank is along {}", name(axis));
    return *groups_[static_cast<size_t>(axis)];
  }
  void send(PipelineEdge edge, const void* data, int64_t bytes, void* queue) override {
    end_of(sends_, edge).send(data, bytes, DType::kU8, kReceiver, queue);
  }
  void receive(PipelineEdge edge, void* data, int64_t bytes, void* queue) override {
    end_of(receives_, edge).receive(data, bytes, DType::kU8, kSender, queue);
  }
  void check() override {
    for (NcclGroup* group : all_) group->check();
  }
  void abort(std::exception_ptr why) override { abort_groups(nccl_, turn_, all_, why); }

 private:
  static constexpr int kSender = 0, kReceiver = 1;
  // A receive occupies its multiprocessors from when it is posted until the message is there.
  // Two carry more than a PCIe link.
  static constexpr int kEdgeCtas = 2;
  using Ends = std::map<PipelineEdge, std::unique_ptr<NcclGroup>>;

  NcclGroup::Options options(const std::string& name) const {
    return {.name = name, .timeout = timeout_, .activate_device = [device = device_] {
              trine::check(cudaSetDevice(device), "cudaSetDevice");
            }};
  }

  std::unique_ptr<NcclGroup> make(const std::string& name, const ncclUniqueId& id, int rank, int size,
                                  int max_ctas = 0) {
    NcclGroup::Options own = options(name);
    own.max_ctas = max_ctas;
    auto group = std::make_unique<NcclGroup>(nccl_, turn_, std::move(own), id, rank, size);
    all_.push_back(group.get());
    return group;
  }

  ncclUniqueId new_id() const {
    ncclUniqueId id;
    nccl_.check(nccl_.GetUniqueId(&id), "ncclGetUniqueId");
    return id;
  }

  void connect(Axis axis, Communicator& ranks) {
    ncclUniqueId id{};
    if (ranks.rank() == 0) id = new_id();
    ranks.broadcast(&id, sizeof id, DType::kU8, 0);
    groups_[static_cast<size_t>(axis)] = make(ranks.name(), id, ranks.rank(), ranks.size());
  }

  // A group for each directed edge, whose messages wait for none of another. Pipeline rank i sends forward to its
  // successor, and gets gradients from it; all ranks go through the edges in the same order.
  void connect_edges(Communicator& ranks, bool ring) {
    struct Ids {
      ncclUniqueId forward, backward;
    };
    const int pp = ranks.size(), own_rank = ranks.rank();
    const Ids own{new_id(), new_id()};
    std::vector<Ids> ids(static_cast<size_t>(pp));
    ranks.all_gather(&own, ids.data(), pp, DType::kU8, sizeof(Ids));
    FirstMessage first;
    for (int i = 0; i < (ring ? pp : pp - 1); ++i) {
      const int next = (i + 1) % pp;
      connect_edge({i, next}, false, ids[static_cast<size_t>(i)].forward, own_rank, first);
      connect_edge({next, i}, true, ids[static_cast<size_t>(i)].backward, own_rank, first);
    }
  }

  void connect_edge(std::pair<int, int> from_to, bool backward, const ncclUniqueId& id, int own_rank,
                    FirstMessage& first) {
    const auto [from, to] = from_to;
    const std::string name = fmt::format("pipeline {} {} -> {}", backward ? "gradients" : "activations", from, to);
    if (own_rank != from && own_rank != to) return;
    const bool sends = own_rank == from;
    auto& end = sends ? sends_[{to, backward}] : receives_[{from, backward}];
    end = make(name, id, sends ? kSender : kReceiver, 2, kEdgeCtas);
    first.pass(*end, sends, options(name), [this](std::exception_ptr why) { abort(why); });
  }

  static NcclGroup& end_of(Ends& ends, PipelineEdge edge) {
    const auto found = ends.find(edge);
    TRINE_CHECK(found != ends.end(), "no edge to or from pipeline rank {}", edge.peer);
    return *found->second;
  }

  const std::chrono::milliseconds timeout_;
  const int device_ = current_device();
  const NcclLibrary nccl_;
  NcclTurn turn_;
  std::array<std::unique_ptr<NcclGroup>, kAxes.size()> groups_;
  Ends sends_, receives_;
  std::vector<NcclGroup*> all_;
};

}  // namespace

std::unique_ptr<DeviceWorld> make_nccl_world(CommWorld& world, bool ring, bool peer_to_peer,
                                             std::chrono::milliseconds timeout) {
  if (!peer_to_peer) forbid_peer_to_peer();
  return std::make_unique<NcclWorld>(world, ring, timeout);
}

std::string nccl_version() {
  try {
    const NcclLibrary nccl;
    int version = 0;
    nccl.check(nccl.GetVersion(&version), "ncclGetVersion");
    return fmt::format("NCCL {}.{}.{}", version / 10000, version / 100 % 100, version % 100);
  } catch (const ConfigError&) {
    return {};
  }
}

}  // namespace trine
