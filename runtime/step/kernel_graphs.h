// Kernels of the compute lane that follow one another without a message or another lane's node in between, recorded
// once and replayed as a whole. Where kernels are short, the host takes longer to launch them than the device to run
// them; a replay is one launch.
//
// A piece is such a run of nodes within an action, with the slots that its operands lie in and whether accumulators
// begin. That is all that a kernel is given besides what lies in the device's memory, so that whatever has the same
// piece (another microbatch, another step) may replay its recording. Left out are the nodes that are given more: the
// prologue (the host's samples and numbers), and take_microbatch.
//
// A piece runs node by node in its first step, so that libraries choose their kernels and take their memory, and is
// recorded between two steps, when the device is idle. A replay has one time: it is shared out among the nodes in
// proportion to what they took one by one, at their quickest.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/device.h"
#include "plan/step_program.h"
#include "runtime/device/timeline.h"
#include "runtime/step/instructions.h"

namespace trine {

class KernelGraphs {
 public:
  struct Piece {
    std::vector<Command> commands;
    std::vector<int64_t> node_ns;  // of the quickest run of all nodes one by one; empty: none has ended
    int64_t total_ns = 0;
    std::unique_ptr<Recording> recording;  // none: not yet, or never
  };

  // kOn: every piece; kAuto: those whose kernels are shorter than kShortNs on average, on a rank whose device does
  // not talk to others by itself; none where the timeline does not record. The arguments outlive this.
  KernelGraphs(const Graph& graph, const Instructions& instructions, Timeline& timeline, GraphKind kind,
               bool device_to_device);

  // Whether the command may be part of a piece.
  bool takes(const Command& command) const;
  // Of commands that follow one another in an action. Null: too few to be worth it.
  Piece* piece(std::span<const Command> commands);
  // Between steps: records what has run and is worth it. `run` enqueues a command's kernel. Where the device refuses,
  // kAuto records no more and says so in take_news(); kOn throws.
  void record(const std::function<void(const Command&)>& run);

  // The step has ended. `events` are those of a piece's nodes, in order: of a run one by one, whose times are learnt,
  // or of a replay, whose time they are given shares of.
  static void learn(Piece& piece, std::span<const TraceEvent> events);
  static void share_out(const Piece& piece, std::span<TraceEvent> events);

  // What is new since the last call; empty: nothing.
  struct News {
    std::string info, warning;
  };
  News take_news();
  int64_t num_replayable() const { return num_recorded_; }  // kernels

  static constexpr size_t kFewest = 4;              // nodes of a piece
  static constexpr int64_t kShortNs = 20'000;       // about four launches
  static constexpr int64_t kMostKernels = 1 << 14;  // in all recordings, which take memory of the device

 private:
  bool wanted(const Piece& piece) const;

  const Graph& graph_;
  const Instructions& instructions_;
  Timeline& timeline_;
  const GraphKind kind_;
  bool records_;  // more of them
  const bool enabled_;
  std::map<std::vector<int32_t>, Piece> pieces_;  // by nodes and slots
  int64_t num_recorded_ = 0;
  News news_;
};

}  // namespace trine
