// One rank of a simulated pipeline: carries out its commands (plan/step_program.h) one after another, as far as it can
// without knowing more of the other ranks.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "analysis/repeated_piece.h"
#include "analysis/simulated_pipeline.h"
#include "plan/step_program.h"
#include "trace/trace.h"

namespace trine {

class RankSimulation {
 public:
  RankSimulation(SimulatedPipeline& engine, const StagePlan& stage, int pp);

  // Goes on until it has to wait for another rank (false), or to the end.
  bool run();
  bool done() const { return done_; }
  int64_t progress() const { return num_carried_out_; }  // commands so far
  double end() const { return end_; }
  void finish(double step_end_s);
  RankTrace take_trace();
  std::string where() const { return program_.label(action_); }

 private:
  // What was handed to a lane and has not ended, in order; the first has begun where `under_way`.
  struct Handed {
    Command command;
    double ready = 0, launched = 0;  // of this rank's device, and of its thread that launches
    // Where its links may be shared: it is under way since `last`, when all its ranks were ready, and takes until then
    // at least.
    bool under_way = false;
    double last = 0, least_end = 0, handed_over_s = 0;
  };

  bool carry_out(const Command& command);
  bool run_piece();
  bool is_idle() const;
  void repeat(const RepeatedPiece& piece);
  bool enqueue(const Command& command);
  void start_lanes();
  bool start(Lane lane);
  bool move_state(std::deque<Handed>& handed, double ready);
  void end(Lane lane, double end_s);
  void execute(const Command& command, double ready, double last, double end);
  std::optional<double> last_of_group(const Command& command, double ready);
  bool wait_lane(int node);
  bool run_waiting(int until_node, double until_s);
  bool end_of_step();
  bool wait_receive(const Command& command);
  bool wait_sent(const Command& command);
  std::optional<double> meet_all(double ready);
  SimulatedEdge& state_edge(const Node& node);
  std::optional<double> meet_peer(const Node& node, double ready);
  void post(const Command& command, bool sends);
  void send_in_line(const Command& command, double begin, double seconds);
  double launch(double kernels = 1);
  TraceEvent event(const Command& command, double begin_s, double end_s, EventKind kind) const;

  SimulatedPipeline& engine_;
  const StagePlan& stage_;
  const int pp_;
  const StepProgram program_;
  std::vector<Command> commands_;  // of the action that runs
  size_t next_ = 0;
  RepeatedPieces pieces_;
  double host_slack_ = 0;  // by how much the launching thread was ahead at least, since a piece began
  int action_ = -2;
  bool done_ = false;
  int64_t num_carried_out_ = 0;
  // Seconds from the step's begin.
  double host_ = 0, compute_ = 0, clock_ = 0, end_ = 0;
  std::array<double, kLanes.size()> lane_end_{};
  std::array<std::deque<Handed>, kLanes.size()> handed_;
  bool handed_over_ = false;  // the command that is carried out, to a lane
  bool in_piece_ = false;
  std::vector<Command> deferred_;                            // collectives of dp that wait for the last action
  std::vector<std::optional<const SharedLinks::Met*>> met_;  // by node, once it was asked for
  std::vector<double> node_end_;                    // of the last execution; -1: none; infinite: not known yet
  std::map<std::pair<int, int>, size_t> received_;  // message of (node, microbatch)
  std::map<std::pair<int, int>, size_t> sent_;      // message of (node, slot)
  std::vector<TraceEvent> events_;
  std::array<int32_t, kLanes.size()> sequence_{};
  int num_meetings_ = 0;

  // On cores that ranks share with their lanes: what was handed to lanes and has not ended, in order.
  struct Waiting {
    Command command;
    double ready = 0;             // this rank was
    std::optional<double> begin;  // when its event does, if the lane has begun
    double last = 0;              // when the last of its group was ready
    double left_s = 0;
  };
  const int host_waits_;  // DeviceProfile::host_waits
  const bool lanes_take_turns_;
  // Of CPUs: to hand work over or post it, and until the one who waits for it, lane or rank, is awake.
  double post_s_ = 0, wake_s_ = 0;
  std::deque<Waiting> waiting_;
  double lanes_until_ = 0;  // they have worked
};

}  // namespace trine
