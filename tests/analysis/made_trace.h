// Traces with a disease made on purpose: 1F1B on a grid of ranks whose every time is given, worked out event by
// event. What the report should find, and how many seconds it should count, is known exactly.
#pragma once

#include <functional>
#include <map>
#include <random>

#include "parallel/schedules/schedule.h"
#include "trace/classify.h"
#include "trace/trace.h"

namespace trine::testing {

struct MadeTrace {
  Mesh mesh{.pp = 2, .dp = 2, .tp = 2};
  int steps = 5, microbatches = 16;
  std::vector<int> layers{4, 4};  // by stage
  int ops_of_layer = 2;           // of a forward; a backward has as many, twice as long
  double op_us = 500, tp_us = 40, pp_us = 30, dp_us = 300, host_us = 50, data_us = 20, start_us = 0;
  int64_t message_bytes = 1 << 20;
  double noise = 0.01;  // of an operation
  // Factors of an operation, of a collective or message, and seconds more: by rank and step.
  std::function<double(int rank, int step)> slow, slow_link, host_s, data_s;

  Trace trace() const {
    Trace trace{.mesh = mesh, .backend = "local", .origin_unix_ns = 1'790'000'000'000'000'000};
    for (int pp = 0; pp < mesh.pp; ++pp) trace.nodes.push_back(labels(pp));
    for (int rank = 0; rank < mesh.num_ranks(); ++rank)
      trace.ranks.push_back({rank, mesh.coordinate(rank), "host" + std::to_string(rank / 4), "cpu", {}});
    int64_t begin_ns = 1'000'000;
    for (int step = 1; step <= steps; ++step) begin_ns = add_step(trace, step, begin_ns);
    return trace;
  }

 private:
  enum Node : int32_t { kGather, kReceive, kReceiveGrad, kSend, kReduce, kNorm, kAdamw, kFirstLayer };

  // Forwards of the stage's layers, then backwards.
  std::vector<NodeLabel> labels(int pp) const {
    std::vector<NodeLabel> labels{{"all_reduce", "layers.0", "F", "bf16", 1024, 1024},
                                  {"receive", "", "F", "bf16", 0, 1024},
                                  {"receive_grad", "", "I", "bf16", 0, 1024},
                                  {"send", "", "F", "bf16", 1024, 0},
                                  {"all_reduce", "buckets", "epilogue", "f32", 4096, 4096},
                                  {"all_reduce", "norm", "epilogue", "f32", 1, 1},
                                  {"adamw", "buckets", "epilogue", "", 0, 0}};
    int before = 0;
    for (int stage = 0; stage < pp; ++stage) before += layers[static_cast<size_t>(stage)];
    for (const char* phase : {"F", "I"})
      for (int layer = 0; layer < layers[static_cast<size_t>(pp)]; ++layer)
        labels.push_back({phase[0] == 'F' ? "linear" : "linear_dx", "layers." + std::to_string(before + layer),
                          phase, "", 0, 0});
    return labels;
  }

  static int64_t ns(double us) { return static_cast<int64_t>(us * 1e3); }
  double factor(const std::function<double(int, int)>& of, int rank, int step) const {
    return of ? of(rank, step) : 1;
  }

  int64_t add_step(Trace& trace, int number, int64_t begin_ns) const {
    std::mt19937 random(static_cast<uint32_t>(number));
    std::vector<int64_t> now(trace.ranks.size(), begin_ns);
    std::vector<std::vector<TraceEvent>> events(trace.ranks.size());
    const auto push = [&](int rank, Lane lane, EventKind kind, double us) -> TraceEvent& {
      auto& time = now[static_cast<size_t>(rank)];
      auto& of = events[static_cast<size_t>(rank)];
      of.push_back({.t0_ns = time, .t1_ns = time + ns(us), .step = number, .lane = lane, .kind = kind});
      time = of.back().t1_ns;
      return of.back();
    };
    for (int rank = 0; rank < mesh.num_ranks(); ++rank) {
      push(rank, Lane::kHost, EventKind::kData, data_us + (data_s ? 1e6 * data_s(rank, number) : 0));
      push(rank, Lane::kHost, EventKind::kHost, host_us + (host_s ? 1e6 * host_s(rank, number) : 0));
    }
    std::map<std::pair<std::string, int>, int64_t> sent;  // by action and the sender's rank
    std::map<std::pair<int, bool>, int32_t> sequence;
    const std::vector<Schedule> schedules = make_schedules(PipelineKind::k1F1B, mesh.pp, 1, microbatches);
    std::vector<size_t> done(schedules.size());
    for (bool any = true; any;) {
      any = false;
      for (int pp = 0; pp < mesh.pp; ++pp) {
        const Schedule& schedule = schedules[static_cast<size_t>(pp)];
        size_t& next = done[static_cast<size_t>(pp)];
        if (next == schedule.size()) continue;
        Action from = schedule[next];
        const bool forward = from.kind == ActionKind::kForward;
        from.stage += forward ? -1 : 1;
        const bool receives = from.stage >= 0 && from.stage < mesh.pp;
        if (receives && !sent.contains({to_string(from), mesh.rank({from.stage, 0, 0})})) continue;
        any = true;
        for (int dp = 0; dp < mesh.dp; ++dp)
          act(number, {pp, dp, 0}, schedule[next], static_cast<int32_t>(next), receives ? &from : nullptr, random,
              now, events, sent, sequence, push);
        ++next;
      }
    }
    for (int pp = 0; pp < mesh.pp; ++pp)
      for (int tp = 0; tp < mesh.tp; ++tp)
        if (mesh.dp > 1) collective({pp, 0, tp}, Axis::kDp, kReduce, dp_us, 0, number, now, events);
    for (int group = 0; group < mesh.dp * mesh.tp && mesh.pp > 1; ++group)
      collective(mesh.coordinate(group), Axis::kPp, kNorm, 10, 0, number, now, events);
    for (int rank = 0; rank < mesh.num_ranks(); ++rank)
      push(rank, Lane::kCompute, EventKind::kOptimizer, 100).node = kAdamw;
    const int64_t end_ns = *std::ranges::max_element(now);
    for (size_t r = 0; r < now.size(); ++r) {
      push(static_cast<int>(r), Lane::kHost, EventKind::kWait, static_cast<double>(end_ns - now[r]) / 1e3);
      trace.ranks[r].steps.push_back({.step = number,
                                      .begin_ns = begin_ns,
                                      .end_ns = end_ns,
                                      .clock = {},
                                      .events = events[r],
                                      .memory = {{begin_ns, 1 << 20}}});
    }
    return end_ns;
  }

