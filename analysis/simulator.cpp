#include "analysis/simulator.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <limits>
#include <optional>
#include <vector>

#include "analysis/simulated_costs.h"
#include "base/error.h"
#include "models/llama.h"
#include "ops/collective.h"
#include "ops/pipeline.h"
#include "trace/classify.h"

namespace trine {
namespace {

int64_t nanoseconds(double seconds) { return std::llround(seconds * 1e9); }

EventKind kind_of(const Node& node) {
  if (node.region == Region::kEpilogue) return EventKind::kOptimizer;
  if (node.region == Region::kPrologue) return EventKind::kData;
  return node.recompute ? EventKind::kRecompute : EventKind::kCompute;
}

constexpr double kForever = std::numeric_limits<double>::infinity();

// A message between two pipeline ranks: both ends say when they were ready.
struct SimulatedMessage {
  std::optional<double> sent, received;  // s
  std::optional<double> end;
};

// What an edge carries.
enum EdgeKind { kActivation, kGradient, kState };

// All messages of a directed edge, in their order; at each end they run one after another.
struct SimulatedEdge {
  std::vector<SimulatedMessage> messages;
  size_t num_sent = 0, num_received = 0;
  double end = 0;  // of the last that is known

  SimulatedMessage& at(size_t i) {
    if (messages.size() <= i) messages.resize(i + 1);
    return messages[i];
  }
};

// What all pipeline ranks do together in their lane pp.
struct Meeting {
  std::vector<std::optional<double>> ready;
  size_t num_ready = 0;
};

EdgeKind kind_of_edge(const Node& node) {
  const auto* const send = dynamic_cast<const Send*>(node.op.get());
  const bool backward = send ? send->backward : dynamic_cast<const Receive&>(*node.op).backward;
  return backward ? kGradient : kActivation;
}

class Engine;

// One pipeline rank.
class RankSimulation {
 public:
  RankSimulation(Engine& engine, const StagePlan& stage, int pp);

  // Goes on until it has to wait for another rank (false), or to the end.
  bool run();
  bool done() const { return done_; }
  int64_t progress() const { return num_carried_out_; }  // commands so far
  double end() const { return end_; }
  void finish(double step_end_s);
  RankTrace take_trace();
  std::string where() const { return program_.label(action_); }

 private:
  bool carry_out(const Command& command);
  bool enqueue(const Command& command);
  void execute(const Command& command, double ready, double last, double end);
  std::optional<double> last_of_group(const Command& command, double ready);
  bool wait_lane(int node);
  bool run_waiting(int until_node, double until_s);
  bool end_of_step();
  bool wait_receive(const Command& command);
  bool wait_sent(const Command& command);
  std::optional<double> meet_all(double ready);
  std::optional<double> meet_peer(const Node& node, double ready);
  void post(const Command& command, bool sends);
  double launch();
  TraceEvent event(const Command& command, double begin_s, double end_s, EventKind kind) const;

  Engine& engine_;
  const StagePlan& stage_;
  const int pp_;
  const StepProgram program_;
  std::vector<Command> commands_;  // of the action that runs
  size_t next_ = 0;
  int action_ = -2;
  bool done_ = false;
  int64_t num_carried_out_ = 0;
  // Seconds from the step's begin.
  double host_ = 0, compute_ = 0, clock_ = 0, end_ = 0;
  std::array<double, kLanes.size()> lane_end_{};
  std::vector<double> node_end_;                    // of the last execution; -1: none
  std::map<std::pair<int, int>, size_t> received_;  // message of (node, microbatch)
  std::map<std::pair<int, int>, size_t> sent_;      // message of (node, slot)
  std::vector<TraceEvent> events_;
  std::array<int32_t, kLanes.size()> sequence_{};
  int num_meetings_ = 0;
  std::map<std::pair<int, bool>, size_t> num_states_;  // by peer, and whether it was sent

  // On cores that ranks share with their lanes: what was handed to lanes and has not ended, in order.
  struct Waiting {
    Command command;
    std::optional<double> begin;  // when it did, if it did
    double last = 0;              // when the last of its group was ready
    double left_s = 0;
  };
  const bool lanes_take_turns_;
  std::deque<Waiting> waiting_;
  double lanes_until_ = 0;  // they have worked
};

class Engine {
 public:
  Engine(const Plan& plan, const Profile& profile, const SimulationOptions& options)
      : plan_(plan), costs_(plan, profile), profile_(profile), options_(options) {}

  Simulation run();
  void stretch(Simulation& result) const;

