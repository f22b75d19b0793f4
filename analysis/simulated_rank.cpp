#include "analysis/simulated_rank.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <limits>
#include <span>

#include "base/error.h"
#include "models/llama.h"
#include "ops/collective.h"
#include "ops/pipeline.h"
#include "trace/classify.h"

namespace trine {
namespace {

constexpr double kForever = std::numeric_limits<double>::infinity();

int64_t nanoseconds(double seconds) { return std::llround(seconds * 1e9); }

EventKind kind_of(const Node& node) {
  if (node.region == Region::kEpilogue) return EventKind::kOptimizer;
  if (node.region == Region::kPrologue) return EventKind::kData;
  return node.recompute ? EventKind::kRecompute : EventKind::kCompute;
}

EdgeKind kind_of_edge(const Node& node) {
  const auto* const send = dynamic_cast<const Send*>(node.op.get());
  const bool backward = send ? send->backward : dynamic_cast<const Receive&>(*node.op).backward;
  return backward ? kGradient : kActivation;
}

// A state that a pipeline rank sends to another, or its reception.
bool is_state(const Node& node) {
  return node.lane == Lane::kPp && dynamic_cast<const Collective*>(node.op.get()) == nullptr;
}

bool sends_state(const Node& node) { return dynamic_cast<const SendState*>(node.op.get()) != nullptr; }

}  // namespace

RankSimulation::RankSimulation(SimulatedPipeline& engine, const StagePlan& stage, int pp)
    : engine_(engine),
      stage_(stage),
      pp_(pp),
      program_(step_program(stage, StepMode::kTrain, /*device_to_device=*/!engine.is_cpu())),
      met_(stage.graph.nodes().size()),
      node_end_(stage.graph.nodes().size(), -1),
      host_waits_(engine.is_cpu() ? 0 : static_cast<int>(engine.profile().device.host_waits)),
      lanes_take_turns_(engine.is_cpu() && !engine.costs().cpu().lanes_have_cores && !engine.emulates()) {
  if (!engine.is_cpu()) return;
  const CpuProfile& cpu = engine.profile().cpu;
  post_s_ = cpu.post_us * 1e-6;
  wake_s_ = std::max(0.0, cpu.wake_us - cpu.post_us) / 2 * 1e-6;
}

bool RankSimulation::run() {
  start_lanes();
  while (!done_) {
    if (next_ == commands_.size()) {
      ++action_;
      TRINE_CHECK(action_ < static_cast<int>(program_.actions().size()) + 1, "pp {}: no end", pp_);
      commands_.clear(), next_ = 0;
      if (host_waits_ >= 1) host_ = std::max(host_, compute_);
      if (action_ == static_cast<int>(program_.actions().size()))
        for (const Command& command : std::exchange(deferred_, {})) enqueue(command);
      program_.for_each_of(action_, [&](const Command& command) { commands_.push_back(command); });
      continue;
    }
    if (engine_.repeats_pieces() && run_piece()) continue;
    if (!carry_out(commands_[next_])) return false;
    ++next_, ++num_carried_out_;
  }
  return true;
}

// What is carried out next depends on nothing but this rank: a piece that was seen before, from the same state, does
// the same again. False: it is no such piece, and nothing was done.
bool RankSimulation::run_piece() {
  if (!engine_.pieces_are_alone(pp_) || !is_idle()) return false;
  const std::span<const Command> piece = own_piece(std::span(commands_).subspan(next_));
  if (piece.size() < 2) return false;
  const uint64_t hash = hash_of(piece);
  if (const RepeatedPiece* known = pieces_.find(hash, engine_.is_cpu() ? 0 : host_ - compute_)) {
    repeat(*known);
    next_ += piece.size(), num_carried_out_ += static_cast<int64_t>(piece.size());
    return true;
  }
  const double compute = compute_, host = host_, clock = clock_;
  const std::array<int32_t, kLanes.size()> sequence = sequence_;
  const size_t first_event = events_.size();
  host_slack_ = kForever;
  in_piece_ = true;
  for (const Command& command : piece) TRINE_CHECK(carry_out(command), "pp {}: a piece waits for others", pp_);
  in_piece_ = false;
  next_ += piece.size(), num_carried_out_ += static_cast<int64_t>(piece.size());
  if (!is_idle()) return true;  // its lanes go on: not to be repeated
  RepeatedPiece seen{
      .seconds = compute_ - compute,
      .host_before_s = engine_.is_cpu() ? 0 : host - compute,
      .host_slack_s = host_slack_,
      .host_s = host_ - host,
      .clock_behind_s = compute_ - clock_,
      .first_kind = events_.size() > first_event ? events_[first_event].kind : EventKind::kIdle,
      .reaches_back = events_.size() > first_event && events_[first_event].t0_ns == nanoseconds(clock),
      .time = account(std::span(events_).subspan(first_event), nanoseconds(compute), nanoseconds(compute_)),
      .wire_events = {}};
  for (size_t lane = 0; lane < sequence.size(); ++lane) seen.wire_events[lane] = sequence_[lane] - sequence[lane];
  pieces_.add(hash, seen);
  return true;
}

// Nothing is under way in any lane.
bool RankSimulation::is_idle() const {
  return waiting_.empty() && lanes_until_ <= compute_ &&
         std::ranges::all_of(handed_, [](const auto& lane) { return lane.empty(); }) &&
         std::ranges::all_of(lane_end_, [&](double end) { return end <= compute_; });
}

// Its events are one for each kind of time.
void RankSimulation::repeat(const RepeatedPiece& piece) {
  const double begin = compute_;
  compute_ += piece.seconds;
  host_ = engine_.is_cpu() ? compute_ : host_ + piece.host_s;
  for (size_t lane = 0; lane < sequence_.size(); ++lane) sequence_[lane] += piece.wire_events[lane];
  append_events(piece, nanoseconds(piece.reaches_back ? clock_ : begin), nanoseconds(begin), nanoseconds(compute_),
                action_, events_);
  clock_ = compute_ - piece.clock_behind_s;
}

// When the thread that launches has done so. On a CPU it computes itself, and only handing over takes time.
double RankSimulation::launch(double kernels) {
  if (engine_.is_cpu()) return host_ = compute_;
  host_ += kernels * engine_.profile().device.host_us * 1e-6;
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
      const double launched = launch(cost.launches);
      host_slack_ = std::min(host_slack_, compute_ - launched);
      compute_ = std::max(compute_, launched) + cost.seconds * engine_.slowness(pp_);
      TraceEvent ran = event(command, clock_, compute_, kind_of(stage_.graph[NodeId{command.node}]));
      ran.flops = cost.flops, ran.bytes = cost.bytes;
      if (host_waits_ >= 2) host_ = compute_;
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
  if (node_end_[static_cast<size_t>(node)] == kForever) return false;
  compute_ = clock_ = std::max(compute_, node_end_[static_cast<size_t>(node)]);
  if (compute_ > before) compute_ = clock_ = compute_ + wake_s_;
  return true;
}

bool RankSimulation::end_of_step() {
  if (lanes_take_turns_ && !run_waiting(-1, kForever)) return false;
  if (std::ranges::any_of(handed_, [](const auto& lane) { return !lane.empty(); })) return false;
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
      if (const Node& node = stage_.graph[NodeId{next.command.node}]; is_state(node))
        ++(sends_state(node) ? state_edge(node).num_sent : state_edge(node).num_received);
      const double lane_end = lane_end_[static_cast<size_t>(next.command.lane)];
      next.begin = std::max(next.ready, lane_end);
      next.last = next.command.lane == Lane::kPp ? *last : *next.begin;
      next.left_s = engine_.collective_s(pp_, next.command.node) + (now > lane_end ? wake_s_ : 0);
      now = std::max(now, *last);
    }
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
  if (lanes_take_turns_) {
    waiting_.push_back({command, compute_, std::nullopt, 0, 0});
    compute_ = clock_ = compute_ + post_s_;
    return true;
  }
  if (command.lane == Lane::kDp && engine_.profile().device.serial_collectives >= 2 && !engine_.is_cpu() &&
      action_ < static_cast<int>(program_.actions().size())) {
    deferred_.push_back(command);
    return true;
  }
  double& node_end = node_end_[static_cast<size_t>(command.node)];
  if (!handed_over_) {
    handed_[static_cast<size_t>(command.lane)].push_back({command, compute_, host_});
    node_end = kForever;
    handed_over_ = true;
    start_lanes();
  }
  if (engine_.in_line(command.lane) && node_end == kForever) return false;
  handed_over_ = false;
  compute_ += post_s_;
  // The exchange itself takes the core of its rank; until the links would have ended it the lane sleeps.
  if (engine_.emulates() && !engine_.costs().cpu().lanes_have_cores)
    compute_ += engine_.costs().collective_s(pp_, command.node);
  launch();
  if (engine_.in_line(command.lane)) compute_ = std::max(compute_, node_end);
  if (host_waits_ >= 2) host_ = compute_;
  clock_ = std::max(clock_, compute_);
  return true;
}

