#include "runtime/step/kernel_graphs.h"

#include <fmt/core.h>

#include "base/error.h"
#include "ops/batch.h"

namespace trine {

KernelGraphs::KernelGraphs(const Graph& graph, const Instructions& instructions, Timeline& timeline, GraphKind kind,
                           bool device_to_device)
    : graph_(graph),
      instructions_(instructions),
      timeline_(timeline),
      kind_(kind),
      records_(timeline.records() && (kind == GraphKind::kOn || (kind == GraphKind::kAuto && !device_to_device))),
      enabled_(records_) {}

bool KernelGraphs::takes(const Command& command) const {
  if (!enabled_ || command.kind != CommandKind::kRun) return false;
  const Node& node = graph_.nodes()[static_cast<size_t>(command.node)];
  return node.region != Region::kPrologue && dynamic_cast<const TakeMicrobatch*>(node.op.get()) == nullptr;
}

KernelGraphs::Piece* KernelGraphs::piece(std::span<const Command> commands) {
  if (!enabled_ || commands.size() < kFewest) return nullptr;
  std::vector<int32_t> key{commands[0].microbatch <= 0};
  for (const Command& command : commands) {
    key.push_back(command.node);
    for (const Operand& operand : instructions_[static_cast<size_t>(command.node)].operands)
      if (operand.pool) key.push_back(operand.pool->slot(command.microbatch));
  }
  Piece& piece = pieces_[std::move(key)];
  if (piece.commands.empty()) piece.commands.assign(commands.begin(), commands.end());
  return &piece;
}

bool KernelGraphs::wanted(const Piece& piece) const {
  const auto count = std::ssize(piece.commands);
  if (piece.recording || piece.node_ns.empty() || num_recorded_ + count > kMostKernels) return false;
  return kind_ == GraphKind::kOn || piece.total_ns < kShortNs * count;
}

void KernelGraphs::record(const std::function<void(const Command&)>& run) {
  if (!records_) return;
  int64_t recorded = 0;
  for (auto& [key, piece] : pieces_) {
    if (!wanted(piece)) continue;
    try {
      piece.recording = timeline_.record(Lane::kCompute, [&] {
        for (const Command& command : piece.commands) run(command);
      });
    } catch (const Error& error) {
      if (kind_ == GraphKind::kOn)
        throw Error(
            error.code(),
            fmt::format("[--cuda-graphs] on: the device records no graph: {}. Take auto or off.", error.what()));
      records_ = false;
      news_.warning = fmt::format(
          "[--cuda-graphs] the device records no graph: {}. Kernels are launched one by one (--cuda-graphs off does "
          "so without this warning).",
          error.what());
      break;
    }
    recorded += std::ssize(piece.commands);
    num_recorded_ += std::ssize(piece.commands);
  }
  if (recorded > 0) news_.info = fmt::format("graphs {} kernels recorded: from now on they are replayed", recorded);
}

void KernelGraphs::learn(Piece& piece, std::span<const TraceEvent> events) {
  int64_t total_ns = 0;
  for (const TraceEvent& event : events) total_ns += event.t1_ns - event.t0_ns;
  if (!piece.node_ns.empty() && total_ns >= piece.total_ns) return;
  piece.total_ns = total_ns;
  piece.node_ns.clear();
  for (const TraceEvent& event : events) piece.node_ns.push_back(event.t1_ns - event.t0_ns);
}

// Shares follow one another without a gap, and end where the replay did.
void KernelGraphs::share_out(const Piece& piece, std::span<TraceEvent> events) {
  const int64_t begin_ns = events.front().t0_ns, end_ns = events.back().t1_ns;
  const double scale =
      piece.total_ns > 0 ? static_cast<double>(end_ns - begin_ns) / static_cast<double>(piece.total_ns) : 0;
  int64_t before_ns = 0;
  for (size_t i = 0; i < events.size(); ++i) {
    events[i].t0_ns = i == 0 ? begin_ns : events[i - 1].t1_ns;
    before_ns += piece.node_ns[i];
    events[i].t1_ns =
        i + 1 == events.size() ? end_ns : begin_ns + static_cast<int64_t>(static_cast<double>(before_ns) * scale);
  }
}

KernelGraphs::News KernelGraphs::take_news() { return std::exchange(news_, {}); }

}  // namespace trine