  // The ranks of a tp group at `first` do an action: receive, compute, and sum over the group.
  void act(int step, Coordinate first, const Action& action, int32_t number, const Action* from,
           std::mt19937& random, std::vector<int64_t>& now, std::vector<std::vector<TraceEvent>>& events,
           std::map<std::pair<std::string, int>, int64_t>& sent, std::map<std::pair<int, bool>, int32_t>& sequence,
           auto& push) const {
    std::normal_distribution<double> normal(1, noise);
    const bool forward = action.kind == ActionKind::kForward;
    const int num_layers = layers[static_cast<size_t>(first.pp)];
    for (int tp = 0; tp < mesh.tp; ++tp) {
      const Coordinate at{first.pp, first.dp, tp};
      const int rank = mesh.rank(at);
      int64_t& time = now[static_cast<size_t>(rank)];
      if (from) {
        const int sender = mesh.rank({from->stage, first.dp, tp});
        const int64_t sent_ns = sent.at({to_string(*from), sender});
        const int64_t arrived_ns = sent_ns + ns(pp_us * factor(slow_link, rank, step));
        TraceEvent event{.t0_ns = time,
                         .t1_ns = std::max(time, arrived_ns),
                         .bytes = message_bytes,
                         .step = step,
                         .node = forward ? kReceive : kReceiveGrad,
                         .microbatch = action.microbatch,
                         .action = number,
                         .peer = from->stage,
                         .sequence = sequence[{rank, forward}]++,
                         .chunk = 0,
                         .lane = Lane::kPp};
        classify_reception(event, sent_ns, arrived_ns, events[static_cast<size_t>(rank)]);
        time = event.t1_ns;
      }
      for (int layer = 0; layer < num_layers; ++layer)
        for (int op = 0; op < ops_of_layer; ++op) {
          time += ns(start_us);
          TraceEvent& event = push(rank, Lane::kCompute, EventKind::kCompute,
                                   op_us * (forward ? 1 : 2) * normal(random) * factor(slow, rank, step));
          event.node = kFirstLayer + layer + (forward ? 0 : num_layers);
          event.microbatch = action.microbatch, event.action = number, event.chunk = 0;
          event.flops = op_us * 1e6 * (forward ? 1 : 2), event.bytes = 4096;
        }
    }
    if (mesh.tp > 1) collective(first, Axis::kTp, kGather, tp_us, number, step, now, events, action.microbatch);
    for (int tp = 0; tp < mesh.tp; ++tp) {
      const int rank = mesh.rank({first.pp, first.dp, tp});
      sent[{to_string(action), rank}] = now[static_cast<size_t>(rank)];
    }
  }

  void collective(Coordinate first, Axis axis, Node node, double us, int32_t number, int step,
                  std::vector<int64_t>& now, std::vector<std::vector<TraceEvent>>& events,
                  int32_t microbatch = -1) const {
    const std::vector<int> group = mesh.group(first, axis);
    int64_t ready = 0;
    for (const int rank : group) ready = std::max(ready, now[static_cast<size_t>(rank)]);
    const int64_t end = ready + ns(us * factor(slow_link, group[0], step));
    for (const int rank : group) {
      TraceEvent event{.t0_ns = now[static_cast<size_t>(rank)],
                       .t1_ns = end,
                       .bytes = message_bytes,
                       .step = step,
                       .node = node,
                       .microbatch = microbatch,
                       .action = microbatch < 0 ? -1 : number,
                       .sequence = number,
                       .lane = axis == Axis::kTp   ? Lane::kTp
                               : axis == Axis::kDp ? Lane::kDp
                                                   : Lane::kPp};
      classify_collective(event, ready, events[static_cast<size_t>(rank)]);
      now[static_cast<size_t>(rank)] = end;
    }
  }
};

}  // namespace trine::testing