// What has ended may let those behind it, and those of other lanes, begin.
void RankSimulation::start_lanes() {
  for (bool moved = true; moved;) {
    moved = false;
    for (const Lane lane : kLanes) moved |= start(lane);
  }
}

// The lane's next begins, if it is known when. True: it has even ended.
bool RankSimulation::start(Lane lane) {
  std::deque<Handed>& handed = handed_[static_cast<size_t>(lane)];
  if (handed.empty() || handed.front().under_way) return false;
  Handed& next = handed.front();
  const Command command = next.command;
  const double lane_end = lane_end_[static_cast<size_t>(lane)];
  double ready = std::max(next.ready, lane_end);
  host_slack_ = std::min(host_slack_, ready - next.launched);
  ready = std::max(ready, next.launched);
  for (const NodeId other : lane_waits(stage_.graph, stage_.graph[NodeId{command.node}]))
    ready = std::max(ready, node_end_[static_cast<size_t>(other.index)]);
  if (ready == kForever) return false;
  const std::optional<double> last = last_of_group(command, ready);
  if (!last) return false;
  if (is_state(stage_.graph[NodeId{command.node}])) return move_state(handed, ready);
  const double handed_over = engine_.is_cpu() && ready > lane_end ? post_s_ + wake_s_ : 0;
  std::optional<const SharedLinks::Met*>& met = met_[static_cast<size_t>(command.node)];
  if (!met) met = engine_.met(pp_, command.node);
  if (in_piece_ || *met == nullptr) {
    handed.pop_front();
    execute(command, ready, *last, *last + handed_over + engine_.collective_s(pp_, command.node));
    return true;
  }
  next.under_way = true;
  next.ready = ready, next.last = *last;
  next.least_end = *last + (engine_.emulates() ? engine_.costs().collective_s(pp_, command.node) : 0);
  next.handed_over_s = handed_over;
  engine_.shared().begin(*last, **met, [this, lane](double end_s) { end(lane, end_s); });
  return false;
}

