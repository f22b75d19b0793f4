#include "runtime/measure/transfer_times.h"

#include <algorithm>
#include <functional>

#include "base/clock.h"
#include "base/huge_pages.h"
#include "base/shape.h"
#include "comm/lane_thread.h"
#include "comm/pipeline_lane.h"
#include "runtime/job/agreement.h"
#include "runtime/measure/samples.h"

namespace trine {
namespace {

constexpr int64_t kSizes[] = {1 << 10, 16 << 10, 128 << 10, 512 << 10, 2 << 20, 8 << 20};
constexpr int64_t kLargest = *std::ranges::max_element(kSizes);
constexpr int64_t kComputeNs = 200'000;

// As a kernel does right before its output is sent: what its core has just written is in that core's cache alone.
void write(std::span<std::byte> bytes) { std::ranges::fill(bytes, std::byte{}); }

// Memory as a step's values have it (DeviceMemory of a CPU).
HugePages touched(int64_t bytes) {
  HugePages pages(bytes);
  write(pages.bytes());
  return pages;
}

double us_since(int64_t begin_ns) { return static_cast<double>(now_ns() - begin_ns) * 1e-3; }

// Keeps the core busy, as kernels do: a thread that has slept or waited is not scheduled as one that works.
void compute() {
  const int64_t begin_ns = now_ns();
  volatile double sum = 0;
  while (now_ns() - begin_ns < kComputeNs) sum = sum + 1;
}

// The time of the rank that came last: it waits for nobody.
double of_last(Communicator& group, double us) {
  const std::vector<double> all = gather_all(&group, us);
  return *std::ranges::min_element(all);
}

// Appends the times of an operation on `written` that a lane carries out.
void time_through_lane(Communicator& group, LaneThread& lane, int rounds, std::span<std::byte> written,
                       const std::function<void()>& operation, std::vector<double>& samples) {
  for (int round = -1; round < rounds; ++round) {  // the first touches memory
    write(written);
    group.barrier();
    compute();
    const int64_t begin_ns = now_ns();
    lane.wait(lane.enqueue(operation));
    const double us = of_last(group, us_since(begin_ns));
    if (round >= 0) samples.push_back(us);
  }
}

// One after another: where the system puts a thread when it begins, it may leave it.
constexpr int kLanes = 3;

}  // namespace

LaneTimes measure_lane(Communicator& group, int rounds) {
  LaneTimes times;
  std::vector<double> samples;
  for (int i = 0; i < kLanes; ++i) {
    LaneThread lane("measured lane");
    time_through_lane(
        group, lane, div_up(4 * rounds, kLanes), {}, [] {}, samples);
  }
  times.wake_us = quiet_mean(samples);
  if (group.size() < 2) return times;
  PipelineLane lane("measured pp", group);
  samples.clear();
  std::vector<std::byte> out(1 << 10), in(1 << 10);
  const int peer = group.rank() ^ 1;
  for (int round = 0; round < 4 * rounds; ++round) {
    compute();
    if (peer >= group.size()) continue;
    const int64_t begin_ns = now_ns();
    lane.receive(in.data(), std::ssize(in), peer, 0);
    lane.send(out.data(), std::ssize(out), peer, 0);
    samples.push_back(us_since(begin_ns) / 2);
    lane.wait_all();
  }
  times.post_us = quiet_mean(samples);
  return times;
}

std::vector<CpuTransferCost> measure_collectives(Communicator& group, int hosts, const LaneTimes& lane_times,
                                                 int rounds) {
  const HugePages whole = touched(kLargest), shard = touched(kLargest);
  struct Measured {
    const char* kind;
    DType dtype;
    std::byte* input;
    int input_parts;  // of the bytes that count
    std::function<void(int64_t count)> operation;
    std::vector<double> samples[std::size(kSizes)] = {};
  };
  Measured all[] = {{"all_reduce", DType::kF32, whole.data(), 1,
                     [&](int64_t count) { group.all_reduce(whole.data(), count, DType::kF32); }},
                    {"all_gather", DType::kBF16, shard.data(), group.size(),
                     [&](int64_t count) { group.all_gather(shard.data(), whole.data(), count, DType::kBF16); }},
                    {"reduce_scatter", DType::kF32, whole.data(), 1,
                     [&](int64_t count) { group.reduce_scatter(whole.data(), shard.data(), count, DType::kF32); }},
                    {"reduce_scatter_bf16", DType::kBF16, whole.data(), 1, [&](int64_t count) {
                       group.reduce_scatter(whole.data(), shard.data(), count, DType::kBF16);
                     }}};
  for (int i = 0; i < kLanes; ++i) {
    LaneThread lane("measured lane");
    for (Measured& one : all)
      for (size_t size = 0; size < std::size(kSizes); ++size)
        time_through_lane(
            group, lane, div_up(rounds, kLanes), {one.input, static_cast<size_t>(kSizes[size] / one.input_parts)},
            [&] { one.operation(kSizes[size] / static_cast<int64_t>(size_bytes(one.dtype))); }, one.samples[size]);
  }
  std::vector<CpuTransferCost> costs;
  for (const Measured& one : all) {
    CpuTransferCost& cost = costs.emplace_back();
    cost.kind = one.kind, cost.ranks = group.size(), cost.hosts = hosts;
    for (size_t size = 0; size < std::size(kSizes); ++size)
      cost.points.push_back(
          {static_cast<double>(kSizes[size]), std::max(0.1, quiet_mean(one.samples[size]) - lane_times.wake_us)});
  }
  return costs;
}

CpuTransferCost measure_messages(Communicator& group, int hosts, int rounds) {
  CpuTransferCost cost{.kind = "message", .ranks = 2, .hosts = hosts, .points = {}};
  const int peer = group.rank() ^ 1;
  const bool first = group.rank() % 2 == 0;
  const HugePages out = touched(kLargest), in = touched(kLargest);
  for (const int64_t bytes : kSizes) {
    std::vector<double> samples;
    {
      PipelineLane lane("measured pp", group);
      for (int round = -1; round < rounds && peer < group.size(); ++round) {
        write(out.bytes().first(static_cast<size_t>(bytes)));
        compute();
        const auto received = lane.receive(in.data(), bytes, peer, 0);
        if (!first) lane.wait(received);
        const int64_t begin_ns = now_ns();
        lane.send(out.data(), bytes, peer, 0);
        if (first) lane.wait(received);
        if (round >= 0) samples.push_back(us_since(begin_ns) / 2);
        lane.wait_all();
      }
    }
    const std::vector<double> all = gather_all(&group, quiet_mean(samples));
    cost.points.push_back({static_cast<double>(bytes), std::max(0.1, all[0])});
  }
  return cost;
}

double fixed_exchange_us(Communicator& group) {
  constexpr int64_t kBytes = 512 << 10;
  constexpr int kRounds = 12;
  const HugePages data = touched(kLargest);
  std::vector<double> samples;
  for (int round = -1; round < kRounds; ++round) {
    write(data.bytes().first(kBytes));
    group.barrier();
    const int64_t begin_ns = now_ns();
    group.all_reduce(data.data(), kBytes / static_cast<int64_t>(sizeof(float)), DType::kF32);
    const double us = of_last(group, us_since(begin_ns));
    if (round >= 0) samples.push_back(us);
  }
  return quiet_mean(samples);
}

}  // namespace trine
