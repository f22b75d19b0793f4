// What the simulated ranks of a pipeline have between them: costs, messages on their way, meetings of all, and what
// pieces of their programs were seen to do (simulate() with Detail::kAction).
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>
#include <vector>

#include "analysis/repeated_piece.h"
#include "analysis/shared_links.h"
#include "analysis/simulated_costs.h"
#include "analysis/simulator.h"

namespace trine {

// A message between two pipeline ranks: both ends say when they were ready.
struct SimulatedMessage {
  std::optional<double> sent, received;  // s
  std::optional<double> end;
  int64_t bytes = 0;
};

// All messages of a directed edge, in their order; at each end they run one after another.
struct SimulatedEdge {
  int from = 0, to = 0;
  EdgeKind kind = kActivation;
  std::vector<SimulatedMessage> messages;
  size_t num_sent = 0, num_received = 0;
  size_t num_begun = 0;
  bool busy = false;  // the last that has begun is under way
  double end = 0;     // of that, or no earlier than this

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

class SimulatedPipeline {
 public:
  SimulatedPipeline(const Plan& plan, const Profile& profile, const SimulationOptions& options);

  const Plan& plan() const { return plan_; }
  SimulatedCosts& costs() { return costs_; }
  const Profile& profile() const { return profile_; }
  bool is_cpu() const { return profile_.is_cpu(); }
  bool wants_step_only() const { return options_.step_only && !is_cpu(); }
  bool repeats_pieces() const { return options_.detail == Detail::kAction; }
  bool emulates() const { return emulated_.has_value(); }
  // Of a node of another lane than compute, once all it concerns are ready, and of a message, while nothing else is on
  // the links.
  double collective_s(int pp, int node);
  double message_s(const SimulatedEdge& edge, int64_t bytes);
  // A node's collective, where it may meet another transfer on a link; nullptr: it takes collective_s().
  const SharedLinks::Met* met(int pp, int node) {
    return shared_ ? shared_->find(link_costs().collective(pp, node)) : nullptr;
  }
  SharedLinks& shared() { return *shared_; }
  // Pieces of this rank's program take the same each time, while its dp lane does nothing.
  bool pieces_are_alone(int pp) const { return !shared_ || shared_->tp_is_alone(pp); }
  // Begins the edge's next messages whose ends are both known. Those that meet nothing have ended then.
  void move_messages(SimulatedEdge& edge);
  // Goes on to what happens next on the links. False: nothing does.
  bool advance() { return shared_ && shared_->advance(); }

  // This rank may go on: something was found that it may wait for.
  void wake(int pp) { awake_.push_back(pp); }
  void wake_all() {
    for (size_t pp = 0; pp < plan_.stages.size(); ++pp) wake(static_cast<int>(pp));
  }
  // The next one that may; -1: there is none.
  int take_awake() {
    if (awake_.empty()) return -1;
    const int pp = awake_.back();
    awake_.pop_back();
    return pp;
  }
  // Kernels wait for what that lane does (DeviceProfile::serial_collectives, host_waits).
  bool in_line(Lane lane) const {
    const DeviceProfile& device = profile_.device;
    return !is_cpu() && (device.host_waits >= 2 || device.serial_collectives >= (lane == Lane::kTp ? 1 : 2));
  }
  // The slowest of the ranks that one stands for: they wait for each other.
  double slowness(int pp) const {
    double most = 1;
    for (const auto& [rank, factor] : options_.slow)
      if (plan_.config.mesh.coordinate(rank).pp == pp) most = std::max(most, factor);
    return most;
  }
  SimulatedEdge& edge(int from, int to, EdgeKind kind) {
    SimulatedEdge& edge = edges_[{from, to, kind}];
    edge.from = from, edge.to = to, edge.kind = kind;
    return edge;
  }
  Meeting& meeting(int sequence) {
    Meeting& meeting = meetings_[sequence];
    meeting.ready.resize(plan_.stages.size());
    return meeting;
  }

 private:
  SimulatedCosts& link_costs() { return emulates() ? *emulated_ : costs_; }
  void end_message(SimulatedEdge& edge, double end);

  const Plan& plan_;
  SimulatedCosts costs_;
  std::optional<SimulatedCosts> emulated_;  // links whose collectives and messages are emulated
  std::optional<SharedLinks> shared_;       // where transfers may meet
  std::vector<int> awake_;
  const Profile& profile_;
  const SimulationOptions& options_;
  std::map<std::tuple<int, int, EdgeKind>, SimulatedEdge> edges_;
  std::map<int, Meeting> meetings_;
};

}  // namespace trine