// The front of the lane pp, a state that is sent: its ends are known. True: it has even ended.
bool RankSimulation::move_state(std::deque<Handed>& handed, double ready) {
  const Command command = handed.front().command;
  const Node& node = stage_.graph[NodeId{command.node}];
  const bool sends = sends_state(node);
  SimulatedEdge& edge = state_edge(node);
  SimulatedMessage& message = edge.at(sends ? edge.num_sent : edge.num_received);
  message.bytes = static_cast<int64_t>(size_of(stage_.graph, node).bytes);
  engine_.move_messages(edge);
  if (!message.end) return false;
  ++(sends ? edge.num_sent : edge.num_received);
  handed.pop_front();
  execute(command, ready, std::max(*message.sent, *message.received), *message.end);
  return true;
}

// The links have carried what is under way there.
void RankSimulation::end(Lane lane, double end_s) {
  std::deque<Handed>& handed = handed_[static_cast<size_t>(lane)];
  const Handed ended = handed.front();
  handed.pop_front();
  execute(ended.command, ended.ready, ended.last, ended.handed_over_s + std::max(end_s, ended.least_end));
  engine_.wake(pp_);
}

// Of what a lane does once all it concerns are ready: those of the other pipeline ranks are known, or not yet. The
// other ranks of a tp or dp group are ready when this one is.
std::optional<double> RankSimulation::last_of_group(const Command& command, double ready) {
  if (command.lane != Lane::kPp) return ready;
  const Node& node = stage_.graph[NodeId{command.node}];
  return is_state(node) ? meet_peer(node, ready) : meet_all(ready);
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
  engine_.wake_all();
  double last = ready;
  for (const auto& other : meeting.ready) last = std::max(last, *other);
  return last;
}

SimulatedEdge& RankSimulation::state_edge(const Node& node) {
  if (const auto* const send = dynamic_cast<const SendState*>(node.op.get()))
    return engine_.edge(pp_, send->to_rank, kState);
  return engine_.edge(dynamic_cast<const ReceiveState&>(*node.op).from_rank, pp_, kState);
}

// When both ends of a state that is sent are ready.
std::optional<double> RankSimulation::meet_peer(const Node& node, double ready) {
  const bool sends = sends_state(node);
  SimulatedEdge& edge = state_edge(node);
  SimulatedMessage& message = edge.at(sends ? edge.num_sent : edge.num_received);
  std::optional<double>& own = sends ? message.sent : message.received;
  if (!own) own = ready, engine_.wake(sends ? edge.to : edge.from);
  if (!message.sent || !message.received) return std::nullopt;
  return std::max(*message.sent, *message.received);
}

void RankSimulation::post(const Command& command, bool sends) {
  const Node& node = stage_.graph[NodeId{command.node}];
  const int other = peer_of(node, engine_.plan().config.mesh.pp);
  const EdgeKind kind = kind_of_edge(node);
  SimulatedEdge& edge = sends ? engine_.edge(pp_, other, kind) : engine_.edge(other, pp_, kind);
  const size_t index = sends ? edge.num_sent++ : edge.num_received++;
  SimulatedMessage& message = edge.at(index);
  compute_ += post_s_;
  (sends ? message.sent : message.received) = std::max(compute_, launch());
  if (sends)
    sent_[{command.node, command.slot}] = index;
  else
    received_[{command.node, command.microbatch}] = index;
  message.bytes = engine_.costs().node(pp_, command.node).message_bytes;
  if (message.sent && message.received) engine_.move_messages(edge);
  if (sends && host_waits_ >= 1) send_in_line(command, *message.sent, engine_.message_s(edge, message.bytes));
}

// The thread that launches stands still until the device has sent it. That is when a receiver that is ready has it:
// how long a late one is waited for is seen at what comes back from it.
void RankSimulation::send_in_line(const Command& command, double begin, double seconds) {
  host_ = compute_ = clock_ = begin + seconds;
  TraceEvent sent = event(command, begin, compute_, EventKind::kCommPp);
  sent.lane = Lane::kPp;
  sent.bytes = engine_.costs().node(pp_, command.node).message_bytes;
  events_.push_back(sent);
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
  if (host_waits_ >= 1) host_ = std::max(host_, compute_);
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

}  // namespace trine
