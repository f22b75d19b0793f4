// A small trace of eight ranks with an event of each sort, for tests of what writes, reads and judges traces.
#pragma once

#include <random>

#include "trace/classify.h"
#include "trace/trace.h"

namespace trine::testing {

inline std::vector<NodeLabel> sample_labels(int stage) {
  return {{"embedding", "embed", "F", "", 0, 0},
          {"linear", "layers.0.\"ffn\"", "F", "", 0, 0},
          {"all_gather", "layers.0", "F", "bf16", 512, 1024},
          {"send", "stage " + std::to_string(stage), "F", "bf16", 1024, 0},
          {"receive_grad", "", "I", "bf16", 0, 1024},
          {"reduce_scatter", "buckets", "epilogue", "f32", 4096, 2048},
          {"adamw", "buckets", "epilogue", "", 0, 0}};
}

// Random times, the fields that the events of each lane have, awkward numbers among them.
inline StepTrace sample_step(int step, const Mesh& mesh, Coordinate at, std::mt19937& random) {
  const auto below = [&](int64_t n) { return static_cast<int64_t>(random() % static_cast<uint64_t>(n)); };
  StepTrace trace{.step = step,
                  .begin_ns = 1'000'000'000ll * step - 17,
                  .end_ns = 1'000'000'000ll * (step + 1) - 17,
                  .clock = {at.tp * -12'345, at.tp * 40}};
  int64_t now = trace.begin_ns;
  const auto push = [&](Lane lane, EventKind kind, int node, int64_t t0, int64_t t1) -> TraceEvent& {
    trace.events.push_back({.t0_ns = t0, .t1_ns = t1, .step = step, .node = node, .lane = lane, .kind = kind});
    return trace.events.back();
  };
  push(Lane::kHost, EventKind::kHost, -1, now, now + 900);
  push(Lane::kHost, EventKind::kWait, -1, now, now + 300);  // inside the one before
  for (int microbatch = 0; microbatch < 5; ++microbatch) {
    TraceEvent& work = push(Lane::kCompute, EventKind::kCompute, 1, now, now + 2000 + below(5000));
    now = work.t1_ns;
    work.microbatch = microbatch, work.action = microbatch, work.chunk = 0;
    work.flops = 1e12 / 3 + static_cast<double>(below(1 << 30)), work.bytes = below(int64_t{1} << 40);
    TraceEvent gather = work;
    gather.lane = Lane::kTp, gather.node = 2, gather.sequence = microbatch, gather.flops = 0, gather.bytes = 1024;
    gather.t1_ns = now += below(4000);
    if (mesh.tp > 1) classify_collective(gather, gather.t0_ns + below(9000), trace.events);
    if (mesh.pp == 1) continue;
    TraceEvent message = gather;
    message.lane = Lane::kPp, message.kind = EventKind::kCommPp;
    message.t0_ns = now, message.t1_ns = now += 30;
    if (at.pp + 1 < mesh.pp) {
      message.node = 3, message.peer = at.pp + 1, message.bytes = 0;
      trace.events.push_back(message);
    }
    message.node = 4, message.peer = at.pp > 0 ? at.pp - 1 : at.pp + 1, message.bytes = 2048;
    message.t0_ns = now, message.t1_ns = now += below(3000);
    classify_reception(message, now - below(9000), now - below(4000), trace.events);
  }
  push(Lane::kDp, EventKind::kCommDp, 5, now - 1000, now + 5000).bytes = 99;  // hidden at first
  push(Lane::kDp, EventKind::kCommDp, 5, now + 1000, now + 7000).sequence = 1;
  push(Lane::kCompute, EventKind::kOptimizer, 6, now + 7000, now + 7000);
  push(Lane::kCopy, EventKind::kCheckpoint, -1, now, trace.end_ns + 5);
  trace.memory = {{trace.begin_ns, 1'000, MemorySample::Kind::kArena},
                  {now, int64_t{1} << 36, MemorySample::Kind::kArena},
                  {trace.end_ns, 77, MemorySample::Kind::kResident}};
  return trace;
}

inline Trace sample_trace(Mesh mesh = {.pp = 2, .dp = 2, .tp = 2}, int num_steps = 3) {
  std::mt19937 random(3);
  Trace trace{.mesh = mesh, .backend = "local", .origin_unix_ns = 1'780'000'000'123'456'789};
  for (int pp = 0; pp < mesh.pp; ++pp) trace.nodes.push_back(sample_labels(pp));
  for (int rank = 0; rank < mesh.num_ranks(); ++rank) {
    const Coordinate at = mesh.coordinate(rank);
    RankTrace& of = trace.ranks.emplace_back(
        RankTrace{rank, at, "host" + std::to_string(rank / 4), "cpu \"x\", 2 threads", {}});
    for (int step = 1; step <= num_steps; ++step) of.steps.push_back(sample_step(step, mesh, at, random));
  }
  return trace;
}

}  // namespace trine::testing