  const Plan& plan() const { return plan_; }
  SimulatedCosts& costs() { return costs_; }
  const Profile& profile() const { return profile_; }
  bool is_cpu() const { return profile_.is_cpu(); }
  // The slowest of the ranks that one stands for: they wait for each other.
  double slowness(int pp) const {
    double most = 1;
    for (const auto& [rank, factor] : options_.slow)
      if (plan_.config.mesh.coordinate(rank).pp == pp) most = std::max(most, factor);
    return most;
  }
  SimulatedEdge& edge(int from, int to, EdgeKind kind) { return edges_[{from, to, kind}]; }
  Meeting& meeting(int sequence) {
    Meeting& meeting = meetings_[sequence];
    meeting.ready.resize(plan_.stages.size());
    return meeting;
  }

 private:
  const Plan& plan_;
  SimulatedCosts costs_;
  const Profile& profile_;
  const SimulationOptions& options_;
  std::map<std::tuple<int, int, EdgeKind>, SimulatedEdge> edges_;
  std::map<int, Meeting> meetings_;
};

RankSimulation::RankSimulation(Engine& engine, const StagePlan& stage, int pp)
    : engine_(engine),
      stage_(stage),
      pp_(pp),
      program_(step_program(stage, StepMode::kTrain, /*device_to_device=*/!engine.is_cpu())),
      node_end_(stage.graph.nodes().size(), -1),
      lanes_take_turns_(engine.is_cpu() && !engine.costs().cpu().lanes_have_cores) {}

bool RankSimulation::run() {
  while (!done_) {
    if (next_ == commands_.size()) {
      ++action_;
      TRINE_CHECK(action_ < static_cast<int>(program_.actions().size()) + 1, "pp {}: no end", pp_);
      commands_.clear(), next_ = 0;
      program_.for_each_of(action_, [&](const Command& command) { commands_.push_back(command); });
      continue;
    }
    if (!carry_out(commands_[next_])) return false;
    ++next_, ++num_carried_out_;
  }
  return true;
}

// When the thread that launches has done so. On a CPU it computes itself, and only handing over takes time.
double RankSimulation::launch() {
  if (engine_.is_cpu()) return host_ = compute_;
  host_ += engine_.profile().device.host_us * 1e-6;
  return host_;
}

TraceEvent RankSimulation::event(const Command& command, double begin_s, double end_s, EventKind kind) const {
  TraceEvent event{.t0_ns = nanoseconds(begin_s),
                   .t1_ns = nanoseconds(end_s),
                   .step = 1,
                   .node = command.node,
                   .microbatch = command.microbatch,
                   .action = command.action,
                   .lane = Lane::kCompute,
                   .kind = kind};
  if (command.node >= 0) event.chunk = static_cast<int16_t>(stage_.graph[NodeId{command.node}].chunk);
  return event;
}

bool RankSimulation::carry_out(const Command& command) {
  switch (command.kind) {
    case CommandKind::kAction:
      return true;
    case CommandKind::kPostReceive:
      post(command, false);
      return true;
    case CommandKind::kPostSend:
      post(command, true);
      return true;
    case CommandKind::kWaitReceive:
      return wait_receive(command);
    case CommandKind::kWaitSent:
      return wait_sent(command);
    case CommandKind::kRun: {
      const NodeCost& cost = engine_.costs().node(pp_, command.node);
      compute_ = std::max(compute_, launch()) + cost.seconds * engine_.slowness(pp_);
      TraceEvent ran = event(command, clock_, compute_, kind_of(stage_.graph[NodeId{command.node}]));
      ran.flops = cost.flops, ran.bytes = cost.bytes;
      events_.push_back(ran);
      node_end_[static_cast<size_t>(command.node)] = clock_ = compute_;
      return true;
    }
    case CommandKind::kEnqueue:
      return enqueue(command);
    case CommandKind::kWaitLane:
      return wait_lane(command.node);
    case CommandKind::kEnd:
      return end_of_step();
  }
  return true;
}

bool RankSimulation::wait_lane(int node) {
  const double before = compute_;
  if (lanes_take_turns_ && !run_waiting(node, kForever)) return false;
  compute_ = clock_ = std::max(compute_, node_end_[static_cast<size_t>(node)]);
  if (engine_.is_cpu() && compute_ > before) compute_ = clock_ = compute_ + engine_.profile().cpu.wake_us * 1e-6;
  return true;
}

bool RankSimulation::end_of_step() {
  if (lanes_take_turns_ && !run_waiting(-1, kForever)) return false;
  end_ = std::max(compute_, *std::max_element(lane_end_.begin(), lane_end_.end()));
  if (engine_.is_cpu()) {
    TraceEvent rest{.t0_ns = nanoseconds(end_), .step = 1, .lane = Lane::kHost, .kind = EventKind::kHost};
    end_ += engine_.profile().cpu.step_us * 1e-6;
    rest.t1_ns = nanoseconds(end_);
    events_.push_back(rest);
  }
  return done_ = true;
}

// What lanes do while the rank's own thread is blocked, from compute_ on, one after another: until `until_node` has
// ended (-1: all), or until `until_s`. False: it depends on another rank that is not known yet. What other groups
// of ranks do meanwhile is as for GPUs.
bool RankSimulation::run_waiting(int until_node, double until_s) {
  const auto is_in_it = [&] {
    return until_node < 0 || std::ranges::any_of(waiting_, [&](const Waiting& waiting) {
             return waiting.command.node == until_node;
           });
  };
  double now = std::max(compute_, lanes_until_);
  while (!waiting_.empty() && now < until_s && is_in_it()) {
    Waiting& next = waiting_.front();
    if (!next.begin) {
      const std::optional<double> last = last_of_group(next.command, now);
      if (!last) return until_s < kForever;  // not in this time
      if (*last >= until_s) break;
      next.begin = now, next.last = *last;
      next.left_s = engine_.costs().collective_s(pp_, next.command.node);
    }
    now = std::max(now, next.last);
    const double seconds = std::min(next.left_s, until_s - now);
    now += seconds, next.left_s -= seconds;
    lanes_until_ = now;
    if (next.left_s > 0) break;
    execute(next.command, *next.begin, next.last, now);
    waiting_.pop_front();
  }
  return true;
}

bool RankSimulation::enqueue(const Command& command) {
  const Node& node = stage_.graph[NodeId{command.node}];
  if (lanes_take_turns_) {
    compute_ = clock_ = compute_ + engine_.profile().cpu.post_us * 1e-6;
    waiting_.push_back({command, std::nullopt, 0, 0});
    return true;
  }
  double ready = std::max({compute_, host_, lane_end_[static_cast<size_t>(command.lane)]});
  for (const NodeId other : lane_waits(stage_.graph, node))
    ready = std::max(ready, node_end_[static_cast<size_t>(other.index)]);
  const std::optional<double> last = last_of_group(command, ready);
  if (!last) return false;
  if (engine_.is_cpu()) compute_ += engine_.profile().cpu.post_us * 1e-6;
  launch();
  execute(command, ready, *last, *last + engine_.costs().collective_s(pp_, command.node));
  clock_ = std::max(clock_, compute_);
  return true;
}

// Of what a lane does once all it concerns are ready: those of the other pipeline ranks are known, or not yet. The
// other ranks of a tp or dp group are ready when this one is.
std::optional<double> RankSimulation::last_of_group(const Command& command, double ready) {
  if (command.lane != Lane::kPp) return ready;
  const Node& node = stage_.graph[NodeId{command.node}];
  return dynamic_cast<const Collective*>(node.op.get()) ? meet_all(ready) : meet_peer(node, ready);
}

// A lane was ready for it, and so were all others at `last`.
void RankSimulation::execute(const Command& command, double ready, double last, double end) {
  lane_end_[static_cast<size_t>(command.lane)] = node_end_[static_cast<size_t>(command.node)] = end;
  TraceEvent moved = event(command, ready, end, comm_kind(command.lane));
  moved.lane = command.lane;
  moved.bytes = engine_.costs().node(pp_, command.node).wire_bytes;
  moved.sequence = sequence_[static_cast<size_t>(command.lane)]++;
  classify_collective(moved, nanoseconds(last), events_);
}

// When the last of all pipeline ranks is ready, if it is known.
std::optional<double> RankSimulation::meet_all(double ready) {
  Meeting& meeting = engine_.meeting(num_meetings_);
  auto& own = meeting.ready[static_cast<size_t>(pp_)];
  if (!own) own = ready, ++meeting.num_ready;
  if (meeting.num_ready < meeting.ready.size()) return std::nullopt;
  ++num_meetings_;
  double last = ready;
  for (const auto& other : meeting.ready) last = std::max(last, *other);
  return last;
}

// When both ends of a state that is sent are ready.
std::optional<double> RankSimulation::meet_peer(const Node& node, double ready) {
  const auto* const send = dynamic_cast<const SendState*>(node.op.get());
  const int other = send ? send->to_rank : dynamic_cast<const ReceiveState&>(*node.op).from_rank;
  size_t& count = num_states_[{other, send != nullptr}];
  SimulatedMessage& message =
      (send ? engine_.edge(pp_, other, kState) : engine_.edge(other, pp_, kState)).at(count);
  (send ? message.sent : message.received) = ready;
  if (!message.sent || !message.received) return std::nullopt;
  ++count;
  return std::max(*message.sent, *message.received);
}

void RankSimulation::post(const Command& command, bool sends) {
  const Node& node = stage_.graph[NodeId{command.node}];
  const int other = peer_of(node, engine_.plan().config.mesh.pp);
  const EdgeKind kind = kind_of_edge(node);
  SimulatedEdge& edge = sends ? engine_.edge(pp_, other, kind) : engine_.edge(other, pp_, kind);
  const size_t index = sends ? edge.num_sent++ : edge.num_received++;
  SimulatedMessage& message = edge.at(index);
  if (engine_.is_cpu()) compute_ += engine_.profile().cpu.post_us * 1e-6;
  (sends ? message.sent : message.received) = std::max(compute_, launch());
  if (sends)
    sent_[{command.node, command.slot}] = index;
  else
    received_[{command.node, command.microbatch}] = index;
  // Both ends are known: it runs behind the one before.
  if (message.sent && message.received) {
    message.end = std::max({*message.sent, *message.received, edge.end}) +
                  engine_.costs().message_s(sends ? pp_ : other, sends ? other : pp_,
                                            engine_.costs().node(pp_, command.node).message_bytes);
    edge.end = *message.end;
  }
}

bool RankSimulation::wait_receive(const Command& command) {
  const Node& node = stage_.graph[NodeId{command.node}];
  const int other = peer_of(node, engine_.plan().config.mesh.pp);
  SimulatedEdge& edge = engine_.edge(other, pp_, kind_of_edge(node));
  const size_t index = received_.at({command.node, command.microbatch});
  const SimulatedMessage& message = edge.at(index);
  if (!message.end) return false;
  const double before = compute_;
  if (lanes_take_turns_ && !run_waiting(-1, std::max(before, *message.end))) return false;
  compute_ = clock_ = std::max(compute_, *message.end);
  TraceEvent waited = event(command, before, compute_, EventKind::kCommPp);
  waited.lane = Lane::kPp;
  waited.peer = other;
  waited.sequence = static_cast<int32_t>(index);
  waited.bytes = engine_.costs().node(pp_, command.node).message_bytes;
  classify_reception(waited, nanoseconds(*message.sent), nanoseconds(*message.end), events_);
  node_end_[static_cast<size_t>(command.node)] = compute_;
  return true;
}

bool RankSimulation::wait_sent(const Command& command) {
  const Node& node = stage_.graph[NodeId{command.node}];
  const auto found = sent_.find({command.node, command.slot});
  if (found == sent_.end()) return true;
  const int other = peer_of(node, engine_.plan().config.mesh.pp);
  const SimulatedMessage& message = engine_.edge(pp_, other, kind_of_edge(node)).at(found->second);
  if (!message.end) return false;
  if (*message.end > compute_) {
    TraceEvent waited = event(command, compute_, *message.end, EventKind::kCommPp);
    waited.lane = Lane::kPp;
    waited.peer = other;
    events_.push_back(waited);
    compute_ = clock_ = *message.end;
  }
  return true;
}

// All ranks begin the next step together.
void RankSimulation::finish(double step_end_s) {
  if (step_end_s > end_)
    events_.push_back({.t0_ns = nanoseconds(end_),
                       .t1_ns = nanoseconds(step_end_s),
                       .step = 1,
                       .lane = Lane::kHost,
                       .kind = EventKind::kWait});
}

RankTrace RankSimulation::take_trace() {
  const Mesh& mesh = engine_.plan().config.mesh;
  RankTrace trace{.rank = mesh.rank({.pp = pp_, .dp = 0, .tp = 0}),
                  .coordinate = {.pp = pp_, .dp = 0, .tp = 0},
                  .host = {},
                  .device = engine_.profile().device.name,
                  .steps = {}};
  trace.host = fmt::format("host {}", trace.rank / static_cast<int>(engine_.profile().host.devices));
  trace.steps.push_back(
      {.step = 1, .begin_ns = 0, .end_ns = 0, .clock = {}, .events = std::move(events_), .memory = {}});
  return trace;
}

Simulation Engine::run() {
  std::vector<RankSimulation> ranks;
  ranks.reserve(plan_.stages.size());
  for (size_t pp = 0; pp < plan_.stages.size(); ++pp)
    ranks.emplace_back(*this, plan_.stages[pp], static_cast<int>(pp));
  // Who waits is asked again when others have gone on; a round in which nobody does is a fault of the plan.
  for (size_t num_done = 0; num_done < ranks.size();) {
    bool moved = false;
    num_done = 0;
    for (RankSimulation& rank : ranks) {
      const int64_t before = rank.progress();
      rank.run();
      moved |= rank.progress() > before;
      num_done += rank.done();
    }
    TRINE_CHECK(moved || num_done == ranks.size(), "the pipeline's ranks wait for each other, the first in {}",
                ranks[0].where());
  }
  Simulation result;
  if (is_cpu()) {
    result.not_measured.assign(costs_.not_measured().begin(), costs_.not_measured().end());
    result.oversubscribed = costs_.cpu().oversubscribed;
  }
  for (const RankSimulation& rank : ranks) result.step_s = std::max(result.step_s, rank.end());
  result.trace.mesh = plan_.config.mesh;
  result.trace.backend = "model";
  for (size_t pp = 0; pp < ranks.size(); ++pp) {
    ranks[pp].finish(result.step_s);
    result.trace.nodes.push_back(node_labels(plan_.stages[pp].graph));
    result.trace.ranks.push_back(ranks[pp].take_trace());
    StepTrace& step = result.trace.ranks.back().steps[0];
    step.end_ns = nanoseconds(result.step_s);
    const StepBreakdown own = account(step);
    const double share = 1.0 / static_cast<double>(ranks.size());
    for (size_t k = 0; k < own.seconds.size(); ++k) result.mean.seconds[k] += own.seconds[k] * share;
    for (size_t a = 0; a < own.hidden_comm_s.size(); ++a)
      result.mean.hidden_comm_s[a] += own.hidden_comm_s[a] * share;
  }
  for (const double seconds : result.mean.seconds) result.mean.step_s += seconds;
  if (result.oversubscribed) stretch(result);
  return result;
}

// Ranks that outnumber the cores: at best these are busy all the time.
void Engine::stretch(Simulation& result) const {
  const double busy_s = result.mean[EventKind::kCompute] + result.mean[EventKind::kRecompute] +
                        result.mean[EventKind::kOptimizer] + result.mean[EventKind::kCommTp] +
                        result.mean[EventKind::kCommDp] + result.mean[EventKind::kHost];
  const double threads = static_cast<double>(costs_.cpu().ranks_a_host) * plan_.config.threads;
  const double factor = std::max(1.0, busy_s * threads / profile_.cpu.cores / result.step_s);
  const auto longer = [&](int64_t& time_ns) { time_ns = std::llround(static_cast<double>(time_ns) * factor); };
  for (RankTrace& rank : result.trace.ranks)
    for (StepTrace& step : rank.steps) {
      longer(step.end_ns);
      for (TraceEvent& event : step.events) longer(event.t0_ns), longer(event.t1_ns);
    }
  result.step_s *= factor, result.mean.step_s *= factor;
  for (double& seconds : result.mean.seconds) seconds *= factor;
  for (double& seconds : result.mean.hidden_comm_s) seconds *= factor;
}

}  // namespace

Simulation simulate(const Plan& plan, const Profile& profile, const SimulationOptions& options) {
  return Engine(plan, profile, options).run();
}

PredictionCertainty certainty_of(const Profile& profile) {
  constexpr std::array<std::string_view, 4> kPublished = {"RTX 4090", "A100 SXM", "A100 PCIe", "H100 SXM"};
  const bool changed = std::ranges::any_of(
      profile.sources, [](const auto& source) { return source.second.certainty == Certainty::kGiven; });
  const bool published = !changed && std::ranges::count(kPublished, profile.device.name) > 0;
  return published ? PredictionCertainty{"published", 0.85, 1.1} : PredictionCertainty{"unseen", 0.75, 1.4};
}

PredictionCertainty certainty_of(const Profile& profile, const Simulation& simulation) {
  if (!profile.is_cpu()) return certainty_of(profile);
  const bool changed = std::ranges::any_of(
      profile.sources, [](const auto& source) { return source.second.certainty == Certainty::kGiven; });
  if (simulation.oversubscribed) return {"oversubscribed", 0.8, 1.25};
  if (!simulation.not_measured.empty() || changed) return {"unseen", 0.75, 1.4};
  return {"calibrated", 0.92, 1.09};
}

double mfu(const Config& config, const Profile& profile, double step_s) {
  return model_flops_per_token(config.model, config.seq) * static_cast<double>(config.tokens_per_step()) /
         (step_s * profile.peak_flops(config.dtype, config.mesh.num_ranks(), config.threads));
}

}  // namespace trine
