// A trace as a run of a plan would write it: the commands of the step program in order, with made-up times. For
// what depends on how many events there are, and of which sort.
#pragma once

#include <cmath>
#include <random>

#include "ops/collective.h"
#include "plan/plan.h"
#include "plan/step_program.h"
#include "trace/arena_use.h"
#include "trace/classify.h"
#include "trace/trace.h"

namespace trine::testing {

class PlannedTrace {
 public:
  explicit PlannedTrace(const Plan& plan) : plan_(plan) {}

  RankTrace rank(int rank, int num_steps) const {
    const Coordinate at = plan_.config.mesh.coordinate(rank);
    RankTrace trace{rank, at, "host" + std::to_string(rank / 8), "a device", {}};
    std::mt19937_64 random(static_cast<uint64_t>(rank));
    int64_t now = 1'000'000;
    for (int step = 1; step <= num_steps; ++step) {
      trace.steps.push_back(this->step(step, at, now, random));
      now = trace.steps.back().end_ns;
    }
    return trace;
  }

  Trace empty() const {
    Trace trace{.mesh = plan_.config.mesh, .backend = "nccl", .origin_unix_ns = 1'790'000'000'000'000'000};
    for (const StagePlan& stage : plan_.stages) trace.nodes.push_back(node_labels(stage.graph));
    return trace;
  }

 private:
  StepTrace step(int number, Coordinate at, int64_t now, std::mt19937_64& random) const {
    const StagePlan& stage = plan_.stages[static_cast<size_t>(at.pp)];
    StepTrace trace{.step = number, .begin_ns = now, .clock = {.error_ns = 12'345}};
    std::lognormal_distribution<double> jitter(0, 0.1);
    const StepProgram program(stage.graph, stage.schedule, StepMode::kTrain, false, &stage.memory);
    std::map<Lane, int64_t> lane_end;
    std::map<Lane, int32_t> sequence;
    std::map<std::pair<int, bool>, int32_t> messages;
    const std::vector<int64_t> arena = arena_in_use(stage);
    program.for_each([&](const Command& command) {
      if (command.kind == CommandKind::kAction && command.action >= 0 && command.action < std::ssize(arena))
        trace.memory.push_back({now, arena[static_cast<size_t>(command.action)], MemorySample::Kind::kArena});
      if (command.node < 0) return;
      const Node& node = stage.graph[NodeId{command.node}];
      const Cost cost = stage.graph.cost(NodeId{command.node});
      TraceEvent event{.t0_ns = now,
                       .step = number,
                       .node = command.node,
                       .microbatch = command.microbatch,
                       .action = command.action,
                       .peer = peer_of(node, plan_.config.mesh.pp),
                       .chunk = static_cast<int16_t>(node.chunk),
                       .lane = node.lane};
      const auto take = [&](double mean_ns) {
        event.t1_ns = event.t0_ns + static_cast<int64_t>(mean_ns * jitter(random));
      };
      switch (command.kind) {
        case CommandKind::kRun:
          event.flops = cost.flops, event.bytes = cost.bytes_read + cost.bytes_written;
          take(2000 + cost.flops / 1e5 + static_cast<double>(event.bytes) / 800);
          event.kind = node.region == Region::kEpilogue ? EventKind::kOptimizer
                       : node.recompute                 ? EventKind::kRecompute
                                                        : EventKind::kCompute;
          trace.events.push_back(event);
          now = event.t1_ns;
          break;
        case CommandKind::kEnqueue:
          event.t0_ns = std::max(now, lane_end[node.lane]), event.bytes = cost.wire_bytes;
          take(5000 + static_cast<double>(event.bytes) / 20);
          event.sequence = sequence[node.lane]++;
          lane_end[node.lane] = event.t1_ns;
          classify_collective(event, event.t0_ns + (event.t1_ns - event.t0_ns) / 9, trace.events);
          break;
        case CommandKind::kWaitLane:
          now = std::max(now, lane_end[node.lane]);
          break;
        case CommandKind::kWaitReceive:
          event.lane = Lane::kPp, event.bytes = cost.bytes_written;
          event.sequence = messages[{event.peer, true}]++;
          take(30'000);
          classify_reception(event, event.t0_ns + 10'000, event.t1_ns, trace.events);
          now = event.t1_ns;
          break;
        case CommandKind::kPostReceive:
        case CommandKind::kPostSend:
        case CommandKind::kWaitSent:
          event.lane = Lane::kPp, event.kind = EventKind::kCommPp;
          if (command.kind == CommandKind::kPostSend) event.sequence = messages[{event.peer, false}]++;
          take(1500);
          trace.events.push_back(event);
          now = event.t1_ns;
          break;
        default:
          break;
      }
    });
    trace.events.push_back(
        {.t0_ns = now, .t1_ns = now + 9000, .step = number, .lane = Lane::kHost, .kind = EventKind::kHost});
    trace.end_ns = now + 9000;
    return trace;
  }

  const Plan& plan_;
};

}  // namespace trine::testing
