// What the simulated ranks of a pipeline have between them: costs, messages on their way, meetings of all, and what
// pieces of their programs were seen to do (simulate() with Detail::kAction).
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>
#include <vector>

#include "analysis/repeated_piece.h"
#include "analysis/simulated_costs.h"
#include "analysis/simulator.h"

namespace trine {

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

class SimulatedPipeline {
 public:
  SimulatedPipeline(const Plan& plan, const Profile& profile, const SimulationOptions& options)
      : plan_(plan), costs_(plan, profile), profile_(profile), options_(options) {
    if (options.links) links_.emplace(plan, *options.links->profile);
  }

  const Plan& plan() const { return plan_; }
  SimulatedCosts& costs() { return costs_; }
  const Profile& profile() const { return profile_; }
  bool is_cpu() const { return profile_.is_cpu(); }
  bool wants_step_only() const { return options_.step_only && !is_cpu(); }
  bool repeats_pieces() const { return options_.detail == Detail::kAction; }
  bool emulates() const { return links_.has_value(); }
  // Of a node of another lane than compute, and of a message, once all it concerns are ready.
  double collective_s(int pp, int node) {
    const double exchange = costs_.collective_s(pp, node);
    return links_ ? std::max(exchange, options_.links->dilation * links_->collective_s(pp, node)) : exchange;
  }
  double message_s(int from, int to, int64_t bytes) {
    const double exchange = costs_.activation_s(from, to, bytes);
    return links_ ? std::max(exchange, options_.links->dilation * links_->message_s(from, to, bytes)) : exchange;
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
  SimulatedEdge& edge(int from, int to, EdgeKind kind) { return edges_[{from, to, kind}]; }
  Meeting& meeting(int sequence) {
    Meeting& meeting = meetings_[sequence];
    meeting.ready.resize(plan_.stages.size());
    return meeting;
  }

 private:
  const Plan& plan_;
  SimulatedCosts costs_;
  std::optional<SimulatedCosts> links_;  // whose collectives and messages are emulated
  const Profile& profile_;
  const SimulationOptions& options_;
  std::map<std::tuple<int, int, EdgeKind>, SimulatedEdge> edges_;
  std::map<int, Meeting> meetings_;
};

}  // namespace trine
